"""Riders that ask for ETAs: random zones and times of those that the served model knows.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8080 --headless -u 100 -r 100 -t 30s

Each user asks ten times a second, so 100 users are 1,000 requests a second (where one core of Locust can keep up).
Locust's own percentiles are whole milliseconds. With LOCUST_FIGURES=FILE.json it also writes exact ones there, of all
ETAs that were asked for once all users were there: requests, seconds, p50_ms, p99_ms, failed.
"""

import json
import os
import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from locust import constant_throughput, events, task
from locust.contrib.fasthttp import FastHttpUser

REQUESTS_PER_S = 10
TOKEN = os.environ.get("BOTTEGA_TOKEN", "")
PATH = "/v1/eta/predict"


class Figures:
    """Exact latencies of one run."""

    def __init__(self) -> None:
        self.begin()

    def begin(self, **_: Any) -> None:
        """Count from now on."""
        self.latencies_ms: list[float] = []
        self.failed, self.began_s = 0, time.perf_counter()

    def add(self, name: str, response_time: float, exception: object, **_: Any) -> None:
        """Count an ETA."""
        if name == PATH:
            self.latencies_ms.append(response_time)
            self.failed += exception is not None

    def write(self, **_: Any) -> None:
        """Write the figures to the file that the environment names."""
        seconds, count = time.perf_counter() - self.began_s, len(self.latencies_ms)
        cuts = statistics.quantiles(self.latencies_ms, n=100, method="inclusive") if count > 1 else [0.0] * 99
        figures = {"requests": count, "seconds": seconds, "p50_ms": cuts[49], "p99_ms": cuts[98], "failed": self.failed}
        Path(os.environ["LOCUST_FIGURES"]).write_text(json.dumps(figures))


if "LOCUST_FIGURES" in os.environ:
    figures = Figures()
    events.spawning_complete.add_listener(figures.begin)
    events.request.add_listener(figures.add)
    events.quitting.add_listener(figures.write)


class Rider(FastHttpUser):
    """Asks /v1/eta/predict for one trip at a time; any answer without an ETA counts as a failure."""

    wait_time = constant_throughput(REQUESTS_PER_S)
    default_headers = {"authorization": f"Bearer {TOKEN}"} if TOKEN else None

    def on_start(self) -> None:
        """Learn which zones and times may be asked for."""
        with self.client.get("/v1/eta", name="/v1/eta", catch_response=True) as response:
            described = response.json()
        self.zones = {
            field["name"]: field["known"] for field in described["request"] if field["name"] in ("pu_zone", "do_zone")
        }
        self.since = datetime.fromisoformat(described["trained"]["from"])
        until = datetime.fromisoformat(described["trained"]["until"])
        self.span_s = int((until - self.since).total_seconds())

    @task
    def eta(self) -> None:
        """One ETA."""
        at = self.since + timedelta(seconds=random.randrange(self.span_s))
        trip = {name: random.choice(known) for name, known in self.zones.items()}
        trip["at"] = at.astimezone(UTC).isoformat()
        with self.client.post(PATH, json=trip, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}: {response.text[:200]}")
            elif not response.json()["answer"]["eta_min"] > 0:
                response.failure(f"no ETA in {response.text[:200]}")
