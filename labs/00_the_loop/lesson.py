# %% [markdown]
# # Lab 00: The loop
#
# **Question.** What does it take to get from raw trips to a prediction that you can trust next month?
#
# **Time.** About 35 minutes: 15 to read and run this page, 20 for the three functions of the exercise.
#
# A rider opens an app, names a destination, and sees *12 minutes*. This page builds that number once, by hand, and
# then looks after it. You will meet everybody who is needed on the way:
#
# | who | needs | from |
# | --- | --- | --- |
# | the rider | a number that is right, now | the server |
# | the dispatcher | to know how wrong it may be | the data scientist |
# | the data scientist | past trips that can be believed, as they were known *then* | the data engineer |
# | the data engineer | to hear what the columns mean | the people who run the meters |
# | the person on call | an alarm when it matters, and only then | all of them |
#
# Most of machine learning in production is what happens between these people. A platform gives each of the hand-overs a
# fixed form, so that it can be done again next month by somebody else: **the loop**.
#
#     trips -> features -> training -> registry -> compile -> serving -> monitoring -> (retrain) -> training ...
#
# Run the cells from top to bottom. The trips come from the city simulator, a town that does not
# exist and whose truth is known.

# %%
from datetime import date
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bottega.datasets.incidents import Lockdown, Simulation, local_midnight
from bottega.datasets.origin import Origin
from bottega.datasets.trips import load_trips
from bottega.datasets.zones import load_zones
from bottega.lab import find_workspace
from bottega.monitoring.detectors import Cusum, scan
from bottega.monitoring.quality import error_series, log_residual
from bottega.settings import load_settings
from bottega.times import CITY_TIMEZONE
from bottega.training.baseline import fit_baseline, predict_baseline
from bottega.training.boosting import BoostingSettings, fit_boosting
from bottega.training.fitted import Rows
from bottega.training.reference import model_function

workspace = find_workspace(Path.cwd())
settings = load_settings({"workspace": workspace.root})

# %% [markdown]
# ## 1. Data: rows that can be believed
#
# Four months of trips. Something will happen in the city in the middle of March; nobody knows yet.
#
# Meters and people make mistakes: a meter is left running over night, a distance is 0, a year is wrong. Each row is
# checked against declared rules. A row that breaks one is **counted by reason and put aside**, never silently dropped:
# next month the same count may be the first sign that something upstream broke.

# %%
shutdown = Lockdown(date(2024, 3, 13), date(2024, 5, 1))  # the truth, which only the simulator knows
loaded = load_trips(
    Origin("simulator"),
    workspace,
    settings,
    since=local_midnight(date(2024, 1, 1)),
    until=local_midnight(date(2024, 5, 1)),
    simulation=Simulation(seed=settings.seed, incidents=(shutdown,)),
)
trips = loaded.table
print(f"{len(trips)} trips from {loaded.data_source}; put aside:")
for reason, count in loaded.rejected.items():
    print(f"  {count:6d}  {reason}")
print(trips.head(2).T)

# %% [markdown]
# The rejected rows are still there, with their reason, as they came: look at one kind.

# %%
kept_aside = pd.concat(pd.read_parquet(file) for file in sorted(workspace.quarantine.rglob("trips_2024-0*.parquet")))
long_rides = kept_aside[kept_aside["reason"] == "duration_out_of_range"]
print(long_rides[["pickup_at", "dropoff_at", "fare_usd", "reason"]].head(5).to_string(index=False))

# %% [markdown]
# ## 2. Stand at a moment
#
# It is the first of March. You train on what you know and are judged on what comes. That is the only question that
# next month will ask, so it is the only test worth making: **split by the clock**.

# %%
at = pd.Timestamp(local_midnight(date(2024, 3, 1)))
past = trips[trips["pickup_at"] < at]
march = trips[(trips["pickup_at"] >= at) & (trips["pickup_at"] < pd.Timestamp(local_midnight(date(2024, 3, 13))))]
print(f"past: {len(past)} trips, the next twelve days: {len(march)}")
print(f"trips of the past that end after {at:%Y-%m-%d %H:%M}Z: {(past['dropoff_at'] > at).sum()}")

# %% [markdown]
# Look at that last line: a few trips had begun before midnight and were still under way. At midnight nobody knew how
# long they would take, and yet their durations are in `past`. A handful here, but the same slip with labels that come
# a month late (a loan that is paid back, a customer who leaves) ruins a model. *The first function of the exercise
# splits properly.*
#
# ## 3. A baseline: what would a thoughtful person say?
#
# "From here to there? Usually 14 minutes." The **median of the pair of zones**. A model has to beat this, or nobody
# should have to maintain it. Error is measured in minutes: the mean absolute error, MAE.

# %%
zones = load_zones(Origin("simulator"))
SIZES = (int(zones["zone"].max()) + 1,) * 2


def ends(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Pickup and dropoff zone of each trip."""
    return table["pu_zone"].to_numpy(), table["do_zone"].to_numpy()


def mae_min(table: pd.DataFrame, predicted: np.ndarray) -> float:
    """Mean absolute error in minutes."""
    return float(np.abs(table["duration_min"].to_numpy() - predicted).mean())


medians = fit_baseline(ends(past), past["duration_min"].to_numpy(), SIZES)
same_for_all = np.full(len(march), past["duration_min"].median())
print(f"everybody gets the median trip: {mae_min(march, same_for_all):.2f} min off")
print(f"median of the zone pair:        {mae_min(march, predict_baseline(medians, ends(march))):.2f} min off")

# %% [markdown]
# ## 4. A small model
#
# The baseline does not know that it is half past five. Boosted trees learn what the medians get wrong, from features
# that are known **before** the trip: where it begins and ends, the distance as the crow flies, the hour, the weekday.
#
# One trap on the way: if the trees saw medians that were computed from the very same trips, they would trust them too
# much (the median of a pair with one trip *is* that trip's duration). So the medians come from the older half of the
# past, and the trees learn on the newer half; its newest tenth says when to stop.

# %%
PLACES = np.full((SIZES[0], 2), np.nan)
PLACES[zones["zone"]] = zones[["lat", "lon"]]


def before_the_trip(table: pd.DataFrame) -> np.ndarray:
    """Features that are known when a rider asks, (rows, 7) float32."""
    local = table["pickup_at"].dt.tz_convert(CITY_TIMEZONE)
    start, end = PLACES[table["pu_zone"]], PLACES[table["do_zone"]]
    north_km, east_km = (start - end).T * [[111.2], [84.3]]  # a degree of latitude, of longitude at this latitude
    clock = local.dt.hour + local.dt.minute / 60
    columns = [start, end, np.hypot(north_km, east_km), clock, local.dt.weekday]
    return np.column_stack(columns).astype(np.float32)


def train(history: pd.DataFrame, features=before_the_trip):
    """Medians from the older half of `history`, trees on the newer half; returns predict(table) in minutes."""
    history = history.sort_values("pickup_at")
    older, newer = history[: len(history) // 2], history[len(history) // 2 :]
    middle = fit_baseline(ends(older), older["duration_min"].to_numpy(), SIZES)

    def rows(table: pd.DataFrame) -> Rows:
        base = np.log(predict_baseline(middle, ends(table)))
        return Rows(features(table), base, table["duration_min"].to_numpy())

    stop = len(newer) * 9 // 10
    how = BoostingSettings(rounds=400, patience=20, learning_rate=0.1, min_child_weight=30)
    fitted = fit_boosting(rows(newer[:stop]), rows(newer[stop:]), how, seed=settings.seed, threads=1)
    trees = model_function("trees", fitted.model)

    def predict(table: pd.DataFrame) -> np.ndarray:
        asked = rows(table)
        return np.exp(asked.base + trees(asked.features)[:, 0])

    return predict


eta = train(past)
print(f"trees over the medians: {mae_min(march, eta(march)):.2f} min off")

# %% [markdown]
# ## 5. Too good to be true
#
# The table has two more columns that surely have to do with duration: the distance driven and the fare.


# %%
def with_fare(table: pd.DataFrame) -> np.ndarray:
    """The same, and what the meter said."""
    return np.column_stack([before_the_trip(table), table[["distance_mi", "fare_usd"]]]).astype(np.float32)


print(f"with distance and fare: {mae_min(march, train(past, with_fare)(march)):.2f} min off")

# %% [markdown]
# A triumph, and worthless: the meter counts minutes, so the fare **is** the answer, and it is known when the trip is
# over. When a rider asks there is no fare yet. This is a **leak**. It hides well, because every offline test looks
# wonderful. Two habits catch most leaks:
#
# - ask of each column *when is this known?* before *is this useful?*;
# - be suspicious of a result that is much better than anybody expected.
#
# The platform takes the first habit off you: features are read as they were at the moment of the request.
#
# ## 6. Release it, and keep looking
#
# The model goes live on the first of March. Each answer is logged; when the trip ends, its label arrives and joins the
# log. What do we watch? The **signed log residual** log(actual / predicted): 0 is right, -0.1 means that the trip took
# about 10 % less than we said. Errors of single trips cancel in the median of a day; a change in the city does not.

# %%
live = trips[trips["pickup_at"] >= at].copy()
live["predicted"] = eta(live)
live["residual"] = log_residual(live["duration_min"].to_numpy(), live["predicted"].to_numpy())
live["day"] = live["pickup_at"].dt.tz_convert(CITY_TIMEZONE).dt.tz_localize(None).dt.normalize()
daily = live.groupby("day").apply(
    lambda day: pd.Series(
        {
            "trips": len(day),
            "mae_min": mae_min(day, day["predicted"].to_numpy()),
            "baseline_mae_min": mae_min(day, predict_baseline(medians, ends(day))),
            "median_residual": day["residual"].median(),
        }
    )
)
daily["2024-03-10":"2024-03-18"].round(2)

# %% [markdown]
# An alarm needs to know what is usual. The first twelve days are quiet: they give the spread of the hourly medians. A
# cumulative sum then adds up how far each hour is off, less a slack that forgives small things, and rings at a limit.
# *The third function of the exercise is a simpler rule by the day.*

# %%
arrived = live.rename(columns={"duration_min": "actual", "dropoff_at": "label_at"})
hours = error_series(arrived[["label_at", "actual", "predicted"]], min_labels=50)
quiet = hours[hours["end"] <= march["pickup_at"].max()]
z = (hours["median"] - quiet["median"].mean()) / quiet["median"].std()
crossing = scan(Cusum(slack=1.0, threshold=36.0), z.tolist())
alarm_at = hours["end"].iloc[crossing.index]
began_at = pd.Timestamp(local_midnight(shutdown.start))
print(
    f"alarm at {alarm_at:%Y-%m-%d %H:%M}Z: trips take {'less' if crossing.direction == 'below' else 'more'} than we say"
)
print(f"the shutdown began {(alarm_at - began_at) / pd.Timedelta(hours=1):.0f} h before")

# %%
figure, (errors, residuals) = plt.subplots(2, 1, sharex=True, figsize=(9, 6), layout="constrained")
errors.plot(daily.index, daily["mae_min"], label="model")
errors.plot(daily.index, daily["baseline_mae_min"], label="zone-pair median", linestyle="--")
errors.set_ylabel("MAE, minutes")
residuals.plot(daily.index, daily["median_residual"], color="black")
residuals.axhline(0, color="grey", linewidth=0.5)
residuals.set_ylabel("median of log(actual / predicted)")
for axes in (errors, residuals):
    axes.axvline(pd.Timestamp(shutdown.start), color="tab:red", label="the city shuts down")
    axes.axvline(alarm_at.tz_convert(CITY_TIMEZONE).tz_localize(None), color="tab:orange", label="alarm")
errors.legend()
figure.autofmt_xdate()
figure.savefig(workspace.labs / "00_the_loop" / "watch.png")

# %% [markdown]
# Read the two pictures together. The error in minutes rises by a quarter or so and could be a bad week. The signed
# residual falls off a cliff: *every* trip is quicker than we say, because the roads are empty.
#
# ## 7. Which test told the truth?
#
# It is the evening of 17 March. Two colleagues estimate how wrong a freshly trained model will be next week. One picks
# the test rows by chance from all that is known, the other holds back the newest two days.

# %%
now = pd.Timestamp(local_midnight(date(2024, 3, 18)))
known = trips[trips["dropoff_at"] <= now]
next_week = trips[(trips["pickup_at"] >= now) & (trips["pickup_at"] < now + pd.Timedelta(days=7))]

by_chance = known.sample(frac=0.2, random_state=1)
newest = known[known["pickup_at"] >= now - pd.Timedelta(days=2)]
chance_says = mae_min(by_chance, train(known.drop(by_chance.index))(by_chance))
clock_says = mae_min(newest, train(known[known["dropoff_at"] <= newest["pickup_at"].min()])(newest))
print(f"random split promises {chance_says:.2f} min")
print(f"time split promises   {clock_says:.2f} min")
print(f"next week really is   {mae_min(next_week, train(known)(next_week)):.2f} min")

# %% [markdown]
# The random split averages over a world that is gone. The time split asks the question that next week will ask.
#
# ## 8. Retrain, and close the loop
#
# Two weeks later there is enough of the new world to learn from. The new model must beat the old one on trips that
# neither has seen, or it does not go live: that is the **promotion gate**.

# %%
since, then = (pd.Timestamp(local_midnight(day)) for day in (date(2024, 3, 16), date(2024, 4, 6)))
new_world = trips[(trips["pickup_at"] >= since) & (trips["dropoff_at"] <= then)]
april = trips[trips["pickup_at"] >= then]
retrained = train(new_world)
before, after = mae_min(april, eta(april)), mae_min(april, retrained(april))
print(f"April with the model of March: {before:.2f} min off")
print(f"April after retraining:        {after:.2f} min off, learned from {len(new_world)} trips")
print("promote" if after < before else "keep the old one")

# %% [markdown]
# ## What it took
#
# | step here | hand-over | in the platform |
# | --- | --- | --- |
# | 1 | rows with a declared meaning, bad ones counted and kept | `bottega data` |
# | 2, 4, 5 | features as they were known at the moment | `bottega features` |
# | 3, 4, 7 | a model judged on what came after, against a baseline | `bottega train`, `bottega evaluate` |
# | 8 | a version with its history, and a gate before it goes live | `bottega registry`, `bottega deploy` |
# | 6 | an answer in milliseconds, logged | `bottega compile`, `bottega serve`, `bottega predict` |
# | 6, 7 | labels that arrive late, an alarm that means something | `bottega monitor` |
#
# `bottega demo` runs all of them, for real, in a few minutes. None of the steps is hard. What is hard is that all of
# them have to be right at once, every month, while people and cities change: hence a platform.
#
# ## Your turn
#
# Write the three functions in `exercise.py` beside this file, then run
#
#     bottega lab check 00
#
# Stuck? `bottega lab hint 00` gives a nudge, then the idea, then nearly the answer.
