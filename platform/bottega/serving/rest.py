"""The server as one plain ASGI application: routes, errors and the token; no web framework."""

import hmac
import logging
import os
import time
from datetime import UTC, datetime
from typing import Any

from bottega import __version__
from bottega.errors import BottegaError, NotFound
from bottega.serving import openapi, v1, v2
from bottega.serving.endpoint import RAW_SUFFIX, Endpoint
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog
from bottega.serving.metrics import Metrics
from bottega.serving.protocol import IndexEntry, ServerMetadata, check_name
from bottega.serving.web import (
    Disconnected,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    Unauthorized,
    UnknownEncoding,
    as_error,
    as_json,
    read_request,
    send_response,
)

_EXTENSIONS = ["model_repository", "binary_tensor_data"]
_OPEN_PATHS = {"/v2/health/live", "/v2/health/ready"}
_report = logging.getLogger("bottega.serving")


class App:
    """Answers HTTP requests from the live endpoints; `token`, where given, must come with each request."""

    def __init__(self, live: LiveEndpoints, log: PredictionLog, metrics: Metrics, token: str = "") -> None:
        self._live = live
        self._log = log
        self._metrics = metrics
        self._token = token.encode()
        self._started = time.monotonic()
        self._started_at = datetime.now(UTC)
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every failure becomes a JSON answer."""
        try:
            request = await read_request(scope, receive)
            self._authorize(request)
            response = await self._route(request)
        except Disconnected:
            return
        except BottegaError as error:
            response = as_error(error)
        except Exception as error:  # noqa: BLE001  the edge of the process: logged, answered, and the server lives on
            _report.exception("%s %s failed", scope.get("method"), scope.get("path"))
            response = as_error(error)
        await send_response(response, send)

    def _authorize(self, request: Request) -> None:
        if not self._token or request.path in _OPEN_PATHS:
            return
        scheme, _, given = (request.header(b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            raise Unauthorized("The request carries no valid token.", next_step="Send 'Authorization: Bearer <token>'.")

    async def _route(self, request: Request) -> Response:
        encoding = request.header(b"content-encoding")
        if encoding and encoding != "identity":
            raise UnknownEncoding(
                f"The content encoding {encoding[:40]!r} is not understood.", next_step="Send it plain."
            )
        match request.path.removesuffix("/").split("/")[1:]:
            case ["v1", usecase, "predict"]:
                return await self._predict(usecase, request)
            case ["v2", "models", name, *rest]:
                return await self._model(check_name(name), rest, request)
            case ["v1", "log", "flush"]:
                request.need("POST")
                self._log.flush()
                return as_json(self._log.counts())
            case ["v2", "repository", "index"]:
                request.need("POST")
                return as_json(self._index())
            case parts:
                request.need("GET")
                return self._read(parts, request)

    def _read(self, parts: list[str], request: Request) -> Response:
        match parts:
            case ["v2"]:
                return as_json(ServerMetadata("bottega", __version__, _EXTENSIONS))
            case ["v2", "health", "live"]:
                return as_json({"live": True})
            case ["v2", "health", "ready"]:
                ready = self._live.ready and not self.draining
                return as_json({"ready": ready}, 200 if ready else 503)
            case ["v1", "status"]:
                return as_json(self._status())
            case ["v1", usecase]:
                return v1.describe(self._live.get(check_name(usecase, "use case")))
            case ["openapi.json"]:
                return as_json(openapi.describe(self._live.endpoints.values()))
            case ["metrics"]:
                text = self._metrics.text(self._log.counts(), self._live.services.counts())
                return Response(text, content_type=b"text/plain; version=0.0.4; charset=utf-8")
        raise NotFound(f"There is nothing at {request.path[:200]!r}.", next_step="See /openapi.json.")

    async def _predict(self, usecase: str, request: Request) -> Response:
        request.need("POST")
        endpoint = self._live.get(check_name(usecase, "use case"))
        with endpoint.metrics.counting_errors():
            return await v1.predict(endpoint, request, self._log)

    async def _model(self, name: str, rest: list[str], request: Request) -> Response:
        version = None
        if rest[:1] == ["versions"] and len(rest) > 1:
            version, rest = check_name(rest[1], "version"), rest[2:]
        if rest not in ([], ["ready"], ["infer"]):
            raise NotFound(f"There is nothing at {request.path[:200]!r}.", next_step="See /v2.")
        request.need("POST" if rest == ["infer"] else "GET")
        endpoint, raw = self._find(name, version)
        if rest == ["ready"]:
            return as_json({"name": name, "ready": True})
        if not rest:
            return as_json(endpoint.raw_metadata() if raw else endpoint.metadata())
        with (endpoint.raw_metrics if raw else endpoint.metrics).counting_errors():
            if raw:
                return await v2.infer_raw(endpoint, name, request)
            return await v2.infer(endpoint, request, self._log)

    def _find(self, name: str, version: str | None) -> tuple[Endpoint, bool]:
        """The endpoint behind a model's name, and whether it is the raw view."""
        usecase = name.removesuffix(RAW_SUFFIX)
        if usecase != name and name not in self._live.endpoints and usecase in self._live.endpoints:
            return self._live.get(usecase, version), True
        return self._live.get(name, version), False

    def _index(self) -> list[IndexEntry]:
        entries = []
        for usecase, endpoint in self._live.endpoints.items():
            for name in (usecase, usecase + RAW_SUFFIX):
                entries.append(IndexEntry(name, str(endpoint.version), "READY", ""))
        for usecase, reason in self._live.failures.items():
            if usecase not in self._live.endpoints:
                entries.append(IndexEntry(usecase, "", "UNAVAILABLE", reason))
        return entries

    def _status(self) -> dict[str, Any]:
        return {
            "server": "bottega",
            "server_version": __version__,
            "pid": os.getpid(),
            "started_at": self._started_at.isoformat(),
            "uptime_s": round(time.monotonic() - self._started, 3),
            "ready": self._live.ready and not self.draining,
            "usecases": {
                name: {"model_version": endpoint.version, **endpoint.metrics.summary()}
                for name, endpoint in self._live.endpoints.items()
            },
            "failures": self._live.failures,
            "prediction_log": self._log.counts(),
        }
