"""Metrics: Prometheus counters and histograms by model and stage, and the newest samples for exact quantiles."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

STAGES = ("parse", "queue", "features", "run", "post", "encode", "total")
"""Parse the body, wait for the loop turn, compute the model's input, run the model, compute the answer, write it."""

BUCKETS_S = (
    *(0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5),
    *(0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
)
_KEPT = 4096


class Stage:
    """Durations of one stage of one model."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._newest_us = np.zeros(_KEPT, np.float32)
        self._count = 0

    def observe_ns(self, duration_ns: int) -> None:
        """Count one duration."""
        self._newest_us[self._count % _KEPT] = duration_ns * 1e-3
        self._count += 1
        self._histogram.observe(duration_ns * 1e-9)

    def summary(self) -> dict[str, float]:
        """Number of durations, and quantiles in microseconds over the newest 4,096 of them."""
        newest = self._newest_us[: min(self._count, _KEPT)]
        if not len(newest):
            return {"count": 0}
        p50, p99 = np.quantile(newest, (0.5, 0.99))
        return {"count": self._count, "p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1)}


@dataclass
class ModelMetrics:
    """Counts and stages of one model, over all its versions since the server's start."""

    stages: dict[str, Stage]
    requests: Counter
    rows: Counter
    errors: Counter
    version: Gauge
    request_count: int = 0
    row_count: int = 0
    error_count: int = 0

    def answered(self, rows: int) -> None:
        """Count one answered request of `rows` rows."""
        self.request_count += 1
        self.row_count += rows
        self.requests.inc()
        self.rows.inc(rows)

    @contextlib.contextmanager
    def counting_errors(self) -> Iterator[None]:
        """Count a request that ends with an error."""
        try:
            yield
        except Exception:
            self.error_count += 1
            self.errors.inc()
            raise

    def summary(self) -> dict[str, Any]:
        """Counts and latencies by stage, for people."""
        stages = {name: stage.summary() for name, stage in self.stages.items()}
        return {
            "requests": self.request_count,
            "rows": self.row_count,
            "errors": self.error_count,
            "stages": stages,
        }


class Metrics:
    """All metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._models: dict[str, ModelMetrics] = {}
        self._stage = Histogram(
            "bottega_stage_seconds",
            "Time by model and stage; features, run and post are of a whole batch.",
            ["model", "stage"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._requests = self._counter("bottega_requests", "Requests answered.")
        self._rows = self._counter("bottega_rows", "Rows answered.")
        self._errors = self._counter("bottega_errors", "Requests that got an error.")
        self._version = Gauge("bottega_model_version", "The live version.", ["model"], registry=self._registry)
        self._log = Gauge(
            "bottega_prediction_log",
            "Rows of the prediction log by what became of them, and segments written.",
            ["what"],
            registry=self._registry,
        )

        self._external = Gauge(
            "bottega_external",
            "Rows, questions and calls of external views by what became of them.",
            ["view", "what"],
            registry=self._registry,
        )

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["model"], registry=self._registry)

    def model(self, name: str) -> ModelMetrics:
        """The metrics of a model, made on first use."""
        if name not in self._models:
            self._models[name] = ModelMetrics(
                {stage: Stage(self._stage.labels(name, stage)) for stage in STAGES},
                self._requests.labels(name),
                self._rows.labels(name),
                self._errors.labels(name),
                self._version.labels(name),
            )
        return self._models[name]

    def text(
        self, log_counts: Mapping[str, int], external: Mapping[str, Mapping[str, int]] = MappingProxyType({})
    ) -> bytes:
        """The exposition that Prometheus scrapes, with the counts of the prediction log and of external views."""
        for view, counts in external.items():
            for what, count in counts.items():
                self._external.labels(view, what).set(count)
        for what, count in log_counts.items():
            self._log.labels(what).set(count)
        return generate_latest(self._registry)
