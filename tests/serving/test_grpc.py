"""gRPC: the same models and the same answers as REST, by a channel over loopback."""

import asyncio
import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from onnx import TensorProto

from bottega.errors import Unavailable
from bottega.serving import proto
from bottega.serving.grpc_server import GrpcService, open_grpc
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog
from bottega.serving.metrics import Metrics
from bottega.serving.models import Models
from bottega.serving.repository import Control, Repository
from bottega.serving.tenants import Guard, Tenant
from bottega.workspace import Workspace

_spec = importlib.util.spec_from_file_location("plain_models", Path(__file__).with_name("plain_models.py"))
assert _spec is not None and _spec.loader is not None
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

Call = Callable[..., Awaitable[Any]]
KINDS = {
    "BOOL": (TensorProto.BOOL, "bool_contents", [True, False]),
    "INT8": (TensorProto.INT8, "int_contents", [-128, 127]),
    "INT16": (TensorProto.INT16, "int_contents", [-32768, 32767]),
    "INT32": (TensorProto.INT32, "int_contents", [-(2**31), 2**31 - 1]),
    "INT64": (TensorProto.INT64, "int64_contents", [-(2**63), 2**63 - 1]),
    "UINT8": (TensorProto.UINT8, "uint_contents", [0, 255]),
    "UINT16": (TensorProto.UINT16, "uint_contents", [0, 65535]),
    "UINT32": (TensorProto.UINT32, "uint_contents", [0, 2**32 - 1]),
    "UINT64": (TensorProto.UINT64, "uint64_contents", [0, 2**64 - 1]),
    "FP32": (TensorProto.FLOAT, "fp32_contents", [0.5, -1.25]),
    "FP64": (TensorProto.DOUBLE, "fp64_contents", [0.1, 1e300]),
    "BYTES": (TensorProto.STRING, "bytes_contents", ["ä".encode(), b""]),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    config = 'max_batch_size: 8 input [{name: "INPUT0" data_type: TYPE_INT32 dims: [16]}]'
    models.put(root, "simple", models.add_sub(), 1, config)
    models.put(root, "simple", models.add_sub(), 2)
    for name, (element, _, _) in KINDS.items():
        models.put(root, f"identity_{name}", models.identity(element))
    models.put(root, "identity_FP16", models.identity(TensorProto.FLOAT16))
    return root


@pytest.fixture
def serve(root: Path, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Run `asked(call, channel)` against a server; `call(method, **fields)` sends one message."""
    workspace = Workspace.open(tmp_path / "workspace")
    log = PredictionLog(workspace.predictions)
    classes = {name: (given, answer) for name, given, answer, _ in proto.methods()}

    def run(asked: Callable[..., Awaitable[None]], guard: Guard = Guard(), control: Control = "none") -> None:  # noqa: B008
        async def answer() -> None:
            metrics = Metrics()
            repository = Repository(root, workspace.signing_key, metrics, control)
            await repository.load_all()
            service = GrpcService(Models(LiveEndpoints(workspace, metrics), log, repository), lambda: True, guard)
            server, port = open_grpc(service, "127.0.0.1", 0)
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

                async def call(method: str, metadata: tuple = (), **fields: object) -> Any:
                    given, answered = classes[method]
                    path = f"/{proto.SERVICE}/{method}"
                    unary = channel.unary_unary(path, given.SerializeToString, answered.FromString)
                    return await unary(given(**fields), metadata=metadata, timeout=20)

                await asked(call, channel)
            await server.stop(1)

        asyncio.run(answer())

    yield run
    log.close()


def tensor(name: str, datatype: str, shape: list[int], **contents: object) -> dict:
    return {"name": name, "datatype": datatype, "shape": shape, **({"contents": contents} if contents else {})}


def test_every_datatype_goes_through_typed_and_raw(serve: Callable[..., None]) -> None:
    async def asked(call: Call, _: object) -> None:
        for datatype, (_, field, values) in KINDS.items():
            given = {
                "model_name": f"identity_{datatype}",
                "inputs": [tensor("INPUT0", datatype, [1, 2], **{field: values})],
            }
            answer = await call("ModelInfer", **given)
            (output,) = answer.outputs
            assert list(getattr(output.contents, field)) == values
            assert (output.datatype, list(output.shape)) == (datatype, [1, 2])
            assert not answer.raw_output_contents
        half = np.array([[0.5, -2.0]], np.float16)
        given = {"model_name": "identity_FP16", "inputs": [tensor("INPUT0", "FP16", [1, 2])]}
        answer = await call("ModelInfer", raw_input_contents=[half.tobytes()], **given)
        assert answer.raw_output_contents[0] == half.tobytes()
        with pytest.raises(grpc.aio.AioRpcError, match="raw_input_contents"):
            await call("ModelInfer", **given)

    serve(asked)


def test_metadata_config_statistics_index_health(serve: Callable[..., None]) -> None:
    async def asked(call: Call, _: object) -> None:
        assert (await call("ServerLive")).live
        assert (await call("ServerReady")).ready
        assert (await call("ServerMetadata")).name == "bottega"
        assert (await call("ModelReady", name="simple", version="2")).ready
        found = await call("ModelMetadata", name="simple")
        assert (list(found.versions), list(found.inputs[0].shape)) == (["1", "2"], [-1, 16])
        config = (await call("ModelConfig", name="simple")).config
        assert (config.max_batch_size, list(config.input[0].dims), config.input[0].data_type) == (8, [16], 8)
        ones = np.ones((1, 16), np.int32).tobytes()
        inputs = [tensor("INPUT0", "INT32", [1, 16]), tensor("INPUT1", "INT32", [1, 16])]
        outputs = [{"name": "OUTPUT1"}]
        answer = await call(
            "ModelInfer", model_name="simple", id="7", inputs=inputs, outputs=outputs, raw_input_contents=[ones] * 2
        )
        assert (answer.id, answer.model_version, len(answer.outputs)) == ("7", "2", 1)
        assert np.frombuffer(answer.raw_output_contents[0], np.int32).tolist() == [0] * 16
        (stats,) = (await call("ModelStatistics", name="simple", version="2")).model_stats
        assert (stats.inference_count, stats.inference_stats.success.count) == (1, 1)
        assert stats.inference_stats.compute_infer.ns > 0
        assert len((await call("ModelStatistics")).model_stats) == 2 + len(KINDS) + 1
        assert {entry.state for entry in (await call("RepositoryIndex", ready=True)).models} == {"READY"}

    serve(asked)


REGION = {"string_param": "region"}
ONE = [1] * 16
BOTH = [tensor("INPUT0", "INT32", [1, 16], int_contents=ONE), tensor("INPUT1", "INT32", [1, 16], int_contents=ONE)]


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"model_name": "nobody", "inputs": BOTH}, "NOT_FOUND", "No model 'nobody'"),
        ({"model_name": "../x", "inputs": BOTH}, "INVALID_ARGUMENT", "not the name of a model"),
        ({"model_name": "simple", "model_version": "9", "inputs": BOTH}, "NOT_FOUND", "no version '9'"),
        ({"model_name": "simple", "inputs": BOTH[:1]}, "INVALID_ARGUMENT", "'INPUT1' is missing"),
        ({"model_name": "simple", "inputs": [*BOTH, BOTH[0]]}, "INVALID_ARGUMENT", "more than once"),
        ({"model_name": "simple", "inputs": BOTH, "raw_input_contents": [b"x"]}, "INVALID_ARGUMENT", "1 raw contents"),
        (
            {"model_name": "simple", "inputs": [tensor("INPUT0", "INT32", [1, 15], int_contents=ONE), BOTH[1]]},
            "INVALID_ARGUMENT",
            "16 elements, its shape",
        ),
        (
            {"model_name": "simple", "inputs": [tensor("INPUT0", "INT32", [1, 16], fp32_contents=ONE), BOTH[1]]},
            "INVALID_ARGUMENT",
            "go into int_contents",
        ),
        (
            {"model_name": "identity_INT8", "inputs": [tensor("INPUT0", "INT8", [1, 1], int_contents=[128])]},
            "INVALID_ARGUMENT",
            "does not fit INT8",
        ),
        (
            {"model_name": "simple", "inputs": [tensor("INPUT0", "TEXT", [1]), BOTH[1]]},
            "INVALID_ARGUMENT",
            "datatype 'TEXT'",
        ),
        (
            {"model_name": "simple", "inputs": BOTH, "parameters": {"sequence_id": {"int64_param": 4}}},
            "UNIMPLEMENTED",
            "sequence",
        ),
        (
            {
                "model_name": "simple",
                "inputs": [
                    {
                        **tensor("INPUT0", "INT32", [1, 16]),
                        "parameters": {"shared_memory_region": {"string_param": "r"}},
                    },
                    BOTH[1],
                ],
            },
            "UNIMPLEMENTED",
            "shared memory",
        ),
    ],
)
def test_wrong_requests_get_a_status_and_a_reason(
    serve: Callable[..., None], fields: dict, code: str, reason: str
) -> None:
    async def asked(call: Call, _: object) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call("ModelInfer", **fields)
        assert refused.value.code().name == code
        assert reason in (refused.value.details() or "")
        assert (await call("ModelInfer", model_name="simple", inputs=BOTH)).outputs

    serve(asked)


def test_a_stream_answers_each_request_and_goes_on_after_an_error(serve: Callable[..., None]) -> None:
    request, answer = proto.message("ModelInferRequest"), proto.message("ModelStreamInferResponse")

    async def asked(_: Call, channel: grpc.aio.Channel) -> None:
        path = f"/{proto.SERVICE}/ModelStreamInfer"
        stream = channel.stream_stream(path, request.SerializeToString, answer.FromString)
        sent = [
            request(model_name=name, id=str(i), inputs=BOTH) for i, name in enumerate(("simple", "nobody", "simple"))
        ]
        found = [one async for one in stream(iter(sent))]
        assert [bool(one.error_message) for one in found] == [False, True, False]
        assert [one.infer_response.id for one in found] == ["0", "1", "2"]

    serve(asked)


def test_a_token_guards_all_but_health(serve: Callable[..., None]) -> None:
    async def asked(call: Call, _: object) -> None:
        assert (await call("ServerLive")).live
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.aio.AioRpcError, match="no valid token"):
                await call("ModelInfer", metadata, model_name="simple", inputs=BOTH)
        answer = await call("ModelInfer", (("authorization", "Bearer s3cret"),), model_name="simple", inputs=BOTH)
        assert answer.outputs

    serve(asked, Guard("s3cret"))


def test_a_tenant_asks_its_models_only(serve: Callable[..., None]) -> None:
    token = (("authorization", "Bearer t0ken"),)

    async def asked(call: Call, channel: grpc.aio.Channel) -> None:
        assert (await call("ServerMetadata", token)).name == "bottega"
        assert (await call("ModelInfer", token, model_name="simple", inputs=BOTH)).outputs
        assert (await call("ModelReady", token, name="simple")).ready
        for method, fields in (
            ("ModelInfer", {"model_name": "other"}),
            ("ModelMetadata", {"name": "other"}),
            ("ModelStatistics", {}),
            ("RepositoryIndex", {}),
            ("RepositoryModelUnload", {"model_name": "simple"}),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match="Tenant shop may not ask") as refused:
                await call(method, token, **fields)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        given, answered = proto.message("ModelInferRequest"), proto.message("ModelStreamInferResponse")
        path = f"/{proto.SERVICE}/ModelStreamInfer"
        stream = channel.stream_stream(path, given.SerializeToString, answered.FromString)
        found = [each async for each in stream(iter([given(model_name="other", id="a")]), metadata=token)]
        assert "Tenant shop may not ask" in found[0].error_message

    digest = hashlib.sha256(b"t0ken").hexdigest()
    serve(asked, Guard("s3cret", [("shop", Tenant(digest, frozenset({"simple"})))]))


def test_load_and_unload(serve: Callable[..., None]) -> None:
    async def asked(call: Call, _: object) -> None:
        assert not (await call("ModelReady", name="simple")).ready
        await call("RepositoryModelLoad", model_name="simple")
        assert (await call("ModelReady", name="simple")).ready
        with pytest.raises(grpc.aio.AioRpcError, match="cannot bring config"):
            await call("RepositoryModelLoad", model_name="simple", parameters={"config": {"string_param": "{}"}})
        await call("RepositoryModelUnload", model_name="simple")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call("ModelInfer", model_name="simple", inputs=BOTH)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    serve(asked, Guard(), "explicit")


def test_a_port_that_is_taken(serve: Callable[..., None]) -> None:
    async def asked(_: Call, channel: grpc.aio.Channel) -> None:
        del channel
        import socket

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            service = GrpcService.__new__(GrpcService)
            service._models, service._is_ready, service._guard = None, bool, Guard()  # type: ignore[assignment]
            with pytest.raises(Unavailable, match="--grpc-port"):
                open_grpc(service, "127.0.0.1", taken.getsockname()[1])

    serve(asked)


def test_the_compiled_protocol_is_that_of_the_text(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="needs grpcio-tools: make engines")
    folder = Path(proto.__file__).parent
    out = tmp_path / "inference.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", f"--descriptor_set_out={out}", "inference.proto"]
    subprocess.run(command, cwd=folder, check=True)
    assert out.read_bytes() == (folder / "inference.binpb").read_bytes()
