"""Training of demand models: fit, judge on the newest hours, choose, learn the choice again from all, package."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import numpy as np
import pandas as pd

from bottega.datasets.reading import Sources
from bottega.errors import InvalidInput
from bottega.features.static import StaticView
from bottega.features.steps import Function
from bottega.features.tables import Tables
from bottega.progress import Progress, silent
from bottega.times import HOUR_US, from_epoch_us, to_epoch_us
from bottega.training.demand import PROFILE, DemandRecipe
from bottega.training.demand_examples import DemandExamples, count_rows, features, join, own_profile, totals
from bottega.training.dispersion import fit_size, pinball
from bottega.training.evaluate import Evaluation, SliceScore
from bottega.training.fitted import Fitted
from bottega.training.gate import Gate, Rival, judge
from bottega.training.outcome import Candidate, Origin, Outcome
from bottega.training.package import ModelPackage, PackageInfo, Trained
from bottega.training.profile import as_table
from bottega.training.recipe import ModelSpec
from bottega.training.reference import Reference, model_function
from bottega.training.settings import CountSettings, Effort
from bottega.training.split import split_by_time
from bottega.training.trace import trace

SAMPLES = 512
BUSY = 60
"""All hours of so many places are learned from; of the others, which are mostly zeros, every SPARSE-th."""
SPARSE = 7
MINIMUM_HOURS = 24
LOSS = "wape_1h"
BASELINE = "wape_profile"


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
    own = predict(package, recipe, _judged(package, recipe, rows))
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
    rows = _judged(package, recipe, count_rows(recipe, sources, since_us, until_us))
    return score(predict(package, recipe, join(recipe, rows, sources, progress)), recipe)


def predict(package: ModelPackage, recipe: DemandRecipe, examples: DemandExamples) -> pd.DataFrame:
    """The reference's answers: at, label_at (UTC), actual, predicted, low, high, mean, baseline, and the request's."""
    ready = Reference(package).columns(examples.request, examples.given)
    target, at = recipe.target, pd.to_datetime(examples.at_us, unit="us", utc=True)
    usual = package.tables[PROFILE].read([examples.request[recipe.place], examples.hour_of_week], [_mean_name(recipe)])
    return pd.DataFrame(
        {
            "at": at,
            "label_at": at + pd.Timedelta(HOUR_US, "us"),
            "actual": examples.counts[target.label],
            "predicted": np.asarray(ready[target.answer], np.float64),
            "low": np.asarray(ready[target.low], np.float64),
            "high": np.asarray(ready[target.high], np.float64),
            "mean": np.asarray(ready[next(iter(recipe.expected))], np.float64),
            "baseline": usual[0],
        }
    ).assign(**{name: column for name, column in examples.request.items() if name != recipe.calendar.input})


def score(predicted: pd.DataFrame, recipe: DemandRecipe) -> Evaluation:
    """Errors over all rows, each place's beside them, the worst three named; `wape` is per count that there was."""
    actual = predicted["actual"].to_numpy()
    whole = max(actual.sum(), 1.0)
    pinballs = {
        f"pinball_{level:g}": pinball(actual, predicted[column].to_numpy(), level)
        for column, level in (("low", 0.1), ("predicted", 0.5), ("high", 0.9))
    }
    metrics = {
        LOSS: float(np.abs(predicted["predicted"] - actual).sum() / whole),
        BASELINE: float(np.abs(predicted["baseline"] - actual).sum() / whole),
        "wape_1h_of_mean": float(np.abs(predicted["mean"] - actual).sum() / whole),
        "bias_of_mean": float((predicted["mean"] - actual).sum() / whole),
        "coverage_80": float(_covered(predicted).mean()),
        **pinballs,
    }
    slices = [
        *_by_group(predicted, recipe.place, predicted[recipe.place].astype(str)),
        *_by_group(predicted, "hour", predicted["at"].dt.tz_convert(recipe.calendar.timezone).dt.strftime("%H")),
    ]
    worst = sorted((s for s in slices if s.slice == recipe.place), key=lambda found: -found.mae)[:3]
    return Evaluation(len(predicted), metrics, tuple(slices), tuple(worst))


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
    answers = predict(package, recipe, _judged(package, recipe, held))
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
    rows = _judged(champion, recipe, held)
    if not len(rows) or not set(champion.info.plan.looked_up) <= held.given.keys():
        return None
    learned = _epoch_us(own.since) <= int(rows.at_us.min()) and int(rows.at_us.max()) < _epoch_us(own.until)
    remark = "The champion has learned from this period, which flatters it." if learned else ""
    return Rival(score(predict(champion, recipe, rows), recipe).metrics[LOSS], places, remark)


def _judged(package: ModelPackage, recipe: DemandRecipe, examples: DemandExamples) -> DemandExamples:
    """The rows of the places with the highest counts of the training span; of equals, the lower number."""
    table = package.tables[PROFILE]
    ids = np.flatnonzero(table.known.reshape(-1, table.strides[0]).any(axis=1))
    (level,) = table.read([ids, np.zeros(len(ids), np.int64)], [f"{recipe.target.label}_level"])
    judged = ids[np.argsort(-level, kind="stable")[: recipe.judged]]
    return examples.where(np.isin(examples.request[recipe.place], judged))


def _worth_learning(recipe: DemandRecipe, examples: DemandExamples) -> np.ndarray:
    """All hours of the busiest places, a part of the others', which are mostly zeros: (rows,) bool."""
    place = examples.request[recipe.place]
    busiest = np.argsort(-np.bincount(place, examples.counts[recipe.target.label]), kind="stable")[:BUSY]
    return np.isin(place, busiest) | ((examples.at_us // HOUR_US + place) % SPARSE == 0)


def _mean_name(recipe: DemandRecipe) -> str:
    return f"{recipe.target.label}_mean"


def _trained(origin: Origin, since_us: int, until_us: int, rows: int) -> Trained:
    since, until = (from_epoch_us(moment).isoformat() for moment in (since_us, until_us))
    return Trained(since, until, rows, origin.data_source, origin.fingerprint)


def _epoch_us(moment: str) -> int:
    return to_epoch_us(datetime.fromisoformat(moment))


def _covered(predicted: pd.DataFrame) -> np.ndarray:
    return predicted["actual"].between(predicted["low"], predicted["high"]).to_numpy(np.float64)


def _by_group(predicted: pd.DataFrame, name: str, values: pd.Series) -> list[SliceScore]:
    error = predicted["predicted"] - predicted["actual"]
    rows = pd.DataFrame(
        {
            "mae": error.abs(),
            "baseline_mae": (predicted["baseline"] - predicted["actual"]).abs(),
            "bias": error,
            "coverage": _covered(predicted),
        }
    )
    groups = rows.groupby(values.to_numpy(), sort=True)
    means, sizes = groups.mean(), groups.size()
    return [
        SliceScore(name, str(value), int(sizes[value]), **{k: float(v) for k, v in means.loc[value].items()})
        for value in means.index
    ]
