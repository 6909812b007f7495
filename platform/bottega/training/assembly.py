"""Assembly: from examples to model inputs, from a fitted model to a package."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bottega.datasets.reading import Sources
from bottega.features.plan import FeaturePlan, run_steps
from bottega.features.steps import Function, Lookup, Parts
from bottega.features.tables import Table, Tables
from bottega.progress import Progress, silent
from bottega.training.boosting import fit_boosting
from bottega.training.evaluate import BASELINE_TABLE
from bottega.training.examples import Examples
from bottega.training.fitted import Fitted, Rows
from bottega.training.interval import fit_interval
from bottega.training.learned import Learned, Teacher, no_model
from bottega.training.network import fit_network
from bottega.training.package import ModelPackage, PackageInfo, Trained
from bottega.training.recipe import ModelSpec
from bottega.training.reference import model_function, no_online_store
from bottega.training.residual import ResidualRecipe
from bottega.training.settings import BoostingSettings, Effort
from bottega.training.trace import trace

SAMPLES = 512


@dataclass(frozen=True)
class Bench:
    """What every step of one training run shares: the recipe, the teacher of its tables, the effort."""

    recipe: ResidualRecipe
    teacher: Teacher
    effort: Effort
    progress: Progress = silent

    @classmethod
    def set_up(cls, recipe: ResidualRecipe, sources: Sources, effort: Effort, progress: Progress = silent) -> "Bench":
        """A bench for the sources' places and neighbours."""
        return cls(recipe, Teacher.of(recipe, sources), effort, progress)

    def teach(self, examples: Examples) -> Learned:
        """The tables that the examples teach."""
        return self.teacher.teach(examples, 5 if self.effort.quick else 10, self.effort.seed)

    def rows(
        self, spec: ModelSpec, examples: Examples, tables: Tables, own: Mapping[str, np.ndarray] | None = None
    ) -> Rows:
        """Rows to learn from or to predict; `own` replaces the learned tables' columns."""
        base = self.recipe.base()
        given = examples.given | dict(own or {})
        ready = self.teacher.columns([*spec.inputs, base], examples.request, tables, given)
        features = np.stack([ready[name] for name in spec.inputs], axis=1).astype(np.float32)  # (rows, features)
        return Rows(features, ready[base], examples.label)

    def fit(
        self, spec: ModelSpec, examples: Examples, learned: Learned, tune: Examples | None, length: int | None = None
    ) -> Fitted:
        """Fit a model to the examples that taught the tables; without `tune` for `length` rounds or epochs."""
        rows = self.rows(spec, examples, learned.tables, learned.own)
        watched = None if tune is None else self.rows(spec, tune, learned.tables)
        effort, settings = self.effort, spec.settings.quick() if self.effort.quick else spec.settings
        options = {"seed": effort.seed, "threads": effort.threads, "length": length, "progress": self.progress}
        if isinstance(settings, BoostingSettings):
            return fit_boosting(rows, watched, settings, **options)  # type: ignore[arg-type]
        return fit_network(rows, watched, spec.inputs, settings, **options)  # type: ignore[arg-type]

    def limits(self, spec: ModelSpec, fitted: Fitted, tables: Tables, examples: Examples) -> Table:
        """The interval's table from examples that the fitted model has not learned from."""
        rows = self.rows(spec, examples, tables)
        predict = model_function(spec.kind, fitted.model, self.effort.threads)
        left = rows.residual - predict(rows.features)[:, 0]
        bands = self.recipe.bands
        ready = self.teacher.columns([band.input for band in bands], examples.request, tables, examples.given)
        ready = run_steps(bands, ready, Parts({}, {}, no_online_store, no_model))
        sizes = (len(bands[0].edges) + 1, len(bands[1].edges) + 1)
        return fit_interval([ready[band.output] for band in bands], left, sizes, self.recipe.interval)

    def package(
        self,
        usecase: str,
        spec: ModelSpec,
        fitted: Fitted,
        tables: Tables,
        trained: Trained,
        metrics: Mapping[str, float],
        git_commit: str,
        samples: Examples,
    ) -> ModelPackage:
        """The package of a fitted model; `samples` are the rows that parity is checked on, and int8 judged."""
        plan = self.recipe.plan(spec)
        some = np.sort(np.random.default_rng(self.effort.seed).permutation(len(samples))[:SAMPLES])
        drawn = samples.where(some)
        return ModelPackage(
            PackageInfo(usecase, spec.name, spec.kind, plan, trained, dict(metrics), git_commit),
            {name: table for name, table in tables.items() if name in self._kept_tables(plan)},
            fitted.model,
            self.traced(plan),
            drawn.request,
            self.rows(spec, drawn, tables).features,
            {self.recipe.target.answer: drawn.label},
        )

    def traced(self, plan: FeaturePlan) -> dict[str, bytes]:
        """Each numeric function of the plan as ONNX."""
        functions = {function.name: function for function in (*self.recipe.functions, *self.recipe.answers)}
        return {
            step.name: trace(step.name, functions[step.name].apply, len(step.inputs), len(step.outputs))
            for step in plan.steps
            if isinstance(step, Function)
        }

    def _kept_tables(self, plan: FeaturePlan) -> set[str]:
        """Those that the plan looks up, and those that answers are compared with."""
        looked_up = {step.table for step in plan.steps if isinstance(step, Lookup)}
        known = {field.known_in for field in plan.request if field.known_in}
        router = self.recipe.router
        routes = set() if router is None else {router.table, router.hours}
        return looked_up | known | routes | {BASELINE_TABLE}
