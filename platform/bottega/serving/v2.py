"""The Open Inference Protocol V2 over REST: what the routes of a model answer."""

from time import perf_counter_ns
from typing import Any, TypeVar

import msgspec

from bottega.errors import InvalidInput, Unsupported
from bottega.serving.binary import decode_body, encode_body
from bottega.serving.codec import json_reason
from bottega.serving.inference import counting, encoded
from bottega.serving.inference import infer as infer_tensors
from bottega.serving.model import Model
from bottega.serving.web import Request, Response

HEADER_LENGTH = b"inference-header-content-length"
_OCTETS = b"application/octet-stream"


def infer_target(path: str) -> tuple[str, str | None] | None:
    """Name and version of the model whose inference route a path is, None where it is another route."""
    match path.split("/")[1:]:
        case ["v2", "models", name, "infer"]:
            return name, None
        case ["v2", "models", name, "versions", version, "infer"]:
            return name, version
    return None


async def infer(model: Model, request: Request) -> Response:
    """`POST /v2/models/<name>/infer`: JSON or binary tensors."""
    received_ns = perf_counter_ns()
    with counting(model, received_ns):
        decoded, arrays = decode_body(request.body, request.header(HEADER_LENGTH))
        described = await infer_tensors(model, decoded, arrays, request.trace, received_ns)
        began_ns = perf_counter_ns()
        body, header_length = encode_body(model.name, described.model.version, decoded, described.outputs)
    encoded(described, began_ns)
    return inferred(body, header_length)


def inferred(body: bytes, header_length: int | None) -> Response:
    """An answer, of which so many bytes are JSON where not all are."""
    if header_length is None:
        return Response(body)
    return Response(body, content_type=_OCTETS, headers=((HEADER_LENGTH, b"%d" % header_length),))


def describe_config(model: Model) -> dict[str, Any]:
    """`GET /v2/models/<name>/config`: the model's configuration, dimensions without the batch."""
    found = model.metadata()
    batched = model.max_batch > 0

    def tensors(specs: list[Any]) -> list[dict[str, Any]]:
        return [
            {"name": t.name, "data_type": f"TYPE_{'STRING' if t.datatype == 'BYTES' else t.datatype}",
             "dims": list(t.shape[1:] if batched else t.shape)}
            for t in specs
        ]  # fmt: skip

    return {
        "name": model.name,
        "platform": found.platform,
        "backend": "bottega",
        "version_policy": {"all": {}},
        "max_batch_size": model.max_batch,
        "input": tensors(found.inputs),
        "output": tensors(found.outputs),
        "instance_group": [{"name": model.name, "kind": "KIND_CPU", "count": 1}],
    }


def describe_statistics(model: Model) -> dict[str, Any]:
    """`GET /v2/models/<name>/stats`: what became of the requests since the version was loaded, in nanoseconds."""
    counted, batcher = model.statistics, model.batcher
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": counted.last_ms,
        "inference_count": counted.rows,
        "execution_count": batcher.runs,
        "inference_stats": {
            "success": {"count": counted.success, "ns": counted.success_ns},
            "fail": {"count": counted.fail, "ns": counted.fail_ns},
            "queue": {"count": counted.success, "ns": batcher.queue_ns},
            "compute_input": {"count": counted.success, "ns": counted.parse_ns},
            "compute_infer": {"count": batcher.runs, "ns": batcher.run_ns},
            "compute_output": {"count": counted.success, "ns": counted.encode_ns},
        },
        "batch_stats": [],
    }


class _IndexRequest(msgspec.Struct):
    ready: bool = False


class _LoadRequest(msgspec.Struct):
    parameters: dict[str, Any] = {}


def wants_ready(body: bytes) -> bool:
    """Whether an index request asks only for what answers."""
    return _decoded(body, _IndexRequest).ready


def refuse_override(body: bytes) -> None:
    """Raise Unsupported where a load request brings a configuration or files of its own."""
    given = _decoded(body, _LoadRequest).parameters
    if given:
        raise Unsupported(
            f"A load request cannot bring {', '.join(sorted(given))[:100]}.",
            next_step="Change the files of the repository, then load.",
        )


T = TypeVar("T", _IndexRequest, _LoadRequest)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind) if body.strip() else kind()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is not understood: {json_reason(error)}.") from None
