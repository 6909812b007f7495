"""The OpenAPI description of what is live, generated from the request and answer fields."""

from collections.abc import Iterable
from typing import Any

from bottega import __version__
from bottega.schema import Field
from bottega.serving.endpoint import Endpoint
from bottega.serving.places import PARAMETERS, REPEATED

_TYPES: dict[str, dict[str, Any]] = {
    "BOOL": {"type": "boolean"},
    "INT32": {"type": "integer", "format": "int32"},
    "INT64": {"type": "integer", "format": "int64"},
    "FP32": {"type": "number", "format": "float"},
    "FP64": {"type": "number", "format": "double"},
    "BYTES": {"type": "string"},
}
_ERROR = {
    "description": "The request is wrong; `error` says why and what to do.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    },
}
_ID: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 128}
_IDS: dict[str, Any] = {"type": "array", "items": _ID}


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the use-case endpoints."""
    paths: dict[str, Any] = {
        "/v1/status": {"get": _operation("What is live, how much it answered, and how fast.", {"type": "object"})},
        "/v1/log/flush": {"post": _operation("Write the prediction log's buffer now.", {"type": "object"})},
    }
    paths["/v1/recommendations/search"] = {"get": _search()}
    for endpoint in endpoints:
        paths[f"/v1/{endpoint.usecase}"] = {"get": _operation(f"The fields of {endpoint.usecase}.", {"type": "object"})}
        paths[f"/v1/{endpoint.usecase}/predict"] = {"post": _predict(endpoint)}
    return {"openapi": "3.1.0", "info": {"title": "Bottega", "version": __version__}, "paths": paths}


def _search() -> dict[str, Any]:
    operation = _operation("Find places to eat; the fields in a JSON body by POST.", {"type": "object"})
    repeated: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    operation["parameters"] = [
        {
            "name": name,
            "in": "query",
            "description": about,
            "schema": repeated if name in REPEATED else {"type": "string"},
        }
        for name, about in PARAMETERS.items()
    ]
    return operation


def _predict(endpoint: Endpoint) -> dict[str, Any]:
    row, answer = _object(endpoint.plan.request), _object(endpoint.plan.answer)
    row["properties"]["id"] = {**_ID, "description": "The client's id, to join labels by."}
    many = {
        "type": "object",
        "required": ["rows"],
        "additionalProperties": False,
        "properties": {"rows": {"type": "array", "minItems": 1, "items": row}, "ids": _IDS, "id": _ID},
    }
    about = {"usecase": {"type": "string"}, "model_version": {"type": "integer"}, "units": {"type": "object"}}
    one_answer = {"type": "object", "properties": {**about, "id": {"type": "string"}, "answer": answer}}
    all_answers = {
        "type": "object",
        "properties": {**about, "ids": _IDS, "answers": {"type": "array", "items": answer}},
    }
    operation = _operation(f"Predict with {endpoint.usecase}.", {"oneOf": [one_answer, all_answers]})
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": {"oneOf": [row, many]}}},
    }
    return operation


def _operation(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    answer = {"description": "The answer.", "content": {"application/json": {"schema": schema}}}
    return {"summary": summary, "responses": {"200": answer, "4XX": _ERROR}}


def _object(fields: Iterable[Field]) -> dict[str, Any]:
    properties = {field.name: _schema(field) for field in fields}
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def _schema(field: Field) -> dict[str, Any]:
    schema = _value(field)
    if field.shape:
        (size,) = field.shape
        schema = {"type": "array", "items": schema, "minItems": size if field.fill is None else 0, "maxItems": size}
    description = ", ".join(part for part in (field.description, field.unit) if part)
    return {**schema, "description": description} if description else schema


def _value(field: Field) -> dict[str, Any]:
    if field.is_time:
        return {"type": "string", "format": "date-time"}
    if field.is_binary:
        return {"type": "string", "contentEncoding": "base64"}
    bounds = (("minimum", field.minimum), ("maximum", field.maximum))
    return {**_TYPES[field.datatype], **{key: value for key, value in bounds if value is not None}}
