"""The recipe of the next restaurant: rankers learn from sessions, the newest ones judge, the best learns from all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from bottega.datasets.guide_labels import guide_labels
from bottega.datasets.reading import Sources
from bottega.datasets.sessions import ACTIONS
from bottega.features.diversify import Diversify
from bottega.features.on_request import OnRequest
from bottega.features.plan import FeaturePlan
from bottega.features.refs import View
from bottega.features.static import StaticView
from bottega.features.steps import Model, Stack
from bottega.features.suggested import COMPARED, Suggested
from bottega.features.top_k import Expected, TopK
from bottega.progress import Progress
from bottega.schema import Field
from bottega.training.package import ModelPackage
from bottega.training.recipe import ModelSpec, Target
from bottega.training.settings import Effort

if TYPE_CHECKING:
    from bottega.training.evaluate import Evaluation
    from bottega.training.gate import Gate
    from bottega.training.outcome import Origin, Outcome

MATRIX, PROBABILITIES = "features", "probabilities"
SEQUELS = "sequels"
_WORDS = {
    "cheaper": "cheaper than {}",
    "creative": "more creative than {}",
    "lively": "livelier than {}",
    "nicer": "better rated than {}",
    "quieter": "quieter than {}",
    "traditional": "more traditional than {}",
}


@dataclass(frozen=True)
class NextRecipe:
    """Everything that training needs to know; it is a `bottega.training.recipe.Recipe`.

    The request's fields `seen` and `actions` hold the last `events` of a session, the newest first, `goal` the place in
    bottega.ranking.towers.GOALS, `hidden` what must not be suggested, `diversity` the weight of a mixed list. Of
    `candidates` the best `shown` are answered. `restaurants` is the view of what is known of each.
    """

    request: tuple[Field, ...]
    answer: tuple[Field, ...]
    target: Target
    restaurants: StaticView
    models: tuple[ModelSpec, ...]
    labels: Callable[[Sources], pd.DataFrame]
    events: int = 10
    candidates: int = 100
    shown: int = 10
    seen: str = "restaurants"
    actions: str = "actions"
    goal: str = "goal"
    hidden: str = "exclude"
    diversity: str = "diversity"

    @property
    def views(self) -> tuple[View, ...]:
        """The one view."""
        return (self.restaurants,)

    @property
    def references(self) -> Mapping[str, str]:
        """Nothing is looked up before the model: it knows the restaurants by their numbers."""
        return {}

    @property
    def functions(self) -> tuple[OnRequest, ...]:
        """None."""
        return ()

    @property
    def answers(self) -> tuple[OnRequest, ...]:
        """None: the steps after the model are data."""
        return ()

    def plan(self, spec: ModelSpec, names: tuple[str, ...] = ()) -> FeaturePlan:
        """The plan of one model for the restaurants of these names."""
        items, best = "candidates", "candidate_scores"
        table = self.restaurants.name
        steps = (
            Stack(spec.inputs, MATRIX, (self.events, self.events, 1)),
            Model(MATRIX, (PROBABILITIES,), (max(len(names), 2),)),
            Expected(PROBABILITIES, table, "price_usd", self.target.answer),
            TopK(PROBABILITIES, self.candidates, items, best, (self.hidden,)),
            Diversify(items, best, self.diversity, table, "cuisine", self.shown, "suggestions", "scores"),
            Suggested(
                items="suggestions",
                seen=self.seen,
                actions=self.actions,
                names=names,
                critiques=tuple(COMPARED.index(_WORDS[action]) if action in _WORDS else -1 for action in ACTIONS),
                groups=guide_labels().cuisines,
                traits=table,
                sequels=SEQUELS,
                name="names",
                reason="reasons",
            ),
        )
        return FeaturePlan(self.request, steps, self.answer)

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
        """As `bottega.training.recipe.Recipe.train`."""
        from bottega.ranking.next_training import train  # here, so that a use case is declared without its learners

        return train(
            usecase, self, sources, since_us, until_us, origin,
            champion=champion, gate=gate, effort=effort, progress=progress,
        )  # fmt: skip

    def evaluate(
        self, package: ModelPackage, sources: Sources, since_us: int, until_us: int, progress: Progress
    ) -> "Evaluation":
        """As `bottega.training.recipe.Recipe.evaluate`: all restaurants are ranked, and no end is an input."""
        from bottega.ranking.next_training import evaluate

        return evaluate(package, self, sources, since_us, until_us)
