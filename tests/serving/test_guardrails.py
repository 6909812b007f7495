"""Guardrails: bad canaries end within 100 requests, healthy ones go on; by seeded simulation."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from bottega.serving.guardrails import ALPHA, Guard, Limits, Pair

Draw = Callable[[np.random.Generator, int], list[Pair]]


def pairs(
    rng: np.random.Generator,
    count: int,
    *,
    failing: float = 0.0,
    champion_failing: float = 0.0,
    slower: float = 1.0,
    moved: float = 0.0,
    noise: float = 0.3,
) -> list[Pair]:
    """Requests of very different size, answered by both; times spread by a factor of about 1.5, with a long tail."""
    work = rng.lognormal(0.0, 1.0, count)
    times = 100_000 * work * rng.lognormal(0.0, 0.4, (2, count)) * np.where(rng.random((2, count)) < 0.01, 20, 1)
    champion = rng.gamma(4.0, 4.0, count)
    ours = champion * (1 + rng.normal(0, noise, count)) + moved * champion.std()
    failed = rng.random(count) < failing
    champion_failed = rng.random(count) < champion_failing
    return [
        Pair(
            bool(failed[i]),
            bool(champion_failed[i]),
            0 if failed[i] else int(slower * times[0, i]),
            0 if champion_failed[i] else int(times[1, i]),
            () if failed[i] else (float(ours[i]),),
            () if champion_failed[i] else (float(champion[i]),),
        )
        for i in range(count)
    ]


def ended_by(found: list[Pair], **limits: float) -> tuple[str, int]:
    """The guardrail that was broken, and after how many requests; ("", all of them) where none was."""
    guard = Guard.of(("eta_min",), Limits(**limits))
    for number, pair in enumerate(found, 1):
        broken = guard.observe(pair)
        if broken:
            return broken, number
    return "", len(found)


def ends(canaries: int, requests: int, **how: float) -> list[tuple[str, int]]:
    rng = np.random.default_rng(20)
    return [ended_by(pairs(rng, requests, **how)) for _ in range(canaries)]


def test_a_canary_that_fails_one_request_in_five_ends_within_100() -> None:
    found = ends(200, 100, failing=0.2)
    assert sum(name == "errors" for name, _ in found) >= 199
    assert np.median([number for _, number in found]) < 60


def test_a_canary_five_times_slower_ends_within_100() -> None:
    found = ends(200, 100, slower=5.0)
    assert sum(name == "latency" for name, _ in found) == 200
    assert np.median([number for _, number in found]) < 40


def test_a_canary_whose_answers_moved_ends_within_100() -> None:
    found = ends(100, 100, moved=3.0)
    assert {name for name, _ in found} == {"shift"}
    assert {name for name, _ in ends(100, 100, moved=-3.0)} == {"shift"}


def test_a_canary_with_a_bad_tail_alone_ends() -> None:
    rng = np.random.default_rng(21)
    found = pairs(rng, 4000)
    slow = rng.random(4000) < 0.06
    worse = [
        Pair(p.failed, p.champion_failed, p.run_ns * (400 if s else 1), p.champion_run_ns)
        for p, s in zip(found, slow, strict=True)
    ]
    assert ended_by(worse)[0] == "tail"
    assert ended_by(found)[0] == ""


def test_each_limit_can_be_set() -> None:
    rng = np.random.default_rng(23)
    failing, moved, healthy = (pairs(rng, 3000, **how) for how in ({"failing": 0.05}, {"moved": 1.0}, {}))
    assert ended_by(failing)[0] == "errors"
    assert ended_by(failing, excess_errors=0.08)[0] == ""
    assert ended_by(moved)[0] == "shift"
    assert ended_by(moved, shift=1.5)[0] == ""
    p95_ms, p99_ms = (np.quantile([pair.run_ns for pair in healthy], (0.95, 0.99)) * 1e-6).tolist()
    assert ended_by(healthy, p99_ms=p99_ms)[0] == ""  # at the limit
    assert ended_by(healthy, p99_ms=p95_ms)[0] == "tail"  # the champion is as slow, and that is no excuse


def test_a_fixed_p99_raises_a_false_alarm_as_seldom() -> None:
    rng = np.random.default_rng(24)
    alarms = 0
    for _ in range(200):
        times = np.where(rng.random(2000) < 0.01, 60_000_000, 1_000_000).tolist()  # exactly at the limit
        alarms += ended_by([Pair(False, run_ns=time, champion_run_ns=time) for time in times], p99_ms=50.0)[0] != ""
    assert alarms <= 2


def test_a_guard_that_was_written_down_goes_on_as_if_nothing_had_been() -> None:
    found = pairs(np.random.default_rng(25), 900, slower=1.3, moved=0.3, failing=0.01)
    for limits in (Limits(), Limits(p99_ms=1.0)):
        whole, parts = Guard.of(("eta_min",), limits), Guard.of(("eta_min",), limits)
        for number, pair in enumerate(found):
            if number % 250 == 0:
                parts = msgspec.json.decode(msgspec.json.encode(parts), type=Guard)
            assert whole.observe(pair) == parts.observe(pair)
        assert parts == whole
        assert parts.evidence() == whole.evidence()


def test_failures_that_hit_both_are_not_the_canarys() -> None:
    both = [Pair(True, True)] * 5000
    assert ended_by(both) == ("", 5000)


def test_constant_answers_have_no_spread_and_need_none() -> None:
    same = [Pair(False, False, 100, 100, (5.0,), (5.0,))] * 1000
    assert ended_by(same) == ("", 1000)
    zero = [Pair(False, False, 100, 100, (1.0,), (0.0,))] * 100
    assert ended_by(zero)[0] == "shift"


def test_the_levels_add_up_to_less_than_one_in_a_hundred() -> None:
    assert sum(ALPHA.values()) < 0.01


def test_the_evidence_says_why() -> None:
    guard = Guard.of(("eta_min",))
    for pair in pairs(np.random.default_rng(22), 60, failing=0.4):
        if guard.observe(pair):
            break
    evidence = guard.evidence()
    assert evidence["failed"] >= 9
    assert evidence["errors"]["log_wealth"] >= evidence["errors"]["limit"]
    assert evidence["latency"]["log_wealth"] < evidence["latency"]["limit"]
    assert evidence["shift"]["eta_min"]["bound"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"failing": 0.02, "champion_failing": 0.02},
        {"failing": 0.005},
        {"slower": 1.5, "moved": 0.2, "failing": 0.001},
    ],
    ids=["the same", "both fail at times", "at the bound of errors", "a little worse"],
)
def test_healthy_canaries_of_10000_requests_raise_less_than_one_alarm_in_100(how: dict[str, float]) -> None:
    canaries = 100
    alarms = sum(name != "" for name, _ in ends(canaries, 10_000, **how))
    assert alarms / canaries < 0.01
