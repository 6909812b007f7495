"""The server as one plain ASGI application: routes, errors and the token; no web framework."""

import logging
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from bottega import __version__
from bottega.errors import BottegaError, NotFound, Unsupported
from bottega.serving import openapi, v1, v2
from bottega.serving.compression import compressed, unpacked
from bottega.serving.express import Asker
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog
from bottega.serving.logs import ACCESS
from bottega.serving.metrics import Metrics
from bottega.serving.models import Models
from bottega.serving.places import Places
from bottega.serving.protocol import EXTENSIONS, ServerMetadata, check_name
from bottega.serving.replica import Replica
from bottega.serving.repository import Repository
from bottega.serving.status import Status, UseCaseStatus
from bottega.serving.tenants import Guard
from bottega.serving.web import (
    Disconnected,
    Headers,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    as_error,
    as_json,
    read_request,
    send_response,
)

_OPEN_PATHS = {"/v2/health/live", "/v2/health/ready"}
_report = logging.getLogger("bottega.serving")
_access = logging.getLogger(ACCESS)


@dataclass(frozen=True, slots=True)
class Route:
    """A model whose express lane is asked, and how many bytes of the body are JSON where not all are."""

    name: str
    version: str | None
    header_length: int | None


class App:
    """Answers HTTP requests from the live endpoints; the guard says to whom."""

    def __init__(
        self,
        live: LiveEndpoints,
        log: PredictionLog,
        metrics: Metrics,
        guard: Guard,
        repository: Repository | None = None,
        places: Places | None = None,
        replica: Replica | None = None,
    ) -> None:
        self._live = live
        self.models = Models(live, log, repository)
        self._log = log
        self.metrics = metrics
        self._guard, self._replica = guard, replica
        self._places = places
        self._started = time.monotonic()
        self._started_at = datetime.now(UTC)
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether everything that should answer does, and the server is not about to end."""
        return self.models.ready and not self.draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request over ASGI."""
        try:
            request = await read_request(scope, receive)
        except Disconnected:
            return
        await send_response(await self.respond(request), send)

    async def respond(self, request: Request) -> Response:
        """The answer to a request; every failure becomes a JSON answer."""
        began_s = time.perf_counter()
        request = request.traced()
        try:
            request.check_size()
            self._authorize(request)
            response = await self._route(unpacked(request))
        except BottegaError as error:
            response = as_error(error)
        except Exception as error:  # noqa: BLE001  the edge of the process: logged, answered, and the server lives on
            _report.exception("%s %s failed", request.method, request.path, extra={"fields": request.trace.fields()})
            response = as_error(error)
        if _access.isEnabledFor(logging.INFO):
            _note_access(request, response, time.perf_counter() - began_s)
        return compressed(response.traced(request.trace), request)

    def route(self, path: str, headers: Headers) -> Route | None:
        """What a POST with this head asks of an express lane; None where it has to be answered by `respond`."""
        wanted, request = v2.infer_target(path), Request("POST", path, headers)
        length = request.header(v2.HEADER_LENGTH)
        if wanted is None or request.header(b"content-encoding") or not _is_length(length):
            return None
        if _access.isEnabledFor(logging.INFO) or request.traced() is not request:
            return None  # the answer, or the log, needs more than a lane knows
        try:
            self._authorize(request)
        except BottegaError:
            return None
        return Route(*wanted, None if length is None else int(length))

    def take(self, route: Route, body: bytes, asker: Asker) -> bool:
        """Give a request to the express lane of the model that it asks; False where none takes it."""
        try:
            lane = self.models.find(route.name, route.version).lane
        except BottegaError:
            return False
        return lane is not None and lane.take(body, route.header_length, asker)

    def _authorize(self, request: Request) -> None:
        if self._guard and request.path not in _OPEN_PATHS:
            self._guard.caller(request.header(b"authorization") or "").need_path(request.path)

    async def _route(self, request: Request) -> Response:
        match request.path.removesuffix("/").split("/")[1:]:
            case ["v1", usecase, "predict"]:
                return await self._predict(usecase, request)
            case ["v1", "recommendations", "search"] if self._places is not None:
                return await self._places.answer(request)
            case ["v2", "models", "stats"]:
                request.need("GET")
                return as_json({"model_stats": [v2.describe_statistics(model) for model in self.models.loaded()]})
            case ["v2", "models", name, *rest]:
                return await self._model(check_name(name), rest, request)
            case ["v1", "log", "flush"]:
                request.need("POST")
                self._log.flush()
                return as_json(self._log.counts())
            case ["v2", "repository", *rest]:
                request.need("POST")
                return await self._repository(rest, request)
            case ["metrics"]:
                request.need("GET")
                text = self.own_metrics()
                text = text if self._replica is None else await self._replica.all_metrics(text)
                return Response(text, content_type=b"text/plain; version=0.0.4; charset=utf-8")
            case parts:
                request.need("GET")
                return self._read(parts, request)

    def _read(self, parts: list[str], request: Request) -> Response:
        match parts:
            case ["v2"]:
                return as_json(ServerMetadata("bottega", __version__, EXTENSIONS))
            case ["v2", "health", "live"]:
                return as_json({"live": True})
            case ["v2", "health", "ready"]:
                return as_json({"ready": self.ready}, 200 if self.ready else 503)
            case ["v2", ("systemsharedmemory" | "cudasharedmemory" | "trace" | "logging") as what, *_]:
                raise Unsupported(f"This server has no {what} extension.", next_step="GET /v2 lists what it has.")
            case ["v1", "status"]:
                return as_json(self._status())
            case ["v1", usecase]:
                return v1.describe(self._live.get(check_name(usecase, "use case")))
            case ["openapi.json"]:
                return as_json(
                    openapi.describe(self._live.endpoints.values(), [one.name for one in self.models.loaded()])
                )
        raise NotFound(f"There is nothing at {request.path[:200]!r}.", next_step="See /openapi.json.")

    def own_metrics(self) -> bytes:
        """What Prometheus reads of this process."""
        return self.metrics.text(self._log.counts(), self._live.services.counts(), self._live.roles())

    async def _predict(self, usecase: str, request: Request) -> Response:
        request.need("POST")
        traffic = self._live.find(check_name(usecase, "use case"))
        with traffic.champion.metrics.counting_errors():
            return await v1.predict(traffic, request, self._log)

    async def _model(self, name: str, rest: list[str], request: Request) -> Response:
        version = None
        if rest[:1] == ["versions"] and len(rest) > 1:
            version, rest = check_name(rest[1], "version"), rest[2:]
        if rest == ["infer"]:
            request.need("POST")
            return await v2.infer(self.models.find(name, version), request)
        request.need("GET")
        match rest:
            case []:
                return as_json(self.models.metadata(name, version))
            case ["ready"]:
                return as_json({"name": name, "ready": bool(self.models.find(name, version))})
            case ["config"]:
                return as_json(v2.describe_config(self.models.find(name, version)))
            case ["stats"]:
                wanted = self.models.find(name, version)
                found = [wanted] if version else [one for one in self.models.loaded() if one.name == name]
                return as_json({"model_stats": [v2.describe_statistics(model) for model in found]})
        raise NotFound(f"There is nothing at {request.path[:200]!r}.", next_step="See /v2.")

    async def _repository(self, rest: list[str], request: Request) -> Response:
        match rest:
            case ["index"]:
                return as_json(self.models.index(v2.wants_ready(request.body)))
            case ["models", name, "load"]:
                v2.refuse_override(request.body)
                await self.models.load(check_name(name))
                return as_json({})
            case ["models", name, "unload"]:
                await self.models.unload(check_name(name))
                return as_json({})
        raise NotFound(f"There is nothing at {request.path[:200]!r}.", next_step="See /v2.")

    def _status(self) -> Status:
        return Status(
            os.getpid(),
            self._started_at.isoformat(),
            round(time.monotonic() - self._started, 3),
            self._live.ready and not self.draining,
            {
                name: UseCaseStatus(
                    traffic.champion.version, **traffic.champion.metrics.summary(), roles=traffic.describe()
                )
                for name, traffic in self._live.traffic.items()
            },
            self._live.failures,
            self._log.counts(),
            server_version=__version__,
            replica=None if self._replica is None else self._replica.number,
        )


def _is_length(text: str | None) -> bool:
    return text is None or (len(text) < 12 and text.isascii() and text.isdigit())


def _note_access(request: Request, response: Response, duration_s: float) -> None:
    fields = {
        "event": "request",
        "method": request.method,
        "path": request.path[:200],
        "status": response.status,
        "duration_ms": round(duration_s * 1e3, 3),
        "bytes_in": request.size,
        "bytes_out": len(response.body),
        **request.trace.fields(),
    }
    _access.info("%s %s %d", request.method, request.path[:200], response.status, extra={"fields": fields})
