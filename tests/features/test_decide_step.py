"""Decisions: from one probability on, below another, and a person's wherever a limit is broken."""

import numpy as np

from bottega.features.decide_step import Decide, Limit
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns, Parts


def run(step: Decide, **columns: list[float]) -> Columns:
    ready: Columns = {name: np.array(values) for name, values in columns.items()}
    step.run(ready, Parts({}, {}, lambda *_: {}, lambda x: x))
    return ready


def test_thresholds_hold_their_edges() -> None:
    step = Decide("p", "decision", "reasons", "not sure", accept_from=0.9, reject_below=0.2)
    found = run(step, p=[0.1999, 0.2, 0.5, 0.8999, 0.9])
    assert found["decision"].tolist() == ["reject", "review", "review", "review", "accept"]
    assert found["reasons"][0] == "p 0.200, rejected below 0.200"
    assert found["reasons"][1] == "not sure"
    assert found["reasons"][4] == "p 0.900, accepted from 0.900 on"


def test_without_thresholds_a_person_decides_everything() -> None:
    found = run(Decide("p", "decision", "reasons", "always a person"), p=[0.0, 0.5, 1.0])
    assert set(found["decision"]) == {"review"} and set(found["reasons"]) == {"always a person"}


def test_a_broken_limit_sends_a_sure_case_to_a_person_with_every_reason() -> None:
    limits = (
        Limit("light", "too dark", minimum=0.1),
        Limit("light", "too bright", maximum=0.9),
        Limit("sharp", "too blurred", minimum=0.05),
    )
    step = Decide("p", "decision", "reasons", "not sure", 0.9, 0.1, limits)
    found = run(step, p=[0.99, 0.99, 0.01, 0.99], light=[0.05, 0.95, 0.05, 0.5], sharp=[1, 1, 0.01, 1])
    assert found["decision"].tolist() == ["review", "review", "review", "accept"]
    assert found["reasons"][0] == "too dark (light 0.05, it must be at least 0.1)"
    assert found["reasons"][1] == "too bright (light 0.95, it must be at most 0.9)"
    assert found["reasons"][2].count(";") == 1 and "too blurred" in found["reasons"][2]


def test_the_step_is_data() -> None:
    import msgspec

    step = Decide("p", "decision", "reasons", "not sure", 0.9, None, (Limit("light", "too dark", minimum=0.1),))
    plan = FeaturePlan((), (step,), ())
    assert msgspec.json.decode(msgspec.json.encode(plan), type=FeaturePlan) == plan
    assert step.reads() == ("p", "light") and step.makes() == ("decision", "reasons")
