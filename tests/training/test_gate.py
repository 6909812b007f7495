import dataclasses

import numpy as np
import pandas as pd
import pytest

from bottega.errors import GateFailed
from bottega.training.examples import make_examples
from bottega.training.gate import Decision, Gate, Rival, decide, find_rival, require


def answers(error, baseline_error, rows=100):
    return pd.DataFrame(
        {"actual": 10.0, "predicted": 10.0 + error, "baseline": 10.0 - baseline_error}, index=range(rows)
    )


def test_the_candidate_must_beat_the_baseline():
    assert decide(Gate(), "min", answers(3, 4), None).passed
    lost = decide(Gate(), "min", answers(4, 4), None)
    assert not lost.passed
    assert lost.reason == "The candidate errs by 4.000 min, the baseline by 4.000 min."


def test_the_candidate_must_beat_the_champion_on_the_champions_rows():
    found = answers(3, 4)
    found.loc[50:, "predicted"] = 12.0
    later = np.arange(100) >= 50
    assert decide(Gate(), "min", found, Rival(2.5, later)).passed
    lost = decide(Gate(), "min", found, Rival(2.5, ~later, "Flattered."))
    assert not lost.passed
    assert lost.reason == "The candidate errs by 3.000 min, the champion by 2.500 min. Flattered."


def test_a_tie_wins_only_against_a_champion_of_the_same_data():
    everywhere = np.ones(100, bool)
    assert not decide(Gate(), "min", answers(3, 4), Rival(3.0, everywhere)).passed
    assert decide(Gate(), "min", answers(3, 4), Rival(3.0, everywhere, is_same=True)).passed
    assert not decide(Gate(), "min", answers(3, 4), Rival(2.99, everywhere, is_same=True)).passed


def test_a_margin_is_a_share():
    assert decide(Gate(0.2), "min", answers(3, 4), None).passed
    assert not decide(Gate(0.3), "min", answers(3, 4), None).passed


def test_a_closed_gate_raises():
    require(Decision(True, "fine"))
    with pytest.raises(GateFailed, match=r"stays closed\. Too bad") as caught:
        require(Decision(False, "Too bad."))
    assert caught.value.exit_code == 1


def held_back(recipe, sources, span, outcome):
    return make_examples(recipe, sources, outcome.gate_us, span[1])


def with_trained(package, **changes):
    return dataclasses.replace(package, info=replace_trained(package.info, changes))


def replace_trained(info, changes):
    import msgspec

    return msgspec.structs.replace(info, trained=msgspec.structs.replace(info.trained, **changes))


def test_a_champion_of_the_same_data_is_taken_by_its_own_gate(outcome, recipe, sources, span):
    held = held_back(recipe, sources, span, outcome)
    rival = find_rival(outcome.package, outcome.package.info.trained, recipe, held)
    assert rival.mae == outcome.package.info.metrics["mae_min"]
    assert "same data" in rival.remark


def test_rows_that_the_champion_learned_from_are_left_out_where_others_suffice(outcome, recipe, sources, span):
    held = held_back(recipe, sources, span, outcome)
    middle = pd.Timestamp(int(np.sort(held.at_us)[-600]), unit="us", tz="UTC").isoformat()
    champion = with_trained(outcome.package, until=middle, fingerprint="other")
    rival = find_rival(champion, outcome.package.info.trained, recipe, held)
    assert rival.rows.sum() == 600
    assert rival.remark == ""
    flattered = find_rival(
        with_trained(champion, fingerprint="o", until=outcome.package.info.trained.until),
        outcome.package.info.trained,
        recipe,
        held,
    )
    assert flattered.rows.all()
    assert "flatters" in flattered.remark


def test_a_champion_of_another_city_is_compared_on_what_it_can_answer(outcome, recipe, sources, span):
    held = held_back(recipe, sources, span, outcome)
    foreign = dataclasses.replace(
        held, request={**held.request, "pu_zone": np.where(np.arange(len(held)) < 10, held.request["pu_zone"], 200)}
    )
    champion = with_trained(outcome.package, fingerprint="other")
    assert find_rival(champion, outcome.package.info.trained, recipe, foreign).rows.sum() == 10
    nowhere = dataclasses.replace(held, request={**held.request, "pu_zone": np.full(len(held), 200)})
    assert find_rival(champion, outcome.package.info.trained, recipe, nowhere) is None
