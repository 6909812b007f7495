"""Asynchronous requests: questions and answers of a use case as records of two topics of the event log.

`<usecase>.requests` holds `{"id": ..., "fields": {...}}`, one row each, with the fields of `/v1/<usecase>/predict`.
`<usecase>.answers` holds an Answer to each, at least once. The id makes it safe to ask again: a request whose id was
answered gets the same answer, marked `repeated`, and a reader that knows an id's answer already passes over another.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from bottega.errors import InvalidData, InvalidInput, Unavailable
from bottega.eventlog import EventLog
from bottega.serving.codec import json_reason
from bottega.serving.protocol import check_name
from bottega.serving.rows import check_id

READ_RECORDS = 1000
_WAIT_S = 0.5


class QueuedRequest(msgspec.Struct, frozen=True):
    """One row that is asked for; its fields are decoded by the version that answers."""

    id: str
    fields: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the request at `request_offset` of the requests' topic: an answer, or an `error`.

    `id` is the request's, None where the record had none that can be read. `repeated`: the id had this answer before.
    """

    id: str | None
    request_offset: int
    model_version: int | None = None
    answer: dict[str, Any] = {}
    units: dict[str, str] = {}
    error: str = ""
    repeated: bool = False


def requests_topic(usecase: str) -> str:
    """The topic that a use case's workers read."""
    return f"{check_name(usecase, 'use case')}.requests"


def answers_topic(usecase: str) -> str:
    """The topic that they answer into."""
    return f"{check_name(usecase, 'use case')}.answers"


def put(log: EventLog, usecase: str, fields: Mapping[str, object], request_id: str | None = None) -> str:
    """Append a request and return its id, a new one where none is given. Times are text with an offset."""
    request_id = uuid.uuid4().hex if request_id is None else check_id(request_id)
    log.append(requests_topic(usecase), [msgspec.json.encode({"id": request_id, "fields": fields})])
    return request_id


def ask(
    log: EventLog, usecase: str, fields: Mapping[str, object], request_id: str | None = None, timeout_s: float = 10.0
) -> Answer:
    """Append a request and wait for its answer; safe to call again with the same id. Raises Unavailable in time."""
    since = log.end(answers_topic(usecase))
    return wait(log, usecase, put(log, usecase, fields, request_id), since, timeout_s)


def wait(log: EventLog, usecase: str, request_id: str, since: int = 0, timeout_s: float = 10.0) -> Answer:
    """The first answer to a request at or after the offset `since` of the answers."""
    topic, until = answers_topic(usecase), time.monotonic() + timeout_s
    while True:
        left_s = until - time.monotonic()
        batch = log.read(topic, since, READ_RECORDS, max(0.0, min(left_s, _WAIT_S)))
        for record in batch.records:
            answer = decode_answer(topic, record)
            if answer.id == request_id:
                return answer
        since = batch.next
        if not batch and left_s <= 0:
            raise Unavailable(
                f"Request {request_id!r} has no answer after {timeout_s:g} s; it stays in the queue.",
                next_step=f"Start a worker: 'bottega queue work {usecase}'.",
            )


def decode_request(record: bytes) -> QueuedRequest:
    """A record of the requests' topic. Raises InvalidInput with the reason."""
    try:
        request = msgspec.json.decode(record, type=QueuedRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"The record is no request: {json_reason(error)}.", next_step='Append {"id": ..., "fields": {...}}.'
        ) from None
    check_id(request.id)
    return request


def decode_answer(topic: str, record: bytes) -> Answer:
    """A record of the answers' topic. Raises InvalidData for one that no worker wrote."""
    try:
        return msgspec.json.decode(record, type=Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidData(f"Topic {topic!r} has a record that is no answer: {json_reason(error)}.") from None
