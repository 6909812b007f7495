"""The worker of a use case's queue: reads requests, answers them by what is live, appends, and only then commits.

The answers' topic is its memory: what it finds there under a request's id is the answer. So a worker that was killed
between append and commit goes on without answering again, and nothing is lost, since it commits last. Two workers of
one use case do no harm and are of no use: each answers everything.
"""

import asyncio
import logging
from collections import OrderedDict
from time import perf_counter_ns

import msgspec

from bottega.errors import InvalidInput, Unavailable
from bottega.eventlog import Batch, EventLog
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog
from bottega.serving.metrics import Metrics
from bottega.serving.queue import (
    READ_RECORDS,
    Answer,
    QueuedRequest,
    answers_topic,
    decode_answer,
    decode_request,
    requests_topic,
)
from bottega.serving.rows import decode_rows, to_list
from bottega.serving.traffic import Traffic
from bottega.serving.v1 import record
from bottega.workspace import Workspace

REMEMBERED = 100_000
"""Ids whose answers a worker knows; an id that is older is answered anew."""
BATCH_ROWS = 256
WAIT_S = 0.5
_report = logging.getLogger("bottega.serving")


class Worked(msgspec.Struct, frozen=True):
    """What a worker did: requests answered, those that got an error, and those whose id had an answer before."""

    answered: int = 0
    refused: int = 0
    repeated: int = 0


class Memory:
    """The last answers of a topic by their ids, errors left out: a request may be corrected under its id."""

    def __init__(self, log: EventLog, topic: str, limit: int) -> None:
        self._log, self._topic, self._limit = log, topic, limit
        self._next = max(log.begin(topic), log.end(topic) - limit)
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def catch_up(self) -> None:
        """Read what was appended since the last time, by whomever."""
        while batch := self._log.read(self._topic, self._next, READ_RECORDS):
            self._next = batch.next
            for content in batch.records:
                answer = decode_answer(self._topic, content)
                if answer.id is not None and not answer.error:
                    self._answers.setdefault(answer.id, answer)
        while len(self._answers) > self._limit:
            self._answers.popitem(last=False)

    def get(self, request_id: str) -> Answer | None:
        """The first answer that an id got."""
        return self._answers.get(request_id)


async def work(
    workspace: Workspace,
    log: EventLog,
    usecase: str,
    stop: asyncio.Event,
    *,
    until_empty: bool = False,
    remembered: int = REMEMBERED,
) -> Worked:
    """Answer a use case's requests until `stop` is set or, with `until_empty`, none is left.

    By the champion, the canary and the shadow that the deployments name at that moment, into the prediction log too.
    Raises NotFound or Unavailable where no version answers; the requests then stay for the next worker.
    """
    predictions = PredictionLog(workspace.predictions)
    live = LiveEndpoints(workspace, Metrics(), predictions)
    topic, reader = requests_topic(usecase), f"{usecase}.worker"
    memory = Memory(log, answers_topic(usecase), remembered)
    worked = Worked()
    offset = log.committed(reader, topic)
    try:
        await live.refresh()
        while not stop.is_set():
            live.find(usecase)
            batch = await asyncio.to_thread(log.read, topic, offset, BATCH_ROWS, 0.0 if until_empty else WAIT_S)
            await live.refresh()
            if not batch:
                if until_empty:
                    break
                continue
            memory.catch_up()
            answers = await _answer(live.find(usecase), batch, memory, predictions)
            log.append(answers_topic(usecase), [msgspec.json.encode(answer) for answer in answers])
            offset = batch.next
            log.commit(reader, topic, offset)
            worked = _count(worked, answers)
    finally:
        for each in live.traffic.values():
            each.close()
        await asyncio.to_thread(predictions.close)
    return worked


async def _answer(traffic: Traffic, batch: Batch, memory: Memory, predictions: PredictionLog) -> list[Answer]:
    """The answers to a batch in its order; none to a request that this topic has one to already."""
    answers: list[Answer] = []
    asking: dict[str, asyncio.Task[Answer]] = {}
    repeats: list[tuple[str, int]] = []
    for offset, content in zip(batch.offsets, batch.records, strict=True):
        try:
            request = decode_request(content)
        except InvalidInput as error:
            answers.append(Answer(None, offset, error=str(error)))
            continue
        known = memory.get(request.id)
        if known is None and request.id not in asking:
            asking[request.id] = asyncio.create_task(_predict(traffic, request, offset, predictions))
        elif known is None:
            repeats.append((request.id, offset))
        elif known.request_offset != offset:
            answers.append(msgspec.structs.replace(known, request_offset=offset, repeated=True))
    found = dict(zip(asking, await asyncio.gather(*asking.values()), strict=True))
    answers += found.values()
    answers += (msgspec.structs.replace(found[name], request_offset=at, repeated=True) for name, at in repeats)
    return sorted(answers, key=lambda answer: answer.request_offset)


async def _predict(traffic: Traffic, request: QueuedRequest, offset: int, predictions: PredictionLog) -> Answer:
    """The answer to one request, or its error; requests of a batch reach the model together."""
    received_ns, plan = perf_counter_ns(), traffic.champion.plan
    try:
        rows = decode_rows(bytes(request.fields), plan)
        if not rows.single:
            raise InvalidInput("The request has 'rows'.", next_step="Append one request a row.")
        traffic.champion.check(rows.columns)
        endpoint, role, answers = await traffic.answer(rows.columns, (request.id,))
    except InvalidInput as error:
        return Answer(request.id, offset, error=str(error))
    except Unavailable:
        raise  # for now: nothing of this batch is committed
    except Exception:  # noqa: BLE001  one request must not hold up all that come after it
        _report.exception("Request %r at offset %d failed", request.id, offset)
        return Answer(request.id, offset, error="The worker failed on this request; its log says why.")
    record(endpoint, (request.id,), rows.columns, answers, received_ns, predictions, role)
    values = {field.name: to_list(answers[field.name])[0] for field in endpoint.plan.answer}
    units = {field.name: field.unit for field in endpoint.plan.answer if field.unit}
    return Answer(request.id, offset, endpoint.version, values, units)


def _count(worked: Worked, answers: list[Answer]) -> Worked:
    refused = sum(bool(answer.error) for answer in answers)
    repeated = sum(answer.repeated for answer in answers)
    return Worked(
        worked.answered + len(answers) - refused - repeated, worked.refused + refused, worked.repeated + repeated
    )
