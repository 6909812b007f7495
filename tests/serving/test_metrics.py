"""Metrics: counts, histograms and exact quantiles say the same."""

import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.serving.metrics import Metrics


def sample(text: bytes, name: str) -> float:
    return next(float(line.rsplit(" ", 1)[1]) for line in text.decode().splitlines() if line.startswith(name))


def test_stages_give_quantiles_of_the_newest_samples() -> None:
    stage = Metrics().model("eta").stages["run"]
    assert stage.summary() == {"count": 0}
    for duration_us in range(1, 6001):
        stage.observe_ns(duration_us * 1000)
    newest = np.arange(6001 - 4096, 6001)
    assert stage.summary() == {
        "count": 6000,
        "p50_us": pytest.approx(np.quantile(newest, 0.5), abs=0.1),
        "p99_us": pytest.approx(np.quantile(newest, 0.99), abs=0.1),
    }


def test_the_exposition_has_what_was_counted() -> None:
    metrics = Metrics()
    model = metrics.model("eta")
    model.answered(3)
    model.answered(1)
    with pytest.raises(InvalidInput), model.counting_errors():
        raise InvalidInput("wrong")
    model.stages["run"].observe_ns(30_000)
    model.version = 7
    text = metrics.text({"written": 9, "dropped": 4})
    assert sample(text, 'bottega_requests_total{model="eta"}') == 2
    assert sample(text, 'bottega_rows_total{model="eta"}') == 4
    assert sample(text, 'bottega_errors_total{model="eta"}') == 1
    assert sample(text, 'bottega_model_version{model="eta"}') == 7
    assert sample(text, 'bottega_stage_seconds_bucket{le="2.5e-05",model="eta",stage="run"}') == 0
    assert sample(text, 'bottega_stage_seconds_bucket{le="5e-05",model="eta",stage="run"}') == 1
    assert sample(text, 'bottega_prediction_log{what="dropped"}') == 4
    summary = model.summary()
    assert (summary["requests"], summary["rows"], summary["errors"]) == (2, 4, 1)


def test_two_servers_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.model("eta").answered(1)
    second.model("eta").answered(5)
    assert sample(first.text({}), "bottega_rows_total{") == 1
    assert sample(second.text({}), "bottega_rows_total{") == 5
