import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from bottega.errors import InvalidInput
from bottega.monitoring.drift import RARE_SHARE, drift_report, psi
from bottega.monitoring.monitor import Monitor, WatchedColumn


def plain_psi(reference: pd.Series, current: pd.Series) -> float:
    """PSI over categories, none of them empty."""
    names = sorted(set(reference))
    before, after = (values.value_counts(normalize=True).reindex(names).to_numpy() for values in (reference, current))
    return float(((after - before) * np.log(after / before)).sum())


def test_the_same_world_is_no_drift(outcomes, monitor, tmp_path):
    drift = drift_report(outcomes(336, 30, seed=1), outcomes(168, 30, seed=2), monitor, tmp_path)
    assert drift.verdict == "no drift"
    assert {name: c.method for name, c in drift.columns.items()} == {
        "pu_zone": "psi",
        "at": "wasserstein",
        "eta_min": "wasserstein",
    }
    assert all(c.score < c.threshold / 2 for c in drift.columns.values())
    assert "raised by the error" in drift.statement


def test_a_planted_shift_is_named_and_only_that(outcomes, monitor, tmp_path):
    reference, current = outcomes(336, 30, seed=1), outcomes(168, 30, seed=2)
    moved = current["pu_zone"].where(np.arange(len(current)) % 2 == 0, 7)
    drift = drift_report(reference, current.assign(pu_zone=moved), monitor, tmp_path)
    assert drift.verdict == "drift"
    assert [name for name, c in drift.columns.items() if c.drifted] == ["pu_zone"]

    longer = current.assign(eta_min=current["eta_min"] * 1.3)
    drift = drift_report(reference, longer, monitor, tmp_path, "longer")
    assert [name for name, c in drift.columns.items() if c.drifted] == ["eta_min"]


def test_night_requests_only_are_a_drift_of_the_hour(outcomes, monitor, tmp_path):
    reference, current = outcomes(336, 30, seed=1), outcomes(336, 30, seed=2)
    night = current[current["at"].dt.tz_convert("America/New_York").dt.hour < 6]
    assert drift_report(reference, night, monitor, tmp_path).columns["at"].drifted


def test_new_answers_to_the_same_questions_are_invisible_here(outcomes, monitor, tmp_path):
    """What the statement says: half of the error's growth would be missed by looking at the questions."""
    reference, current = outcomes(336, 30, seed=1), outcomes(168, 30, seed=2, shift=-0.25)
    assert drift_report(reference, current, monitor, tmp_path).verdict == "no drift"


def test_the_report_is_a_page_that_needs_no_network_and_figures_in_json(outcomes, monitor, tmp_path):
    drift = drift_report(outcomes(48, 30), outcomes(48, 30, seed=2), monitor, tmp_path / "new")
    page = drift.html.read_text("utf-8")
    assert "pu_zone" in page and "<html" in page.lower()
    assert re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']https?:", page) == []
    figures = json.loads(drift.json.read_text())
    assert figures["verdict"] == drift.verdict
    assert figures["columns"]["pu_zone"]["score"] == pytest.approx(drift.columns["pu_zone"].score)
    assert figures["current_rows"] == 48 * 30


def test_large_tables_are_sampled_and_the_same_seed_gives_the_same_scores(outcomes, monitor, tmp_path):
    reference, current = outcomes(336, 100, seed=1), outcomes(250, 100, seed=2)
    first, again, other = (drift_report(reference, current, monitor, tmp_path, seed=seed) for seed in (1, 1, 2))
    assert first.current_rows == first.reference_rows == 20_000
    assert first.columns == again.columns != other.columns


def test_a_columns_own_limit_counts(outcomes, tmp_path):
    strict = Monitor("eta_min", columns=(WatchedColumn("eta_min", "numerical", limit=1e-6),))
    drift = drift_report(outcomes(48, 30), outcomes(48, 30, seed=2), strict, tmp_path)
    assert drift.verdict == "drift" and drift.columns["eta_min"].threshold == 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.iloc[:100], "200 rows, there are 100"),
        (lambda table: table.drop(columns="pu_zone"), "no column 'pu_zone'"),
        (lambda table: table.assign(at=table["at"].astype("int64")), "'at' is a time in one of the two"),
    ],
)
def test_what_cannot_be_compared_is_refused(outcomes, monitor, tmp_path, change, message):
    table = outcomes(48, 30)
    with pytest.raises(InvalidInput, match=message):
        drift_report(table, change(table), monitor, tmp_path)


def test_a_monitor_without_columns_is_refused(outcomes, tmp_path):
    with pytest.raises(InvalidInput, match="watches no columns"):
        drift_report(outcomes(48, 30), outcomes(48, 30), Monitor("eta_min"), tmp_path)


def test_psi_of_categories_equals_the_formula():
    rng = np.random.default_rng(0)
    reference = pd.Series(rng.choice(list("abcd"), 4000, p=[0.4, 0.3, 0.2, 0.1]))
    current = pd.Series(rng.choice(list("abcd"), 1000, p=[0.1, 0.2, 0.3, 0.4]))
    assert psi(reference, current, "categorical") == pytest.approx(plain_psi(reference, current))


def test_rare_zones_do_not_inflate_psi():
    """Hundreds of rare values in a small sample are noise, not drift."""
    rng = np.random.default_rng(0)
    share = np.r_[np.full(20, 0.04), np.full(240, 0.2 / 240)]
    reference, current = (pd.Series(rng.choice(260, rows, p=share)) for rows in (20_000, 1_000))
    assert share[20] < RARE_SHARE
    assert psi(reference, current, "categorical") < 0.05


def test_psi_of_numbers_sees_a_shift():
    rng = np.random.default_rng(0)
    reference = pd.Series(rng.normal(size=5000))
    assert psi(reference, pd.Series(rng.normal(size=5000)), "numerical") < 0.02
    assert psi(reference, pd.Series(rng.normal(1, size=5000)), "numerical") > 0.2


def test_evidently_is_imported_only_when_a_report_is_made():
    code = "import sys, bottega.monitoring.watch, bottega.monitoring.report; sys.exit('evidently' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
