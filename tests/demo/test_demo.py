import json
import os
import subprocess
import sys

import msgspec
import pytest

from bottega.datasets.origin import Origin
from bottega.demo.report import Report
from bottega.demo.scenario import SCENARIOS, choose
from bottega.errors import InvalidInput

KEYS = {
    "data_source": None,
    "trained": {"from", "until", "rows"},
    "eta": {"mae_min", "baseline_mae_min"},
    "compiled": {"speedup_vs_onnxruntime", "max_rel_error"},
    "served": {"p50_ms", "p99_ms", "rps"},
    "incident": {"name", "alarm_after_h", "mae_before", "mae_during", "mae_after_retrain"},
    "versions": {"before", "after"},
    "wall_s": None,
}


def play(workspace, *options, **environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith("BOTTEGA_")} | environment
    command = [sys.executable, "-m", "bottega.cli", "demo", "--no-studio", "--workspace", str(workspace), *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    report = json.loads((workspace / "demo" / "report.json").read_text())
    msgspec.convert(report, Report)
    for name, inner in KEYS.items():
        assert name in report
        assert inner is None or inner <= report[name].keys()
    return report, done.stdout


def test_the_scenario_follows_the_data(tmp_path):
    assert choose(None, Origin("simulator")).name == "simulator"
    assert choose(None, Origin("BOTTEGA_DATA", tmp_path)).name == "shock"
    assert choose("stable", Origin("BOTTEGA_DATA", tmp_path)) is SCENARIOS["stable"]
    with pytest.raises(InvalidInput, match="needs real trips"):
        choose("shock", Origin("simulator"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_loop_on_the_simulator_and_its_resumption(tmp_path):
    report, told = play(tmp_path / "w")
    assert report["data_source"] == "simulator:city_simulator"
    assert report["eta"]["mae_min"] < report["eta"]["baseline_mae_min"]
    assert report["compiled"]["max_rel_error"] <= 1e-5
    incident = report["incident"]
    assert incident["name"] == "lockdown"
    assert 0 < incident["alarm_after_h"] < 72
    assert incident["mae_after_retrain"] < incident["mae_during"]
    assert report["versions"]["after"] > report["versions"]["before"]
    for stage in ("Data", "Features", "Training", "Compile", "Serve", "Watch", "Incident"):
        assert stage in told
    again, told = play(tmp_path / "w", "--resume")
    assert again == report
    assert told.count("kept from before") == 7


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif("BOTTEGA_DATA" not in os.environ, reason="BOTTEGA_DATA names no folder with real trips")
@pytest.mark.parametrize("scenario", ["stable", "shock"])
def test_real_trips(tmp_path, scenario):
    report, _ = play(tmp_path / "w", "--scenario", scenario, BOTTEGA_DATA=os.environ["BOTTEGA_DATA"])
    incident = report["incident"]
    if scenario == "stable":
        assert incident["alarms"] == 0
        assert report["versions"]["before"] == report["versions"]["after"]
    else:
        assert incident["alarm_after_h"] is not None
        assert incident["mae_after_retrain"] < incident["mae_during"]
        assert report["versions"]["after"] > report["versions"]["before"]
