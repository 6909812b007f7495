"""What a training run finds: candidates with their evaluations, the chosen one, and whether it may be promoted."""

from dataclasses import dataclass

import pandas as pd

from bottega.training.evaluate import Evaluation
from bottega.training.fitted import Fitted
from bottega.training.gate import Decision, Rival
from bottega.training.package import ModelPackage


@dataclass(frozen=True)
class Origin:
    """Where the training data and the code come from, for the package."""

    data_source: str
    fingerprint: str
    git_commit: str = "unknown"


@dataclass(frozen=True)
class Candidate:
    """One model as it was judged: learned from the span without the gate's part, which gave the evaluation.

    `loss` is what candidates are compared by: less is better. `held_back` has its answers on the gate's part, for the
    monitor: at, label_at (UTC), actual, predicted, and low and high where there is an interval.
    """

    name: str
    fitted: Fitted
    package: ModelPackage
    evaluation: Evaluation
    held_back: pd.DataFrame
    loss: float


@dataclass(frozen=True)
class Outcome:
    """What a training run found.

    `gate_us` is where the gate's part begins. `package` is the chosen model learned again from the whole span, `own`
    its answers there (columns as `held_back` with the request's beside them). The other candidates stay as they were
    judged. `rival` is the present champion on the gate's part, None where there is none. Whoever promotes calls
    `gate.require(outcome.decision)` first.
    """

    gate_us: int
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    package: ModelPackage
    own: pd.DataFrame
    rival: Rival | None
    decision: Decision

    @property
    def challengers(self) -> tuple[Candidate, ...]:
        """The candidates that were not chosen, best first."""
        return tuple(sorted((c for c in self.candidates if c is not self.chosen), key=lambda c: c.loss))
