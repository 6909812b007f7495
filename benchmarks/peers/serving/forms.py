"""How servers want to be asked, and how they answer: bytes to send from arrays, an array from the bytes they send."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

JSON = {"content-type": "application/json"}
MODEL, ADD_SUB = "regressor", "add_sub"
INPUT, OUTPUT = "features", "prediction"
"""The tensors of the regressor as Bottega compiles it; other servers that name tensors take the same input."""


@dataclass(frozen=True)
class Form:
    """`body` and `headers` of a request, and `read` of the answer's headers and body; binary only in HTTP's body."""

    body: Callable[[np.ndarray], bytes]
    read: Callable[[Mapping[str, str], bytes], np.ndarray]
    headers: Callable[[np.ndarray], dict[str, str]] = lambda rows: JSON


def _v2(rows: np.ndarray) -> bytes:
    tensor = {"name": INPUT, "shape": rows.shape, "datatype": "FP32", "data": _numbers(rows.ravel())}
    return _json({"inputs": [tensor]})


def _read_v2(headers: Mapping[str, str], body: bytes) -> np.ndarray:
    return np.concatenate([np.ravel(output["data"]) for output in json.loads(body)["outputs"]])


def _binary_head(rows: np.ndarray) -> bytes:
    size = {"binary_data_size": rows.nbytes}
    tensor = {"name": INPUT, "shape": rows.shape, "datatype": "FP32", "parameters": size}
    return _json({"inputs": [tensor], "parameters": {"binary_data_output": True}})


def _binary_headers(rows: np.ndarray) -> dict[str, str]:
    length = str(len(_binary_head(rows)))
    return {"content-type": "application/octet-stream", "inference-header-content-length": length}


def _read_binary(headers: Mapping[str, str], body: bytes) -> np.ndarray:
    return np.frombuffer(body, np.float32, offset=int(headers["inference-header-content-length"]))


def _add_sub(pair: np.ndarray) -> bytes:
    tensors = [
        {"name": f"INPUT{i}", "shape": [1, 16], "datatype": "INT32", "data": row.tolist()} for i, row in enumerate(pair)
    ]
    return _json({"inputs": tensors})


def _grpc(rows: np.ndarray) -> bytes:
    from bottega.serving.proto import message

    request = message("ModelInferRequest")(model_name=MODEL, raw_input_contents=[rows.tobytes()])
    request.inputs.add(name=INPUT, datatype="FP32", shape=rows.shape)
    return request.SerializeToString()


def _read_grpc(headers: Mapping[str, str], body: bytes) -> np.ndarray:
    from bottega.serving.proto import message

    answer = message("ModelInferResponse").FromString(body)
    if answer.raw_output_contents:
        return np.frombuffer(answer.raw_output_contents[0], np.float32)
    return np.array(answer.outputs[0].contents.fp32_contents, np.float32)


def _named(name: str) -> Form:
    """The rows under one name in a JSON object; the answer is an object of one list, or the list."""

    def read(headers: Mapping[str, str], body: bytes) -> np.ndarray:
        found = json.loads(body)
        (values,) = found.values() if isinstance(found, dict) else (found,)
        return np.ravel(values)

    return Form(lambda rows: _json({name: [_numbers(row) for row in rows]}), read)


def _numbers(row: np.ndarray) -> list[float]:
    """Each float32 in as few digits as tell it apart, as a client would write it."""
    return [float(str(value)) for value in row]


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


FORMS = {
    "v2": Form(_v2, _read_v2),
    "v2_binary": Form(lambda rows: _binary_head(rows) + rows.tobytes(), _read_binary, _binary_headers),
    "v2_add_sub": Form(_add_sub, _read_v2),
    "grpc": Form(_grpc, _read_grpc),
    "rows": _named("rows"),
    "inputs": _named("inputs"),
}
