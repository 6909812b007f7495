"""Traffic: champion, canary and shadow of real artefacts in one event loop; faults are put into one of them."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from bottega.features.steps import Columns
from bottega.serving import deployment
from bottega.serving.endpoint import Endpoint
from bottega.serving.guardrails import Guard
from bottega.serving.live import LiveEndpoints
from bottega.serving.log import PredictionLog, read_predictions
from bottega.serving.metrics import Metrics
from bottega.serving.routing import place, request_key
from bottega.serving.shadow import CAPACITY
from bottega.serving.traffic import Traffic
from bottega.workspace import Workspace

Fresh = Callable[[], Workspace]
Rows = Callable[[int], Columns]


def run(workspace: Workspace, use: Callable[[LiveEndpoints, Traffic], Awaitable[None]]) -> None:
    """Have `use` work with what is deployed of eta, and a log."""

    async def main() -> None:
        log = PredictionLog(workspace.predictions)
        live = LiveEndpoints(workspace, Metrics(), log)
        try:
            await live.refresh()
            assert not live.failures
            await use(live, live.traffic["eta"])
        finally:
            for traffic in live.traffic.values():
                traffic.close()
            await asyncio.to_thread(log.close)

    asyncio.run(main())


def single(rows: Columns, i: int) -> Columns:
    return {name: column[i : i + 1] for name, column in rows.items()}


async def ask(traffic: Traffic, rows: Columns, count: int) -> list[tuple[int, str, float]]:
    """Version, role and answer for the first `count` rows, asked one after the other."""
    found = []
    for i in range(count):
        endpoint, role, answers = await traffic.answer(single(rows, i), (f"id-{i}",))
        found.append((endpoint.version, role, float(answers["eta_min"][0])))
    return found


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def spoil(endpoint: Endpoint, spoiled: Callable[[Columns], Columns | None]) -> None:
    """Have the endpoint give what `spoiled` gives, where that is not None."""
    original = endpoint.answer

    def answer(columns: Columns) -> Columns:
        found = spoiled(columns)
        return original(columns) if found is None else found

    endpoint.answer = answer  # type: ignore[method-assign]


def every_fifth(columns: Columns) -> None:
    if int(columns["at"][0]) % 5 == 0:
        raise MemoryError("a fault")


def test_each_key_meets_one_version_and_gets_its_answer_bit_for_bit(
    fresh: Fresh, some_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, rows = fresh(), some_rows(120)
    monkeypatch.setattr(Guard, "observe", lambda guard, pair: "")
    deployment.try_canary(workspace, "eta", 2, 0.5, "try it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        versions = {1: live.get("eta", "1"), 2: live.get("eta", "2")}
        expected = {v: versions[v].answer(rows)["eta_min"] for v in versions}
        for _ in range(2):
            found = await ask(traffic, rows, 120)
            for i, (version, role, answer) in enumerate(found):
                key = request_key(("pu_zone",), single(rows, i), ())
                assert version == (2 if place(key, "eta/2") < 0.5 else 1)
                assert role == ("canary" if version == 2 else "champion")
                assert np.float32(answer) == expected[version][i]
        assert {version for version, _, _ in found} == {1, 2}

    run(workspace, use)


def test_a_canary_that_fails_is_never_seen_and_goes_within_100_requests(more: Workspace, some_rows: Rows) -> None:
    workspace, rows = more, some_rows(300)
    rows["at"] = np.arange(300) % 5 + rows["at"] // 5 * 5  # exactly every fifth fails
    deployment.try_canary(workspace, "eta", 5, 1.0, "try it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        expected = traffic.champion.answer(rows)["eta_min"]  # the canary is the same model again
        spoil(live.get("eta", "5"), every_fifth)
        found = await ask(traffic, rows, 300)
        assert [np.float32(answer) for _, _, answer in found] == expected.tolist()
        assert max(i for i, (version, _, _) in enumerate(found) if version == 5) < 100
        await until(lambda: deployment.read(workspace).live["eta"].canary is None)
        await live.refresh()
        assert live.traffic["eta"].trial is None

    run(workspace, use)
    change = deployment.read(workspace).history[-1]
    assert (change.action, change.role, change.version, change.before) == ("rollback", "canary", 1, 5)
    assert change.evidence["guardrail"] == "errors"
    assert 9 <= change.evidence["failed"] <= 20
    assert change.evidence["requests"] <= 100
    assert change.evidence["errors"]["log_wealth"] >= change.evidence["errors"]["limit"]
    assert change.evidence["last_error"] == "MemoryError: a fault"
    assert change.reason == f"after {change.evidence['requests']} requests: it fails more often than the champion"


def test_a_slow_canary_goes_and_keeps_no_one_else_waiting(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(400)
    deployment.try_canary(more, "eta", 5, 0.5, "try it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        champion, canary = traffic.champion, live.get("eta", "5")
        began = time.perf_counter()
        for _ in range(20):
            champion.answer(single(rows, 0))
        usual_s = (time.perf_counter() - began) / 20

        def slow(columns: Columns) -> None:
            time.sleep(0.002 + 5 * usual_s)

        spoil(canary, slow)
        found = await ask(traffic, rows, 400)
        assert sum(version == 5 for version, _, _ in found) < 100
        assert traffic.trial is not None
        assert traffic.trial.broken == "latency"
        await until(lambda: deployment.read(more).live["eta"].canary is None)

    run(more, use)


def test_a_canary_that_hangs_is_answered_by_the_champion(more: Workspace, some_rows: Rows) -> None:
    rows, released = some_rows(40), threading.Event()
    deployment.try_canary(more, "eta", 5, 1.0, "try it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        assert traffic.trial is not None
        traffic.trial._patience_s = 0.05
        spoil(live.get("eta", "5"), lambda columns: released.wait(60) and None)
        asked = [traffic.answer(single(rows, i), (f"id-{i}",)) for i in range(40)]
        found = await asyncio.gather(*asked)
        assert {(endpoint.version, role) for endpoint, role, _ in found} == {(1, "champion")}
        assert traffic.trial.counts.late == 40
        assert traffic.trial.guard.failed == 1  # the one that ran; the others only stood in the queue
        more_asked = [traffic.answer(single(rows, i), (f"id-{i}",)) for i in range(40)]
        await asyncio.gather(*more_asked)  # fills the queue
        await asyncio.sleep(0.1)
        found = [await traffic.answer(single(rows, i), (f"id-{i}",)) for i in range(40)]
        assert {(endpoint.version, role) for endpoint, role, _ in found} == {(1, "champion")}
        assert traffic.trial.broken == "errors"  # it hangs, so what finds no room counts as failed
        released.set()

    try:
        run(more, use)
    finally:
        released.set()


def test_an_answer_that_is_no_number_is_a_failure(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(20)
    deployment.try_canary(more, "eta", 5, 1.0, "try it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        nothing = np.array([np.nan], np.float32)
        canary = live.get("eta", "5")
        whole = canary.answer(single(rows, 0))
        spoil(canary, lambda columns: {**whole, "eta_min": nothing})
        found = await ask(traffic, rows, 20)
        assert {version for version, _, _ in found} == {1}
        assert all(np.isfinite(answer) for _, _, answer in found)

    run(more, use)


def test_a_healthy_canary_goes_on(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(600)
    deployment.try_canary(more, "eta", 5, 1.0, "try it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        assert traffic.trial is not None
        found = await ask(traffic, rows, 600)
        await until(lambda: traffic.trial.guard.pairs == 600)  # type: ignore[union-attr]
        assert {version for version, _, _ in found} == {5}
        assert not traffic.trial.broken

    run(more, use)
    canary = deployment.read(more).live["eta"].canary
    assert canary is not None and (canary.version, canary.share) == (5, 1.0)


def test_a_canary_with_far_answers_goes(fresh: Fresh, some_rows: Rows) -> None:
    workspace, rows = fresh(), some_rows(200)
    deployment.try_canary(workspace, "eta", 2, 1.0, "ten times the minutes")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        found = await ask(traffic, rows, 200)
        assert sum(version == 2 for version, _, _ in found) < 100
        await until(lambda: deployment.read(workspace).live["eta"].canary is None)

    run(workspace, use)
    evidence = deployment.read(workspace).history[-1].evidence
    assert evidence["guardrail"] == "shift"
    assert evidence["shift"]["eta_min"]["mean"] > evidence["shift"]["eta_min"]["bound"]


def test_a_larger_share_keeps_the_evidence_and_a_promotion_the_loaded_version(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(40)
    deployment.try_canary(more, "eta", 5, 0.3, "try it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        await ask(traffic, rows, 40)
        trial, canary = traffic.trial, live.get("eta", "5")
        deployment.try_canary(more, "eta", 5, 0.9, "going well")
        await live.refresh()
        assert live.traffic["eta"].trial is trial
        assert live.traffic["eta"].share == 0.9
        deployment.promote(more, "eta", "went well")
        await live.refresh()
        assert live.get("eta") is canary
        assert live.traffic["eta"].trial is None

    run(more, use)


def test_other_limits_begin_the_trial_anew_and_are_what_it_is_held_to(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(120)
    deployment.try_canary(more, "eta", 5, 1.0, "try it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        await ask(traffic, rows, 20)
        await until(lambda: traffic.trial.guard.pairs == 20)  # type: ignore[union-attr]
        deployment.try_canary(more, "eta", 5, 1.0, "stricter", limits=deployment.Limits(p99_ms=1e-6))
        await live.refresh()
        changed = live.traffic["eta"]
        assert changed.trial is not None and changed.trial is not traffic.trial
        assert (changed.trial.guard.pairs, changed.trial.canary) == (0, traffic.trial.canary)  # type: ignore[union-attr]
        await ask(changed, rows, 120)
        await until(lambda: deployment.read(more).live["eta"].canary is None)

    run(more, use)
    assert deployment.read(more).history[-1].evidence["guardrail"] == "tail"


def test_the_evidence_outlives_the_process(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(30)
    deployment.try_canary(more, "eta", 5, 1.0, "try it")
    kept: list[dict[str, Any]] = []

    async def first(live: LiveEndpoints, traffic: Traffic) -> None:
        await ask(traffic, rows, 30)
        await until(lambda: traffic.trial.guard.pairs == 30)  # type: ignore[union-attr]
        await live.save_trials()
        kept.append(traffic.trial.guard.evidence())  # type: ignore[union-attr]

    async def again(live: LiveEndpoints, traffic: Traffic) -> None:
        assert traffic.trial is not None
        assert traffic.trial.guard.evidence() == kept[0]
        assert kept[0]["requests"] == 30

    async def anew(live: LiveEndpoints, traffic: Traffic) -> None:
        assert traffic.trial is not None
        assert traffic.trial.guard.pairs == 0

    run(more, first)
    run(more, again)
    deployment.rollback(more, "eta", "by hand")
    deployment.try_canary(more, "eta", 5, 1.0, "once more")
    run(more, anew)
    more.trials.write_bytes(b"{half")
    run(more, anew)


def test_the_shadow_is_compared_and_logged_and_never_answers(fresh: Fresh, some_rows: Rows) -> None:
    workspace, rows = fresh(), some_rows(50)
    deployment.try_shadow(workspace, "eta", 2, "look at it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        found = await ask(traffic, rows, 50)
        assert {(version, role) for version, role, _ in found} == {(1, "champion")}
        assert traffic.shadow is not None
        await until(lambda: traffic.shadow.differences.rows == 50)  # type: ignore[union-attr]
        expected = live.get("eta", "2").answer(rows)["eta_min"] - live.get("eta", "1").answer(rows)["eta_min"]
        status = traffic.describe()[-1]
        assert (status.role, status.version, status.share) == ("shadow", 2, 0.0)
        assert status.comparison["eta_min"]["mean"] == pytest.approx(float(expected.mean()), rel=1e-5)
        assert status.comparison["eta_min"]["largest"] == pytest.approx(float(np.abs(expected).max()), rel=1e-5)
        await asyncio.sleep(0.05)  # the last results are on their way to the log

    run(workspace, use)
    assert len(read_predictions(workspace, "eta")) == 0
    logged = read_predictions(workspace, "eta", shadow=True)
    assert logged["request_id"].tolist() == [f"id-{i}" for i in range(50)]
    assert set(logged["model_version"]) == {2}
    assert set(logged["role"]) == {"shadow"}


def test_a_shadow_that_hangs_drops_and_counts_while_the_champion_answers(fresh: Fresh, some_rows: Rows) -> None:
    workspace, rows, released = fresh(), some_rows(10), threading.Event()
    deployment.try_shadow(workspace, "eta", 2, "look at it")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        spoil(live.get("eta", "2"), lambda columns: released.wait(60) and None)
        ids = tuple(map(str, range(10)))
        for _ in range(CAPACITY // 10 + 50):
            _, role, _ = await traffic.answer(rows, ids)
            assert role == "champion"
        counts = traffic.describe()[-1].counts
        assert counts["compared"] == 0
        assert counts["waiting"] <= CAPACITY
        assert counts["waiting"] + counts["dropped"] == 10 * (CAPACITY // 10 + 50)
        released.set()

    try:
        run(workspace, use)
    finally:
        released.set()


def test_versions_with_other_preprocessing_stand_side_by_side(more: Workspace, some_rows: Rows) -> None:
    rows = some_rows(30)
    deployment.try_canary(more, "eta", 4, 0.5, "other preprocessing")

    async def use(live: LiveEndpoints, traffic: Traffic) -> None:
        assert live.get("eta", "1").plan.features != live.get("eta", "4").plan.features
        expected = {v: live.get("eta", str(v)).answer(rows)["eta_min"] for v in (1, 4)}
        for i, (version, _, answer) in enumerate(await ask(traffic, rows, 30)):
            assert np.float32(answer) == expected[version][i]

    run(more, use)
