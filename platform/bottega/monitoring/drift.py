"""Drift of what is asked and answered against a reference: Evidently's report and a verdict in numbers.

The only file that imports Evidently, and only when a report is made: the import takes seconds.
"""

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from bottega.errors import InvalidInput
from bottega.files import write_atomic, write_json
from bottega.monitoring.monitor import Monitor, WatchedColumn
from bottega.times import HOUR_US, local_us

SAMPLE_ROWS = 20_000
MIN_ROWS = 200
RARE_SHARE = 0.01
OTHER = "(rare)"
METHOD = {"categorical": "psi", "numerical": "wasserstein"}
STATEMENT = (
    "This compares the distributions of single columns. It cannot see that the same questions now have other answers: "
    "when roads emptied in March 2020, the error of a taxi model rose by half within two weeks while the population "
    "stability index (PSI) of the trip duration stayed under 0.1, and the first column passed its limit days after the "
    "alarm by error. The alarm is therefore raised by the error; this report helps to explain it."
)


class ColumnDrift(msgspec.Struct, frozen=True):
    """How far one column has moved: `score` by `method`, drifted where it is at least `threshold`."""

    name: str
    method: Literal["psi", "wasserstein"]
    score: float
    threshold: float
    drifted: bool


class DriftVerdict(msgspec.Struct, frozen=True):
    """`drift.json`: "drift" where at least one column is over its threshold."""

    verdict: Literal["drift", "no drift"]
    columns: dict[str, ColumnDrift]
    reference_rows: int
    current_rows: int
    statement: str = STATEMENT


@dataclass(frozen=True)
class Drift:
    """A drift report: the verdict, each column's score, and where Evidently's page and figures lie."""

    verdict: Literal["drift", "no drift"]
    columns: dict[str, ColumnDrift]
    html: Path
    json: Path
    reference_rows: int
    current_rows: int
    statement: str = STATEMENT


def drift_report(
    reference: pd.DataFrame, current: pd.DataFrame, monitor: Monitor, folder: Path, name: str = "drift", seed: int = 7
) -> Drift:
    """Compare the watched columns of two tables and write `<name>.html` and `<name>.json` into `folder`.

    Categorical columns are scored by PSI, after values rarer than 1 % of the reference were pooled (with hundreds of
    zones and a thousand rows PSI would measure the sample's size); numerical ones by the Wasserstein distance over the
    reference's standard deviation. A KS test is not used: at these sizes its p-value flags anything. Tables over
    20,000 rows are sampled with `seed`.

    Raises InvalidInput for no watched columns, a missing one, or fewer than 200 rows.
    """
    columns = monitor.columns
    before, after = (_prepared(table, columns, monitor.timezone, seed) for table in (reference, current))
    for column in columns:
        if _is_time(reference[column.name]) != _is_time(current[column.name]):
            raise InvalidInput(
                f"{column.name!r} is a time in one of the two tables only.", next_step="Give both as datetime in UTC."
            )
        if column.kind == "categorical":
            before[column.name], after[column.name] = _pooled(before[column.name], after[column.name])
    evidently = _evidently()
    numeric = [column.name for column in columns if column.kind == "numerical"]
    categorical = [column.name for column in columns if column.kind == "categorical"]
    definition = evidently.DataDefinition(numerical_columns=numeric, categorical_columns=categorical)
    limits = {column.name: _limit(column, monitor) for column in columns}
    preset = evidently.DataDriftPreset(
        columns=[column.name for column in columns],
        num_method=METHOD["numerical"],
        cat_method=METHOD["categorical"],
        per_column_threshold=limits,
    )
    snapshot = evidently.Report([preset]).run(
        evidently.Dataset.from_pandas(after, data_definition=definition),
        evidently.Dataset.from_pandas(before, data_definition=definition),
    )
    scores = _scores(snapshot.dict())
    found = {column.name: _judged(column, scores[column.name], limits[column.name]) for column in columns}
    verdict: Literal["drift", "no drift"] = "drift" if any(c.drifted for c in found.values()) else "no drift"
    html, json = folder / f"{name}.html", folder / f"{name}.json"
    write_atomic(html, snapshot.get_html_str(as_iframe=False).encode())
    write_json(json, DriftVerdict(verdict, found, len(before), len(after)))
    return Drift(verdict, found, html, json, len(before), len(after))


def psi(reference: pd.Series, current: pd.Series, kind: Literal["categorical", "numerical"]) -> float:
    """Population stability index of two samples, by Evidently: equal-width bins or categories, natural logarithm.

    By custom 0.1 is a small and 0.2 a large shift; both are conventions, not tests.
    """
    evidently = _evidently()
    before, after = (_pooled(reference, current)) if kind == "categorical" else (reference, current)
    tables = [pd.DataFrame({"value": values.reset_index(drop=True)}) for values in (after, before)]
    definition = evidently.DataDefinition(**{f"{kind}_columns": ["value"]})
    metric = evidently.ValueDrift(column="value", method="psi")
    snapshot = evidently.Report([metric]).run(
        *(evidently.Dataset.from_pandas(table, data_definition=definition) for table in tables)
    )
    return _scores(snapshot.dict())["value"]


def _evidently() -> SimpleNamespace:
    """The names used from Evidently."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # a library that tells somebody about a run has no place here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import trips over deprecations in numpy and litestar, none of ours
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift
        from evidently.presets import DataDriftPreset
    logging.getLogger("evidently").setLevel(logging.ERROR)
    return SimpleNamespace(
        DataDefinition=DataDefinition,
        Dataset=Dataset,
        Report=Report,
        ValueDrift=ValueDrift,
        DataDriftPreset=DataDriftPreset,
    )


def _prepared(table: pd.DataFrame, columns: Sequence[WatchedColumn], timezone: str, seed: int) -> pd.DataFrame:
    if not columns:
        raise InvalidInput("The monitor watches no columns.", next_step="Give it the request's and answer's fields.")
    missing = [column.name for column in columns if column.name not in table.columns]
    if missing:
        raise InvalidInput(f"The table has no column {missing[0]!r}.", next_step=f"It has {', '.join(table.columns)}.")
    if len(table) < MIN_ROWS:
        raise InvalidInput(
            f"A drift report needs {MIN_ROWS} rows, there are {len(table)}.", next_step="Widen the window."
        )
    rows = table.sample(SAMPLE_ROWS, random_state=seed) if len(table) > SAMPLE_ROWS else table
    return pd.DataFrame({column.name: _values(rows[column.name], column, timezone) for column in columns})


def _values(values: pd.Series, column: WatchedColumn, timezone: str) -> np.ndarray:
    """A time as local hour of day, a category as text, a number as float64."""
    if _is_time(values):
        epoch_us = values.dt.tz_convert("UTC").dt.as_unit("us").astype("int64").to_numpy()
        return (local_us(epoch_us, timezone) // HOUR_US % 24).astype(np.float64)
    if column.kind == "categorical":
        return values.astype(str).to_numpy(object)
    return values.to_numpy(np.float64)


def _is_time(values: pd.Series) -> bool:
    return isinstance(values.dtype, pd.DatetimeTZDtype)


def _pooled(reference: pd.Series, current: pd.Series) -> tuple[pd.Series, pd.Series]:
    share = reference.value_counts(normalize=True)
    common = set(share.index[share >= RARE_SHARE])
    return reference.where(reference.isin(common), OTHER), current.where(current.isin(common), OTHER)


def _limit(column: WatchedColumn, monitor: Monitor) -> float:
    if column.limit is not None:
        return column.limit
    return monitor.psi_limit if column.kind == "categorical" else monitor.wasserstein_limit


def _judged(column: WatchedColumn, score: float, limit: float) -> ColumnDrift:
    method: Literal["psi", "wasserstein"] = "psi" if column.kind == "categorical" else "wasserstein"
    return ColumnDrift(column.name, method, score, limit, score >= limit)


def _scores(figures: dict) -> dict[str, float]:
    """Each column's score from Evidently's figures."""
    return {
        metric["config"]["column"]: float(metric["value"])
        for metric in figures["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift")
    }
