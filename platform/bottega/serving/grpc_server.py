"""The Open Inference Protocol V2 over gRPC: the service's calls, answered from the same models as REST."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter, perf_counter_ns
from typing import Any

import grpc
import msgspec

from bottega import __version__
from bottega.errors import BottegaError, InvalidInput, Unavailable, Unsupported
from bottega.serving import v2
from bottega.serving.grpc_codec import decode_infer, encode_infer, parameters
from bottega.serving.inference import counting, encoded, infer
from bottega.serving.logs import ACCESS
from bottega.serving.models import Models
from bottega.serving.proto import SERVICE, message, methods
from bottega.serving.protocol import EXTENSIONS, check_name
from bottega.serving.tenants import Caller, Guard
from bottega.serving.trace import NO_TRACE, Trace, read_trace
from bottega.serving.web import MAX_BODY, Unauthorized

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_OPEN_CALLS = {"ServerLive", "ServerReady"}
_SERVER_CALLS = {"ServerMetadata"}
"""With any token."""
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_BODY),
    ("grpc.max_send_message_length", -1),
]
_FAILED = "The server failed on this request; its log says why."
_report = logging.getLogger("bottega.serving")
_access = logging.getLogger(ACCESS)

Call = Callable[..., Awaitable[Any]]


class GrpcService:
    """The calls of inference.GRPCInferenceService; the guard says to whom, the health calls to all."""

    def __init__(self, models: Models, is_ready: Callable[[], bool], guard: Guard) -> None:
        self._models, self._is_ready, self._guard = models, is_ready, guard

    def handler(self) -> grpc.GenericRpcHandler:
        """What a grpc server is given."""
        handlers = {}
        for name, given, answer, streams in methods():
            make = grpc.stream_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
            serve = self._streamed if streams else self._answered(name, getattr(self, f"_{_snake(name)}"))
            handlers[name] = make(
                serve, request_deserializer=_reader(given), response_serializer=answer.SerializeToString
            )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _answered(self, name: str, call: Call) -> Callable[[Any, Any], Awaitable[Any]]:
        async def serve(request: Any, context: Any) -> Any:
            began_s = perf_counter()
            trace = _trace_of(context)
            code, reason = grpc.StatusCode.OK, ""
            try:
                if self._guard and name not in _OPEN_CALLS:
                    caller = self._caller(context)
                    if name not in _SERVER_CALLS and request is not None:
                        caller.need(_model_of(name, request))
                if request is None:
                    raise InvalidInput(f"What was sent is no {name}Request.")
                return await (call(request, trace) if name == "ModelInfer" else call(request))
            except BottegaError as error:
                code, reason = _CODES.get(error.http_status, grpc.StatusCode.INTERNAL), str(error)[:2000]
            except Exception:  # noqa: BLE001  the edge of the process: logged, answered, and the server lives on
                _report.exception("%s failed", name, extra={"fields": trace.fields()})
                code, reason = grpc.StatusCode.INTERNAL, _FAILED
            finally:
                if _access.isEnabledFor(logging.INFO):
                    _note_access(name, code, perf_counter() - began_s, trace)
            await context.abort(code, reason)

        return serve

    def _caller(self, context: Any) -> Caller:
        given = (value for key, value in context.invocation_metadata() if key == "authorization")
        return self._guard.caller(str(next(given, "")))

    async def _streamed(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        answer = message("ModelStreamInferResponse")
        trace = _trace_of(context)
        caller = None
        if self._guard:
            try:
                caller = self._caller(context)
            except Unauthorized as error:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        async for request in requests:
            if request is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "What was sent is no ModelInferRequest.")
            try:
                if caller is not None:
                    caller.need(request.model_name)
                yield answer(infer_response=await self._model_infer(request, trace))
            except BottegaError as error:
                yield answer(error_message=str(error)[:2000], infer_response={"id": request.id})
            except Exception:  # noqa: BLE001  as above
                _report.exception("ModelStreamInfer failed", extra={"fields": trace.fields()})
                yield answer(error_message=_FAILED, infer_response={"id": request.id})

    async def _server_live(self, _: Any) -> Any:
        return message("ServerLiveResponse")(live=True)

    async def _server_ready(self, _: Any) -> Any:
        return message("ServerReadyResponse")(ready=self._is_ready())

    async def _model_ready(self, request: Any) -> Any:
        try:
            ready = bool(self._models.find(check_name(request.name), request.version or None))
        except Unavailable:
            ready = False
        return message("ModelReadyResponse")(ready=ready)

    async def _server_metadata(self, _: Any) -> Any:
        return message("ServerMetadataResponse")(name="bottega", version=__version__, extensions=EXTENSIONS)

    async def _model_metadata(self, request: Any) -> Any:
        found = self._models.metadata(check_name(request.name), request.version or None)
        return message("ModelMetadataResponse")(**msgspec.to_builtins(found))

    async def _model_infer(self, request: Any, trace: Trace) -> Any:
        received_ns = perf_counter_ns()
        model = self._models.find(check_name(request.model_name), request.model_version or None)
        with counting(model, received_ns):
            decoded, arrays = decode_infer(request)
            described = await infer(model, decoded, arrays, trace, received_ns)
            began_ns = perf_counter_ns()
            answer = encode_infer(described, bool(request.raw_input_contents))
        encoded(described, began_ns)
        return answer

    async def _model_config(self, request: Any) -> Any:
        config = v2.describe_config(self._models.find(check_name(request.name), request.version or None))
        return message("ModelConfigResponse")(config=config)

    async def _model_statistics(self, request: Any) -> Any:
        if not request.name:
            found = self._models.loaded()
        elif request.version:
            found = [self._models.find(check_name(request.name), request.version)]
        else:
            self._models.find(check_name(request.name))
            found = [model for model in self._models.loaded() if model.name == request.name]
        stats = [v2.describe_statistics(model) for model in found]
        return message("ModelStatisticsResponse")(model_stats=stats)

    async def _repository_index(self, request: Any) -> Any:
        entries = [msgspec.to_builtins(entry) for entry in self._models.index(request.ready)]
        return message("RepositoryIndexResponse")(models=entries)

    async def _repository_model_load(self, request: Any) -> Any:
        given = parameters(request.parameters)
        if given:
            raise Unsupported(f"A load request cannot bring {', '.join(sorted(given))[:100]}.")
        await self._models.load(check_name(request.model_name))
        return message("RepositoryModelLoadResponse")()

    async def _repository_model_unload(self, request: Any) -> Any:
        await self._models.unload(check_name(request.model_name))
        return message("RepositoryModelUnloadResponse")()


def open_grpc(service: GrpcService, host: str, port: int, shared: bool = False) -> tuple[Any, int]:
    """A server that is bound and not yet started, and its port, which replicas share.

    Raises Unavailable where the port cannot be had.
    """
    server = grpc.aio.server(options=[*_OPTIONS, ("grpc.so_reuseport", int(shared))])
    server.add_generic_rpc_handlers((service.handler(),))
    address = f"[{host}]" if ":" in host else host
    try:
        bound = server.add_insecure_port(f"{address}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise Unavailable(
            f"Cannot serve gRPC on {host}, port {port}.",
            next_step="Choose another port with --grpc-port, or stop the process that uses it.",
        )
    return server, bound


def _reader(given: Any) -> Callable[[bytes], Any]:
    """Reads a message; None where it is none, which the call then refuses."""
    from google.protobuf.message import DecodeError

    def read(content: bytes) -> Any:
        try:
            return given.FromString(content)
        except DecodeError:
            return None

    return read


def _trace_of(context: Any) -> Trace:
    """The ids in a call's metadata, which go back behind the answer."""
    trace = read_trace((key, value) for key, value in context.invocation_metadata() if isinstance(value, str))
    if trace is not NO_TRACE:
        context.set_trailing_metadata(trace.headers())
    return trace


def _note_access(name: str, code: grpc.StatusCode, duration_s: float, trace: Trace) -> None:
    fields = {
        "event": "request",
        "method": name,
        "status": code.name,
        "duration_ms": round(duration_s * 1e3, 3),
        **trace.fields(),
    }
    _access.info("%s %s", name, code.name, extra={"fields": fields})


def _model_of(name: str, request: Any) -> str | None:
    """The model that a call asks; None where it asks the whole server."""
    if name.startswith("Repository"):
        return None
    return (request.model_name if name == "ModelInfer" else request.name) or None


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
