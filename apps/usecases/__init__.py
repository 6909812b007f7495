"""The use cases: one folder of five files each. Adding a folder is enough."""

import functools
import importlib
import pkgutil

from bottega.errors import NotFound
from bottega.usecase import UseCase


@functools.cache
def discover() -> dict[str, UseCase]:
    """Every use case by name: the `USECASE` that each folder's `usecase.py` declares."""
    folders = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    found = [importlib.import_module(f"{__name__}.{folder}.usecase").USECASE for folder in folders]
    return {usecase.name: usecase for usecase in found}


def find(name: str) -> UseCase:
    """The use case of that name; NotFound says which there are."""
    known = discover()
    if name not in known:
        raise NotFound(f"There is no use case {name!r}.", next_step=f"There are: {', '.join(known)}.")
    return known[name]
