"""Static views: attributes of an entity that do not change with time."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bottega.errors import InvalidData, InvalidInput, Unsupported
from bottega.features.binding import bind_keys, check_columns
from bottega.features.checks import check_name, check_unique, find_feature, key_columns
from bottega.features.entity import Entity, check_entity
from bottega.features.tables import Table

if TYPE_CHECKING:
    import pandas as pd


class Attribute(msgspec.Struct, frozen=True):
    """A static number of an entity: the column's name, the unit, and the value where the entity is unknown."""

    name: str
    unit: str = ""
    default: float = float("nan")
    description: str = ""


def check_attributes(what: str, features: Iterable[Attribute | str]) -> tuple[Attribute, ...]:
    """Attributes, or column names alone, as attributes; InvalidInput where there is none, or a name is wrong."""
    given = [features] if isinstance(features, Attribute | str) else features
    attributes = tuple(Attribute(one) if isinstance(one, str) else one for one in given)
    if not attributes:
        raise InvalidInput(f"{what} has no features.", next_step='Name one: Attribute("area_km2", "km2").')
    for attribute in attributes:
        if not isinstance(attribute, Attribute):
            raise InvalidInput(f"{what}: {attribute!r} is no attribute.", next_step='Write Attribute("area_km2").')
        check_name(f"A feature of {what}:", attribute.name)
        if not isinstance(attribute.default, int | float) or math.isinf(attribute.default):
            raise InvalidInput(
                f"{what}: the default of {attribute.name!r} is {attribute.default!r}.",
                next_step="It is a finite number, or NaN for none.",
            )
    check_unique(what, [attribute.name for attribute in attributes])
    return attributes


@dataclass(frozen=True)
class StaticView:
    """Attributes of an entity that do not change with time, such as a zone's centroid.

    `features` are Attributes, or column names alone. `keys` as in FeatureView.
    """

    name: str
    entity: Entity
    source: str
    features: tuple[Attribute, ...]
    owner: str = ""
    description: str = ""
    keys: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        entity: Entity,
        source: str,
        features: Iterable[Attribute | str],
        owner: str = "",
        description: str = "",
        keys: Sequence[str] = (),
    ) -> None:
        check_name("StaticView", name)
        check_name(f"The source of StaticView {name!r}:", source)
        check_entity(f"StaticView {name!r}", entity)
        attributes = check_attributes(f"StaticView {name!r}", features)
        if entity.dtype == "string" or not entity.keys:
            raise Unsupported(
                f"StaticView {name!r} has entity {entity.name!r}, which is not addressed by whole numbers.",
                next_step="Number the entity's members and use dtype int32 or int64.",
            )
        for field, value in (
            ("name", name),
            ("entity", entity),
            ("source", source),
            ("features", attributes),
            ("owner", owner),
            ("description", description),
            ("keys", key_columns(f"StaticView {name!r}", entity.keys, keys)),
        ):
            object.__setattr__(self, field, value)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The name of the table that the view is made of."""
        return (self.source,)

    def feature(self, name: str) -> Attribute:
        """The attribute of that name; NotFound says which there are."""
        return find_feature(
            f"StaticView {self.name!r}", self.name, {feature.name: feature for feature in self.features}, name
        )

    def table(self, rows: "pd.DataFrame") -> Table:
        """The attributes as a plan's table, addressed by the entity's key.

        Raises InvalidData where a column is missing, or a key is null, negative or there twice.
        """
        what = f"The source {self.source!r} of StaticView {self.name!r}"
        check_columns(what, rows, [*self.keys, *(feature.name for feature in self.features)])
        keys, known = bind_keys(what, rows, self.keys, self.entity.dtype)
        wrong = ~known | rows.duplicated(list(self.keys)).to_numpy() | np.any([key < 0 for key in keys], axis=0)
        if wrong.any():
            row = rows.iloc[int(np.argmax(wrong))]
            raise InvalidData(
                f"{what} has a null, negative or repeated key: {', '.join(f'{key} {row[key]}' for key in self.keys)}.",
                next_step="Keep one row for each key.",
            )
        columns = {f.name: rows[f.name].to_numpy(np.float64, na_value=np.nan) for f in self.features}
        return Table.from_keys(keys, columns, {f.name: f.default for f in self.features})
