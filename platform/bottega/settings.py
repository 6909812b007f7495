"""Settings: frozen, read once from flags, environment, `bottega.toml` and defaults, in that order."""

import functools
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bottega.errors import InvalidInput

ENDPOINT = "BOTTEGA_ENDPOINT_"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run may choose; each field is also `BOTTEGA_<FIELD>` in the environment and a key of `bottega.toml`."""

    workspace: Path = Path("workspace")
    """Folder of everything that a run writes."""
    data: Path | None = None
    """Folder with real datasets, one folder a dataset."""
    online: str = ""
    """Address of the online store, such as `redis://127.0.0.1:6379/0`; empty: LMDB in the workspace."""
    host: str = "127.0.0.1"
    http_port: int = 8080
    studio_port: int = 8501
    seed: int = 7
    """Seed of the simulator and of training."""
    endpoints: dict[str, str] = {}
    """Addresses of external services by name: a table of `bottega.toml`, or each one `BOTTEGA_ENDPOINT_<NAME>`."""


def load_settings(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path = Path("bottega.toml"),
) -> Settings:
    """Read the settings; a flag that is None counts as not given.

    Raises InvalidInput for an unknown key or a value of the wrong type, naming where it came from.
    """
    known = {field.name: field for field in msgspec.structs.fields(Settings)}
    layers: list[tuple[str, dict[str, object]]] = []
    if file.is_file():
        try:
            layers.append((str(file), tomllib.loads(file.read_text("utf-8"))))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{file} is not valid TOML: {error}.", next_step="Correct it or remove it.") from None
    environ = os.environ if environment is None else environment
    given: dict[str, object] = {n: v for n in known if (v := environ.get(f"BOTTEGA_{n.upper()}"))}
    named = {n.removeprefix(ENDPOINT).lower(): v for n, v in environ.items() if n.startswith(ENDPOINT)}
    layers.append(("the environment", given | ({"endpoints": named} if named else {})))
    layers.append(("the command line", {name: value for name, value in (flags or {}).items() if value is not None}))
    merged: dict[str, Any] = {}
    for origin, layer in layers:
        for name, value in layer.items():
            if name not in known:
                raise InvalidInput(
                    f"{origin} sets {name!r}, which is no setting.", next_step=f"Settings are {', '.join(known)}."
                )
            try:
                found = msgspec.convert(value, known[name].type, strict=False, dec_hook=_decode)
                merged[name] = {**merged.get(name, {}), **found} if isinstance(found, dict) else found
            except msgspec.ValidationError as error:
                raise InvalidInput(f"{origin} sets {name} to {value!r}: {error}.") from None
    return Settings(**merged)


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    raise msgspec.ValidationError(f"Expected {kind.__name__}")


@functools.cache
def asset_folder(name: str) -> Path:
    """The folder `datasets/` or `labs/`: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[1] / name
    return checkout if checkout.is_dir() else package / "assets" / name
