"""Names of the invented city's zones and bridges, from the words in `datasets/city_simulator/names.toml`."""

import tomllib

import numpy as np

from bottega.errors import InvalidInput
from bottega.settings import asset_folder


def _words() -> dict[str, list[str]]:
    return tomllib.loads((asset_folder("datasets") / "city_simulator" / "names.toml").read_text("utf-8"))


def zone_names(count: int, rng: np.random.Generator) -> list[str]:
    """`count` different names; each first word comes about equally often."""
    words = _words()
    rounds = -(-count // len(words["first"]))
    if rounds > len(words["second"]):
        raise InvalidInput(f"{count} zones are more than there are names for.")
    names: list[str] = []
    for first in words["first"]:
        names += [f"{first} {second}" for second in rng.choice(words["second"], rounds, replace=False)]
    return [names[i] for i in rng.permutation(len(names))[:count]]


def bridge_names(count: int) -> list[str]:
    """`count` different names of bridges."""
    return [f"{word} Bridge" for word in _words()["bridges"][:count]]
