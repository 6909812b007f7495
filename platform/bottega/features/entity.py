"""An entity: the thing that features describe, and the columns that identify it."""

from dataclasses import dataclass
from typing import Literal

from bottega.errors import InvalidInput
from bottega.features.checks import check_name

KeyDtype = Literal["int32", "int64", "string"]
_DTYPES = ("int32", "int64", "string")
_BITS = {"int32": 32, "int64": 64}


@dataclass(frozen=True)
class Entity:
    """What a feature is about: a zone, a driver, a pair of zones; no key at all stands for the whole city.

    `keys` names the key columns. A view, a reference or a label table may hold them under other names.

    >>> Entity("pair", keys=("pu_zone", "do_zone")).keys
    ('pu_zone', 'do_zone')
    """

    name: str
    keys: tuple[str, ...] = ()
    dtype: KeyDtype = "int64"
    description: str = ""

    def __post_init__(self) -> None:
        check_name("Entity", self.name)
        if isinstance(self.keys, str):
            object.__setattr__(self, "keys", (self.keys,))
        object.__setattr__(self, "keys", tuple(self.keys))
        for key in self.keys:
            check_name(f"A key of Entity {self.name!r}:", key)
        if len(set(self.keys)) < len(self.keys):
            raise InvalidInput(f"Entity {self.name!r} names a key twice: {', '.join(self.keys)}.")
        if self.dtype not in _DTYPES:
            raise InvalidInput(
                f"Entity {self.name!r} has key type {self.dtype!r}.", next_step=f"Key types are {', '.join(_DTYPES)}."
            )


def key_range(dtype: str) -> tuple[int, int]:
    """The least and the greatest key of a type of whole numbers."""
    return -(2 ** (_BITS[dtype] - 1)), 2 ** (_BITS[dtype] - 1) - 1


def check_entity(what: str, entity: object) -> None:
    """Raise InvalidInput where a view's entity is something else, such as its name."""
    if not isinstance(entity, Entity):
        raise InvalidInput(f"The entity of {what} is {entity!r}.", next_step='Declare it: Entity("zone", keys="zone").')
