"""Riders that ask for ETAs: random zones and times of those that the served model knows.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8080 --headless -u 100 -r 100 -t 30s

Each user asks ten times a second, so 100 users are 1,000 requests a second (where one core of Locust can keep up).
"""

import os
import random
from datetime import UTC, datetime, timedelta

from locust import constant_throughput, task
from locust.contrib.fasthttp import FastHttpUser

REQUESTS_PER_S = 10
TOKEN = os.environ.get("BOTTEGA_TOKEN", "")


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
        with self.client.post("/v1/eta/predict", json=trip, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}: {response.text[:200]}")
            elif not response.json()["answer"]["eta_min"] > 0:
                response.failure(f"no ETA in {response.text[:200]}")
