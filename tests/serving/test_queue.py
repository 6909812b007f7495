"""The queue: every request gets its answer, whatever is killed and however often it is asked."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC

import msgspec
import numpy as np
import pytest

from bottega.compile.runtime import Artifact
from bottega.errors import InvalidData, InvalidInput, NotFound, Unavailable
from bottega.eventlog import EventLog, open_log
from bottega.features.steps import Columns
from bottega.serving import deployment, queue
from bottega.serving.log import read_predictions
from bottega.serving.queue import Answer
from bottega.serving.queue_worker import Worked, work
from bottega.times import from_epoch_us
from bottega.workspace import Workspace

Rows = Callable[[int], Columns]
Load = Callable[[Workspace, int], Artifact]
Fresh = Callable[[], Workspace]


def fields_of(columns: Columns, row: int) -> dict[str, object]:
    at = from_epoch_us(int(columns["at"][row])).astimezone(UTC).isoformat()
    return {"pu_zone": int(columns["pu_zone"][row]), "do_zone": int(columns["do_zone"][row]), "at": at}


def put_all(log: EventLog, columns: Columns) -> list[str]:
    ids = [f"request {row}" for row in range(len(columns["at"]))]
    records = [{"id": ids[row], "fields": fields_of(columns, row)} for row in range(len(ids))]
    log.append("eta.requests", [msgspec.json.encode(each) for each in records])
    return ids


def answers_in(log: EventLog) -> list[Answer]:
    found, offset = [], 0
    while batch := log.read("eta.answers", offset, 1000):
        found += [queue.decode_answer("eta.answers", content) for content in batch.records]
        offset = batch.next
    return found


def work_off(workspace: Workspace, log: EventLog, **options: int) -> Worked:
    return asyncio.run(work(workspace, log, "eta", asyncio.Event(), until_empty=True, **options))


@pytest.fixture
def workspace(fresh: Fresh) -> Workspace:
    return fresh()


@pytest.fixture
def log(workspace: Workspace) -> Iterator[EventLog]:
    with open_log(workspace.events) as opened:
        yield opened


def test_requests_are_answered_as_the_artefact_answers_and_logged(
    workspace: Workspace, log: EventLog, load: Load, some_rows: Rows
) -> None:
    columns = some_rows(600)
    ids = put_all(log, columns)
    assert work_off(workspace, log) == Worked(answered=600)
    found = answers_in(log)
    assert [answer.id for answer in found] == ids
    assert [answer.request_offset for answer in found] == list(range(600))
    assert {answer.model_version for answer in found} == {1}
    wanted = load(workspace, 1).predict(columns)
    for name in ("eta_min", "low_min", "high_min"):
        given = np.array([answer.answer[name] for answer in found], np.float32)
        np.testing.assert_array_equal(given, wanted[name].astype(np.float32))
    assert found[0].units["eta_min"] == "minutes"
    assert log.committed("eta.worker", "eta.requests") == 600
    assert sorted(read_predictions(workspace, "eta")["request_id"]) == sorted(ids)


def test_bad_requests_are_answered_with_their_error(workspace: Workspace, log: EventLog, some_rows: Rows) -> None:
    good = fields_of(some_rows(1), 0)
    bad = [
        (b"not json", None, "The record is no request"),
        (b"\xff", None, "The record is no request"),
        (b"[" * 5000, None, "The record is no request"),
        (b'{"id": 5, "fields": {}}', None, "Expected `str`"),
        (b'{"id": "", "fields": {}}', None, "is not 1 to 128 printable characters"),
        (b'{"id": "a"}', None, "missing required field `fields`"),
        (b'{"id": "b", "fields": []}', "b", "not a JSON object"),
        (b'{"id": "c", "fields": {"rows": [%s]}}' % msgspec.json.encode(good), "c", "Append one request a row."),
        (msgspec.json.encode({"id": "d", "fields": {**good, "pu_zone": 7}}), "d", "pu_zone 7 is unknown"),
        (msgspec.json.encode({"id": "e", "fields": {**good, "fare": 7}}), "e", "'fare' is no field"),
    ]
    log.append("eta.requests", [content for content, _, _ in bad])
    queue.put(log, "eta", good, "good")
    assert work_off(workspace, log) == Worked(answered=1, refused=len(bad))
    *errors, last = answers_in(log)
    for answer, (_, request_id, reason) in zip(errors, bad, strict=True):
        assert answer.id == request_id
        assert reason in answer.error
        assert answer.answer == {}
    assert last.id == "good"
    assert not last.error


def test_a_repeated_id_gets_the_same_answer_marked(workspace: Workspace, log: EventLog, some_rows: Rows) -> None:
    first, other = fields_of(some_rows(2), 0), fields_of(some_rows(2), 1)
    for fields in (first, first):
        queue.put(log, "eta", fields, "a")
    queue.put(log, "eta", other, "b")
    assert work_off(workspace, log) == Worked(answered=2, repeated=1)
    deployment.deploy(workspace, "eta", 2, "ten times as many minutes")
    queue.put(log, "eta", first, "a")
    queue.put(log, "eta", first, "c")
    assert work_off(workspace, log) == Worked(answered=1, repeated=1)
    one, again, _, later, new = answers_in(log)
    assert (one.repeated, again.repeated, later.repeated) == (False, True, True)
    assert one.answer == again.answer == later.answer != new.answer
    assert (one.model_version, later.model_version, new.model_version) == (1, 1, 2)


def test_a_refused_request_may_be_corrected_under_its_id(workspace: Workspace, log: EventLog, some_rows: Rows) -> None:
    good = fields_of(some_rows(1), 0)
    queue.put(log, "eta", {**good, "pu_zone": 7}, "a")
    work_off(workspace, log)
    queue.put(log, "eta", good, "a")
    work_off(workspace, log)
    refused, answered = answers_in(log)
    assert refused.error
    assert answered.answer
    assert not answered.repeated


def test_ids_beyond_the_memory_are_answered_anew(workspace: Workspace, log: EventLog, some_rows: Rows) -> None:
    columns = some_rows(30)
    put_all(log, columns)
    work_off(workspace, log, remembered=10)
    queue.put(log, "eta", fields_of(columns, 0), "request 0")
    queue.put(log, "eta", fields_of(columns, 25), "request 25")
    assert work_off(workspace, log, remembered=10) == Worked(answered=1, repeated=1)


def test_answers_without_a_commit_are_not_given_again(workspace: Workspace, log: EventLog, some_rows: Rows) -> None:
    put_all(log, some_rows(40))
    work_off(workspace, log)
    log.commit("eta.worker", "eta.requests", 0)  # as if it had been killed before every commit
    assert work_off(workspace, log) == Worked()
    assert len(answers_in(log)) == 40
    assert log.committed("eta.worker", "eta.requests") == 40


@contextmanager
def worker(workspace: Workspace) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "bottega.cli", "-w", str(workspace.root), "queue", "work", "eta", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(met: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not met():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_nothing_is_lost_when_workers_are_killed(
    workspace: Workspace, log: EventLog, load: Load, some_rows: Rows
) -> None:
    columns = some_rows(6000)
    ids = put_all(log, columns)
    for part in (300, 1500):
        with worker(workspace) as process:
            wait_for(lambda: log.end("eta.answers") >= part)  # noqa: B023  called at once
            os.kill(process.pid, signal.SIGKILL)
    work_off(workspace, log)
    first: dict[str | None, Answer] = {}
    for answer in answers_in(log):
        first.setdefault(answer.id, answer)
        assert answer.answer == first[answer.id].answer
    assert set(first) == set(ids)
    given = np.array([first[request_id].answer["eta_min"] for request_id in ids], np.float32)
    np.testing.assert_array_equal(given, load(workspace, 1).predict(columns)["eta_min"].astype(np.float32))
    assert log.committed("eta.worker", "eta.requests") == 6000


def test_a_worker_answers_while_it_runs_follows_the_deployments_and_ends_on_sigterm(
    workspace: Workspace, log: EventLog, some_rows: Rows
) -> None:
    fields = fields_of(some_rows(1), 0)
    with worker(workspace) as process:
        before = queue.ask(log, "eta", fields, timeout_s=60)
        deployment.deploy(workspace, "eta", 2, "newer")
        after = queue.ask(log, "eta", fields, timeout_s=60)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait(60) == 0
    assert before.model_version == 1
    assert after.model_version == 2
    assert msgspec.json.decode(said, type=Worked) == Worked(answered=2)


def test_a_worker_without_a_live_version_leaves_the_requests(
    workspace: Workspace, log: EventLog, some_rows: Rows
) -> None:
    put_all(log, some_rows(3))
    kept = workspace.deployments.read_bytes()
    workspace.deployments.unlink()
    with pytest.raises(NotFound, match="No model 'eta' is live"):
        work_off(workspace, log)
    workspace.deployments.write_bytes(kept)
    assert work_off(workspace, log) == Worked(answered=3)


def test_asking_without_a_worker_says_so(log: EventLog) -> None:
    with pytest.raises(Unavailable, match=r"has no answer after 0\.05 s; it stays in the queue\. Start a worker"):
        queue.ask(log, "eta", {}, timeout_s=0.05)
    with pytest.raises(InvalidInput, match="printable characters"):
        queue.put(log, "eta", {}, "a\n")


def test_a_foreign_record_among_the_answers_is_refused(workspace: Workspace, log: EventLog, some_rows: Rows) -> None:
    log.append("eta.answers", [b"{}"])
    put_all(log, some_rows(1))
    with pytest.raises(InvalidData, match="no answer"):
        work_off(workspace, log)


def test_the_command_line_asks(workspace: Workspace, log: EventLog) -> None:
    command = [sys.executable, "-m", "bottega.cli", "-w", str(workspace.root), "queue"]
    row = ["pu_zone=3", "do_zone=4", "at=2024-01-16T08:30"]
    put = subprocess.run(
        [*command, "ask", "eta", *row, "--id", "a", "--timeout", "0", "--json"], check=True, capture_output=True
    )
    assert msgspec.json.decode(put.stdout) == {"id": "a"}
    subprocess.run([*command, "work", "eta", "--until-empty"], check=True, capture_output=True)
    (answer,) = answers_in(log)
    assert answer.id == "a"
    assert answer.answer["eta_min"] > 0
