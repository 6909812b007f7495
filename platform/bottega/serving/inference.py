"""One inference, whatever the transport: check the request, run it in a batch, note what became of it."""

import asyncio
from collections.abc import Coroutine
from time import perf_counter_ns
from typing import Any

import numpy as np

from bottega.errors import BottegaError, InvalidInput, Unsupported
from bottega.features.steps import Columns
from bottega.serving.codec import select_outputs
from bottega.serving.model import Described, Model, class_count, classify
from bottega.serving.protocol import InferRequest
from bottega.serving.trace import Trace

_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
_LATE = "the request's deadline"
_SHARED_MEMORY = "shared_memory_region"


class DeadlineExceeded(BottegaError):
    """The answer was not there within the time that the request allowed."""

    http_status = 504


class counting:
    """Count a request that ends with an error."""

    __slots__ = ("_model", "_received_ns")

    def __init__(self, model: Model, received_ns: int) -> None:
        self._model, self._received_ns = model, received_ns

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            self._model.metrics.error_count += 1
            self._model.statistics.failed(perf_counter_ns() - self._received_ns)


async def infer(
    model: Model, request: InferRequest, arrays: dict[str, np.ndarray], trace: Trace, received_ns: int
) -> Described:
    """Answer a decoded request that was received at `received_ns` (perf_counter)."""
    _refuse_unsupported(request)
    names = select_outputs(request.outputs, list(model.outputs))
    prepared = model.prepare(request, arrays, trace)
    parsed_ns = perf_counter_ns()
    model.metrics.stages["parse"].observe_ns(parsed_ns - received_ns)
    timeout_us = _timeout_us(request.parameters) if request.parameters else 0
    answering = model.answer(prepared)
    model, answers = await (_within(timeout_us, answering) if timeout_us else answering)
    model.answered(prepared, answers, received_ns)
    outputs = [(name, model.outputs[name], answers[name]) for name in names]
    if any(output.parameters for output in request.outputs):
        outputs = _classified(request, outputs)
    return Described(model, request.id, outputs, prepared.rows, received_ns, parsed_ns)


def encoded(described: Described, began_ns: int) -> None:
    """Note that an answer is encoded, which began at `began_ns`."""
    done_ns, model = perf_counter_ns(), described.model
    model.metrics.stages["encode"].observe_ns(done_ns - began_ns)
    model.metrics.stages["total"].observe_ns(done_ns - described.received_ns)
    model.statistics.succeeded(
        1,
        described.rows,
        done_ns - described.received_ns,
        described.parsed_ns - described.received_ns,
        done_ns - began_ns,
    )


def _refuse_unsupported(request: InferRequest) -> None:
    asked = [(t.name, t.parameters) for t in request.inputs] + [(t.name, t.parameters) for t in request.outputs]
    if not request.parameters and not any(parameters for _, parameters in asked):
        return
    if any(request.parameters.get(name) for name in _SEQUENCE):
        raise Unsupported("The request belongs to a sequence, and no model here keeps state between requests.")
    for name, parameters in asked:
        if _SHARED_MEMORY in parameters:
            raise Unsupported(f"{name!r} lies in shared memory.", next_step="Send the tensor in the request.")


def _timeout_us(parameters: dict[str, Any]) -> int:
    timeout_us = parameters.get("timeout", 0)
    if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or timeout_us < 0:
        raise InvalidInput(f"The parameter timeout is {timeout_us!r}; it is a number of microseconds.")
    return timeout_us


async def _within(timeout_us: int, answering: Coroutine[Any, Any, tuple[Model, Columns]]) -> tuple[Model, Columns]:
    """The answer, or DeadlineExceeded; without asyncio's timeouts, which need a task around them."""
    future = asyncio.ensure_future(answering)
    late = asyncio.get_running_loop().call_later(timeout_us * 1e-6, future.cancel, _LATE)
    try:
        return await future
    except asyncio.CancelledError as cancelled:
        if cancelled.args != (_LATE,):
            raise
        raise DeadlineExceeded(f"There was no answer within the {timeout_us} microseconds of the request.") from None
    finally:
        late.cancel()


def _classified(request: InferRequest, outputs: list[tuple[str, str, np.ndarray]]) -> list[tuple[str, str, np.ndarray]]:
    """The outputs, those as the best classes of which the request wants classes."""
    counts = {output.name: class_count(output) for output in request.outputs}
    found = []
    for name, datatype, array in outputs:
        if counts.get(name):
            if datatype == "BYTES":
                raise InvalidInput(f"Output {name!r} is text, of which there are no classes.")
            found.append((name, "BYTES", classify(array, counts[name])))
        else:
            found.append((name, datatype, array))
    return found
