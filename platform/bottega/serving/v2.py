"""The Open Inference Protocol V2 routes of one model: metadata and inference."""

from time import perf_counter_ns

import numpy as np

from bottega.errors import InvalidInput, TooLarge
from bottega.features.plan import Columns, FeaturePlan
from bottega.schema import Field
from bottega.serving.binary import decode_body, encode_body
from bottega.serving.codec import select_outputs
from bottega.serving.endpoint import Endpoint
from bottega.serving.log import PredictionLog
from bottega.serving.metrics import Stage
from bottega.serving.protocol import InferRequest
from bottega.serving.rows import MAX_ROWS, check_id, new_id, number_ids, to_column
from bottega.serving.v1 import REQUEST_ID, record
from bottega.serving.web import Request, Response

HEADER_LENGTH = b"inference-header-content-length"
_OCTETS = b"application/octet-stream"


async def infer(endpoint: Endpoint, request: Request, log: PredictionLog) -> Response:
    """`POST /v2/models/<usecase>/infer`: request fields as named tensors of one element a row."""
    received_ns = perf_counter_ns()
    stages = endpoint.metrics.stages
    decoded, arrays = decode_body(request.body, request.header(HEADER_LENGTH))
    names = select_outputs(decoded.outputs, [field.name for field in endpoint.plan.answer])
    columns = request_columns(endpoint.plan, decoded, arrays)
    endpoint.check(columns)
    rows = len(next(iter(columns.values())))
    given = decoded.id or request.header(REQUEST_ID)
    ids = number_ids(check_id(given) if given else new_id(), rows)
    stages["parse"].observe_ns(perf_counter_ns() - received_ns)
    answers = await endpoint.rows.submit(columns, rows)
    record(endpoint, ids, columns, answers, received_ns, log)
    datatypes = {field.name: field.datatype for field in endpoint.plan.answer}
    response = _response(
        endpoint.usecase, endpoint.version, decoded, [(n, datatypes[n], answers[n]) for n in names], stages
    )
    stages["total"].observe_ns(perf_counter_ns() - received_ns)
    return response


async def infer_raw(endpoint: Endpoint, name: str, request: Request) -> Response:
    """`POST /v2/models/<usecase>-raw/infer`: the model's input matrix in, its output out; nothing is logged."""
    received_ns = perf_counter_ns()
    stages = endpoint.raw_metrics.stages
    decoded, arrays = decode_body(request.body, request.header(HEADER_LENGTH))
    (into,), (out,) = endpoint.artifact.manifest.inputs, endpoint.artifact.manifest.outputs
    select_outputs(decoded.outputs, [out.name])
    if arrays.keys() != {into.name}:
        given = ", ".join(arrays) or "none"
        raise InvalidInput(f"{name} takes one input, {into.name!r}; given: {given[:200]}.")
    features = arrays[into.name]
    endpoint.check_raw(features)
    stages["parse"].observe_ns(perf_counter_ns() - received_ns)
    answers = await endpoint.raw.submit({into.name: features}, len(features))
    endpoint.raw_metrics.answered(len(features))
    response = _response(name, endpoint.version, decoded, [(out.name, out.datatype, answers[out.name])], stages)
    stages["total"].observe_ns(perf_counter_ns() - received_ns)
    return response


def _response(
    model: str,
    version: int,
    decoded: InferRequest,
    outputs: list[tuple[str, str, np.ndarray]],
    stages: dict[str, Stage],
) -> Response:
    started_ns = perf_counter_ns()
    body, header_length = encode_body(model, version, decoded, outputs)
    stages["encode"].observe_ns(perf_counter_ns() - started_ns)
    if header_length is None:
        return Response(body)
    return Response(body, content_type=_OCTETS, headers=((HEADER_LENGTH, b"%d" % header_length),))


def request_columns(plan: FeaturePlan, request: InferRequest, arrays: dict[str, np.ndarray]) -> Columns:
    """Named tensors as request columns, (rows,) each. Raises InvalidInput naming the tensor and the rule."""
    names = [field.name for field in plan.request]
    for tensor in request.inputs:
        if tensor.name not in names:
            raise InvalidInput(
                f"The model has no input {tensor.name!r}.", next_step=f"Its inputs are {', '.join(names)}."
            )
    datatypes = {tensor.name: tensor.datatype for tensor in request.inputs}
    columns: Columns = {}
    for field in plan.request:
        if field.name not in arrays:
            raise InvalidInput(f"The input {field.name!r} is missing.", next_step=f"The inputs are {', '.join(names)}.")
        columns[field.name] = _column(field, datatypes[field.name], arrays[field.name])
    counts = {len(column) for column in columns.values()}
    if len(counts) > 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise InvalidInput(f"The inputs differ in their number of rows: {sizes}.")
    rows = counts.pop()
    if rows == 0:
        raise InvalidInput("The inputs have no rows.")
    if rows > MAX_ROWS:
        raise TooLarge(f"The request has {rows} rows; {MAX_ROWS} is the limit.", next_step="Send several requests.")
    return columns


def _column(field: Field, datatype: str, array: np.ndarray) -> np.ndarray:
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
        raise InvalidInput(f"Input {field.name!r} has shape {list(array.shape)}; it must be [rows] or [rows, 1].")
    flat = array.reshape(-1)
    allowed = (field.datatype, "BYTES") if field.is_time else (field.datatype,)
    if datatype not in allowed:
        raise InvalidInput(f"Input {field.name!r} has datatype {datatype}; it must be {' or '.join(allowed)}.")
    if datatype != "BYTES":
        return flat
    try:
        return to_column(field, [value.decode() for value in flat])
    except UnicodeDecodeError:
        raise InvalidInput(f"Input {field.name!r} is not UTF-8.") from None
