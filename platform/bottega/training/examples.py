"""Examples: labelled requests with their point-in-time features, the rows that models learn from and are judged on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bottega.datasets.reading import Sources
from bottega.errors import InvalidInput
from bottega.features.steps import Columns, External, Online
from bottega.progress import Progress, silent
from bottega.times import from_epoch_us
from bottega.training.residual import ResidualRecipe


@dataclass(frozen=True)
class Examples:
    """Labelled requests, (rows,) each.

    `request` holds the request's columns as the server gets them, `at_us` its moment and `label_at_us` when the label
    became known (epoch_us), `given` the features as the online store and services would have answered, `slices` the
    name of the group that each row belongs to.
    """

    request: Columns
    at_us: np.ndarray
    label: np.ndarray
    label_at_us: np.ndarray
    given: Columns
    slices: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.label)

    def where(self, chosen: np.ndarray) -> "Examples":
        """The chosen rows, by mask or position."""
        return Examples(
            {name: column[chosen] for name, column in self.request.items()},
            self.at_us[chosen],
            self.label[chosen],
            self.label_at_us[chosen],
            {name: column[chosen] for name, column in self.given.items()},
            {name: column[chosen] for name, column in self.slices.items()},
        )


def make_examples(
    recipe: ResidualRecipe, sources: Sources, since_us: int, until_us: int, progress: Progress = silent
) -> Examples:
    """The examples with a request in [since, until), joined to features point-in-time.

    The sources may reach further back than `since`: the features of the first rows then have a history.
    Raises InvalidInput where there is no row.
    """
    from bottega.features.offline import TrainingSet  # here, so that a use case is declared without its engine

    labels = recipe.labels(sources)
    at_us = _epoch_us(labels["requested_at"])
    inside = (at_us >= since_us) & (at_us < until_us)
    if not inside.any():
        raise InvalidInput(
            f"There is no trip from {from_epoch_us(since_us):%F %H:%M} to {from_epoch_us(until_us):%F %H:%M}"
            " UTC to learn from.",
            next_step="Choose another span; 'bottega data show' says what the data covers.",
        )
    labels = labels[inside].reset_index(drop=True)
    online = [step for step in recipe.before() if isinstance(step, Online | External)]
    columns = [column for step in online for column in step.outputs]
    references = {column: recipe.references[column] for column in columns}
    joined = TrainingSet(labels, references).compute(recipe.views, sources, progress=progress) if references else labels
    return Examples(
        {field.name: labels[field.name].to_numpy() for field in recipe.request},
        at_us[inside],
        labels[recipe.target.label].to_numpy(np.float64),
        _epoch_us(labels["label_at"]),
        {column: joined[column].to_numpy(np.float64) for column in columns},
        dict(recipe.slices(labels, sources)),
    )


def _epoch_us(column: "object") -> np.ndarray:
    """A datetime64[us, UTC] column as (rows,) int64."""
    return column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64)  # type: ignore[attr-defined]
