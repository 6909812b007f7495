import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bottega.errors import Conflict, InvalidData, NotFound, StorageError
from bottega.monitoring.alerts import Alert, Evidence, acknowledge, alerts_file, raise_alert, read_alerts, resolve
from bottega.monitoring.detection import Detection

NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)


def alert(version: int = 1, usecase: str = "eta") -> Alert:
    return Alert(
        id="",
        usecase=usecase,
        model_version=version,
        status="open",
        noticed_at=NOON + timedelta(days=1),
        detection=Detection("cusum", NOON, NOON - timedelta(hours=9), "below", 41.0, 40.0, -0.25),
        evidence=Evidence(3.1, 5.2, 2.9, 1200, -0.22, 8.5),
        explanation="Since noon the typical trip is 22 % shorter.",
        next_step="bottega train eta --from 2024-03-04T03:00:00+00:00 --until 2024-03-08T00:00:00+00:00",
    )


def test_an_alert_is_kept_word_for_word(workspace):
    raised = raise_alert(workspace, alert())
    assert raised == msgspec.structs.replace(alert(), id="eta-1")
    assert read_alerts(workspace, "eta") == (raised,)
    assert read_alerts(workspace, "demand") == ()


def test_the_same_trouble_is_one_alert(workspace):
    first = raise_alert(workspace, alert())
    assert raise_alert(workspace, alert()) == first
    acknowledge(workspace, "eta", "eta-1", NOON)
    assert raise_alert(workspace, alert()).status == "acknowledged"
    assert len(read_alerts(workspace, "eta")) == 1


def test_a_promotion_resolves_the_alerts_of_earlier_versions(workspace):
    raise_alert(workspace, alert(1))
    raise_alert(workspace, alert(2))
    ended = resolve(workspace, "eta", 2, NOON)
    assert [(a.model_version, a.status, a.resolved_by, a.resolved_at) for a in ended] == [(1, "resolved", 2, NOON)]
    assert [a.status for a in read_alerts(workspace, "eta")] == ["resolved", "open"]
    assert resolve(workspace, "eta", 2, NOON) == ()
    assert raise_alert(workspace, alert(1)).id == "eta-3"  # the old version in trouble again is news


def test_acknowledging_names_what_is_wrong(workspace):
    raise_alert(workspace, alert())
    with pytest.raises(NotFound, match=r"'eta-7'\. It has eta-1"):
        acknowledge(workspace, "eta", "eta-7", NOON)
    resolve(workspace, "eta", 2, NOON)
    with pytest.raises(Conflict, match="version 2"):
        acknowledge(workspace, "eta", "eta-1", NOON)


def test_a_full_disk_leaves_the_old_file(workspace, monkeypatch):
    raise_alert(workspace, alert(1))
    before = alerts_file(workspace, "eta").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space"):
        raise_alert(workspace, alert(2))
    assert alerts_file(workspace, "eta").read_bytes() == before
    assert sorted(path.name for path in alerts_file(workspace, "eta").parent.iterdir()) == [
        "alerts.jsonl",
        "alerts.lock",
    ]


def test_many_writers_lose_nothing_and_readers_never_see_half_a_file(workspace):
    done = threading.Event()
    counts: list[int] = []

    def read_until_done() -> None:
        while not done.is_set():
            counts.append(len(read_alerts(workspace, "eta")))

    reader = threading.Thread(target=read_until_done)
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        raised = list(pool.map(lambda version: raise_alert(workspace, alert(version)), range(40)))
    done.set()
    reader.join()
    assert len({a.id for a in raised}) == 40
    assert {a.model_version for a in read_alerts(workspace, "eta")} == set(range(40))
    assert counts == sorted(counts)


def test_a_damaged_file_is_named(workspace):
    raise_alert(workspace, alert())
    with alerts_file(workspace, "eta").open("ab") as file:
        file.write(b'{"id": "eta-2", "usec')
    with pytest.raises(InvalidData, match=r"alerts.jsonl is damaged"):
        read_alerts(workspace, "eta")
