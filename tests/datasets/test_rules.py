"""The rules of any table: which rows break which, and nulls that are allowed to be there."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from bottega.datasets.catalog import Check, Column, reasons_of
from bottega.datasets.rules import Verdict, broken_by, first_broken

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = (
    Column("zone", "integer"),
    Column("fare_usd", "number", nullable=True),
    Column("kind", "text", nullable=True),
    Column("at", "time", nullable=True),
)
VALUES = {
    "zone": pd.Series([1, None, 3, 2**53 + 1], dtype="Int64"),
    "fare_usd": np.array([1.0, np.nan, np.inf, -1.0]),
    "kind": pd.Series(["a", None, "b", "c"], dtype="str"),
    "at": pd.Series(pd.to_datetime(["2025-12-31", None, "2026-01-01", "2026-01-02"], utc=True)),
    "measure": np.array([1.0, np.nan, 2.0, 3.0]),
}


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        (Check("r", "range", "zone", minimum=2), [True, True, False, False]),
        (Check("r", "range", "zone", maximum=3), [False, True, False, True]),
        (Check("r", "range", "fare_usd", above=0), [False, False, True, True]),
        (Check("r", "range", "fare_usd", minimum=-1, maximum=1), [False, False, True, False]),
        (Check("r", "range", "measure", maximum=2), [False, True, False, True]),
        (Check("r", "allowed", "kind", values=("a", "b")), [False, False, False, True]),
        (Check("r", "allowed", "zone", values=(1, 3)), [False, True, False, True]),
        (Check("r", "past", "at"), [False, False, False, True]),
    ],
)
def test_a_rule_says_which_rows_break_it(check, broken):
    ((reason, found),) = broken_by(check, COLUMNS, VALUES, NOW)
    assert reason == "r"
    assert found.tolist() == broken


def test_null_is_told_by_column_and_kinds_about_files_are_left_to_others():
    found = dict(broken_by(Check("null", "null"), COLUMNS, VALUES))
    assert {name: rows.tolist() for name, rows in found.items()} == {"null_zone": [False, True, False, False]}
    for kind in ("type", "month", "local_time", "duplicate"):
        assert list(broken_by(Check("r", kind), COLUMNS, VALUES)) == []


def test_the_first_broken_rule_counts():
    checks = (
        Check("null", "null"),
        Check("low", "range", "zone", minimum=2),
        Check("odd", "allowed", "kind", values=("a",)),
    )
    reasons = reasons_of(COLUMNS, checks)
    assert reasons == ("null_zone", "low", "odd")
    broken = [pair for check in checks for pair in broken_by(check, COLUMNS, VALUES)]
    verdict = Verdict(first_broken(4, reasons, broken), reasons)
    assert verdict.reason.tolist() == [1, 0, 2, 2]
    assert verdict.counts() == {"null_zone": 1, "low": 1, "odd": 2}
    assert not verdict.good.any()
