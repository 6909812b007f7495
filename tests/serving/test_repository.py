"""A repository of plain models, asked over HTTP without a socket: the whole application, in this process."""

import asyncio
import gzip
import importlib.util
import json
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx import TensorProto

from bottega.compile.plain_build import build_plain
from bottega.errors import NotFound
from bottega.serving import repository as repositories
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog
from bottega.serving.metrics import Metrics
from bottega.serving.repository import Control, Repository
from bottega.serving.rest import App
from bottega.serving.tenants import Guard
from bottega.serving.web import MAX_BODY
from bottega.workspace import Workspace

_spec = importlib.util.spec_from_file_location("plain_models", Path(__file__).with_name("plain_models.py"))
assert _spec is not None and _spec.loader is not None
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

SIMPLE = 'name: "simple"\nmax_batch_size: 8\ninput [{name: "INPUT0" data_type: TYPE_INT32 dims: [16]}]\n'
Asked = Callable[[httpx.AsyncClient, Repository], Awaitable[None]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    models.put(root, "simple", models.add_sub(), 1, SIMPLE)
    models.put(root, "text", models.add_sub_text())
    models.put(root, "identity", models.identity(TensorProto.STRING))
    return root


@pytest.fixture
def serve(workspace: Workspace, root: Path) -> Iterator[Callable[..., None]]:
    """Run `asked` against a server of `root`."""
    log = PredictionLog(workspace.predictions)

    def run(asked: Asked, control: Control = "none") -> None:
        async def answer() -> None:
            metrics = Metrics()
            repository = Repository(root, workspace.signing_key, metrics, control)
            await repository.load_all()
            app = App(LiveEndpoints(workspace, metrics), log, metrics, Guard(), repository)
            following = asyncio.create_task(repository.follow())
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
                await asked(client, repository)
            following.cancel()

        asyncio.run(answer())

    yield run
    log.close()


def numbers(a: list, b: list, datatype: str = "INT32", **more: object) -> dict:
    shape = list(np.shape(a))
    inputs = [
        {"name": name, "datatype": datatype, "shape": shape, "data": data}
        for name, data in (("INPUT0", a), ("INPUT1", b))
    ]
    return {"inputs": inputs, **more}


def test_sums_differences_text_and_identity(serve: Callable[..., None]) -> None:
    async def asked(client: httpx.AsyncClient, _: Repository) -> None:
        ones, tens = [[1] * 16] * 2, [list(range(16))] * 2
        found = (await client.post("/v2/models/simple/infer", json=numbers(tens, ones, id="7"))).json()
        assert (found["model_name"], found["model_version"], found["id"]) == ("simple", "1", "7")
        assert found["outputs"][0]["data"] == [n + 1 for row in tens for n in row]
        assert found["outputs"][1]["data"] == [n - 1 for row in tens for n in row]
        texts = numbers([["2"] * 16], [["40"] * 16], "BYTES", outputs=[{"name": "OUTPUT0"}])
        (output,) = (await client.post("/v2/models/text/infer", json=texts)).json()["outputs"]
        assert output == {"name": "OUTPUT0", "datatype": "BYTES", "shape": [1, 16], "data": ["42"] * 16}
        said = {"inputs": [{"name": "INPUT0", "datatype": "BYTES", "shape": [1, 2], "data": ["ä", ""]}]}
        (output,) = (await client.post("/v2/models/identity/versions/1/infer", json=said)).json()["outputs"]
        assert output["data"] == ["ä", ""]

    serve(asked)


def test_metadata_config_statistics_and_index(serve: Callable[..., None], root: Path) -> None:
    models.put(root, "simple", models.add_sub(), 3)
    models.put(root, "broken", b"no model")

    async def asked(client: httpx.AsyncClient, _: Repository) -> None:
        found = (await client.get("/v2/models/simple")).json()
        assert (found["versions"], found["platform"]) == (["1", "3"], "onnxruntime_onnx")
        assert found["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}
        config = (await client.get("/v2/models/simple/config")).json()
        assert (config["max_batch_size"], config["input"][0]["dims"]) == (8, [16])
        ok = numbers([[1] * 16], [[1] * 16])
        for version in ("1", "1", "3"):
            answer = (await client.post(f"/v2/models/simple/versions/{version}/infer", json=ok)).json()
            assert answer["model_version"] == version
        assert (await client.post("/v2/models/simple/infer", json=ok)).json()["model_version"] == "3"
        assert (await client.post("/v2/models/simple/infer", json={"inputs": []})).status_code == 400
        one, three = (await client.get("/v2/models/simple/stats")).json()["model_stats"]
        assert (one["version"], one["inference_count"], one["execution_count"]) == ("1", 2, 2)
        assert three["inference_stats"]["success"]["count"] == 2
        assert three["inference_stats"]["fail"]["count"] == 1
        assert one["inference_stats"]["compute_infer"]["ns"] > 0
        assert len((await client.get("/v2/models/stats")).json()["model_stats"]) == 4
        states = {(e["name"], e["version"]): e for e in (await client.post("/v2/repository/index")).json()}
        assert states["simple", "3"]["state"] == "READY"
        assert states["broken", "1"]["state"] == "UNAVAILABLE"
        assert "no model that runs" in states["broken", "1"]["reason"]
        ready = (await client.post("/v2/repository/index", json={"ready": True})).json()
        assert "broken" not in {entry["name"] for entry in ready}
        assert (await client.get("/v2/health/ready")).status_code == 503  # one model has no version that answers
        assert (await client.get("/v2/models/broken/ready")).status_code == 503
        assert (await client.get("/v2/models/simple/ready")).status_code == 200

    serve(asked)


@pytest.mark.parametrize(
    ("model", "body", "status", "reason"),
    [
        ("simple", numbers([[1] * 15], [[1] * 15]), 400, "INT32 of shape [1, 15]"),
        ("simple", numbers([[1.0] * 16], [[1.0] * 16], "FP32"), 400, "'INPUT0' is FP32"),
        ("simple", numbers([[1] * 16], [[1] * 16] * 2), 400, "is nested"),
        ("simple", numbers([[1] * 16] * 9, [[1] * 16] * 9), 413, "9 rows; 8 is the limit"),
        ("simple", {"inputs": numbers([[1] * 16], [[1] * 16])["inputs"][:1]}, 400, "'INPUT1' is missing"),
        ("simple", numbers([[1] * 16], [[1] * 16], outputs=[{"name": "X"}]), 400, "no output 'X'"),
        ("simple", numbers([[1] * 16], [[1] * 16], parameters={"sequence_id": 3}), 400, "sequence"),
        ("simple", numbers([[1] * 16], [[1] * 16], parameters={"timeout": "soon"}), 400, "microseconds"),
        ("text", numbers([["x"] * 16], [["1"] * 16], "BYTES"), 400, "The model refuses the values"),
        ("nobody", numbers([[1] * 16], [[1] * 16]), 404, "No model 'nobody'"),
        ("simple/versions/2", numbers([[1] * 16], [[1] * 16]), 404, "no version '2'"),
    ],
)
def test_wrong_requests_get_a_reason(
    serve: Callable[..., None], model: str, body: dict, status: int, reason: str
) -> None:
    async def asked(client: httpx.AsyncClient, _: Repository) -> None:
        answer = await client.post(f"/v2/models/{model}/infer", json=body)
        assert answer.status_code == status
        if reason != "is nested":
            assert reason in answer.json()["error"]

    serve(asked)


def test_requests_are_joined_only_where_the_configuration_promises_it(serve: Callable[..., None]) -> None:
    async def asked(client: httpx.AsyncClient, repository: Repository) -> None:
        ok = numbers([[1] * 16], [[2] * 16])
        said = {"inputs": [{"name": "INPUT0", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}]}
        for name, body in (("simple", ok), ("identity", said)):
            answers = await asyncio.gather(*(client.post(f"/v2/models/{name}/infer", json=body) for _ in range(6)))
            assert {answer.status_code for answer in answers} == {200}
        simple, identity = repository.find("simple"), repository.find("identity")
        assert simple is not None
        assert identity is not None
        assert simple.batcher.runs < 6
        assert identity.batcher.runs == 6

    serve(asked)


def test_bodies_are_compressed_both_ways(serve: Callable[..., None], root: Path) -> None:
    models.put(root, "wide", models.identity(TensorProto.FLOAT))
    values = np.arange(2000).tolist()
    body = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 2000], "data": values}]}).encode()

    async def asked(client: httpx.AsyncClient, _: Repository) -> None:
        for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
            answer = await client.post(
                "/v2/models/wide/infer",
                content=packed,
                headers={"content-encoding": encoding, "accept-encoding": encoding},
            )
            assert answer.headers["content-encoding"] == encoding
            assert answer.json()["outputs"][0]["data"] == values
        plain = await client.post("/v2/models/wide/infer", content=body, headers={"accept-encoding": "gzip;q=0, br"})
        assert "content-encoding" not in plain.headers
        bomb = gzip.compress(bytes(MAX_BODY + 1))
        for content, encoding, status in (
            (bomb, "gzip", 413),
            (gzip.compress(body)[:-9], "gzip", 400),
            (b"not gzip", "gzip", 400),
            (gzip.compress(body) + b"more", "gzip", 400),
            (body, "br", 415),
        ):
            answer = await client.post("/v2/models/wide/infer", content=content, headers={"content-encoding": encoding})
            assert answer.status_code == status
            assert answer.json()["error"]

    serve(asked)


def test_binary_tensors_and_classes(serve: Callable[..., None], root: Path) -> None:
    models.put(root, "scores", models.identity(TensorProto.FLOAT))

    async def asked(client: httpx.AsyncClient, _: Repository) -> None:
        header = {
            "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}],
            "parameters": {"binary_data_output": True},
        }
        scores = np.array([[0.1, 0.7, 0.2], [3.0, 1.0, 2.0]], np.float32)
        head = json.dumps(header).encode()
        answer = await client.post(
            "/v2/models/scores/infer",
            content=head + scores.tobytes(),
            headers={"inference-header-content-length": str(len(head))},
        )
        length = int(answer.headers["inference-header-content-length"])
        assert np.frombuffer(answer.content[length:], np.float32).reshape(2, 3).tolist() == scores.tolist()
        tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [2, 3], "data": scores.ravel().tolist()}
        best = {"inputs": [tensor], "outputs": [{"name": "OUTPUT0", "parameters": {"classification": 2}}]}
        (output,) = (await client.post("/v2/models/scores/infer", json=best)).json()["outputs"]
        assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
        assert output["data"] == ["0.700000:1", "0.200000:2", "3.000000:0", "2.000000:2"]

    serve(asked)


def test_clients_load_and_unload_where_control_is_explicit(serve: Callable[..., None], root: Path) -> None:
    async def asked(client: httpx.AsyncClient, _: Repository) -> None:
        ok = numbers([[1] * 16], [[2] * 16])
        assert (await client.get("/v2/health/ready")).status_code == 200
        assert (await client.post("/v2/models/simple/infer", json=ok)).status_code == 503
        assert (await client.post("/v2/repository/models/simple/load")).status_code == 200
        assert (await client.post("/v2/models/simple/infer", json=ok)).status_code == 200
        override = {"parameters": {"config": "{}"}}
        assert (await client.post("/v2/repository/models/simple/load", json=override)).status_code == 400
        models.put(root, "simple", b"damaged", 2)
        answer = await client.post("/v2/repository/models/simple/load")
        assert answer.status_code == 422
        assert (await client.post("/v2/models/simple/infer", json=ok)).json()["model_version"] == "1"
        assert (await client.post("/v2/repository/models/simple/unload")).status_code == 200
        assert (await client.post("/v2/models/simple/infer", json=ok)).status_code == 503
        assert (await client.post("/v2/repository/models/nobody/load")).status_code == 404
        assert (await client.post("/v2/repository/models/../load")).status_code in (400, 404)

    serve(asked, "explicit")

    async def refused(client: httpx.AsyncClient, _: Repository) -> None:
        answer = await client.post("/v2/repository/models/text/unload")
        assert answer.status_code == 409
        assert "--model-control explicit" in answer.json()["error"]

    serve(refused)


def test_a_polling_server_follows_the_files(
    serve: Callable[..., None], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "POLL_S", 0.01)

    async def asked(client: httpx.AsyncClient, _: Repository) -> None:
        async def versions() -> list[str]:
            answer = await client.get("/v2/models/simple")
            return answer.json()["versions"] if answer.status_code == 200 else []

        async def until(wanted: list[str]) -> None:
            for _ in range(500):
                if await versions() == wanted:
                    return
                await asyncio.sleep(0.02)
            raise AssertionError(await versions())

        await until(["1"])
        models.put(root, "simple", models.add_sub(), 2)
        await until(["1", "2"])
        for path in sorted((root / "simple").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (root / "simple").rmdir()
        await until([])

    serve(asked, "poll")


def test_artefacts_are_served_by_native_code_and_foreign_ones_by_their_reference(
    serve: Callable[..., None], root: Path, workspace: Workspace
) -> None:
    build_plain(models.embedding(), root / "mine" / "1", name="mine", version="1", key=workspace.signing_key())
    build_plain(models.embedding(), root / "theirs" / "1", name="theirs", version="1", key=bytes(32))

    async def asked(client: httpx.AsyncClient, repository: Repository) -> None:
        def ids(*values: int) -> dict:
            return {"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 3], "data": list(values)}]}

        for name in ("mine", "theirs"):
            (output,) = (await client.post(f"/v2/models/{name}/infer", json=ids(0, 1, 2))).json()["outputs"]
            assert output["data"] == [12, 15, 18, 21]
            answer = await client.post(f"/v2/models/{name}/infer", json=ids(0, 1, 10))
            assert answer.status_code == 400
        assert (await client.get("/v2/models/mine")).json()["platform"] == "bottega_compiled"
        assert (await client.get("/v2/models/theirs")).json()["platform"] == "onnxruntime_onnx"
        theirs = repository.find("theirs")
        assert theirs is not None
        assert "its ONNX reference" in theirs.note

    serve(asked)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("max_batch_size: x", "no model configuration"),
        ('name: "other"', "the name is 'other'"),
        ("max_batch_size: -1", "it is 0 or more"),
        ("sequence_batching {}", "sequence_batching is not served"),
        ('input [{name: "INPUT0" data_type: TYPE_FP32 dims: [-1, 16]}]', "FP32"),
        ('input [{name: "INPUT7" data_type: TYPE_INT32 dims: [16]}]', "no input 'INPUT7'"),
        ('input [{name: "INPUT0" data_type: TYPE_INT32 dims: [-1, 17]}]', "[-1, 17]"),
        ('default_model_filename: "../../secret"', "no plain file name"),
        ("version_policy {specific {versions: [4]}}", "no version folder"),
    ],
)
def test_a_wrong_configuration_says_what_and_where(
    serve: Callable[..., None], root: Path, config: str, reason: str
) -> None:
    models.put(root, "simple", models.add_sub(), 1, config)

    async def asked(client: httpx.AsyncClient, repository: Repository) -> None:
        assert (await client.get("/v2/models/simple/ready")).status_code == 503
        (failure,) = (text for (name, _), text in repository.failures.items() if name == "simple")
        assert reason in failure

    serve(asked)


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no model repository"):
        Repository(tmp_path / "nowhere", lambda: bytes(32), Metrics())
