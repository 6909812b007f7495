"""The whole ETA endpoint: a request in plain JSON, its features looked up, the model, the interval, the prediction log.

Locust sends 1,000 requests a second from 100 users; wrk asks on each number of connections as fast as it is answered.
What each stage took is read from the server's own metrics, before and after each turn.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import numpy as np

from peers.serving import drive
from peers.serving.race import Cores, ServerFailed
from peers.serving.server import Running, Server, free_ports, ours, pinned

CASE = "usecase"
USERS, RATE = 100, 1_000
"""Of Locust; requests a second of all users together."""
P50_MS, P99_MS = 1.0, 4.0
"""What is wanted at that rate."""
SPAN = ("--from", "2024-01-01", "--until", "2024-01-11")
POOL = 256
STAGES = ("parse", "queue", "features", "run", "post", "encode", "total")
START_S = 60
_LOCUSTFILE = Path(__file__).parents[2] / "locustfile.py"
_SEED = 3


@dataclass
class Found:
    """The turns of one driver: what it counted, the server's CPU time for a request, and the mean time by stage."""

    driver: str
    connections: int
    turns: list[drive.Driven] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    stages_us: list[dict[str, float]] = field(default_factory=list)

    def row(self, rss_mb: float, start_s: float) -> dict[str, object]:
        """Medians of the turns, in the form of the other cases."""
        return {
            "server": "bottega",
            "case": f"{CASE}_{self.driver}",
            "connections": self.connections,
            "rps": round(_median([turn.requests / turn.seconds for turn in self.turns]), 1),
            "p50_ms": round(_median([turn.p50_ms for turn in self.turns]), 3),
            "p99_ms": round(_median([turn.p99_ms for turn in self.turns]), 3),
            "cpu_us": round(_median(self.cpu_us), 1),
            "rss_mb": round(rss_mb, 1),
            "start_s": round(start_s, 2),
        }

    def stages(self) -> dict[str, float]:
        """Medians of the turns, microseconds."""
        return {stage: round(_median([turn[stage] for turn in self.stages_us]), 1) for stage in STAGES}


@dataclass(frozen=True)
class Measured:
    """All drivers' turns against one server, and of how many columns its plan makes the model's input."""

    found: list[Found]
    rss_mb: float
    start_s: float
    plan: dict[str, int]

    def rows(self) -> list[dict[str, object]]:
        """A row a driver and number of connections."""
        return [one.row(self.rss_mb, self.start_s) for one in self.found]

    def results(self) -> dict[str, object]:
        """For the file of results: the time by stage, and how the plan is made."""
        stages = [
            {"driver": one.driver, "connections": one.connections, "stages_us": one.stages()} for one in self.found
        ]
        return {**self.plan, "stages": stages}

    def table(self) -> str:
        """For people: latencies, the time by stage, and what is wanted."""
        lines = [
            "the whole ETA endpoint, of a row: " + ", ".join(f"{count} {what}" for what, count in self.plan.items()),
            f"{'':<8}{'connections':>12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}"
            + "".join(f"{stage:>10}" for stage in STAGES)
            + "  (stages: mean us)",
        ]
        for one in self.found:
            row = one.row(self.rss_mb, self.start_s)
            lines.append(
                f"{one.driver:<8}{one.connections:>12}{row['rps']:>12,.0f}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}"
                f"{row['cpu_us']:>9.1f}" + "".join(f"{took:>10.1f}" for took in one.stages().values())
            )
        for one in self.found:
            if one.driver == "locust":
                row = one.row(self.rss_mb, self.start_s)
                missed = float(str(row["p50_ms"])) > P50_MS or float(str(row["p99_ms"])) > P99_MS
                wanted = f"at {RATE:,} requests/s p50 under {P50_MS:g} ms and p99 under {P99_MS:g} ms are wanted"
                lines.append(f"{wanted}{': MISSED' if missed else ''}")
        return "\n".join(lines)


def measure(
    workspace: Path | None,
    connections: Sequence[int],
    rounds: int,
    seconds: int,
    cores: Cores,
    folder: Path,
    tell: Callable[[str], None],
) -> Measured:
    """Measure the ETA endpoint that is deployed in `workspace`; without one, of one that is made here.

    Raises ServerFailed where it does not start or its answers change, DriverFailed where requests fail.
    """
    if workspace is None:
        workspace = folder / CASE
        _make(workspace, tell)
    (port,) = free_ports(1)
    command = (sys.executable, "-m", "bottega.cli", "serve", "--workspace", str(workspace), "--http-port", str(port))
    running = Running(Server(command, {}, ours()), folder, cores.server, folder / f"{CASE}.log")
    try:
        start_s = _wait(running, port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            bodies = _bodies(client.get("/v1/eta").json())
            before = _answers(client, bodies)
            found = [Found("locust", USERS), *(Found("wrk", count) for count in connections)]
            target = _target(port, bodies, folder)
            for turn in range(rounds + 1):
                tell(f"{CASE}: {'warming' if turn == 0 else f'round {turn} of {rounds}'}")
                for one in found:
                    _take_turn(one, running, client, target, seconds if turn else 1, cores, folder, bool(turn))
            if _answers(client, bodies) != before:
                raise ServerFailed("the answers are not what they were before")
        return Measured(found, running.rss_mb(), start_s, _plan(workspace))
    finally:
        running.stop()


def _make(workspace: Path, tell: Callable[[str], None]) -> None:
    """Ten days of the simulated city: train, fill the online store, compile, deploy."""
    for words in (
        ("train", "eta", "--quick", "--threads", "1", *SPAN),
        ("features", "materialize", *SPAN),
        ("compile", "eta@champion", "--buckets", "1,16,64"),
        ("deploy", "eta@champion"),
    ):
        tell(f"{CASE}: bottega {' '.join(words)}")
        command = [sys.executable, "-m", "bottega.cli", *words, "--workspace", str(workspace)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerFailed(f"{CASE}: {words[0]} failed: {done.stderr.strip()[-300:]}")


def _wait(running: Running, port: int) -> float:
    """Wait until the server is ready; seconds since it was started."""
    began = time.perf_counter()
    while time.perf_counter() - began < START_S and not running.ended:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", trust_env=False).status_code == 200:
                return time.perf_counter() - began
        except httpx.TransportError:
            time.sleep(0.02)
    raise ServerFailed(f"{CASE}: the server did not start")


def _bodies(described: Mapping[str, object]) -> list[bytes]:
    """Drawn requests: any two zones, any moment of the span that the model learned from."""
    random = np.random.default_rng(_SEED)
    known = {each["name"]: each.get("known") for each in described["request"]}  # type: ignore[attr-defined]
    since, until = (np.datetime64(described["trained"][end][:19]) for end in ("from", "until"))  # type: ignore[index]
    span_s = int((until - since) / np.timedelta64(1, "s"))
    rows = []
    for offset_s in random.integers(0, span_s, POOL):
        zones = {name: int(random.choice(zones)) for name, zones in known.items() if zones}
        rows.append(json.dumps({**zones, "at": f"{since + np.timedelta64(int(offset_s), 's')}Z"}).encode())
    return rows


def _answers(client: httpx.Client, bodies: Sequence[bytes]) -> list[object]:
    found = []
    for body in bodies:
        response = client.post("/v1/eta/predict", content=body)
        if response.status_code != 200:
            raise ServerFailed(f"{CASE}: status {response.status_code}: {response.text[:200]}")
        found.append(response.json()["answer"])
    return found


def _target(port: int, bodies: Sequence[bytes], folder: Path) -> drive.Target:
    place = folder / f"{CASE}-bodies"
    place.mkdir()
    for i, body in enumerate(bodies):
        (place / str(i)).write_bytes(body)
    return drive.Target(port, "/v1/eta/predict", str(place), len(bodies), {"content-type": "application/json"})


def _take_turn(
    one: Found,
    running: Running,
    client: httpx.Client,
    target: drive.Target,
    seconds: int,
    cores: Cores,
    folder: Path,
    counts: bool,
) -> None:
    before, cpu_s = _stage_sums(client), running.cpu_s()
    if one.driver == "locust":
        driven = _drive_locust(target.port, seconds, cores.driver, folder / "locust.json")
    else:
        driven = drive.drive_http(target, one.connections, seconds, cores.driver)
    cpu_s = running.cpu_s() - cpu_s
    if counts:
        after = _stage_sums(client)
        asked = after["total"][1] - before["total"][1]  # Locust's first requests, which it does not count, among them
        one.turns.append(driven)
        one.cpu_us.append(cpu_s / asked * 1e6)
        one.stages_us.append({stage: _mean_us(before[stage], after[stage]) for stage in STAGES})


def _drive_locust(port: int, seconds: int, core: int | None, figures: Path) -> drive.Driven:
    """By Locust, at RATE. Raises DriverFailed."""
    command = (
        *(sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--host", f"http://127.0.0.1:{port}", "--headless"),
        *("--users", str(USERS), "--spawn-rate", str(USERS), "--run-time", f"{seconds + 2}s", "--only-summary"),
    )
    environment = dict(os.environ) | {"LOCUST_FIGURES": str(figures)}
    figures.unlink(missing_ok=True)
    done = subprocess.run(pinned(command, core), env=environment, capture_output=True, text=True, check=False)
    try:
        driven = msgspec.json.decode(figures.read_bytes(), type=drive.Driven)
    except (FileNotFoundError, msgspec.DecodeError):
        raise drive.DriverFailed(f"Locust failed: {done.stderr.strip()[-300:]}") from None
    if driven.failed or not driven.requests:
        raise drive.DriverFailed(f"{driven.failed} of Locust's {driven.requests} requests failed")
    return driven


def _stage_sums(client: httpx.Client) -> dict[str, tuple[float, float]]:
    """Seconds and number of the durations of each stage of the ETA model, by its metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    found = {stage: [0.0, 0.0] for stage in STAGES}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples if family.name == "bottega_stage_seconds" else ():
            if sample.labels["model"] == "eta" and sample.name.endswith(("_sum", "_count")):
                found[sample.labels["stage"]][sample.name.endswith("_count")] += sample.value
    return {stage: (seconds, count) for stage, (seconds, count) in found.items()}


def _mean_us(before: tuple[float, float], after: tuple[float, float]) -> float:
    count = after[1] - before[1]
    return (after[0] - before[0]) / count * 1e6 if count else 0.0


def _plan(workspace: Path) -> dict[str, int]:
    from bottega.features.steps import Lookup
    from bottega.serving.local import read_plan
    from bottega.workspace import Workspace

    plan = read_plan(Workspace.open(workspace), "eta")
    return {
        "from_online_store": len(plan.looked_up),
        "from_tables": sum(len(step.outputs) for step in plan.steps if isinstance(step, Lookup)),
        "model_inputs": len(plan.features),
    }


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))
