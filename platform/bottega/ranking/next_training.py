"""Training and evaluation of rankers of restaurants."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import numpy as np
import pandas as pd

from bottega.datasets.reading import Sources
from bottega.errors import InvalidInput
from bottega.features.tables import Table, Tables
from bottega.progress import Progress
from bottega.ranking.back_off import fit_back_off, popularity, sequels
from bottega.ranking.judgement import baselines, judge_baselines, judge_rows, model_input, predict_rows
from bottega.ranking.next_recipe import SEQUELS, NextRecipe
from bottega.ranking.session_rows import NOBODY, SessionRows, session_rows
from bottega.ranking.settings import BackOffSettings, TowerSettings
from bottega.ranking.towers_fit import fit_towers
from bottega.times import from_epoch_us, to_epoch_us
from bottega.training.evaluate import Evaluation
from bottega.training.fitted import Fitted
from bottega.training.gate import Gate, Rival, judge
from bottega.training.outcome import Candidate, Origin, Outcome
from bottega.training.package import ModelPackage, PackageInfo, Trained
from bottega.training.recipe import ModelSpec
from bottega.training.reference import model_function
from bottega.training.settings import Effort

GATE_SHARE = 0.1
"""The newest sessions, which judge."""
MINIMUM_SESSIONS = 100
SAMPLES = 256
LOSS = "lost reciprocal places"
LONGEST_SESSION_US = 30 * 60_000_000


@dataclass(frozen=True)
class _Bench:
    """What every model of a training run shares."""

    usecase: str
    recipe: NextRecipe
    restaurants: pd.DataFrame
    origin: Origin
    effort: Effort
    progress: Progress

    def fit(self, spec: ModelSpec, rows: SessionRows) -> Fitted:
        """The model learned from these sessions."""
        settings = spec.settings.quick() if self.effort.quick else spec.settings
        if isinstance(settings, BackOffSettings):
            return fit_back_off(rows, len(self.restaurants), self.recipe.events, settings)
        if not isinstance(settings, TowerSettings) or settings.events != self.recipe.events:
            raise InvalidInput(f"The model {spec.name!r} has settings of no ranker: {settings}.")
        labels = label_matrix(self.restaurants)
        seed, threads = self.effort.seed, self.effort.threads
        return fit_towers(rows, labels, settings, seed=seed, threads=threads, progress=self.progress)[0]

    def package(
        self, spec: ModelSpec, fitted: Fitted, learned: SessionRows, span_us: tuple[int, int], newest: SessionRows
    ) -> ModelPackage:
        """The package of a model; its samples are the newest sessions."""
        plan = self.recipe.plan(spec, tuple(self.restaurants["name"].astype(str)))
        since, until = (from_epoch_us(moment).isoformat() for moment in span_us)
        trained = Trained(since, until, len(learned), self.origin.data_source, self.origin.fingerprint)
        info = PackageInfo(self.usecase, spec.name, spec.kind, plan, trained, {}, self.origin.git_commit)
        tables = make_tables(self.recipe, self.restaurants, learned)
        few = newest.where(np.arange(min(SAMPLES, len(newest))))
        inputs = model_input(few, self.recipe.events, 0)
        return ModelPackage(info, tables, fitted.model, {}, _samples(self.recipe, few), inputs)


def train(
    usecase: str,
    recipe: NextRecipe,
    sources: Sources,
    since_us: int,
    until_us: int,
    origin: Origin,
    *,
    champion: ModelPackage | None,
    gate: Gate,
    effort: Effort,
    progress: Progress,
) -> Outcome:
    """As `bottega.training.recipe.Recipe.train`; the newest tenth of the sessions judges.

    Raises InvalidInput where there are too few sessions.
    """
    restaurants = sources["restaurants"]
    lengths = [spec.settings.longest for spec in recipe.models if isinstance(spec.settings, TowerSettings)]
    longest = max(lengths, default=recipe.events)
    rows = session_rows(sources, longest, since_us, until_us)
    if len(rows) * GATE_SHARE < MINIMUM_SESSIONS:
        raise InvalidInput(
            f"The training span has {len(rows)} sessions; {int(MINIMUM_SESSIONS / GATE_SHARE)} are the least.",
            next_step="Choose an earlier --from or a later --until.",
        )
    gate_us = int(rows.started_us[int(len(rows) * (1 - GATE_SHARE))])
    over = rows.started_us + LONGEST_SESSION_US <= gate_us  # what was not over when the gate's part began is left out
    learned, held = rows.where(over), rows.where(rows.started_us >= gate_us)
    bench = _Bench(usecase, recipe, restaurants, origin, effort, progress)
    usual = judge_baselines(learned, held, len(restaurants))
    candidates = [_judge(bench, spec, learned, held, (since_us, gate_us), usual) for spec in recipe.models]
    chosen = min(candidates, key=lambda candidate: candidate.loss)
    spec = next(spec for spec in recipe.models if spec.name == chosen.name)
    package = bench.package(spec, bench.fit(spec, rows), rows, (since_us, until_us), held)
    package = with_metrics(package, chosen.evaluation.metrics)
    rival = None if champion is None else _rival(champion, package.info.trained, recipe, held)
    against = None
    if rival is not None and not rival.rows.all():
        against = _lost(_judged(chosen.package, recipe, held.where(rival.rows)))
    decision = judge(gate, LOSS, chosen.loss, 1 - usual["mrr_at_10_session_co_visits"], rival, against)
    return Outcome(gate_us, tuple(candidates), chosen, package, monitored(package, recipe, rows), rival, decision)


def evaluate(package: ModelPackage, recipe: NextRecipe, sources: Sources, since_us: int, until_us: int) -> Evaluation:
    """As `bottega.training.recipe.Recipe.evaluate`. Raises InvalidInput where no session's end is known."""
    rows = session_rows(sources, recipe.events, since_us, until_us)
    ended = rows.where(rows.end != NOBODY)
    if not len(ended):
        raise InvalidInput("No session of the span has an end to compare with.", next_step="Choose another span.")
    metrics = _judged(package, recipe, ended)
    after = _after(package)
    inside = ended.where(ended.newest(1)[0][:, 0] < len(after))
    return Evaluation(len(ended), metrics | baselines(_popularity(package, recipe), after, inside), (), ())


def monitored(package: ModelPackage, recipe: NextRecipe, rows: SessionRows) -> pd.DataFrame:
    """For the monitor: the price that the model expects, and that of the choice, where both are known."""
    table = package.tables[recipe.restaurants.name]
    price = np.append(table.columns["price_usd"], np.nan)
    rows = rows.where(~np.isnan(price[np.minimum(rows.end, len(price) - 1)]))
    likely = predict_rows(_predict(package), rows, recipe.events, 0).astype(np.float64)
    known = ~np.isnan(price[:-1])
    expected = likely[:, known] @ price[:-1][known] / likely[:, known].sum(1)
    at = pd.to_datetime(rows.started_us, unit="us", utc=True)
    over = at + pd.to_timedelta(LONGEST_SESSION_US, unit="us")
    return pd.DataFrame({"at": at, "label_at": over, "actual": price[rows.end], "predicted": expected})


def make_tables(recipe: NextRecipe, restaurants: pd.DataFrame, learned: SessionRows) -> Tables:
    """What is known of each restaurant, and how often each followed each other one."""
    popular = popularity(learned, len(restaurants))
    traits = recipe.restaurants.table(restaurants.assign(popularity=popular))
    after = sequels(learned, len(restaurants)).sum(1)
    share = after / np.maximum(after.sum(1, keepdims=True), 1)
    first, second = (index.ravel() for index in np.indices(share.shape))
    return {recipe.restaurants.name: traits, SEQUELS: Table.from_keys([first, second], {"share": share.ravel()})}


def label_matrix(restaurants: pd.DataFrame) -> np.ndarray:
    """Which restaurant has which label: (restaurants, labels) float32."""
    known = sorted({label for labels in restaurants["features"] for label in labels})
    said = [set(labels) for labels in restaurants["features"]]
    return np.array([[label in labels for label in known] for labels in said], np.float32)


def _judge(
    bench: _Bench,
    spec: ModelSpec,
    learned: SessionRows,
    held: SessionRows,
    span_us: tuple[int, int],
    usual: dict[str, float],
) -> Candidate:
    """Learn from the older sessions, evaluate on the newest."""
    fitted = bench.fit(spec, learned)
    package = bench.package(spec, fitted, learned, span_us, held)
    metrics = _judged(package, bench.recipe, held) | usual
    evaluation = Evaluation(int(np.count_nonzero(held.end != NOBODY)), metrics, (), ())
    answers = monitored(package, bench.recipe, held)
    return Candidate(spec.name, fitted, with_metrics(package, metrics), evaluation, answers, _lost(metrics))


def _rival(champion: ModelPackage, trained: Trained, recipe: NextRecipe, held: SessionRows) -> Rival | None:
    """The champion on the newest sessions, those that it has not learned from where they suffice; None where it knows
    other restaurants than these."""
    own = champion.info.trained
    rows = np.ones(len(held), bool)
    if (own.since, own.until, own.fingerprint) == (trained.since, trained.until, trained.fingerprint):
        return Rival(_lost(champion.info.metrics), rows, "The champion was trained on the same data.", True)
    if champion.info.plan.model().width <= max(held.items.max(), held.end.max()):
        return None
    later, remark = held.started_us >= to_epoch_us(datetime.fromisoformat(own.until)), ""
    if np.count_nonzero(later & (held.end != NOBODY)) < MINIMUM_SESSIONS:
        later, remark = rows, "The champion has learned from this period, which flatters it."
    return Rival(_lost(_judged(champion, recipe, held.where(later))), later, remark)


def _judged(package: ModelPackage, recipe: NextRecipe, rows: SessionRows) -> dict[str, float]:
    return judge_rows(_predict(package), rows, recipe.events, _popularity(package, recipe))


def _lost(metrics: dict[str, float]) -> float:
    """What is lost of the reciprocal place of a choice, on average: 0 where each stands first."""
    return 1 - metrics["mrr_at_10_session"]


def _predict(package: ModelPackage) -> Callable[[np.ndarray], np.ndarray]:
    return model_function(package.info.kind, package.model)


def _popularity(package: ModelPackage, recipe: NextRecipe) -> np.ndarray:
    return package.tables[recipe.restaurants.name].columns["popularity"]


def _after(package: ModelPackage) -> np.ndarray:
    share = package.tables[SEQUELS].columns["share"]
    return share.reshape(package.tables[SEQUELS].strides[0], -1)


def with_metrics(package: ModelPackage, metrics: dict[str, float]) -> ModelPackage:
    """The package with what it was judged by."""
    return replace(package, info=msgspec.structs.replace(package.info, metrics=metrics))


def _samples(recipe: NextRecipe, rows: SessionRows) -> dict[str, np.ndarray]:
    """Requests as a server gets them: every second one wants a mixed list, every third hides what was seen."""
    items, actions = (column.astype(np.int32) for column in rows.newest(recipe.events))
    number = np.arange(len(rows))
    hidden = next(field for field in recipe.request if field.name == recipe.hidden)
    exclude = np.full((len(rows), *hidden.shape), NOBODY, np.int32)
    exclude[::3, : recipe.events] = items[::3]
    return {
        recipe.seen: items,
        recipe.actions: actions,
        recipe.goal: (number % 4 == 3).astype(np.int32),
        recipe.hidden: exclude,
        recipe.diversity: np.where(number % 2, 0.3, 0.0),
    }
