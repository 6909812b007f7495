"""Training: fit each model, judge it on the newest period, choose, learn the choice again from everything, package."""

import dataclasses

import msgspec
import numpy as np

from bottega.datasets.reading import Sources
from bottega.errors import InvalidInput
from bottega.features.tables import Tables
from bottega.progress import Progress, silent
from bottega.times import from_epoch_us
from bottega.training.assembly import Bench
from bottega.training.evaluate import Evaluation, predict_examples, score
from bottega.training.examples import Examples, make_examples
from bottega.training.gate import Gate, decide, find_rival
from bottega.training.learned import Learned
from bottega.training.outcome import Candidate, Origin, Outcome
from bottega.training.package import ModelPackage, Trained
from bottega.training.recipe import ModelSpec
from bottega.training.residual import ResidualRecipe
from bottega.training.settings import Effort
from bottega.training.split import Split, split_by_time

MINIMUM_ROWS = 500


def train(
    usecase: str,
    recipe: ResidualRecipe,
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
    learned = bench.teach(fit)
    candidates = [_judge(bench, usecase, spec, learned, (fit, tune, held), *judged) for spec in recipe.models]
    chosen = min(candidates, key=lambda candidate: candidate.loss)
    known = examples.where(part >= 0)
    package = _learn_again(bench, chosen, learned.tables, known, known.where(part[part >= 0] > 0), origin, split)
    rival = None if champion is None else find_rival(champion, package.info.trained, recipe, held)
    decision = decide(gate or Gate(), recipe.target.unit, chosen.held_back, rival)
    own = predict_examples(package, recipe, known, bench.effort.threads).assign(**known.request)
    return Outcome(split.gate_us, tuple(candidates), chosen, package, own, rival, decision)


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
    learned: Learned,
    parts: tuple[Examples, Examples, Examples],
    trained: Trained,
    git_commit: str,
) -> Candidate:
    """Learn from the first part, stop and take the interval by the second, evaluate on the third."""
    fit, tune, held = parts
    fitted = bench.fit(spec, fit, learned, tune)
    full = learned.tables | {bench.recipe.interval.table: bench.limits(spec, fitted, learned.tables, tune)}
    package = bench.package(usecase, spec, fitted, full, trained, {}, git_commit, held)
    answers = predict_examples(package, bench.recipe, held, bench.effort.threads)
    evaluation = score(answers, bench.recipe.target.unit, held.slices, bench.recipe.lateness)
    mae = evaluation.metrics[f"mae_{bench.recipe.target.unit}"]
    return Candidate(spec.name, fitted, _with_metrics(package, evaluation), evaluation, answers, mae)


def _learn_again(
    bench: Bench, chosen: Candidate, tables: Tables, examples: Examples, later: Examples, origin: Origin, split: Split
) -> ModelPackage:
    """The chosen model from all examples; its interval from the `later` ones, which it was judged without."""
    spec = next(spec for spec in bench.recipe.models if spec.name == chosen.name)
    limits = bench.limits(spec, chosen.fitted, tables, later)
    whole = bench.teach(examples)
    fitted = bench.fit(spec, examples, whole, None, chosen.fitted.length)
    info = chosen.package.info
    trained = _trained(origin, split.since_us, split.until_us, len(examples))
    full = whole.tables | {bench.recipe.interval.table: limits}
    return bench.package(info.usecase, spec, fitted, full, trained, info.metrics, origin.git_commit, later)


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
