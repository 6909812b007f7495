"""Metrics: counters and histograms by model and stage as Prometheus reads them, and the newest samples for quantiles.

A request counts a dozen things, so counting is a few additions on plain numbers, a duration one more in a list; they
become Prometheus's families when it asks. Counts are the event loop's: of two threads that count at once, one count in
very many may be lost.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from bottega.serving.deployments import RoleStatus

STAGES = ("parse", "queue", "features", "run", "post", "encode", "total")
"""Parse the body, wait for the loop turn, compute the model's input, run the model, compute the answer, write it."""

BUCKETS_S = (
    *(0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5),
    *(0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
)
_KEPT = 4096


_BOUNDS_NS = np.array([round(bound * 1e9) for bound in BUCKETS_S])


class Stage:
    """Durations of one stage of one model; new ones are only kept, and sorted into the buckets now and then."""

    __slots__ = ("_buckets", "_fresh_ns", "_newest_ns", "_total_ns")

    def __init__(self) -> None:
        self._buckets = np.zeros(len(_BOUNDS_NS) + 1, np.int64)
        self._newest_ns = np.zeros(0, np.int64)
        self._fresh_ns: list[int] = []
        self._total_ns = 0

    def observe_ns(self, duration_ns: int) -> None:
        """Count one duration."""
        self._fresh_ns.append(duration_ns)
        if len(self._fresh_ns) >= _KEPT:
            self._sort()

    def observe_all(self, durations_ns: list[int]) -> None:
        """Count durations."""
        self._fresh_ns += durations_ns
        if len(self._fresh_ns) >= _KEPT:
            self._sort()

    def _sort(self) -> None:
        fresh_ns, self._fresh_ns = self._fresh_ns, []
        if fresh_ns:
            durations = np.array(fresh_ns, np.int64)
            self._total_ns += int(durations.sum())
            self._buckets += np.bincount(np.searchsorted(_BOUNDS_NS, durations), minlength=len(self._buckets))
            self._newest_ns = np.concatenate([self._newest_ns, durations])[-_KEPT:]

    @property
    def count(self) -> int:
        """How many durations there were."""
        return int(self._buckets.sum()) + len(self._fresh_ns)

    @property
    def total_ns(self) -> int:
        """Their sum."""
        self._sort()
        return self._total_ns

    def summary(self) -> dict[str, float]:
        """Number of durations, and quantiles in microseconds over the newest 4,096 of them."""
        self._sort()
        if not len(self._newest_ns):
            return {"count": 0}
        p50, p99 = np.quantile(self._newest_ns, (0.5, 0.99)) / 1000
        return {"count": self.count, "p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1)}

    def cumulated(self) -> list[tuple[str, float]]:
        """How many durations lie at or below each bound, as Prometheus writes it."""
        self._sort()
        names = [*(str(float(bound)) for bound in BUCKETS_S), "+Inf"]
        return list(zip(names, np.cumsum(self._buckets).tolist(), strict=True))


@dataclass
class ModelMetrics:
    """Counts and stages of one model, over all its versions since the server's start; `version` is the live one."""

    stages: dict[str, Stage] = field(default_factory=lambda: {stage: Stage() for stage in STAGES})
    version: int = 0
    request_count: int = 0
    row_count: int = 0
    error_count: int = 0

    def answered(self, rows: int) -> None:
        """Count one answered request of `rows` rows."""
        self.request_count += 1
        self.row_count += rows

    @contextlib.contextmanager
    def counting_errors(self) -> Iterator[None]:
        """Count a request that ends with an error."""
        try:
            yield
        except Exception:
            self.error_count += 1
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
    """All metrics of one server; a collector of a registry of its own."""

    def __init__(self) -> None:
        self._models: dict[str, ModelMetrics] = {}
        self._log: Mapping[str, int] = MappingProxyType({})
        self._external: Mapping[str, Mapping[str, int]] = MappingProxyType({})
        self._roles: Mapping[str, Sequence[RoleStatus]] = MappingProxyType({})
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def model(self, name: str) -> ModelMetrics:
        """The metrics of a model, made on first use."""
        return self._models.setdefault(name, ModelMetrics())

    def text(
        self,
        log_counts: Mapping[str, int],
        external: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
        roles: Mapping[str, Sequence[RoleStatus]] = MappingProxyType({}),
    ) -> bytes:
        """What Prometheus scrapes, with the counts of the prediction log, of external views and of each role."""
        self._log, self._external, self._roles = log_counts, external, roles
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The families that Prometheus reads."""
        stages = HistogramMetricFamily(
            "bottega_stage_seconds",
            "Time by model and stage; features, run and post are of a whole batch.",
            labels=["model", "stage"],
        )
        requests = CounterMetricFamily("bottega_requests", "Requests answered.", labels=["model"])
        rows = CounterMetricFamily("bottega_rows", "Rows answered.", labels=["model"])
        errors = CounterMetricFamily("bottega_errors", "Requests that got an error.", labels=["model"])
        versions = GaugeMetricFamily("bottega_model_version", "The live version.", labels=["model"])
        for name, model in self._models.items():
            for stage, found in model.stages.items():
                stages.add_metric([name, stage], found.cumulated(), found.total_ns * 1e-9)
            requests.add_metric([name], model.request_count)
            rows.add_metric([name], model.row_count)
            errors.add_metric([name], model.error_count)
            versions.add_metric([name], model.version)
        log = GaugeMetricFamily(
            "bottega_prediction_log",
            "Rows of the prediction log by what became of them, and segments written.",
            labels=["what"],
        )
        for what, count in self._log.items():
            log.add_metric([what], count)
        external = GaugeMetricFamily(
            "bottega_external",
            "Rows, questions and calls of external views by what became of them.",
            labels=["view", "what"],
        )
        for view, counts in self._external.items():
            for what, count in counts.items():
                external.add_metric([view, what], count)
        roles = GaugeMetricFamily(
            "bottega_role",
            "Share of the requests, and counts of them, by the role that a version has had since it was given it.",
            labels=["model", "role", "version", "what"],
        )
        for name, statuses in self._roles.items():
            for status in statuses:
                for what, value in {"share": status.share, **status.counts}.items():
                    roles.add_metric([name, status.role, str(status.version), what], value)
        yield from (stages, requests, rows, errors, versions, log, external, roles)
