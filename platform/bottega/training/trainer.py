"""Training: fit each model, judge it on the newest period, choose, learn the choice again from everything, package."""

import dataclasses
from dataclasses import dataclass

import msgspec
import numpy as np
import pandas as pd

from bottega.errors import InvalidInput
from bottega.features.plan import Tables
from bottega.progress import Progress, silent
from bottega.times import from_epoch_us
from bottega.training.assembly import Bench, Effort
from bottega.training.evaluate import Evaluation, predict_examples, score
from bottega.training.examples import Examples, make_examples
from bottega.training.fitted import Fitted
from bottega.training.gate import Decision, Gate, Rival, decide, find_rival
from bottega.training.package import ModelPackage, Trained
from bottega.training.recipe import ModelSpec, Recipe, Sources
from bottega.training.split import Split, split_by_time

MINIMUM_ROWS = 500


@dataclass(frozen=True)
class Origin:
    """Where the training data and the code come from, for the package."""

    data_source: str
    fingerprint: str
    git_commit: str = "unknown"


@dataclass(frozen=True)
class Candidate:
    """One model as it was judged: learned from the span without the gate's period, which gave the evaluation.

    `held_back` has its answers on the gate's period: at, label_at, actual, predicted, low, high, baseline.
    """

    spec: ModelSpec
    fitted: Fitted
    package: ModelPackage
    evaluation: Evaluation
    held_back: pd.DataFrame

    @property
    def mae(self) -> float:
        """Mean absolute error on the gate's period."""
        return float((self.held_back["predicted"] - self.held_back["actual"]).abs().mean())


@dataclass(frozen=True)
class Outcome:
    """What a training run found.

    `package` is the chosen model learned again from the whole span, `own` its answers there (columns as `held_back`
    with the request's beside them). The other candidates stay as they were judged. `rival` is the present champion on
    the gate's period, None where there is none. Whoever promotes calls `gate.require(outcome.decision)` first.
    """

    split: Split
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    package: ModelPackage
    own: pd.DataFrame
    rival: Rival | None
    decision: Decision

    @property
    def challengers(self) -> tuple[Candidate, ...]:
        """The candidates that were not chosen, best first."""
        return tuple(sorted((c for c in self.candidates if c is not self.chosen), key=lambda c: c.mae))


def train(
    usecase: str,
    recipe: Recipe,
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
    """Train every model of a recipe on the requests in [since, until) whose label was known by `until`.

    The sources may reach further back, for the features of the first rows.
    Raises InvalidInput where the span is too short or has too few rows.
    """
    bench = Bench.set_up(recipe, sources, effort or Effort(), progress)
    examples = make_examples(recipe, sources, since_us, until_us, progress)
    split = split_by_time(since_us, until_us)
    part = _parts(examples, split)
    fit, tune, held = (examples.where(part == i) for i in range(3))
    _check_rows({"fitting": fit, "stopping": tune, "the promotion gate": held})
    judged = (_trained(origin, since_us, split.gate_us, len(fit) + len(tune)), origin.git_commit)
    tables = bench.learn_tables(fit)
    candidates = [_judge(bench, usecase, spec, tables, (fit, tune, held), *judged) for spec in recipe.models]
    chosen = min(candidates, key=lambda candidate: candidate.mae)
    known = examples.where(part >= 0)
    package = _learn_again(bench, chosen, tables, known, known.where(part[part >= 0] > 0), origin, split)
    rival = None if champion is None else find_rival(champion, package.info.trained, recipe, held)
    decision = decide(gate or Gate(), recipe.target.unit, chosen.held_back, rival)
    own = predict_examples(package, recipe, known, bench.effort.threads).assign(**known.request)
    return Outcome(split, tuple(candidates), chosen, package, own, rival, decision)


def _parts(examples: Examples, split: Split) -> np.ndarray:
    """0 fit, 1 tune, 2 gate; -1 where the label became known only after the row's part had ended: (rows,) int64."""
    part = split.part(examples.at_us)
    end = np.array([split.tune_us, split.gate_us, split.until_us])[part]
    return np.where(examples.label_at_us <= end, part, -1)


def _check_rows(parts: dict[str, Examples]) -> None:
    for name, rows in parts.items():
        if len(rows) < MINIMUM_ROWS:
            raise InvalidInput(
                f"The training span has {len(rows)} rows for {name}; {MINIMUM_ROWS} are the least.",
                next_step="Choose an earlier --from or a later --until.",
            )


def _judge(
    bench: Bench,
    usecase: str,
    spec: ModelSpec,
    tables: Tables,
    parts: tuple[Examples, Examples, Examples],
    trained: Trained,
    git_commit: str,
) -> Candidate:
    """Learn from the first part, stop and take the interval by the second, evaluate on the third."""
    fit, tune, held = parts
    fitted = bench.fit(spec, fit, tables, tune)
    full = tables | {bench.recipe.interval.table: bench.limits(spec, fitted, tables, tune)}
    package = bench.package(usecase, spec, fitted, full, trained, {}, git_commit, held)
    answers = predict_examples(package, bench.recipe, held, bench.effort.threads)
    evaluation = score(answers, bench.recipe.target.unit, held.slices)
    return Candidate(spec, fitted, _with_metrics(package, evaluation), evaluation, answers)


def _learn_again(
    bench: Bench, chosen: Candidate, tables: Tables, examples: Examples, later: Examples, origin: Origin, split: Split
) -> ModelPackage:
    """The chosen model from all examples; its interval from the `later` ones, which it was judged without."""
    limits = bench.limits(chosen.spec, chosen.fitted, tables, later)
    whole = bench.learn_tables(examples)
    fitted = bench.fit(chosen.spec, examples, whole, None, chosen.fitted.length)
    info = chosen.package.info
    trained = _trained(origin, split.since_us, split.until_us, len(examples))
    full = whole | {bench.recipe.interval.table: limits}
    return bench.package(info.usecase, chosen.spec, fitted, full, trained, info.metrics, origin.git_commit, later)


def _with_metrics(package: ModelPackage, evaluation: Evaluation) -> ModelPackage:
    return dataclasses.replace(package, info=msgspec.structs.replace(package.info, metrics=evaluation.metrics))


def _trained(origin: Origin, since_us: int, until_us: int, rows: int) -> Trained:
    return Trained(
        from_epoch_us(since_us).isoformat(),
        from_epoch_us(until_us).isoformat(),
        rows,
        origin.data_source,
        origin.fingerprint,
    )
