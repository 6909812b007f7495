"""Open Inference Protocol V2: the messages, the datatypes and the rules for names.

Source: the KServe "Open Inference Protocol" specification, version 2, and its binary tensor extension.
"""

import re
from typing import Any

import msgspec
import numpy as np

from bottega.errors import InvalidInput

DATATYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
"""Datatype of the protocol to dtype of numpy; BYTES elements are `bytes`."""

EXTENSIONS = ["classification", "model_configuration", "model_repository", "statistics", "binary_tensor_data"]
"""Of the protocol, that this server has."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class RequestInput(msgspec.Struct, forbid_unknown_fields=True):
    """One input tensor; `data` stays undecoded until its datatype is known."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class RequestOutput(msgspec.Struct, forbid_unknown_fields=True):
    """An output that the client asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v2/models/<name>/infer`."""

    inputs: list[RequestInput]
    id: str = ""
    outputs: list[RequestOutput] = []
    parameters: dict[str, Any] = {}


class TensorSpec(msgspec.Struct, frozen=True):
    """Name, datatype and shape of a tensor; -1 is the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(msgspec.Struct, frozen=True):
    """Answer of `GET /v2/models/<name>`."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]


class ServerMetadata(msgspec.Struct, frozen=True):
    """Answer of `GET /v2`."""

    name: str
    version: str
    extensions: list[str]


class IndexEntry(msgspec.Struct, frozen=True):
    """One model version in the answer of `POST /v2/repository/index`."""

    name: str
    version: str
    state: str
    reason: str


def check_name(name: str, what: str = "model") -> str:
    """Return `name` where it may be part of a path; raise InvalidInput otherwise."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidInput(
            f"{name[:160]!r} is not the name of a {what}.",
            next_step="Use 1 to 128 letters, digits, '_', '-' and single '.'.",
        )
    return name
