"""A live endpoint whose plan asks a service outside the platform: answered with its features, or with the defaults."""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bottega.compile.build import build_artifact
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns, External, Function, Model, Service, Stack
from bottega.features.tables import Table
from bottega.schema import Field
from bottega.serving import deployment
from bottega.serving.live import LiveEndpoints
from bottega.serving.metrics import Metrics
from bottega.training.package import ModelPackage, PackageInfo, Trained
from bottega.training.trace import trace
from bottega.workspace import Workspace

WEATHER = Service("weather", "weather", ("zone",), "int32", ("temperature_c",), (-99.0,), 2.0, 600)
PLAN = FeaturePlan(
    (Field("zone", "INT32", known_in="zones"), Field("at", "INT64", is_time=True)),
    (
        External(WEATHER, ("zone",), "at", {"warm": "temperature_c"}),
        Stack(("warm",), "features"),
        Model("features", ("raw",)),
        Function("shown", ("raw", "warm"), ("answer", "seen")),
    ),
    (Field("answer", "FP32"), Field("seen", "FP64")),
)
NOON_US = 1_705_406_600_000_000


def shown(xp, raw, warm):  # type: ignore[no-untyped-def]
    """The model's output, and what the service said."""
    return raw, warm * 1.0


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A compiled model that reads the weather, and the key that signed it."""
    import xgboost

    rng = np.random.default_rng(3)
    request: Columns = {"zone": rng.integers(1, 9, 200).astype(np.int32), "at": np.full(200, NOON_US)}
    features = rng.uniform(-99, 30, (200, 1)).astype(np.float32)
    booster = xgboost.train(
        {"max_depth": 2, "seed": 3, "nthread": 1}, xgboost.DMatrix(features, features[:, 0]), num_boost_round=5
    )
    trained = Trained("2024-01-01T00:00:00+00:00", "2024-01-15T00:00:00+00:00", 200, "made up", "none")
    package = ModelPackage(
        PackageInfo("walks", "trees", "trees", PLAN, trained, {"mae": 1.0}),
        {"zones": Table.from_keys([np.arange(1, 9)], {"x": np.zeros(8)})},
        bytes(booster.save_raw("ubj")),
        {"shown": trace("shown", shown, 2, 2)},
        request,
        features,
    )
    folder, key = tmp_path_factory.mktemp("external"), b"k" * 32
    package.save(folder / "package")
    build_artifact(folder / "package", folder / "1", version="1", key=key, buckets=(1,), measure=False)
    return folder / "1", key


@pytest.fixture
def weather(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict]]:
    """A service that says ten degrees more than the zone's number; the questions that it was asked."""
    questions: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            questions.append(question)
            body = json.dumps(
                {"features": {"temperature_c": [10 + zone for zone in question["keys"]["zone"]]}}
            ).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("BOTTEGA_ENDPOINT_WEATHER", f"http://127.0.0.1:{server.server_port}/")
    yield questions
    server.shutdown()
    server.server_close()
    thread.join()


def asked(artifact: tuple[Path, bytes], root: Path, requests: list[int]) -> tuple[LiveEndpoints, list[Columns]]:
    """The live endpoint of a new workspace, and its answers to requests for zones that come in one turn."""
    workspace = Workspace.open(root)
    folder, key = artifact
    (workspace.root / "signing.key").write_bytes(key)
    shutil.copytree(folder, workspace.repository / "walks" / "1")
    deployment.deploy(workspace, "walks", 1, "first version")
    live = LiveEndpoints(workspace, Metrics())

    async def ask() -> list[Columns]:
        await live.refresh()
        endpoint = live.get("walks")
        rows = [{"zone": np.array([zone], np.int32), "at": np.array([NOON_US])} for zone in requests]
        return await asyncio.gather(*(endpoint.rows.submit(one, 1) for one in rows))

    return live, asyncio.run(ask())


def test_an_answer_holds_what_the_service_said(artifact, tmp_path, weather) -> None:  # type: ignore[no-untyped-def]
    live, answers = asked(artifact, tmp_path / "w", [3, 5, 3])
    exposed = Metrics().text({}, live.services.counts()).decode()
    assert 'bottega_external{view="weather",what="questions"} 3.0' in exposed  # one of them warmed the endpoint
    assert 'bottega_external{view="weather",what="calls"} 2.0' in exposed
    assert [answer["seen"].item() for answer in answers] == [13.0, 15.0, 13.0]
    assert [answer["warm"].item() for answer in answers] == [13.0, 15.0, 13.0]  # what the prediction log keeps
    assert weather[-1] == {"keys": {"zone": [3, 5]}, "at": ["2024-01-16T12:00:00Z"] * 2}


def test_without_the_service_a_version_loads_and_answers_with_defaults(artifact, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("BOTTEGA_ENDPOINT_WEATHER", "http://127.0.0.1:9/")
    live, answers = asked(artifact, tmp_path / "w", [3])
    assert live.ready
    assert answers[0]["seen"].item() == -99.0
