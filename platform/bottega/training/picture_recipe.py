"""The recipe of a verdict on pictures: several yes-or-no questions, each with its own labelled pictures.

One network answers all of them (a head each); a person sees what no threshold decides safely.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from bottega.datasets.reading import Sources
from bottega.features.decide_step import Decide, Limit
from bottega.features.on_request import OnRequest
from bottega.features.picture_step import Picture
from bottega.features.plan import AnyStep, FeaturePlan
from bottega.features.refs import View
from bottega.features.steps import Model
from bottega.progress import Progress
from bottega.schema import Field
from bottega.training.package import ModelPackage
from bottega.training.picture_settings import PictureSettings
from bottega.training.recipe import ModelSpec, Target
from bottega.training.settings import Effort
from bottega.training.triage import NOBODY, Triage

if TYPE_CHECKING:
    from bottega.training.evaluate import Evaluation
    from bottega.training.gate import Gate
    from bottega.training.outcome import Origin, Outcome

PIXELS = "pixels"


@dataclass(frozen=True)
class Head:
    """One question: its name, the source of its pictures and labels, and the columns of its answer.

    `wrong_accept` and `wrong_reject` are the rates at which a machine may decide wrongly; None: it never decides so.
    `otherwise` is the reason why a person sees the rest.
    """

    name: str
    source: str
    probability: str
    decision: str
    reasons: str
    otherwise: str
    wrong_accept: float | None = None
    wrong_reject: float | None = None


@dataclass(frozen=True)
class PictureRecipe:
    """Everything that training needs to know; it is a `bottega.training.recipe.Recipe`. The first head is the target's.

    `picture` names the request's field with the bytes.
    """

    picture: str
    heads: tuple[Head, ...]
    request: tuple[Field, ...]
    answer: tuple[Field, ...]
    target: Target
    models: tuple[ModelSpec, ...]
    views: tuple[View, ...] = ()
    references: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    functions: tuple[OnRequest, ...] = ()
    answers: tuple[OnRequest, ...] = ()

    @property
    def labels(self) -> Callable[[Sources], pd.DataFrame]:
        """The first head's pictures and labels; they have no dates, so all were asked and known at once."""
        return self._labels

    def _labels(self, sources: Sources) -> pd.DataFrame:
        table = sources[self.heads[0].source]
        moment = pd.Timestamp(0, tz="UTC")
        columns = {
            self.picture: table["jpeg"].to_numpy(),
            self.target.label: table["label"].to_numpy(),
            "requested_at": moment,
            "label_at": moment,
        }
        return pd.DataFrame(columns, index=table["image_id"].to_numpy())

    def plan(self, spec: ModelSpec) -> FeaturePlan:
        """The plan of a model before anything is known of its errors: a person sees everything."""
        return self.plan_with(spec, (NOBODY,) * len(self.heads), ())

    def plan_with(self, spec: ModelSpec, triages: tuple[Triage, ...], limits: tuple[Limit, ...]) -> FeaturePlan:
        """The plan with each head's thresholds, and the limits that a picture must keep for a machine's decision."""
        assert isinstance(spec.settings, PictureSettings)
        steps: list[AnyStep] = [
            Picture(self.picture, spec.settings.side, PIXELS),
            Model(PIXELS, tuple(head.probability for head in self.heads)),
        ]
        for head, triage in zip(self.heads, triages, strict=True):
            steps.append(
                Decide(
                    head.probability,
                    head.decision,
                    head.reasons,
                    head.otherwise,
                    triage.accept_from,
                    triage.reject_below,
                    limits,
                )
            )
        return FeaturePlan(self.request, tuple(steps), self.answer)

    def train(
        self,
        usecase: str,
        sources: Sources,
        since_us: int,
        until_us: int,
        origin: "Origin",
        *,
        champion: ModelPackage | None,
        gate: "Gate",
        effort: Effort,
        progress: Progress,
    ) -> "Outcome":
        """As `bottega.training.recipe.Recipe.train`; each picture is judged by a network that did not learn from it."""
        from bottega.training.picture_trainer import train  # here, so that a use case is declared without its learners

        return train(
            usecase, self, sources, since_us, until_us, origin,
            champion=champion, gate=gate, effort=effort, progress=progress,
        )  # fmt: skip

    def evaluate(
        self, package: ModelPackage, sources: Sources, since_us: int, until_us: int, progress: Progress
    ) -> "Evaluation":
        """As `bottega.training.recipe.Recipe.evaluate`; of the heads whose pictures there are."""
        from bottega.training.picture_evaluation import evaluate

        return evaluate(package, self, sources, progress)
