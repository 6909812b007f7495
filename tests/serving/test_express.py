"""The express lane: the same bytes as the general code, and what it does not take or cannot answer is left to that."""

import asyncio
import gc
import importlib.util
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from bottega.serving.common_form import CommonForm, is_common
from bottega.serving.express import Lane
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog
from bottega.serving.metrics import Metrics
from bottega.serving.plain import PlainModel
from bottega.serving.protocol import TensorSpec
from bottega.serving.repository import Repository
from bottega.serving.rest import App
from bottega.serving.tenants import Guard
from bottega.serving.web import Headers, Request
from bottega.workspace import Workspace

_spec = importlib.util.spec_from_file_location("plain_models", Path(__file__).with_name("plain_models.py"))
assert _spec is not None and _spec.loader is not None
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

IDS = "/v2/models/ids/infer"
LENGTH = b"inference-header-content-length"
LONG = "the long way"


class Asker:
    def __init__(self) -> None:
        self.got: bytes | str | None = None

    def reply(self, body: bytes, header_length: int | None) -> None:
        assert self.got is None
        self.got, self.header_length = body, header_length

    def take_long_way(self) -> None:
        assert self.got is None
        self.got = LONG


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[Callable[[App, Repository], Any]], Any]:
    """Runs a coroutine with an application of three models."""
    root = tmp_path / "models"
    models.put(root, "simple", models.add_sub(), config="max_batch_size: 64")
    models.put(root, "double", models.add_sub(element=TensorProto.DOUBLE), config="max_batch_size: 64")
    models.put(root, "ids", models.embedding(), config="max_batch_size: 64")
    workspace = Workspace.open(tmp_path / "workspace")

    def run(asked: Callable[[App, Repository], Any]) -> Any:
        async def answer() -> Any:
            metrics, log = Metrics(), PredictionLog(workspace.predictions)
            repository = Repository(root, workspace.signing_key, metrics)
            await repository.load_all()
            try:
                return await asked(
                    App(LiveEndpoints(workspace, metrics), log, metrics, Guard(), repository), repository
                )
            finally:
                log.close()

        return asyncio.run(answer())

    return run


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def ids(*rows: list[int], **more: Any) -> bytes:
    flat = [value for row in rows for value in row]
    return json.dumps({"inputs": [tensor("ids", "INT64", [len(rows), 3], flat)], **more}).encode()


def add(rows: int, seed: int, datatype: str = "INT32", **more: Any) -> bytes:
    rng = np.random.default_rng(seed)
    inputs = [
        tensor(name, datatype, [rows, 16], rng.integers(-9, 9, rows * 16).tolist()) for name in ("INPUT0", "INPUT1")
    ]
    return json.dumps({"inputs": inputs, **more}).encode()


def take(app: App, path: str, headers: Headers, body: bytes, asker: Asker) -> bool:
    """As a connection does it."""
    route = app.route(path, headers)
    return route is not None and app.take(route, body, asker)


async def both(
    app: App, path: str, bodies: list[bytes], headers: Headers | None = None
) -> list[tuple[bytes | str | None, bytes]]:
    """What the lane answers to requests of one turn, and what the general code answers to each."""
    askers, headers = [Asker() for _ in bodies], headers or []
    for asker, body in zip(askers, bodies, strict=True):
        if not take(app, path, headers, body, asker):
            asker.take_long_way()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    long = [(await app.respond(Request("POST", path, headers, body, len(body)))).body for body in bodies]
    return [(asker.got, body) for asker, body in zip(askers, long, strict=True)]


def test_the_lane_answers_with_the_bytes_of_the_general_code(ask: Any) -> None:
    async def asked(app: App, repository: Repository) -> None:
        bodies = [add(rows, rows, id="" if rows % 2 else f'"{rows}%d') for rows in (1, 3, 1, 7)]
        for path in ("/v2/models/simple/infer", "/v2/models/simple/versions/1/infer"):
            answers = await both(app, path, bodies)
            assert [fast for fast, _ in answers] == [long for _, long in answers]
        answers = await both(app, "/v2/models/double/infer", [add(2, 5, "FP64"), add(1, 6, "FP64")])
        assert [fast for fast, _ in answers] == [long for _, long in answers]
        lane, batcher = repository.find("simple").lane, repository.find("simple").batcher  # type: ignore[union-attr]
        assert isinstance(lane, Lane)
        assert batcher.runs == 2 * (1 + len(bodies))  # the lane's four are one run
        statistics = repository.find("simple").statistics  # type: ignore[union-attr]
        assert (statistics.success, statistics.rows, statistics.fail) == (16, 48, 0)
        stages = app.metrics.model("simple").stages
        assert {name: stages[name].count for name in ("parse", "queue", "encode", "total")} == dict.fromkeys(
            ("parse", "queue", "encode", "total"), 16
        )

    ask(asked)


def binary(rows: int, more: dict[str, Any], spoil: int = 0) -> tuple[Headers, bytes]:
    """A request for `simple` with its second input, or both, as bytes."""
    values = np.arange(rows * 16, dtype="<i4")
    first = tensor("INPUT0", "INT32", [rows, 16], values.tolist())
    second = {"name": "INPUT1", "shape": [rows, 16], "datatype": "INT32"}
    second["parameters"] = {"binary_data_size": values.nbytes + spoil}
    head = json.dumps({"inputs": [first, second], **more}).encode()
    return [(LENGTH, b"%d" % len(head))], head + values.tobytes()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": f"OUTPUT{i}", "parameters": {"binary_data": True}} for i in range(2)], "id": "a%d"},
        {"parameters": {"binary_data_output": True}, "outputs": [{"name": "OUTPUT0"}, {"name": "OUTPUT1"}]},
    ],
)
def test_binary_tensors_are_answered_with_the_bytes_of_the_general_code(ask: Any, more: dict[str, Any]) -> None:
    async def asked(app: App, _: Repository) -> None:
        for rows in (1, 3):
            headers, body = binary(rows, more)
            ((fast, long),) = await both(app, "/v2/models/simple/infer", [body], headers)
            assert fast == long

    ask(asked)


@pytest.mark.parametrize(
    ("more", "spoil", "tail"),
    [
        ({}, 4, b""),
        ({}, -4, b""),
        ({}, 4, b"abcd"),
        ({}, 1, b"a"),
        ({}, 0, b"abcd"),
        ({"outputs": [{"name": "OUTPUT1", "parameters": {"binary_data": True}}]}, 0, b""),
        ({"outputs": [{"name": "OUTPUT1"}, {"name": "OUTPUT0"}]}, 0, b""),
        ({"outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": True}}, {"name": "OUTPUT1"}]}, 0, b""),
    ],
)
def test_other_binary_forms_are_not_taken(ask: Any, more: dict[str, Any], spoil: int, tail: bytes) -> None:
    async def asked(app: App, _: Repository) -> None:
        headers, body = binary(1, more, spoil)
        assert not take(app, "/v2/models/simple/infer", headers, body + tail, Asker())

    ask(asked)


def test_numbers_in_json_beside_binary_ones_are_not_taken(ask: Any) -> None:
    async def asked(app: App, _: Repository) -> None:
        given = {**tensor("ids", "INT64", [1, 3], []), "parameters": {"binary_data_size": 24}}
        head = json.dumps({"inputs": [given]}).encode()
        assert not take(app, IDS, [(LENGTH, b"%d" % len(head))], head + bytes(24), Asker())
        assert not take(
            app, IDS, [], ids([1, 2, 3]).replace(b'"data"', b'"parameters":{"binary_data_size":0},"data"'), Asker()
        )

    ask(asked)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        ids(),
        ids([1, 2]),
        ids([1, 2, 2**63]),
        ids([1, 2, 1.5]),  # type: ignore[list-item]
        ids([1, 2, None]),  # type: ignore[list-item]
        ids([1, 2, 3], outputs=[{"name": "other"}]),
        ids([1, 2, 3], outputs=[{"name": "total", "parameters": {"classification": 2}}]),
        ids([1, 2, 3], parameters={"timeout": 5}),
        ids([1, 2, 3], parameters={"binary_data_output": 1}),
        ids([1, 2, 3], id=3),
        json.dumps({"inputs": [tensor("ids", "INT32", [1, 3], [1, 2, 3])]}).encode(),
        json.dumps({"inputs": [tensor("other", "INT64", [1, 3], [1, 2, 3])]}).encode(),
        json.dumps({"inputs": [tensor("ids", "INT64", [3], [1, 2, 3])]}).encode(),
        json.dumps({"inputs": [tensor("ids", "INT64", [], [1, 2, 3])]}).encode(),
        json.dumps({"inputs": [tensor("ids", "INT64", [-1, -3], [1, 2, 3])]}).encode(),
        json.dumps({"inputs": [tensor("ids", "INT64", [1, 3], [[1, 2, 3]])]}).encode(),
        json.dumps({"inputs": [tensor("ids", "INT64", [1, 3], [1, 2, 3])] * 2}).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_not_of_the_common_form_is_not_taken(ask: Any, body: bytes) -> None:
    async def asked(app: App, _: Repository) -> None:
        asker = Asker()
        assert not take(app, IDS, [], body, asker)
        await asyncio.sleep(0)
        assert asker.got is None

    ask(asked)


def test_a_number_that_does_not_fit_is_left_to_the_general_code(ask: Any) -> None:
    async def asked(app: App, _: Repository) -> None:
        body = add(1, 1).replace(b"[1, 16]", b"[1,16]").replace(b'"data": [', b'"data": [3000000000, ', 1)
        assert not take(app, "/v2/models/simple/infer", [], body, Asker())

    ask(asked)


def test_a_batch_that_fails_goes_the_long_way_one_by_one(ask: Any) -> None:
    async def asked(app: App, _: Repository) -> None:
        answers = await both(app, IDS, [ids([1, 2, 3]), ids([1, 2, 99]), ids([4, 5, 6])])
        assert [fast for fast, _ in answers] == [LONG] * 3
        assert [b"error" in long for _, long in answers] == [False, True, False]

    ask(asked)


def test_other_routes_and_headers_that_change_the_body_are_not_taken(ask: Any) -> None:
    async def asked(app: App, _: Repository) -> None:
        for path in (
            "/v2/models/nobody/infer",
            "/v2/models/ids",
            "/v2/models/ids/versions/9/infer",
            "/v2/models/a/b/c",
        ):
            assert not take(app, path, [], ids([1, 2, 3]), Asker())
        for header in ((b"content-encoding", b"gzip"), (LENGTH, b"9"), (LENGTH, b"-1"), (LENGTH, b"9" * 5000)):
            assert not take(app, IDS, [header], ids([1, 2, 3]), Asker())

    ask(asked)


def test_more_rows_than_a_run_takes_are_several_runs(ask: Any) -> None:
    async def asked(_: App, repository: Repository) -> None:
        model = repository.find("simple")
        assert isinstance(model, PlainModel)
        lane = Lane(
            CommonForm("simple", "1", model.metadata().inputs, model.metadata().outputs),
            *(lambda arrays: None, model._engine.run, 4, model.metrics, model.statistics, model.batcher),
        )
        askers, before = [Asker() for _ in range(3)], model.batcher.runs
        assert [lane.take(add(rows, rows), None, asker) for rows, asker in zip((3, 2, 1), askers, strict=True)] == [
            True
        ] * 3
        assert not lane.take(add(5, 5), None, Asker())
        await asyncio.sleep(0)
        shapes = [json.loads(asker.got or b"")["outputs"][0]["shape"] for asker in askers]
        assert (shapes, model.batcher.runs - before) == ([[3, 16], [2, 16], [1, 16]], 2)

    ask(asked)


def test_a_model_that_is_replaced_goes_without_the_garbage_collector(ask: Any) -> None:
    async def asked(app: App, repository: Repository) -> None:
        await both(app, "/v2/models/simple/infer", [add(1, 1)])
        gone = weakref.ref(repository.find("simple"))  # type: ignore[type-var]
        gc.disable()
        try:
            repository._models["simple"] = {}
            for _ in range(500):  # the thread that loaded it may not have let go yet
                await asyncio.sleep(0.01 if gone() else 0)
            assert gone() is None
        finally:
            gc.enable()

    ask(asked)


def test_only_numbers_of_known_sizes_have_a_lane() -> None:
    known, text = TensorSpec("x", "FP32", (-1, 3)), TensorSpec("x", "BYTES", (-1, 3))
    unknown = TensorSpec("x", "FP32", (-1, -1, -1))
    assert is_common([known], [known])
    assert not any(is_common(*both) for both in (([], [known]), ([text], [known]), ([known], [unknown])))
