"""Lineage: from which columns a feature is made, and which model inputs depend on it."""

from collections.abc import Iterable, Mapping

import msgspec

from bottega.features.conditions import parse_where
from bottega.features.external import ExternalView
from bottega.features.on_request import OnRequest
from bottega.features.refs import View, resolve
from bottega.features.static import StaticView


class Edge(msgspec.Struct, frozen=True):
    """One step of the way: `target` is made of `origin` by `how`."""

    origin: str
    target: str
    how: str


def lineage(
    views: Iterable[View], references: Mapping[str, str], functions: Iterable[OnRequest], inputs: Iterable[str]
) -> tuple[Edge, ...]:
    """The whole graph of a model: source columns, features, request-time columns, model inputs.

    Nodes are `source.column`, `view:feature`, the columns that references and functions give, and `model`, which takes
    `inputs`.
    """
    views = tuple(views)
    edges = [edge for view in views for edge in _view_edges(view)]
    for reference in resolve(references, views):
        by = f"read by {', '.join(reference.keys)}" if reference.keys else "read"
        edges.append(Edge(f"{reference.view.name}:{reference.feature}", reference.column, by))
    for function in functions:
        edges += [
            Edge(column, output, f"{function.name}()") for output in function.outputs for column in function.inputs
        ]
    edges += [Edge(column, "model", "input") for column in inputs]
    return tuple(dict.fromkeys(edges))


def upstream(edges: Iterable[Edge], node: str) -> tuple[Edge, ...]:
    """The edges that lead to a node, the nearest first."""
    return _walk(tuple(edges), node, "target", "origin")


def downstream(edges: Iterable[Edge], node: str) -> tuple[Edge, ...]:
    """The edges that lead away from a node, the nearest first."""
    return _walk(tuple(edges), node, "origin", "target")


def _walk(edges: tuple[Edge, ...], node: str, here: str, there: str) -> tuple[Edge, ...]:
    found: dict[Edge, None] = {}
    frontier = [node]
    while frontier:
        step = [edge for edge in edges if getattr(edge, here) in frontier and edge not in found]
        found.update(dict.fromkeys(step))
        frontier = [getattr(edge, there) for edge in step]
    return tuple(found)


def _view_edges(view: View) -> list[Edge]:
    if isinstance(view, StaticView):
        return [Edge(f"{view.source}.{f.name}", f"{view.name}:{f.name}", "attribute") for f in view.features]
    if isinstance(view, ExternalView):
        return [Edge(f"{view.endpoint}.{f.name}", f"{view.name}:{f.name}", "service") for f in view.features]
    edges = []
    for source in view.sources:
        times = [source.event_time, *([source.available_at] if source.available_at else [])]
        for feature in view.features:
            target = f"{view.name}:{feature.name}"
            if feature.column:
                edges.append(Edge(f"{source.name}.{source.column(feature.column)}", target, feature.aggregate))
            conditions = [source.column(part.column) for part in parse_where(feature.where)]
            edges += [Edge(f"{source.name}.{column}", target, "condition") for column in conditions]
            edges += [Edge(f"{source.name}.{column}", target, "key") for column in source.keys]
            edges += [Edge(f"{source.name}.{column}", target, "time") for column in times]
    return edges
