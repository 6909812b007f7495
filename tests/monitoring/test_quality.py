import numpy as np
import pandas as pd
import pytest

from bottega.monitoring.quality import day_series, error_series, log_residual, quality

CITY = "America/New_York"


def test_log_residual_is_signed_and_relative():
    got = log_residual(np.array([22.0, 10.0, 0.0, 5.0]), np.array([20.0, 20.0, 10.0, -1.0]))
    assert got[:2] == pytest.approx([np.log(1.1), -np.log(2)])
    assert np.isnan(got[2:]).all()


def test_quality_equals_a_plain_count(outcomes):
    table = pd.concat([outcomes(30, 40, version=1), outcomes(30, 20, seed=2, version=2)], ignore_index=True)
    hourly = quality(table, "hour", CITY)
    assert hourly["labels"].sum() == len(table)
    row = hourly.iloc[17]
    part = table[(table["at"].dt.floor("h") == row["start"]) & (table["model_version"] == row["model_version"])]
    error = part["predicted"] - part["actual"]
    assert row["mae"] == pytest.approx(error.abs().mean())
    assert row["bias"] == pytest.approx(error.mean())
    assert row["p90_abs_error"] == pytest.approx(np.quantile(error.abs(), 0.9))
    assert row["median_log_residual"] == pytest.approx(np.median(np.log(part["actual"] / part["predicted"])))
    assert row["coverage"] == pytest.approx(part["actual"].between(part["low"], part["high"]).mean())
    assert row["width"] == pytest.approx((part["high"] - part["low"]).mean())


def test_days_are_the_citys(outcomes):
    daily = quality(outcomes(48, 10), "day", CITY)
    assert daily["start"].dt.tz_convert(CITY).dt.strftime("%m-%d %H").tolist() == ["03-04 00", "03-05 00"]
    assert daily["labels"].sum() == 480


def test_an_eighty_percent_interval_covers_eighty_percent(outcomes):
    total = quality(outcomes(200, 100), "all", CITY)
    assert len(total) == 1
    assert total["coverage"].iloc[0] == pytest.approx(0.8, abs=0.01)


def test_without_an_interval_there_is_no_coverage(outcomes):
    total = quality(outcomes(10, 50).assign(low=np.nan, high=np.nan), "all", CITY)
    assert np.isnan(total["coverage"].iloc[0]) and total["mae"].iloc[0] > 0


def test_error_series_is_the_hourly_median_in_the_order_of_labels(outcomes):
    table = outcomes(48, 100).sample(frac=1, random_state=3)
    series = error_series(table, min_labels=50)
    residual = np.log(table["actual"] / table["predicted"])
    plain = residual.groupby(table["label_at"].dt.floor("h")).agg(["median", "size"])
    plain = plain[plain["size"] >= 50]
    assert series["median"].iloc[1:40].tolist() == pytest.approx(plain["median"].iloc[1:40].tolist())
    assert (series["end"] - series["start"]).iloc[5] == pd.Timedelta(hours=1)


def test_quiet_hours_are_pooled_until_they_are_enough(outcomes):
    table = outcomes(100, 7)
    series = error_series(table, min_labels=50)
    assert (series["labels"] >= 50).all()
    assert series["labels"].sum() <= len(table) < series["labels"].sum() + 50
    assert (series["start"].to_numpy()[1:] >= series["end"].to_numpy()[:-1]).all()
    first = table.sort_values("label_at").iloc[: series["labels"].iloc[0]]
    assert series["median"].iloc[0] == pytest.approx(np.median(np.log(first["actual"] / first["predicted"])))


def test_no_labels_give_an_empty_series(outcomes):
    series = error_series(outcomes(5, 20).iloc[:0], min_labels=50)
    assert series.empty and str(series["end"].dtype) == "datetime64[us, UTC]"


def test_day_series_leaves_quiet_days_out(outcomes):
    table = pd.concat([outcomes(24, 100), outcomes(24, 2, seed=2, start=pd.Timestamp("2024-03-06 05:00", tz="UTC"))])
    days = day_series(table, 200, CITY)
    assert days["start"].dt.tz_convert(CITY).dt.day.tolist() == [4]
    assert days["labels"].iloc[0] > 2000


def test_a_difference_is_told_by_its_mean_where_a_label_is_0_or_1(outcomes):
    rng = np.random.default_rng(4)
    table = outcomes(48, 60)
    chance = rng.uniform(0.6, 0.9, len(table))
    table = table.assign(predicted=chance, actual=(rng.random(len(table)) < chance - 0.2).astype(float))
    series = error_series(table, 50, "difference")
    assert series["median"].mean() == pytest.approx(-0.2, abs=0.02)
    assert quality(table, "all", CITY, "difference")["median_log_residual"][0] == pytest.approx(
        (table["actual"] - table["predicted"]).mean()
    )
