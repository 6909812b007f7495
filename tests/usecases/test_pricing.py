"""Pricing: forecasts see no future, errors are counted as stated, prices stay within their bounds."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.reading import Gathered
from bottega.pipeline.sources import gather
from bottega.progress import silent
from bottega.settings import load_settings
from bottega.times import CITY_TIMEZONE, HOUR_US, parse_time, to_epoch_us
from bottega.training.demand_examples import count_rows, join
from bottega.training.demand_scoring import predict
from bottega.training.gate import Gate
from bottega.training.outcome import Origin, Outcome
from bottega.training.reference import Reference
from bottega.training.settings import Effort
from bottega.workspace import Workspace
from usecases import find
from usecases.pricing.serve import CAP, EMERGENCY_CAP

USECASE = find("pricing")
RECIPE = USECASE.recipe


@pytest.fixture(scope="module")
def found(gathered: Callable[[str], Gathered]) -> Gathered:
    return gathered("pricing")


@pytest.fixture(scope="module")
def outcome(run: Callable[[str], Outcome]) -> Outcome:
    return run("pricing")


def answers(outcome: Outcome, sources: dict[str, pd.DataFrame], since_us: int, until_us: int) -> pd.DataFrame:
    rows = join(RECIPE, count_rows(RECIPE, sources, since_us, until_us), sources)
    asked = pd.DataFrame(rows.request)
    told = Reference(outcome.package).predict(rows.request, rows.given)
    return pd.concat([asked, pd.DataFrame(told)], axis=1)


def test_the_future_changes_no_answer(found: Gathered, outcome: Outcome) -> None:
    until_us = to_epoch_us(found.span[1])
    now_us = until_us - 30 * HOUR_US
    demand = found.sources["demand"]
    later = demand["hour"] >= pd.Timestamp(now_us, unit="us", tz="UTC")
    counts = [name for name in demand if name not in ("hour", "zone")]
    changed = demand.assign(**{name: demand[name].where(~later, demand[name] * 7 + 5) for name in counts})
    sources = {**found.sources, "demand": demand}
    first = answers(outcome, sources, now_us - 3 * HOUR_US, now_us + HOUR_US)
    second = answers(outcome, {**sources, "demand": changed}, now_us - 3 * HOUR_US, now_us + HOUR_US)
    pd.testing.assert_frame_equal(first, second)
    after = now_us + HOUR_US
    one = answers(outcome, sources, after, after + HOUR_US)
    two = answers(outcome, {**sources, "demand": changed}, after, after + HOUR_US)
    assert (one["requests"] != two["requests"]).any()  # the next hour does see what has happened by then


def test_training_sees_nothing_after_its_span(found: Gathered, outcome: Outcome) -> None:
    """The gate's period does not reach the candidates, which are judged on it."""
    demand = found.sources["demand"]
    gate = demand["hour"] >= pd.Timestamp(outcome.gate_us, unit="us", tz="UTC")
    counts = [name for name in demand if name not in ("hour", "zone")]
    changed = demand.assign(**{name: demand[name].where(~gate, 3) for name in counts})
    spec = next(spec for spec in RECIPE.models if spec.name == "boosting")
    small = type(RECIPE)(**{**RECIPE.__dict__, "models": (_quick(spec),)})
    models = [
        small.train(
            "pricing",
            {**found.sources, "demand": table},
            *map(to_epoch_us, found.span),
            Origin("test", "0"),
            champion=None,
            gate=Gate(),
            effort=Effort(seed=5, threads=1, quick=True),
            progress=silent,
        )
        .candidates[0]
        .package
        for table in (demand, changed)
    ]
    assert models[0].model == models[1].model
    for name, column in models[0].tables["profile"].columns.items():
        np.testing.assert_array_equal(column, models[1].tables["profile"].columns[name], err_msg=name)


def _quick(spec):  # type: ignore[no-untyped-def]
    import dataclasses

    return dataclasses.replace(spec, settings=spec.settings.quick().quick())


def test_errors_are_counted_as_stated(found: Gathered, outcome: Outcome) -> None:
    """The 30 zones with most pickups of the training span; the profile is their mean by zone, weekday and hour."""
    since_us, until_us = map(to_epoch_us, found.span)
    demand = found.sources["demand"]
    hour = demand["hour"].dt.tz_convert(CITY_TIMEZONE)
    span = demand[(demand["hour"] >= found.span[0]) & (demand["hour"] < found.span[1])]
    span = span.assign(weekday=hour.dt.weekday, of_day=hour.dt.hour)
    sums = span.groupby("zone")["pickups"].sum()
    top = sums.sort_values(ascending=False, kind="stable").index[:30]
    usual = span.groupby(["zone", "weekday", "of_day"])["pickups"].mean()
    held = span[(span["hour"] >= pd.Timestamp(outcome.gate_us, unit="us", tz="UTC")) & span["zone"].isin(top)]
    expected = usual.loc[pd.MultiIndex.from_frame(held[["zone", "weekday", "of_day"]])].to_numpy()
    evaluation = RECIPE.evaluate(outcome.package, found.sources, outcome.gate_us, until_us, silent)
    assert evaluation.rows == len(held)
    wanted = np.abs(held["pickups"].to_numpy() - expected).sum() / held["pickups"].sum()
    assert evaluation.metrics["wape_profile"] == pytest.approx(wanted)
    rows = join(RECIPE, count_rows(RECIPE, found.sources, outcome.gate_us, until_us), found.sources)
    told = predict(outcome.package, RECIPE, rows.where(np.isin(rows.request["zone"], top)))
    error = np.abs(told["predicted"] - told["actual"]).sum() / told["actual"].sum()
    assert evaluation.metrics["wape_1h"] == pytest.approx(error)
    assert since_us < outcome.gate_us


def test_prices_have_bounds_a_reason_and_an_end(found: Gathered, outcome: Outcome) -> None:
    until_us = to_epoch_us(found.span[1])
    told = answers(outcome, dict(found.sources), until_us - 24 * HOUR_US, until_us)
    assert told["multiplier"].between(1, CAP).all()
    assert told["confidence"].between(0, 1).all()
    assert (told["requests_low"] <= told["requests"]).all()
    assert (told["requests"] <= told["requests_high"]).all()
    for name in ("requests", "requests_low", "requests_high"):
        assert (told[name] == told[name].round()).all()
    assert told["reason"].str.fullmatch(r"\d+ requests for \d+ cars in the hour until \d\d:00").all()
    ends = pd.to_datetime(told["expires_at"]).dt.as_unit("us").astype("int64")
    assert (ends == told["at"] + HOUR_US).all()
    dear = told[told["multiplier"] > 1.1]
    assert len(dear)
    numbers = dear["reason"].map(lambda text: [int(n) for n in re.findall(r"\d+", text)[:2]])
    assert all(requests >= cars for requests, cars in numbers)


def test_a_declared_emergency_lowers_the_cap(found: Gathered, outcome: Outcome) -> None:
    until_us = to_epoch_us(found.span[1])
    since_us = until_us - 24 * HOUR_US
    usual = answers(outcome, dict(found.sources), since_us, until_us)
    dear = usual.loc[usual["multiplier"].idxmax()]
    assert dear["multiplier"] > EMERGENCY_CAP
    declared = pd.to_datetime([int(dear["at"]) - HOUR_US], unit="us", utc=True).as_unit("us")
    event = pd.DataFrame({"zone": np.array([dear["zone"]], np.int32), "declared_at": declared})
    told = answers(outcome, {**found.sources, "emergencies": event}, since_us, until_us)
    assert told.loc[dear.name, "multiplier"] == told.loc[dear.name, "cap"] == EMERGENCY_CAP
    elsewhere = told["zone"] != dear["zone"]
    pd.testing.assert_frame_equal(told[elsewhere], usual[elsewhere])
    until = told["at"] >= int(dear["at"]) + 6 * HOUR_US
    pd.testing.assert_frame_equal(told[until], usual[until])


def test_a_forecast_inside_an_hour_is_the_hours(found: Gathered, outcome: Outcome) -> None:
    at_us = to_epoch_us(found.span[1]) - 5 * HOUR_US
    rows = join(RECIPE, count_rows(RECIPE, found.sources, at_us, at_us + HOUR_US), found.sources)
    asked = {**rows.request, "at": rows.request["at"] + 50 * 60 * 1_000_000}
    begun, later = (Reference(outcome.package).predict(request, rows.given) for request in (rows.request, asked))
    for name in begun:
        np.testing.assert_array_equal(begun[name], later[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("BOTTEGA_DATA"), reason="needs real demand: set BOTTEGA_DATA")
def test_on_real_demand_a_month_ahead(tmp_path: Path) -> None:
    settings = load_settings({"workspace": tmp_path / "workspace"})
    workspace = Workspace.open(settings.workspace, settings.online)
    moments = [parse_time(day, CITY_TIMEZONE) for day in ("2023-01-01", "2023-02-01", "2023-03-01")]
    learned = gather(USECASE, workspace, settings, moments[0], moments[1])
    outcome = RECIPE.train(
        "pricing",
        learned.sources,
        *map(to_epoch_us, learned.span),
        Origin(learned.data_source, learned.fingerprint),
        champion=None,
        gate=USECASE.gate,
        effort=Effort(threads=1),
        progress=silent,
    )
    held = gather(USECASE, workspace, settings, moments[1], moments[2])
    found = RECIPE.evaluate(outcome.package, held.sources, *map(to_epoch_us, held.span), silent)
    assert found.rows == 30 * 28 * 24
    assert found.metrics["wape_1h"] <= 0.390
    assert found.metrics["wape_profile"] == pytest.approx(0.4192, abs=1e-3)
