"""Examples of demand: places and hours with their counts, and what was known of them when the hour began."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bottega.datasets.reading import Sources
from bottega.errors import InvalidInput
from bottega.features.plan import needed, run_steps
from bottega.features.steps import Columns, External, Online, Parts
from bottega.features.tables import Tables
from bottega.progress import Progress, silent
from bottega.times import HOUR_US, from_epoch_us, local_us
from bottega.training.demand import DemandRecipe
from bottega.training.profile import Totals, Weeks
from bottega.training.reference import no_online_store


@dataclass(frozen=True)
class DemandExamples:
    """Places and hours, (rows,) each: the request's columns, counts by name, what the stores would have answered."""

    request: Columns
    at_us: np.ndarray
    hour_of_week: np.ndarray
    counts: Columns
    given: Columns

    def __len__(self) -> int:
        return len(self.at_us)

    def where(self, chosen: np.ndarray) -> "DemandExamples":
        """The chosen rows, by mask or position."""

        def some(columns: Columns) -> Columns:
            return {name: column[chosen] for name, column in columns.items()}

        return DemandExamples(
            some(self.request), self.at_us[chosen], self.hour_of_week[chosen], some(self.counts), some(self.given)
        )

    def matrix(self, recipe: DemandRecipe) -> np.ndarray:
        """The counts that the model expects, (rows, outputs) float64."""
        return np.stack([self.counts[name] for name in recipe.expected.values()], axis=1).astype(np.float64)


def count_rows(recipe: DemandRecipe, sources: Sources, since_us: int, until_us: int) -> DemandExamples:
    """Every known place and hour in [since, until), without what the stores knew.

    Raises InvalidInput where there is none.
    """
    labels = recipe.labels(sources)
    at_us = labels["at"].to_numpy()
    rows = labels[(at_us >= since_us) & (at_us < until_us)]
    if rows.empty:
        raise InvalidInput(
            f"No hour is known from {from_epoch_us(since_us):%F %H:%M} to {from_epoch_us(until_us):%F %H:%M} UTC.",
            next_step="Choose another span.",
        )
    at = rows["at"].to_numpy()
    local = local_us(at, recipe.calendar.timezone) // HOUR_US
    return DemandExamples(
        {field.name: rows[field.name].to_numpy() for field in recipe.request},
        at,
        (local // 24 + 3) % 7 * 24 + local % 24,
        {name: rows[name].to_numpy(np.float64) for name in recipe.expected.values()},
        {},
    )


def join(
    recipe: DemandRecipe, examples: DemandExamples, sources: Sources, progress: Progress = silent
) -> DemandExamples:
    """The examples with what the stores would have answered at the beginning of each hour."""
    from bottega.features.offline import TrainingSet  # here, so that a use case is declared without its engine

    online = [step for step in recipe.before() if isinstance(step, Online | External)]
    columns = [column for step in online for column in step.outputs]
    asked = pd.DataFrame(examples.request).drop(columns=recipe.calendar.input)
    asked["requested_at"] = pd.to_datetime(examples.at_us, unit="us", utc=True)
    references = {column: recipe.references[column] for column in columns}
    joined = TrainingSet(asked, references).compute(recipe.views, sources, progress=progress)
    given = {column: joined[column].to_numpy(np.float64) for column in columns}
    return DemandExamples(examples.request, examples.at_us, examples.hour_of_week, examples.counts, given)


def totals(recipe: DemandRecipe, examples: DemandExamples, places: int) -> Totals:
    """The examples' counts by place and hour of the week; places are numbered below `places`."""
    place = examples.request[recipe.place]
    return Totals.of(place, examples.hour_of_week, examples.counts, places, examples.at_us)


def own_profile(recipe: DemandRecipe, examples: DemandExamples, learned: DemandExamples, places: int) -> Columns:
    """The profile of each example as the weeks of `learned` that it is not in have it."""
    place = learned.request[recipe.place]
    weeks = Weeks.of(place, learned.hour_of_week, learned.counts, places, learned.at_us)
    return weeks.profile_of(examples.request[recipe.place], examples.hour_of_week, examples.at_us)


def features(
    recipe: DemandRecipe,
    inputs: Sequence[str],
    examples: DemandExamples,
    tables: Tables,
    profile: Columns | None = None,
) -> np.ndarray:
    """Model inputs, (rows, inputs) float32, computed as the server computes them; `profile` replaces the table's."""
    functions = {function.name: function for function in recipe.functions}
    parts = Parts(tables, functions, no_online_store, _no_model)
    given = examples.given | (profile or {})
    ready = run_steps(needed(recipe.before(), inputs), examples.request, parts, given)
    return np.stack([ready[name] for name in inputs], axis=1).astype(np.float32)


def _no_model(matrix: np.ndarray) -> np.ndarray:
    raise AssertionError("steps before the model do not run it")
