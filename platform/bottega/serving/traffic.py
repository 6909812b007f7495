"""Traffic of one use case: which of its versions answers a request, and which is asked beside it."""

from bottega.features.steps import Columns
from bottega.serving.canary import Alarm, Trial
from bottega.serving.deployments import Live, Role, RoleStatus
from bottega.serving.endpoint import Endpoint
from bottega.serving.guardrails import Guard
from bottega.serving.log import PredictionLog
from bottega.serving.routing import key_fields, place, request_key
from bottega.serving.shadow import Mirrored, Shadow


class Traffic:
    """The versions that are live at one moment. A change of the deployment makes another one.

    What goes on under it goes on as it is: a canary beside the same champion keeps its evidence, a shadow its counts.
    `guard` is the evidence of an earlier process about the same trial.
    """

    def __init__(
        self,
        live: Live,
        champion: Endpoint,
        canary: Endpoint | None,
        shadow: Endpoint | None,
        alarm: Alarm,
        log: PredictionLog | None,
        before: "Traffic | None" = None,
        guard: Guard | None = None,
    ) -> None:
        self.live, self.champion = live, champion
        self.share = live.canary.share if live.canary is not None and canary is not None else 0.0
        self._answered = 0
        self.trial: Trial | None = before.trial if before is not None else None
        began = None if before is None or before.live.canary is None else before.live.canary.since
        if self.trial is not None and (
            self.trial.ended
            or self.trial.champion is not champion
            or self.trial.canary is not canary
            or live.canary is None
            or live.canary.since != began
        ):
            self.trial.close()
            self.trial = None
        if self.trial is None and canary is not None and live.canary is not None:
            self.trial = Trial(champion, canary, alarm, live.canary.limits, guard=guard)
        self.shadow: Shadow | None = before.shadow if before is not None else None
        if self.shadow is not None and self.shadow.endpoint is not shadow:
            self.shadow.close()
            self.shadow = None
        if self.shadow is None and shadow is not None:
            self.shadow = Shadow(shadow, log)
        self._keys = key_fields(champion.plan)
        self._salt = f"{champion.usecase}/{0 if canary is None else canary.version}"

    @property
    def endpoints(self) -> dict[int, Endpoint]:
        """Every loaded version, the champion first."""
        found = {self.champion.version: self.champion}
        if self.trial is not None:
            found[self.trial.canary.version] = self.trial.canary
        if self.shadow is not None:
            found[self.shadow.endpoint.version] = self.shadow.endpoint
        return found

    async def answer(
        self, columns: Columns, ids: tuple[str, ...], logged: bool = True
    ) -> tuple[Endpoint, Role, Columns]:
        """Answer checked columns: the version that did, its role, and the answer's columns."""
        trial = self.trial
        if trial is not None and not trial.ended and self._is_canarys(columns, ids):
            found = await trial.ask(columns)
            if found is not None:
                return trial.canary, "canary", found
        answers = await self.champion.rows.submit(columns, len(ids))
        self._answered += 1
        if self.shadow is not None:
            self.shadow.offer(Mirrored(ids, columns, answers, logged))
        return self.champion, "champion", answers

    def role_when_asked(self, endpoint: Endpoint) -> str:
        """Under which role an answer is logged that was asked of a version by its number."""
        return "champion" if endpoint is self.champion else "direct"

    def close(self) -> None:
        """Ask nothing more of the canary and the shadow; what they have begun is still answered."""
        if self.trial is not None:
            self.trial.close()
        if self.shadow is not None:
            self.shadow.close()

    def describe(self) -> list[RoleStatus]:
        """The roles, with what became of their requests."""
        on_trial = self.trial is not None and not self.trial.ended
        share = self.share if on_trial else 0.0
        found = [RoleStatus("champion", self.champion.version, 1.0 - share, {"answered": self._answered})]
        if self.trial is not None:
            counts = self.trial.counts
            shown = {name: getattr(counts, name) for name in ("answered", "failed", "late", "overflowed")}
            evidence = {**self.trial.guard.evidence(), "broken": self.trial.broken}
            version = self.trial.canary.version
            found.append(RoleStatus("canary", version, share, shown, evidence, counts.last_error))
        if self.shadow is not None:
            found.append(self.shadow.describe())
        return found

    def _is_canarys(self, columns: Columns, ids: tuple[str, ...]) -> bool:
        return place(request_key(self._keys, columns, ids), self._salt) < self.share
