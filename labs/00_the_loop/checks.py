"""Checks of lab 00. Each builds its own small table, so that the message can name what went wrong."""

import numpy as np
import pandas as pd

from bottega.lab.rules import Wrong, check, numbers, pair, table, truth

AT = pd.Timestamp("2024-02-10", tz="UTC")


def trips(rows: list[tuple[str, int, int, float]]) -> pd.DataFrame:
    """A table of trips from (pickup, pickup zone, dropoff zone, minutes)."""
    frame = pd.DataFrame(rows, columns=["pickup_at", "pu_zone", "do_zone", "duration_min"])
    frame["pickup_at"] = pd.to_datetime(frame["pickup_at"], utc=True)
    frame["dropoff_at"] = frame["pickup_at"] + pd.to_timedelta(frame["duration_min"], unit="min")
    return frame


def month() -> pd.DataFrame:
    """Sixty days of trips, one every hour from 1 January 2024 on, in shuffled order."""
    rows = [
        (str(pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(hours=h)), h % 5, h % 7, 10.0 + h % 11)
        for h in range(60 * 24)
    ]
    return trips(rows).sample(frac=1, random_state=3).reset_index(drop=True)


def around() -> pd.DataFrame:
    """Trips just around the moment of the split."""
    return trips(
        [
            ("2024-02-09T22:00", 1, 2, 30.0),  # ended before
            ("2024-02-09T23:30", 1, 2, 30.0),  # ended exactly at the moment
            ("2024-02-09T23:50", 1, 2, 30.0),  # under way
            ("2024-02-10T00:00", 1, 2, 30.0),  # began exactly at the moment
            ("2024-02-10T09:00", 1, 2, 30.0),  # began after
        ]
    )


def halves(time_split, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the learner's split returned, as two tables of trips."""
    train, test = pair(time_split(frame.copy(), AT), "time_split")
    columns = ["pickup_at", "dropoff_at", "duration_min"]
    return table(train, columns, "the first thing that time_split returns (train)"), table(
        test, columns, "the second thing that time_split returns (test)"
    )


@check("time_split", "keeps the future out of training")
def future(time_split):
    train, test = halves(time_split, month())
    if train.empty or test.empty:
        raise Wrong(
            f"Of {len(month())} trips on both sides of {AT:%Y-%m-%d}, {len(train)} are in train, {len(test)} in test."
        )
    latest, first = train["pickup_at"].max(), test["pickup_at"].min()
    if latest >= first:
        raise Wrong(
            f"Your split lets the future into training: latest training pickup {latest:%Y-%m-%d} is after the first "
            f"test pickup {first:%Y-%m-%d}.",
            hint="random_split",
        )


@check("time_split", "leaves trips under way out of both")
def under_way(time_split):
    train, test = halves(time_split, around())
    late = train[train["dropoff_at"] > AT]
    if len(late):
        raise Wrong(
            f"Training has a trip that ended at {late['dropoff_at'].max():%Y-%m-%d %H:%M}, after the moment "
            f"{AT:%Y-%m-%d %H:%M}: nobody knew its duration yet.",
            hint="unfinished_trips",
        )
    early = test[test["pickup_at"] < AT]
    if len(early):
        raise Wrong(
            f"Test has a trip that began at {early['pickup_at'].min():%Y-%m-%d %H:%M}, before the moment "
            f"{AT:%Y-%m-%d %H:%M}.",
            hint="test_by_dropoff",
        )


@check("time_split", "knows what to do at the very moment")
def very_moment(time_split):
    train, test = halves(time_split, around())
    if not (train["dropoff_at"] == AT).any():
        raise Wrong(f"Train lacks the trip that ended exactly at {AT:%Y-%m-%d %H:%M}.", hint="moment_lost")
    if not (test["pickup_at"] == AT).any():
        raise Wrong(f"Test lacks the trip that began exactly at {AT:%Y-%m-%d %H:%M}.", hint="moment_lost")


@check("time_split", "loses no other trip and changes none")
def complete(time_split):
    frame = month()
    train, test = halves(time_split, frame)
    wanted = int((frame["dropoff_at"] <= AT).sum()), int((frame["pickup_at"] >= AT).sum())
    if (len(train), len(test)) != wanted:
        raise Wrong(f"Train has {len(train)} trips and test {len(test)}; it should be {wanted[0]} and {wanted[1]}.")
    given = frame.sort_values("pickup_at")["duration_min"]
    back = pd.concat([train, test]).sort_values("pickup_at")
    kept = frame[(frame["dropoff_at"] <= AT) | (frame["pickup_at"] >= AT)].sort_values("pickup_at")
    if len(back) and not np.array_equal(back["duration_min"], kept["duration_min"]):
        raise Wrong(f"The durations changed on the way; the first should be {given.iloc[0]:g} min.")


SEEN = [
    ("2024-01-01T08:00", 1, 2, 10.0),
    ("2024-01-01T09:00", 1, 2, 12.0),
    ("2024-01-01T10:00", 1, 2, 50.0),
    ("2024-01-01T11:00", 2, 1, 20.0),
    ("2024-01-01T12:00", 2, 1, 22.0),
    ("2024-01-01T13:00", 2, 1, 24.0),
    ("2024-01-01T14:00", 1, 3, 30.0),
    ("2024-01-01T15:00", 3, 1, 17.0),
]


def predicted(pair_median, asked: list[tuple[int, int]], minutes: float = 99.0) -> np.ndarray:
    """The learner's answers for pairs of zones; the test trips' own durations are all `minutes`."""
    test = trips([(f"2024-02-01T{8 + i:02d}:00", pu, do, minutes) for i, (pu, do) in enumerate(asked)])
    test.index = test.index[::-1]  # an index that is not the row number, as after a split
    return numbers(pair_median(trips(SEEN), test), len(asked), "what pair_median returns")


@check("pair_median", "takes the median of the pair")
def of_pair(pair_median):
    for (pu, do), median, mean, both_ways in (((1, 2), 12.0, 24.0, 21.0), ((2, 1), 22.0, 22.0, 21.0)):
        got = float(predicted(pair_median, [(pu, do)])[0])
        if got == median:
            continue
        name = (
            f"Trips from zone {pu} to zone {do} took {', '.join(f'{r[3]:g}' for r in SEEN if r[1:3] == (pu, do))} min"
        )
        if got == both_ways:
            raise Wrong(f"{name}; you say {got:g}, the median of both directions.", hint="pairs_without_direction")
        if got == mean:
            raise Wrong(f"{name}; you say {got:g}, the mean. The median is {median:g}.", hint="mean_not_median")
        if got == 99.0:
            raise Wrong(f"{name}; you say 99, the test trip's own duration.", hint="peeks_at_test")
        raise Wrong(f"{name}; the median is {median:g}, you say {got:g}.")


@check("pair_median", "backs off where the pair is new")
def backs_off(pair_median):
    asked = [(2, 3), (9, 9)]
    try:
        got = predicted(pair_median, asked)
    except KeyError as error:
        raise Wrong(
            f"For a pair of zones that training never saw you raise KeyError {error}.", hint="no_back_off"
        ) from None
    for (pu, do), minutes, wanted, why in zip(
        asked, got, (22.0, 21.0), ("the median from zone 2", "the median of all trips"), strict=True
    ):
        if np.isnan(minutes):
            raise Wrong(
                f"For the new pair {pu} to {do} you answer NaN; it should be {wanted:g}, {why}.", hint="no_back_off"
            )
        if minutes != wanted:
            raise Wrong(f"For the new pair {pu} to {do} you answer {minutes:g}; it should be {wanted:g}, {why}.")


@check("pair_median", "answers in the order of the test trips")
def order(pair_median):
    asked = [(3, 1), (1, 2), (2, 1), (1, 3), (1, 2)]
    wanted = [17.0, 12.0, 22.0, 30.0, 12.0]
    got = predicted(pair_median, asked).tolist()
    if got != wanted and sorted(got) == sorted(wanted):
        raise Wrong(f"The answers are right, their order is not: {got} should be {wanted}.", hint="order_lost")
    if got != wanted:
        raise Wrong(f"For the pairs {asked} you answer {got}; it should be {wanted}.")


@check("pair_median", "never looks at the test durations")
def blind(pair_median):
    asked = [(1, 2), (2, 1), (2, 3), (9, 9)]
    low, high = predicted(pair_median, asked, 5.0), predicted(pair_median, asked, 500.0)
    if not np.array_equal(low, high, equal_nan=True):
        raise Wrong(
            f"When the test trips take 500 min and not 5, your prediction goes from {low.tolist()} to {high.tolist()}.",
            hint="peeks_at_test",
        )


def day(median: float, seed: int, trips: int = 301, spread: float = 0.3) -> np.ndarray:
    """Residuals of a day whose median is exactly `median`."""
    drawn = np.random.default_rng(seed).normal(0, spread, trips)
    return drawn - np.median(drawn) + median


QUIET = [day(median, seed) for seed, median in enumerate((0.01, -0.01, 0.02, -0.02, 0.0, 0.01, -0.01))]
"""Seven quiet days: their medians have mean 0 and standard deviation 0.0131."""


def alarmed(should_alarm, residuals: np.ndarray, reference: list[np.ndarray]) -> bool:
    """The learner's verdict."""
    return truth(should_alarm(residuals.copy(), [d.copy() for d in reference]), "what should_alarm returns")


@check("should_alarm", "stays calm on a quiet day")
def calm(should_alarm):
    for median in (0.0, 0.03, -0.03):
        if alarmed(should_alarm, day(median, 20), QUIET):
            raise Wrong(
                f"A day with median residual {median:g} rings; the quiet days' medians spread by 0.013, and three "
                "times that is more."
            )


@check("should_alarm", "rings when trips take longer, and when they take less")
def both_sides(should_alarm):
    longer, shorter = (alarmed(should_alarm, day(median, 21), QUIET) for median in (0.2, -0.2))
    if longer != shorter:
        silent, way = ("shorter", "-0.2") if longer else ("longer", "0.2")
        raise Wrong(
            f"A day on which trips are much {silent} than predicted (median {way}) raises no alarm.", hint="one_sided"
        )
    if not longer:
        usual = float(np.concatenate(QUIET).std())
        hint = "spread_of_trips" if alarmed(should_alarm, day(3.5 * usual, 22), QUIET) else ""
        raise Wrong(
            "Days with median residual 0.2 and -0.2 raise no alarm; the quiet days' medians spread by 0.013.", hint=hint
        )


@check("should_alarm", "does not mind a few wild trips")
def wild(should_alarm):
    residuals = np.sort(day(0.0, 23))
    residuals[-10:] = 4.0  # meters left running: they were above the median before, and are now
    if alarmed(should_alarm, residuals, QUIET):
        raise Wrong("Ten trips with the meter left running, among 301, raise the alarm.", hint="mean_of_residuals")


@check("should_alarm", "measures by the quiet days, not by a fixed number")
def relative(should_alarm):
    noisy = [day(10 * float(np.median(d)), i) for i, d in enumerate(QUIET)]
    biased = [d - 1.5 for d in QUIET]
    if alarmed(should_alarm, day(0.2, 24), noisy):
        message = "In a city whose quiet days spread by 0.13, a median of 0.2 is usual; you ring."
    elif alarmed(should_alarm, day(-1.5, 25), biased):
        message = "A model that is always off by -1.5 is off by -1.5 today: nothing changed, and you ring."
    elif not alarmed(should_alarm, day(0.0, 26), biased):
        message = "A model that is always off by -1.5 is suddenly right: something changed, and you stay calm."
    else:
        return
    raise Wrong(message, hint="no_reference")
