"""Training of demand models: fit, judge on the newest hours, choose, learn the choice again from all, package."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import numpy as np

from bottega.datasets.reading import Sources
from bottega.errors import InvalidInput
from bottega.features.static import StaticView
from bottega.features.steps import Function
from bottega.features.tables import Tables
from bottega.progress import Progress, silent
from bottega.times import HOUR_US, from_epoch_us, to_epoch_us
from bottega.training.demand import PROFILE, DemandRecipe
from bottega.training.demand_examples import DemandExamples, count_rows, features, join, own_profile, totals
from bottega.training.demand_scoring import BASELINE, LOSS, judged, predict, score
from bottega.training.dispersion import fit_size
from bottega.training.evaluate import Evaluation
from bottega.training.fitted import Fitted
from bottega.training.gate import Gate, Rival, judge
from bottega.training.outcome import Candidate, Origin, Outcome
from bottega.training.package import ModelPackage, PackageInfo, Trained
from bottega.training.profile import as_table
from bottega.training.recipe import ModelSpec
from bottega.training.reference import model_function
from bottega.training.settings import CountSettings, Effort
from bottega.training.split import split_by_time
from bottega.training.trace import trace

SAMPLES = 512
BUSY = 60
"""All hours of so many places are learned from; of the others, which are mostly zeros, every SPARSE-th."""
SPARSE = 7
MINIMUM_HOURS = 24


@dataclass(frozen=True)
class _Bench:
    """What every step of one training run shares; places are numbered below `places`."""

    usecase: str
    recipe: DemandRecipe
    statics: Tables
    places: int
    effort: Effort
    origin: Origin
    progress: Progress


def train(
    usecase: str,
    recipe: DemandRecipe,
    sources: Sources,
    since_us: int,
    until_us: int,
    origin: Origin,
    *,
    champion: ModelPackage | None = None,
    gate: Gate | None = None,
    effort: Effort | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Train every model on the hours of [since, until) that had ended by `until`.

    The sources may reach further back, for what was known in the first hours.
    Raises InvalidInput where the span is too short.
    """
    statics = {view.name: view.table(sources[view.source]) for view in recipe.views if isinstance(view, StaticView)}
    every = count_rows(recipe, sources, since_us, until_us - HOUR_US + 1)
    places = int(every.request[recipe.place].max()) + 1
    bench = _Bench(usecase, recipe, statics, places, effort or Effort(), origin, progress)
    split = split_by_time(since_us, until_us)
    kept = every.where(_worth_learning(recipe, every))
    rows = join(recipe, kept, sources, progress)
    part = split.part(rows.at_us)
    fit, tune, held = (rows.where(part == number) for number in range(3))
    for name, some in (("fitting", fit), ("stopping", tune), ("the promotion gate", held)):
        if len(np.unique(some.at_us)) < MINIMUM_HOURS:
            raise InvalidInput(
                f"The training span has {len(np.unique(some.at_us))} hours for {name}; {MINIMUM_HOURS} are the least.",
                next_step="Choose an earlier --from or a later --until.",
            )
    learned = every.where(every.at_us < split.tune_us)
    trained = _trained(origin, since_us, split.gate_us, len(fit) + len(tune))
    candidates = [_judge(bench, spec, learned, (fit, tune, held), trained) for spec in recipe.models]
    chosen = min(candidates, key=lambda candidate: candidate.loss)
    package = _learn_again(bench, chosen, every, rows, _trained(origin, since_us, until_us, len(rows)))
    own = predict(package, recipe, judged(package, recipe, rows))
    rival = None if champion is None else _find_rival(champion, package.info.trained, recipe, held)
    decision = judge(gate or Gate(), LOSS, chosen.loss, chosen.evaluation.metrics[BASELINE], rival)
    return Outcome(split.gate_us, tuple(candidates), chosen, package, own, rival, decision)


def evaluate(
    package: ModelPackage,
    recipe: DemandRecipe,
    sources: Sources,
    since_us: int,
    until_us: int,
    progress: Progress = silent,
) -> Evaluation:
    """Score a package on every known hour of [since, until) in the judged places; one without a row there counts 0."""
    rows = judged(package, recipe, count_rows(recipe, sources, since_us, until_us))
    return score(predict(package, recipe, join(recipe, rows, sources, progress)), recipe)


def _judge(
    bench: _Bench,
    spec: ModelSpec,
    learned: DemandExamples,
    parts: tuple[DemandExamples, DemandExamples, DemandExamples],
    trained: Trained,
) -> Candidate:
    """Learn from the first part, stop and measure the scatter by the second, evaluate on the third."""
    recipe, (fit, tune, held) = bench.recipe, parts
    tables = _tables(bench, learned)
    watched = features(recipe, spec.inputs, tune, tables)
    fitted = _fit(bench, spec, fit, learned, tables, (watched, tune.matrix(recipe)))
    mean = model_function(spec.kind, fitted.model, bench.effort.threads)(watched)[:, 0]
    size = fit_size(tune.matrix(recipe)[:, 0], mean)
    package = _package(bench, spec, fitted, tables, size, trained, {}, held)
    answers = predict(package, recipe, judged(package, recipe, held))
    evaluation = score(answers, recipe)
    info = msgspec.structs.replace(package.info, metrics=evaluation.metrics)
    return Candidate(spec.name, fitted, replace(package, info=info), evaluation, answers, evaluation.metrics[LOSS])


def _learn_again(
    bench: _Bench, chosen: Candidate, every: DemandExamples, rows: DemandExamples, trained: Trained
) -> ModelPackage:
    """The chosen model from all rows, as long as it learned; the scatter as it was measured on rows it had not seen."""
    spec = next(spec for spec in bench.recipe.models if spec.name == chosen.name)
    tables = _tables(bench, every)
    fitted = _fit(bench, spec, rows, every, tables, None, chosen.fitted.length)
    size = fit_size(chosen.held_back["actual"].to_numpy(), chosen.held_back["mean"].to_numpy())
    return _package(bench, spec, fitted, tables, size, trained, chosen.package.info.metrics, rows)


def _fit(
    bench: _Bench,
    spec: ModelSpec,
    rows: DemandExamples,
    learned: DemandExamples,
    tables: Tables,
    tune: tuple[np.ndarray, np.ndarray] | None,
    length: int | None = None,
) -> Fitted:
    """Fit a model to rows, whose profile is that of the other weeks."""
    effort, recipe = bench.effort, bench.recipe
    matrix = features(recipe, spec.inputs, rows, tables, own_profile(recipe, rows, learned, bench.places))
    settings = spec.settings.quick() if effort.quick else spec.settings
    counts = rows.matrix(recipe)
    if isinstance(settings, CountSettings):
        from bottega.training.count_boosting import fit_count_trees

        return fit_count_trees(
            matrix, counts, tune, settings,
            seed=effort.seed, threads=effort.threads, length=length, progress=bench.progress,
        )  # fmt: skip
    from bottega.training.count_network import fit_count_network

    return fit_count_network(
        matrix, counts, tune, spec.inputs, settings,  # type: ignore[arg-type]
        seed=effort.seed, threads=effort.threads, length=length, progress=bench.progress,
    )  # fmt: skip


def _tables(bench: _Bench, learned: DemandExamples) -> Tables:
    """The static tables, and the profile of these rows."""
    profile = totals(bench.recipe, learned, bench.places).profile()
    return bench.statics | {PROFILE: as_table(profile, np.unique(learned.request[bench.recipe.place]))}


def _package(
    bench: _Bench,
    spec: ModelSpec,
    fitted: Fitted,
    tables: Tables,
    size: float,
    trained: Trained,
    metrics: Mapping[str, float],
    samples: DemandExamples,
) -> ModelPackage:
    recipe, plan = bench.recipe, bench.recipe.plan_for(spec, size)
    some = np.sort(np.random.default_rng(bench.effort.seed).permutation(len(samples))[:SAMPLES])
    drawn = samples.where(some)
    declared = {function.name: function for function in (*recipe.functions, *recipe.answers)}
    functions = {
        step.name: trace(step.name, declared[step.name].apply, len(step.inputs), len(step.outputs))
        for step in plan.steps
        if isinstance(step, Function)
    }
    return ModelPackage(
        PackageInfo(bench.usecase, spec.name, spec.kind, plan, trained, dict(metrics), bench.origin.git_commit),
        tables,
        fitted.model,
        functions,
        drawn.request,
        features(recipe, spec.inputs, drawn, tables),
        {recipe.target.answer: drawn.counts[recipe.target.label]},
    )


def _find_rival(champion: ModelPackage, trained: Trained, recipe: DemandRecipe, held: DemandExamples) -> Rival | None:
    """The champion's loss on its own judged places of the held-back hours; None where it cannot answer there."""
    own, places = champion.info.trained, np.zeros(0, bool)
    if (own.since, own.until, own.fingerprint) == (trained.since, trained.until, trained.fingerprint):
        return Rival(champion.info.metrics[LOSS], places, "The champion was trained on the same data.", True)
    rows = judged(champion, recipe, held)
    if not len(rows) or not set(champion.info.plan.looked_up) <= held.given.keys():
        return None
    learned = _epoch_us(own.since) <= int(rows.at_us.min()) and int(rows.at_us.max()) < _epoch_us(own.until)
    remark = "The champion has learned from this period, which flatters it." if learned else ""
    return Rival(score(predict(champion, recipe, rows), recipe).metrics[LOSS], places, remark)


def _worth_learning(recipe: DemandRecipe, examples: DemandExamples) -> np.ndarray:
    """All hours of the busiest places, a part of the others', which are mostly zeros: (rows,) bool."""
    place = examples.request[recipe.place]
    busiest = np.argsort(-np.bincount(place, examples.counts[recipe.target.label]), kind="stable")[:BUSY]
    return np.isin(place, busiest) | ((examples.at_us // HOUR_US + place) % SPARSE == 0)


def _trained(origin: Origin, since_us: int, until_us: int, rows: int) -> Trained:
    since, until = (from_epoch_us(moment).isoformat() for moment in (since_us, until_us))
    return Trained(since, until, rows, origin.data_source, origin.fingerprint)


def _epoch_us(moment: str) -> int:
    return to_epoch_us(datetime.fromisoformat(moment))
