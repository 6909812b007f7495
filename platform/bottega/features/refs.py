"""References: `view:feature`, or `view:feature@key` where the key column has another name than the entity's key.

One mapping {new column: reference} serves both sides: `TrainingSet` joins it point-in-time, `reference_steps` turns it
into the plan's steps that read the same values on the request path.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bottega.errors import InvalidInput, NotFound
from bottega.features.external import ExternalView
from bottega.features.static import StaticView
from bottega.features.steps import External, Lookup, Online
from bottega.features.view import FeatureView

View = FeatureView | StaticView | ExternalView
References = Sequence[str] | Mapping[str, str]
"""References, or {new column: reference}; without names, the column has the feature's name."""


@dataclass(frozen=True)
class Reference:
    """One resolved reference: the new column, the view, its feature, and the columns that hold the entity's keys."""

    column: str
    view: View
    feature: str
    keys: tuple[str, ...]


def views_by_name(views: Iterable[View]) -> dict[str, View]:
    """Views by name; a name that two different views have is refused."""
    found: dict[str, View] = {}
    for view in views:
        if found.setdefault(view.name, view) != view:
            raise InvalidInput(f"Two views have the name {view.name!r}.", next_step="Rename one of them.")
    return found


def resolve(refs: References, views: Iterable[View]) -> tuple[Reference, ...]:
    """Resolve references against views.

    Raises NotFound for an unknown view or feature, InvalidInput for a malformed text, a wrong number of keys, or two
    references that would give the same column.
    """
    known = views_by_name(views)
    named = refs.items() if isinstance(refs, Mapping) else [("", text) for text in refs]
    found: dict[str, Reference] = {}
    for column, text in named:
        reference = _resolve(column, text, known)
        if reference.column in found:
            raise InvalidInput(
                f"Two references give the column {reference.column!r}.",
                next_step="Name them: {'new column': 'view:feature@key', ...}.",
            )
        found[reference.column] = reference
    return tuple(found.values())


def reference_steps(refs: References, views: Iterable[View], at: str = "at") -> tuple[Online | Lookup | External, ...]:
    """The plan's steps that read the references when serving; `at` names the request's time column."""
    grouped: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    kinds: dict[str, View] = {}
    for reference in resolve(refs, views):
        kinds[reference.view.name] = reference.view
        grouped.setdefault((reference.view.name, reference.keys), {})[reference.column] = reference.feature
    return tuple(_step(kinds[name], keys, at, outputs) for (name, keys), outputs in grouped.items())


def _step(view: View, keys: tuple[str, ...], at: str, outputs: dict[str, str]) -> Online | Lookup | External:
    if isinstance(view, FeatureView):
        return Online(view.name, keys, at, outputs)
    if isinstance(view, StaticView):
        return Lookup(view.name, keys, outputs)
    return External(view.service, keys, at, outputs)


def _resolve(column: str, text: str, views: Mapping[str, View]) -> Reference:
    name, colon, rest = text.partition(":")
    feature, at_sign, keys_text = rest.partition("@")
    if not (name and colon and feature) or (at_sign and not keys_text):
        raise InvalidInput(
            f"{text!r} is no feature reference.", next_step="Write view:feature, or view:feature@key_column."
        )
    if name not in views:
        raise NotFound(
            f"There is no view {name!r}. There are: {', '.join(views)}.", next_step="See 'bottega features list'."
        )
    view = views[name]
    view.feature(feature)
    keys = tuple(keys_text.split(",")) if keys_text else view.entity.keys
    if len(keys) != len(view.entity.keys):
        raise InvalidInput(
            f"{text!r} names {len(keys)} key columns, entity {view.entity.name!r} has {len(view.entity.keys)}.",
            next_step=f"Name one column for each of: {', '.join(view.entity.keys) or 'none'}.",
        )
    return Reference(column or feature, view, feature, keys)
