"""The OpenAPI page: every route of the server, with those of the use cases that are live."""

from collections.abc import Iterable, Sequence
from typing import Any

from bottega import __version__
from bottega.serving import openapi_schemas as schemas
from bottega.serving.endpoint import Endpoint
from bottega.serving.openapi_schemas import REFERENCE, Schema
from bottega.serving.places import PARAMETERS, REPEATED

NAME = r"^(?!.*\.\.)[A-Za-z0-9_.-]{1,128}$"
_LOAD = {"type": "object", "properties": {"parameters": {"type": "object", "maxProperties": 0}}}
_INDEX = {"type": "object", "properties": {"ready": {"type": "boolean"}}}


def describe(endpoints: Iterable[Endpoint], models: Iterable[str] = ()) -> dict[str, Any]:
    """The OpenAPI 3.1 document; `models` are the names that the protocol's routes know."""
    live = list(endpoints)
    paths: dict[str, Any] = {**_server(), **_models(sorted(set(models))), **_repository(), **_own()}
    for endpoint in live:
        path = f"/v1/{endpoint.usecase}"
        about = f"The fields of {endpoint.usecase}, the ids that exist, an example."
        paths[path] = {"get": _operation(about, schemas.description([endpoint]))}
        paths[f"{path}/predict"] = {"post": _predict(endpoint)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Bottega", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas.components(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _server() -> dict[str, Any]:
    ready = _operation("Whether everything that should answer does.", "Ready")
    ready["responses"]["503"] = _answer("Something does not, or the server is about to end.", "Ready")
    return {
        "/v2": {"get": _operation("The server and its extensions.", "ServerMetadata")},
        "/v2/health/live": {"get": _operation("Whether the server lives.", "Live")},
        "/v2/health/ready": {"get": ready},
        "/v2/models/stats": {"get": _operation("What became of the requests of all models.", "Statistics")},
    }


def _models(names: Sequence[str]) -> dict[str, Any]:
    model = _in_path("model", {"type": "string", "pattern": NAME}, names)
    version = _in_path("version", {"type": "string", "pattern": NAME}, ["1"])
    paths: dict[str, Any] = {}
    for path, parameters in (
        ("/v2/models/{model}", [model]),
        ("/v2/models/{model}/versions/{version}", [model, version]),
    ):
        for rest, summary, answer in (
            ("", "A model's tensors and versions.", "ModelMetadata"),
            ("/ready", "Whether a model answers.", "ModelReady"),
            ("/config", "A model's configuration.", "ModelConfig"),
            ("/stats", "What became of a model's requests.", "Statistics"),
        ):
            paths[path + rest] = {"get": _operation(summary, answer, parameters)}
        infer = _operation(
            "Tensors in, tensors out; also as binary tensors.", "InferResponse", parameters, "InferRequest"
        )
        infer["responses"]["200"]["content"]["application/octet-stream"] = {"schema": {}}
        infer["responses"]["504"] = _answer("No answer within the request's own `timeout`.", "Error")
        paths[f"{path}/infer"] = {"post": infer}
    return paths


def _repository() -> dict[str, Any]:
    model = _in_path("model", {"type": "string", "pattern": NAME}, [])
    index = _operation("Every model and version with its state.", "Index", body=_INDEX, required=False)
    paths: dict[str, Any] = {"/v2/repository/index": {"post": index}}
    for deed in ("load", "unload"):
        about = f"{deed.capitalize()} a plain model, where clients may (--model-control explicit)."
        operation = _operation(about, "Empty", [model], _LOAD, required=False)
        paths[f"/v2/repository/models/{{model}}/{deed}"] = {"post": operation}
    return paths


def _own() -> dict[str, Any]:
    metrics = _operation("Figures for Prometheus.", {"type": "string"})
    metrics["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/v1/status": {"get": _operation("What is live in which role, how much it answered, how fast.", "Status")},
        "/v1/log/flush": {"post": _operation("Write the prediction log's buffer now.", "LogCounts")},
        "/v1/recommendations/search": {"get": _search()},
        "/openapi.json": {"get": _operation("This page.", {"type": "object"})},
        "/metrics": {"get": metrics},
    }


def _search() -> dict[str, Any]:
    operation = _operation("Find places to eat; the fields in a JSON body by POST.", {"type": "object"})
    repeated = schemas.listed(schemas.TEXT)
    operation["parameters"] = [
        {"name": name, "in": "query", "description": about, "schema": repeated if name in REPEATED else schemas.TEXT}
        for name, about in PARAMETERS.items()
    ]
    return operation


def _predict(endpoint: Endpoint) -> dict[str, Any]:
    parameters = [
        {
            "name": "explain",
            "in": "query",
            "schema": {"type": "boolean"},
            "description": "As in the body, and before it.",
        },
        {"name": "x-bottega-log", "in": "header", "schema": {"enum": ["on", "off"]}, "description": "off: not logged."},
        {"name": "x-request-id", "in": "header", "schema": schemas.ID},
    ]
    about = f"Predict with {endpoint.usecase}."
    return _operation(about, schemas.answer(endpoint), parameters, schemas.request(endpoint))


def _operation(
    summary: str,
    answer: str | Schema,
    parameters: Sequence[Schema] = (),
    body: str | Schema | None = None,
    required: bool = True,
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": _answer("The answer.", answer),
            "4XX": _answer("The request is wrong; `error` says why and what to do.", "Error"),
        },
    }
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": _schema(body)}}}
    return operation


def _answer(text: str, schema: str | Schema) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _schema(schema)}}}


def _schema(schema: str | Schema) -> Schema:
    return {"$ref": REFERENCE + schema} if isinstance(schema, str) else schema


def _in_path(name: str, schema: Schema, examples: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {**schema, "examples": list(examples)}}
