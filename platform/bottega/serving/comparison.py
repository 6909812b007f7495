"""Two versions asked the same: how far apart their answers are."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bottega.errors import Conflict
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns
from bottega.schema import Field


def check_same_contract(champion: FeaturePlan, other: FeaturePlan) -> None:
    """Raise Conflict unless both plans take the same request and give the same answer, whatever lies between."""
    for what, ours, theirs in (
        ("request", champion.request, other.request),
        ("answer", champion.answer, other.answer),
    ):
        expected, found = (sorted((f.name, f.datatype, f.unit) for f in fields) for fields in (ours, theirs))
        if expected != found:
            differing = ", ".join(sorted({name for name, _, _ in set(expected) ^ set(found)}))
            raise Conflict(
                f"its {what} is not the champion's: {differing} differs",
                next_step="Deploy it under a use case of its own, or as the champion.",
            )


def numeric(fields: Sequence[Field]) -> tuple[str, ...]:
    """Names of the fields whose values can be subtracted: numbers, one a row."""
    return tuple(f.name for f in fields if f.datatype != "BYTES" and not f.is_time and not f.shape)


def is_finite(names: Sequence[str], answers: Columns) -> bool:
    """Whether the named columns hold numbers only, neither NaN nor infinite."""
    return all(bool(np.isfinite(answers[name]).all()) for name in names)


@dataclass
class Differences:
    """Answers of one version less those of the champion to the same rows, summed up by field."""

    rows: int = 0
    total: dict[str, float] = field(default_factory=dict)
    total_absolute: dict[str, float] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)

    def add(self, names: Sequence[str], champion: Columns, other: Columns) -> None:
        """Count the rows of one batch; a difference that is no number counts as none."""
        for name in names:
            apart = np.nan_to_num(other[name].astype(np.float64) - champion[name])  # (rows,)
            absolute = np.abs(apart)
            self.total[name] = self.total.get(name, 0.0) + float(apart.sum())
            self.total_absolute[name] = self.total_absolute.get(name, 0.0) + float(absolute.sum())
            self.largest[name] = max(self.largest.get(name, 0.0), float(absolute.max()))
        self.rows += len(next(iter(other.values())))

    def summary(self) -> dict[str, dict[str, float]]:
        """By field: the mean difference, the mean absolute one, and the largest."""
        return {
            name: {
                "mean": self.total[name] / self.rows,
                "mean_absolute": self.total_absolute[name] / self.rows,
                "largest": self.largest[name],
            }
            for name in self.total
        }
