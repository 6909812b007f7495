"""Evidence about canaries, written down, so that a restart of the server does not begin their trials anew.

What was seen since the last time it was written is lost with a process that is killed: a second or two of requests. The
tests stay valid, since they hold for any part of the requests that is chosen without a look at their outcome.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime

import msgspec

from bottega.errors import BottegaError
from bottega.files import write_atomic
from bottega.serving.deployments import Live
from bottega.serving.guardrails import Guard
from bottega.serving.traffic import Traffic
from bottega.workspace import Workspace

_report = logging.getLogger("bottega.serving")


class _Trial(msgspec.Struct, frozen=True):
    """One trial: the two versions, when it began, and all that its tests have seen."""

    champion: int
    canary: int
    since: datetime | None
    guard: Guard


class Trials:
    """The file of a workspace's trials; only the server that holds its port writes it, each of its replicas its own."""

    def __init__(self, workspace: Workspace, replica: int | None = None) -> None:
        path = workspace.trials
        self._path = path if replica is None else path.with_stem(f"{path.stem}-{replica}")
        self._known = self._read()
        self._written = {usecase: trial.guard.pairs for usecase, trial in self._known.items()}

    def find(self, usecase: str, live: Live) -> Guard | None:
        """The evidence about the canary that is live; None where this trial has none yet."""
        found = self._known.get(usecase)
        canary = live.canary
        if found is None or canary is None:
            return None
        same = (found.champion, found.canary, found.since) == (live.champion, canary.version, canary.since)
        return found.guard if same and found.guard.limits == canary.limits else None

    async def save(self, traffic: Mapping[str, Traffic]) -> None:
        """Write down what the trials have seen, where that is more than the last time; nobody waits for the disk."""
        trials = {
            usecase: _Trial(one.live.champion, one.trial.canary.version, one.live.canary.since, one.trial.guard)
            for usecase, one in traffic.items()
            if one.trial is not None and one.live.canary is not None and not one.trial.ended
        }
        seen = {usecase: trial.guard.pairs for usecase, trial in trials.items()}
        if seen == self._written:
            return
        content = msgspec.json.encode(trials)  # here, where nothing changes meanwhile
        try:
            await asyncio.to_thread(write_atomic, self._path, content)
        except (BottegaError, OSError) as error:
            _report.error("The evidence about canaries cannot be written down: %s", error)
        else:
            self._known, self._written = trials, seen

    def _read(self) -> dict[str, _Trial]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Trial])
        except FileNotFoundError:
            return {}
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            _report.error("%s is damaged, and trials begin anew: %s", self._path, error)
            return {}
