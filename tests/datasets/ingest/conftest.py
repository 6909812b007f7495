"""Shared pieces of the ingestion tests: a real HTTP server, a real offline store, and rows of a weather table."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest

from bottega.datasets.catalog import Check, Column
from bottega.datasets.ingest.run import Ingested, ingest
from bottega.datasets.ingest.spec import Spec
from bottega.features.store import OfflineStore
from bottega.workspace import Workspace

Reply = tuple[int, dict[str, str], bytes]


class Site(ThreadingHTTPServer):
    """An HTTP server whose answers a test chooses; it notes what was asked, and when."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answerer)
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.times_s: list[float] = []
        self.answer: Callable[[str, dict[str, str]], Reply] = lambda path, headers: (404, {}, b"")
        self.trickle_s = 0.0
        """Pause between two bytes of a body."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def serve_json(self, value_of: Callable[[str], object]) -> None:
        """Answer each path with JSON."""
        self.answer = lambda path, headers: (200, {}, json.dumps(value_of(path)).encode())

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error of the server."""


class Answerer(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(self.path)
        self.server.headers.append(headers)
        self.server.times_s.append(time.monotonic())
        status, told, body = self.server.answer(self.path, headers)
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **told}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.trickle_s:
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(self.server.trickle_s)
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        del format, arguments


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@dataclass
class Weather:
    """A weather table that tests ingest into, and its rows as any source may give them."""

    workspace: Workspace

    now = datetime(2026, 1, 1, tzinfo=UTC)
    columns = (
        Column("station", "integer"),
        Column("at", "time"),
        Column("kind", "text", nullable=True),
        Column("temperature_c", "number", nullable=True),
    )
    checks = (
        Check("station_out_of_range", "range", "station", minimum=1),
        Check("future", "past", "at"),
        Check("unknown_kind", "allowed", "kind", values=("rain", "snow", "dry")),
        Check("temperature_out_of_range", "range", "temperature_c", minimum=-60, maximum=60),
        Check("duplicate", "duplicate", columns=("station", "at")),
    )
    good = (
        {"station": 1, "at": "2025-12-31T10:00:00Z", "kind": "rain", "temperature_c": 3.5},
        {"station": 2, "at": "2025-12-31T10:00:00+02:00", "kind": None, "temperature_c": None},
        {"station": 3, "at": "2025-12-31T11:00:00Z", "kind": "dry", "temperature_c": -4},
    )

    def spec(self, source: Any, **changes: Any) -> Spec:
        return Spec(**{"table": "weather", "source": source, "columns": self.columns, "checks": self.checks, **changes})

    def ingest(self, source: Any, **changes: Any) -> Ingested:
        return self.run(self.spec(source, **changes))

    def run(self, spec: Spec, **options: Any) -> Ingested:
        return ingest(spec, self.store.write, self.workspace, self.now, **options)

    @property
    def store(self) -> OfflineStore:
        return OfflineStore(self.workspace.offline)

    @property
    def stations(self) -> list[int]:
        return self.store.read("weather")["station"].tolist()

    def quarantine(self) -> pd.DataFrame:
        """All refused rows, segment after segment."""
        files = sorted((self.workspace.quarantine / "weather").glob("*.parquet"))
        return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


@pytest.fixture
def weather(workspace: Workspace) -> Weather:
    return Weather(workspace)
