"""Learned tables: what a plan looks up that the trips taught, before any model: routes, and the pair encoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bottega.datasets.reading import Sources
from bottega.features.plan import needed, run_steps
from bottega.features.static import StaticView
from bottega.features.steps import Columns, Parts
from bottega.features.tables import Table, Tables
from bottega.training.baseline import fit_baseline
from bottega.training.edge_times import Trips, fit_router
from bottega.training.encoding import Grid, Pairs, fit_encoding
from bottega.training.evaluate import BASELINE_TABLE
from bottega.training.examples import Examples
from bottega.training.reference import no_online_store
from bottega.training.residual import ResidualRecipe
from bottega.training.zone_graph import ZoneGraph, join_zones


@dataclass(frozen=True)
class Learned:
    """Tables that rows taught, the static ones among them.

    `own` are the learned tables' columns of those very rows, (rows,) each, out of fold: each row's come from tables
    that never saw it. Otherwise a rare pair's encoding would be its own label, and the model would trust it.
    """

    tables: Tables
    own: Columns


@dataclass(frozen=True)
class Teacher:
    """What tables are learned with: the recipe, its static tables, the number of places, a router's graph of them."""

    recipe: ResidualRecipe
    statics: Tables
    size: int
    graph: ZoneGraph | None

    @classmethod
    def of(cls, recipe: ResidualRecipe, sources: Sources) -> "Teacher":
        """From the static views' sources and the router's neighbours."""
        statics = {v.name: v.table(sources[v.source]) for v in recipe.views if isinstance(v, StaticView)}
        known_in = {field.name: field.known_in for field in recipe.request}
        size = len(statics[known_in[recipe.encoding.keys[0]]].known)
        if recipe.router is None:
            return cls(recipe, statics, size, None)
        places = statics[recipe.router.places].columns
        graph = join_zones(places["lat"], places["lon"], sources[recipe.router.neighbours])
        return cls(recipe, statics, size, graph)

    def teach(self, examples: Examples, folds: int, seed: int) -> Learned:
        """The tables from all examples, and the examples' own columns out of `folds` folds."""
        fold = np.random.default_rng(seed).integers(0, folds, len(examples))
        names = self.recipe.learned()
        own = {name: np.empty(len(examples)) for name in names}
        for held in range(folds):
            tables, inside = self._learn(examples.where(fold != held)), examples.where(fold == held)
            found = self.columns(names, inside.request, tables, inside.given)
            for name in names:
                own[name][fold == held] = found[name]
        return Learned(self._learn(examples) | {BASELINE_TABLE: self._baseline(examples)}, own)

    def columns(
        self, wanted: Sequence[str], request: Columns, tables: Tables, given: Mapping[str, np.ndarray]
    ) -> Columns:
        """The wanted columns before the model, computed as the server computes them."""
        functions = {function.name: function for function in self.recipe.functions}
        parts = Parts(tables, functions, no_online_store, no_model)
        return run_steps(needed(self.recipe.before(), wanted), request, parts, given)

    def _learn(self, examples: Examples) -> Tables:
        """The static tables, the router's, and the encoding, whose covariate may be a route's."""
        routed = self.statics | self._route(examples)
        return routed | {self.recipe.encoding.table: self._encode(examples, routed)}

    def _route(self, examples: Examples) -> Tables:
        router = self.recipe.router
        if router is None or self.graph is None:
            return {}
        hour = self.columns([router.hour], examples.request, self.statics, examples.given)[router.hour]
        first, second = (examples.request[key] for key in router.keys)
        return fit_router(Trips(first, second, hour, examples.label), self.graph, router)

    def _encode(self, examples: Examples, tables: Tables) -> Table:
        encoding = self.recipe.encoding
        every_pair = dict(zip(encoding.keys, np.divmod(np.arange(self.size**2), self.size), strict=True))
        covariate = [
            self.columns([encoding.covariate], request, tables, given)[encoding.covariate]
            for request, given in ((every_pair, {}), (examples.request, examples.given))
        ]
        first, second = (examples.request[key] for key in encoding.keys)
        pairs = Pairs(first, second, covariate[1], np.log(examples.label))
        return fit_encoding(pairs, Grid((self.size, self.size), covariate[0]), encoding)

    def _baseline(self, examples: Examples) -> Table:
        keys = [examples.request[key] for key in self.recipe.encoding.keys]
        return fit_baseline(keys, examples.label, (self.size, self.size))


def no_model(features: np.ndarray) -> np.ndarray:
    """The model where there is none yet."""
    raise AssertionError("steps before the model do not run it")
