"""The race: servers that have been started once take short turns, so that a busy minute of the machine hits all."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from peers.serving import drive, grpc_client
from peers.serving.forms import FORMS
from peers.serving.server import Place, Route, Running, Server

START_S = 120
TOLERANCE = 1e-4
"""Largest difference from XGBoost, relative to the answer or to 1."""
WARM_CONNECTIONS = 16


class ServerFailed(Exception):
    """A server did not start, or its answers were wrong."""


@dataclass(frozen=True)
class Case:
    """What all servers are asked, and what is right."""

    name: str
    requests: Sequence[np.ndarray]
    expected: Sequence[np.ndarray]


@dataclass(frozen=True)
class Turn:
    """One turn of a server: what the driver counted, and the CPU time of all its processes for a request."""

    driven: drive.Driven
    cpu_us: float

    @property
    def rps(self) -> float:
        """Requests a second."""
        return self.driven.requests / self.driven.seconds


@dataclass
class Racer:
    """A server that runs, and its turns by case and connections."""

    name: str
    server: Server
    place: Place
    running: Running
    start_s: float = 0.0
    rss_mb: float = 0.0
    turns: dict[tuple[str, int], list[Turn]] = field(default_factory=dict)
    wrong: str = ""


@dataclass(frozen=True)
class Cores:
    """Where servers run and where the driver does; None where there is one core."""

    server: int | None
    driver: int | None


def cores() -> Cores:
    """The first two cores that this process may use."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        return Cores(None, None)
    first, second = sorted(os.sched_getaffinity(0))[:2]
    return Cores(first, second)


def start(name: str, server: Server, place: Place, case: Case, core: int | None) -> Racer:
    """Start a server and wait for its first answer. Raises ServerFailed."""
    log = place.folder / "server.log"
    began = time.perf_counter()
    racer = Racer(name, server, place, Running(server, place.folder, core, log))
    route = server.routes[case.name]
    while True:
        with suppress(OSError, httpx.HTTPError, grpc_client.CallFailed, ServerFailed):
            ask(racer, route, case.requests[:1])
            break
        if racer.running.ended or time.perf_counter() - began > START_S:
            racer.running.stop()
            raise ServerFailed(f"it did not start: {_last_words(log)}")
        time.sleep(0.02)
    racer.start_s = time.perf_counter() - began
    return racer


def ask(racer: Racer, route: Route, requests: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The server's answers. Raises ServerFailed for one that is none, OSError, HTTPError, CallFailed."""
    form, place = FORMS[route.form], racer.place
    bodies = [form.body(request) for request in requests]
    if not route.path:
        answers = asyncio.run(grpc_client.ask(place.grpc_port, drive.GRPC_PATH, bodies))
        return [form.read({}, answer) for answer in answers]
    found = []
    with httpx.Client(base_url=f"http://127.0.0.1:{place.port}", timeout=10, trust_env=False) as client:
        for request, body in zip(requests, bodies, strict=True):
            response = client.post(route.path, content=body, headers=form.headers(request))
            if response.status_code != 200:
                raise ServerFailed(f"status {response.status_code}: {response.text[:200]}")
            found.append(form.read(response.headers, response.content))
    return found


def check(racer: Racer, case: Case) -> None:
    """Compare its answers with what is right. Raises ServerFailed."""
    try:
        answers = ask(racer, racer.server.routes[case.name], case.requests)
    except (OSError, httpx.HTTPError, grpc_client.CallFailed, ValueError, KeyError) as error:
        raise ServerFailed(f"{case.name}: {type(error).__name__}: {error}") from None
    if not racer.server.computes:
        return
    for answer, expected in zip(answers, case.expected, strict=True):
        if answer.shape != expected.shape:
            raise ServerFailed(f"{case.name}: {answer.size} values, and {expected.size} are right")
        worst = float(np.max(np.abs(answer - expected) / np.maximum(np.abs(expected), 1)))
        if not worst <= TOLERANCE:
            raise ServerFailed(f"{case.name}: an error of {worst:.1e}, more than {TOLERANCE:.0e}")


def race(
    racers: Sequence[Racer],
    cases: Sequence[Case],
    connections: Sequence[int],
    rounds: int,
    seconds: int,
    core: int | None,
    folder: Path,
    tell: Callable[[str], None],
) -> None:
    """Let each server take a turn a round for each case and number of connections; the rest are held meanwhile.

    Before the first round each is driven for a second, uncounted. A server whose requests fail, or whose answers are
    wrong before or after, is out, and `wrong` says why.
    """
    targets = {(r.name, case.name): _target(r, case, folder) for r in racers for case in cases if _runs(r, case)}
    for racer in racers:
        racer.running.pause()
    for turn in range(rounds + 1):
        tell("warming" if turn == 0 else f"round {turn} of {rounds}")
        for case in cases:
            for count in connections if turn else (WARM_CONNECTIONS,):
                first = turn % len(racers)
                for racer in (*racers[first:], *racers[:first]):
                    if _runs(racer, case) and not racer.wrong:
                        _take_turn(racer, case, targets, count, seconds if turn else 1, core, bool(turn))
    for racer in racers:
        racer.running.resume()
        for case in cases:
            if _runs(racer, case) and not racer.wrong:
                _attempt(racer, lambda racer=racer, case=case: check(racer, case))  # type: ignore[misc]


def _take_turn(
    racer: Racer,
    case: Case,
    targets: Mapping[tuple[str, str], drive.Target],
    connections: int,
    seconds: int,
    core: int | None,
    counts: bool,
) -> None:
    target = targets[racer.name, case.name]
    drive_it = drive.drive_http if racer.server.routes[case.name].path else drive.drive_grpc

    def take() -> None:
        before = racer.running.cpu_s()
        driven = drive_it(target, connections, seconds, core)
        cpu_s = racer.running.cpu_s() - before
        if counts:
            turn = Turn(driven, cpu_s / driven.requests * 1e6)
            racer.turns.setdefault((case.name, connections), []).append(turn)
            racer.rss_mb = max(racer.rss_mb, racer.running.rss_mb())

    racer.running.resume()
    _attempt(racer, take)
    racer.running.pause()


def _attempt(racer: Racer, what: Callable[[], None]) -> None:
    try:
        what()
    except (drive.DriverFailed, ServerFailed) as error:
        racer.wrong = str(error)


def _runs(racer: Racer, case: Case) -> bool:
    return case.name in racer.server.routes


def _target(racer: Racer, case: Case, folder: Path) -> drive.Target:
    """Write the bodies to be sent."""
    route = racer.server.routes[case.name]
    form, place = FORMS[route.form], racer.place
    bodies = folder / f"{racer.name}-{case.name}"
    bodies.mkdir()
    for i, request in enumerate(case.requests):
        (bodies / str(i)).write_bytes(form.body(request))
    port, path = (place.port, route.path) if route.path else (place.grpc_port, drive.GRPC_PATH)
    # wrk sends the same headers with all bodies: only numbers' texts differ in length, not what the headers say.
    return drive.Target(port, path, str(bodies), len(case.requests), form.headers(case.requests[0]))


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    told = [line for line in lines if "rror" in line] or lines or ["it said nothing"]
    return told[-1].strip()[:300]
