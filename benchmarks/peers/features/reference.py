"""The judge: a sample of labels answered by brute force, and a fingerprint of a whole answer.

The brute force knows nothing of the three parts (see job.py): it looks at each event of a label's entity and applies
the definition of a window. Nothing else here is as slow, or as plain.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from peers.features.job import SCALES, TILE_US, Feature, Job

_LARGEST = np.iinfo(np.int64).max


def write_reference(job: Job, sample: int, seed: int, path: str) -> None:
    """Answer `sample` labels drawn from the seed, and write them as a Parquet file like an engine's answer."""
    labels = pq.read_table(job.labels)
    rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:sample])
    chosen = {name: _whole(column) for name, column in zip(labels.column_names, labels.take(rows).columns, strict=True)}
    totals = {f: (np.zeros((2, len(rows)), np.int64), np.full((2, len(rows)), _LARGEST)) for f in job.features}
    seen: set[int] = set()
    for piece in pq.ParquetFile(job.events).iter_batches(1_000_000):
        events = {name: _whole(column) for name, column in zip(piece.schema.names, piece.columns, strict=True)}
        if job.copies:
            events = _first_arrivals(events, seen)
        _add(job, events, chosen, totals)
    columns = {f.name: _value(f, *totals[f]) for f in job.features}
    pq.write_table(pa.table({"label": chosen["label"], **columns}), path)


def _whole(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A column as numpy; times as int64 epoch_us."""
    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_numpy()


def _first_arrivals(events: dict[str, np.ndarray], seen: set[int]) -> dict[str, np.ndarray]:
    """The events without copies; all copies of an event lie in one piece."""
    order = np.lexsort((events["available_at"], events["event_id"]))
    first = np.append(True, np.diff(events["event_id"][order]) != 0)
    kept = np.sort(order[first])
    ids = set(events["event_id"][kept].tolist())
    assert not ids & seen
    seen |= ids
    return {name: column[kept] for name, column in events.items()}


def _add(job: Job, events: dict[str, np.ndarray], labels: dict[str, np.ndarray], totals: dict) -> None:
    tile = events["event_time"] // TILE_US
    fixed = {name: np.rint(events[name] * float(scale)).astype(np.int64) for name, scale in SCALES.items()}
    for key in job.keys:
        order = np.argsort(events[key], kind="stable")
        held = events[key][order]
        for i, entity in enumerate(labels[key].tolist()):
            at_us = labels["requested_at"][i]
            mine = order[np.searchsorted(held, entity) : np.searchsorted(held, entity, side="right")]
            known = mine[events["available_at"][mine] <= at_us]
            back = at_us // TILE_US - tile[known]
            for feature in job.of(key):
                inside = known[(back >= 1) & (back <= feature.tiles)]
                if len(inside):
                    _add_events(feature, i, fixed[feature.column][inside] if feature.column else inside, totals)


def _add_events(feature: Feature, i: int, values: np.ndarray, totals: dict) -> None:
    added, least = totals[feature]
    added[0, i] += len(values)
    added[1, i] += values.sum()
    least[0, i] = min(least[0, i], values.min())
    least[1, i] = min(least[1, i], -values.max())


def _value(feature: Feature, added: np.ndarray, least: np.ndarray) -> np.ndarray:
    n, total = added
    numerator = {"count": n, "sum": total, "mean": total, "min": least[0], "max": -least[1]}[feature.aggregate]
    divisor = feature.scale * (n if feature.aggregate == "mean" else np.ones_like(n))
    found = np.divide(numerator, divisor, out=np.full(len(n), np.nan), where=divisor > 0)
    return found if feature.aggregate in ("count", "sum") else np.where(n > 0, found, np.nan)


def judge(job: Job, reference: str) -> tuple[str, int]:
    """What is wrong with the answer ("" if nothing), and the fingerprint of all its values.

    Raises KeyError where a column is missing.
    """
    answer = pyarrow.dataset.dataset(job.answer).to_table()
    order = np.argsort(answer["label"].to_numpy())
    rows = answer["label"].to_numpy()[order]
    labels = pq.ParquetFile(job.labels).metadata.num_rows
    if not np.array_equal(rows, np.arange(labels)):
        return f"{len(rows)} rows in place of one for each of {labels} labels", 0
    expected = pq.read_table(reference)
    digest = hashlib.sha256()
    wrong = ""
    for feature in job.features:
        values = _canonical(answer[feature.name])[order]
        digest.update(values.tobytes())
        due, got = _canonical(expected[feature.name]), values[expected["label"].to_numpy()]
        differ = np.flatnonzero(due.view(np.int64) != got.view(np.int64))
        if len(differ) and not wrong:
            label = expected["label"][int(differ[0])].as_py()
            wrong = f"{feature.name} of label {label} is {got[differ[0]]}, not {due[differ[0]]}"
    return wrong, int.from_bytes(digest.digest()[:8], "big")


def _canonical(column: pa.ChunkedArray) -> np.ndarray:
    """Values as float64 with one kind of null and one of zero, so that equal values have equal bits."""
    values = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return np.where(np.isnan(values), np.nan, values) + 0.0
