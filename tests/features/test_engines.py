"""Engines: sizes, numbers beyond 64 bits, memory; and Spark, whose values are DuckDB's bit for bit."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bottega.errors import InvalidData, InvalidInput, StorageError, Unsupported
from bottega.features import (
    Entity,
    FeatureView,
    Source,
    binding,
    count,
    distinct,
    last,
    max,
    mean,
    min,
    spark,
    stddev,
    sum,
)
from bottega.features.engines import open_engine, parse_bytes
from bottega.features.offline import TrainingSet

needs_spark = pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None, reason="needs PySpark and Java 17"
)


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("1.5 MB", 1_500_000), ("1MiB", 2**20), ("3TiB", 3 * 2**40)]
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["2", "GB", "-1GB", "0GB", "2gb", "1GB; DROP TABLE x", ""])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InvalidInput, match="is no size of memory"):
        parse_bytes(text)


def test_duckdb_refuses_a_sum_beyond_64_bits_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_engine("duckdb", 10**9) as engine:
        table = engine.table("numbers", pa.table({"n": [2**62, 2**62]}))
        total = table.aggregate(n=table.n.sum())
        with pytest.raises(OverflowError):
            engine.run(total)
        with pytest.raises(OverflowError):
            engine.keep("total", total)
        assert engine.run(table.aggregate(n=table.n.max())).to_pylist() == [{"n": 2**62}]
    assert not list(tmp_path.iterdir())


def test_duckdb_says_what_to_do_when_memory_ends():
    with open_engine("duckdb", 10**7) as engine:
        rows = engine.table("numbers", pa.table({"n": np.arange(3_000_000)}))
        with pytest.raises(StorageError, match=r"not enough memory or disk.*memory_limit"):
            engine.run(rows.mutate(c=rows.n.collect().over(ibis.window(order_by="n"))))


def test_a_missing_spark_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    monkeypatch.setitem(sys.modules, "pyspark.errors", None)
    with (
        pytest.raises(Unsupported, match=r"pyspark is missing\. pip install 'bottega\[spark\]'"),
        open_engine("spark", 10**9),
    ):
        pass


@needs_spark
def test_a_missing_java_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(Unsupported, match="Spark needs Java 17"), open_engine("spark", 10**9):
        pass


@pytest.fixture(scope="module")
def session():
    """A Spark session for this file, so that each test need not start one."""
    with tempfile.TemporaryDirectory() as folder:
        found, _ = spark._session(Path(folder))
        yield found
        found.stop()


def view_of() -> FeatureView:
    return FeatureView(
        "v",
        Entity("zone", ("zone",)),
        sources=[
            Source("trips", "pickup_at", available_at="dropoff_at", event_id="trip_id", keys=("pu_zone",)),
            Source("ends", "dropoff_at", delay="4m", keys=("do_zone",)),
        ],
        features=[
            count().over("5m", "24h"),
            mean("speed_kmh").over("15m", "7d"),
            sum("speed_kmh").over("1h"),
            min("speed_kmh").over("1h", "24h"),
            max("speed_kmh", where="duration_min > 30", name="long_speed").over("24h"),
            last("speed_kmh").over("1h", "24h"),
            stddev("duration_min").over("24h"),
            distinct("duration_min", cap=20).over("1h", "24h"),
        ],
    )


def coarse(options: dict) -> FeatureView:
    """The view on longer tiles, without the windows that do not fit them."""
    fine = view_of()
    features = [feature for feature in fine.features if feature.window_s % 900 == 0]
    return FeatureView("v", fine.entity, sources=fine.sources, features=features, **options)


@needs_spark
@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"ttl": "15m", "tile": "15m"}])
def test_spark_gives_the_same_bit_for_bit(session, trips, options):
    view = coarse(options) if options else view_of()
    copied = pd.concat([trips, trips.sample(200, random_state=6)], ignore_index=True)
    labels = trips.sample(400, random_state=3)
    refs = [f"v:{feature.name}@pu_zone" for feature in view.features]
    sources = {"trips": copied, "ends": trips}
    found = TrainingSet(labels, refs, "pickup_at").compute([view], sources, engine="spark")
    pd.testing.assert_frame_equal(found, TrainingSet(labels, refs, "pickup_at").compute([view], sources))


@needs_spark
@pytest.mark.slow
def test_spark_refuses_a_sum_beyond_64_bits(session, monkeypatch):
    monkeypatch.setattr(binding, "LARGEST", 2**62)
    view = FeatureView("v", Entity("zone", ("zone",)), "events", "t", [sum("x", scale=1).over("1h")])
    at = pd.to_datetime(["2024-03-05 12:00", "2024-03-05 12:01", "2024-03-05 12:30"], utc=True)
    events = pd.DataFrame({"zone": 1, "t": at, "x": float(2**62)})
    with pytest.raises(InvalidData, match="a sum of 'x' does not fit 64 bits"):
        TrainingSet(events, ["v:x_sum_1h"], "t").compute([view], {"events": events}, engine="spark")


@needs_spark
@pytest.mark.slow
def test_spark_starts_and_ends_without_a_word(tmp_path):
    program = """
import pandas as pd
from bottega.features import Entity, FeatureView, count
from bottega.features.offline import TrainingSet
view = FeatureView("v", Entity("zone", ("zone",)), "events", "t", [count().over("1h")])
events = pd.DataFrame({"zone": [1, 1], "t": pd.to_datetime(["2024-03-05 12:00", "2024-03-05 12:30"], utc=True)})
found = TrainingSet(events, ["v:count_1h"], "t").compute([view], {"events": events}, engine="spark")
print(found["count_1h"].tolist())
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, "[0.0, 1.0]", "")
    assert not list(tmp_path.glob("bottega-*"))
