"""The JSON schemas of the OpenAPI page: of the protocol's messages, and of one use case's request and answer."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from bottega.schema import Field
from bottega.serving.endpoint import Endpoint
from bottega.serving.explanation import Explanation
from bottega.serving.protocol import DATATYPES, IndexEntry, ModelMetadata, ServerMetadata
from bottega.serving.rows import EXPLAIN, MAX_ROWS
from bottega.serving.status import Status
from bottega.times import from_epoch_us

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/"
MOST_LISTED = 1000
"""Ids of a field that the page lists."""
NUMBER_OF: dict[str, Schema] = {
    "BOOL": {"type": "boolean"},
    "INT32": {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    "INT64": {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
    "FP32": {"type": "number", "format": "float"},
    "FP64": {"type": "number", "format": "double"},
    "BYTES": {"type": "string"},
}
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
ID: Schema = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$"}
IDS: Schema = {"type": "array", "items": ID}
UNITS: Schema = {"type": "object", "additionalProperties": TEXT}
AGES: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["number", "null"]},
    "description": "Seconds by looked-up feature since the newest tile with an event of the entity closed.",
}


def members(properties: Schema, required: Sequence[str] | None = None, closed: bool = True) -> Schema:
    """An object; all its members are required where nothing else is said."""
    names = list(properties) if required is None else list(required)
    return {"type": "object", "required": names, "additionalProperties": not closed, "properties": properties}


def listed(items: Schema, **more: Any) -> Schema:
    """An array."""
    return {"type": "array", "items": items, **more}


_PARAMETERS: Schema = {"type": "object", "description": "Extensions: binary tensors, classification, timeout."}
_SIZE: Schema = {"type": "integer", "minimum": -1, "maximum": 2**62}
_TENSOR: Schema = {
    "name": TEXT,
    "shape": listed({**_SIZE, "minimum": 0}, maxItems=16),
    "datatype": {"type": "string", "enum": list(DATATYPES)},
    "parameters": _PARAMETERS,
    "data": {"type": "array", "description": "Elements, flat or nested as the shape says."},
}
_CONFIGURED = listed(members({"name": TEXT, "data_type": TEXT, "dims": listed(WHOLE)}))
_SPENT = members({"count": WHOLE, "ns": WHOLE})
_STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")

MESSAGES: dict[str, Schema] = {
    "Error": members({"error": TEXT}),
    "InferRequest": members(
        {
            "id": {"type": "string", "maxLength": 128},
            "parameters": _PARAMETERS,
            "inputs": listed(members(_TENSOR, ["name", "shape", "datatype"])),
            "outputs": listed(members({"name": TEXT, "parameters": _PARAMETERS}, ["name"])),
        },
        ["inputs"],
    ),
    "InferResponse": members(
        {
            "model_name": TEXT,
            "model_version": TEXT,
            "id": TEXT,
            "outputs": listed(members(_TENSOR, ["name", "shape", "datatype"])),
        },
        ["model_name", "model_version", "outputs"],
    ),
    "ModelConfig": members(
        {
            **dict.fromkeys(("name", "platform", "backend"), TEXT),
            "version_policy": {"type": "object"},
            "max_batch_size": WHOLE,
            "input": _CONFIGURED,
            "output": _CONFIGURED,
            "instance_group": listed({"type": "object"}),
        }
    ),
    "Statistics": members(
        {
            "model_stats": listed(
                members(
                    {
                        **dict.fromkeys(("name", "version"), TEXT),
                        **dict.fromkeys(("last_inference", "inference_count", "execution_count"), WHOLE),
                        "inference_stats": members(dict.fromkeys(_STAGES, _SPENT)),
                        "batch_stats": {"type": "array"},
                    }
                )
            )
        }
    ),
    "Index": listed({"$ref": REFERENCE + "IndexEntry"}),
    "Live": members({"live": {"type": "boolean"}}),
    "Ready": members({"ready": {"type": "boolean"}}),
    "ModelReady": members({"name": TEXT, "ready": {"type": "boolean"}}),
    "LogCounts": {"type": "object", "additionalProperties": WHOLE},
    "Empty": members({}),
}


def components() -> dict[str, Schema]:
    """The schemas that all pages have, by name."""
    structs = (ServerMetadata, ModelMetadata, IndexEntry, Status, Explanation)
    _, found = msgspec.json.schema_components(structs, ref_template=REFERENCE + "{name}")
    return {**found, **MESSAGES}


def request(endpoint: Endpoint) -> Schema:
    """The body of a prediction: one row of fields, or many."""
    fields = endpoint.plan.request
    row = members({field.name: _asked(endpoint, field) for field in fields})
    explain: Schema = {"type": "boolean", "description": "Whether the values behind the answer are wanted, too."}
    beside = {EXPLAIN: explain, "id": {**ID, "description": "The client's id, to join labels by."}}
    own = {field.name for field in fields}
    single = {**row, "properties": {**{k: v for k, v in beside.items() if k not in own}, **row["properties"]}}
    named = {**row, "properties": {**({} if "id" in own else {"id": beside["id"]}), **row["properties"]}}
    rows = listed(named, minItems=1, maxItems=MAX_ROWS)
    return {"oneOf": [single, members({"rows": rows, "ids": IDS, **beside}, ["rows"])]}


def answer(endpoint: Endpoint) -> Schema:
    """The answer to a prediction of one row, or of many."""
    fields = members({field.name: of_field(field) for field in endpoint.plan.answer})
    about = {"usecase": TEXT, "model_version": WHOLE, "units": UNITS}
    explanation = {"$ref": REFERENCE + "Explanation"}
    one = {**about, "id": TEXT, "answer": fields, "feature_ages_s": AGES}
    many = {**about, "ids": listed(TEXT), "answers": listed(fields), "feature_ages_s": listed(AGES)}
    return {
        "oneOf": [
            members({**one, "explanation": explanation}, list(one)),
            members({**many, "explanations": listed(explanation)}, list(many)),
        ]
    }


def description(endpoints: Iterable[Endpoint]) -> Schema:
    """What `/v1/<usecase>` says."""
    field = {"type": "object", "required": ["name", "datatype"], "properties": {"name": TEXT, "datatype": TEXT}}
    return members(
        {
            "usecase": {"type": "string", "enum": [endpoint.usecase for endpoint in endpoints]},
            "model_version": WHOLE,
            "request": listed(field),
            "answer": listed(field),
            "first_moment": TEXT,
            "trained": {},
            "max_rows": WHOLE,
            "example": {"type": "object"},
        }
    )


def of_field(field: Field) -> Schema:
    """One field of a request or an answer."""
    schema = _value(field)
    if field.shape:
        (size,) = field.shape
        schema = {"type": "array", "items": schema, "minItems": size if field.fill is None else 0, "maxItems": size}
    text = ", ".join(part for part in (field.description, field.unit) if part)
    return {**schema, "description": text} if text else schema


def _asked(endpoint: Endpoint, field: Field) -> Schema:
    """A field of the request, with the ids that exist and the first moment that is known."""
    schema = of_field(field)
    if field.is_time:
        return {**schema, "examples": [from_epoch_us(endpoint.first_us).isoformat()]}
    table = endpoint.artifact.tables.get(field.known_in)
    if table is None or len(table.strides) != 1 or field.shape:
        return schema
    known = np.flatnonzero(table.known).tolist()
    return {**schema, "enum": known} if len(known) <= MOST_LISTED else schema


def _value(field: Field) -> Schema:
    if field.is_time:
        return {"type": "string", "format": "date-time"}
    if field.is_binary:
        return {"type": "string", "contentEncoding": "base64"}
    bounds = (("minimum", field.minimum), ("maximum", field.maximum))
    return {**NUMBER_OF[field.datatype], **{key: value for key, value in bounds if value is not None}}
