"""Days of the market, many at once: each tick riders ask, a price is set, cars are sent, drivers come and go.

A world is one day drawn from one seed. Worlds are rows of arrays and know nothing of each other, so a world is the same
in whatever company it is simulated. Counts stay whole: a share of n people is `floor(n * share + u)` with u uniform,
right on average, and the same u under every policy, so that policies differ by what they do and not by luck.

What makes a market without surge prices collapse is in here: when free cars are scarce, the nearest is far, and cars on
the way to riders are cars that carry nobody (Castillo, Knoepfle and Weyl, "Matching and pricing in ride hailing: wild
goose chases and how to solve them", 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.errors import InvalidInput
from bottega.market.city import TICK_MIN, TICKS, City
from bottega.market.conditions import Conditions, draw
from bottega.market.dispatch import Reach, dispatch, near_min, quoted_min
from bottega.market.drivers import change_shifts, drive, move
from bottega.market.policies import HORIZON_MIN, Policy, Seen
from bottega.market.riders import Riders
from bottega.market.state import State, begin
from bottega.progress import Progress, silent

DRIVER_SHARE = 0.75
"""Of a fare, what the driver gets."""
_AHEAD = HORIZON_MIN // TICK_MIN


@dataclass(frozen=True)
class Days:
    """What happened, by tick, world and district: (ticks, worlds, districts) each; sums of dollars and minutes."""

    seeds: tuple[int, ...]
    requests: np.ndarray
    priced_out: np.ndarray  # would not pay the multiplier, even at an ordinary wait
    unmet: np.ndarray  # would pay, and found no car soon enough
    completed: np.ndarray
    wait_min: np.ndarray
    surplus_usd: np.ndarray
    earnings_usd: np.ndarray
    multiplier: np.ndarray
    forecast: np.ndarray  # requests of the next HORIZON_MIN minutes, as the policy saw them
    cars: np.ndarray  # cars, as the policy saw them
    online: np.ndarray  # (ticks, worlds): drivers on the road


def simulate(
    city: City,
    policy: Policy,
    seeds: Sequence[int],
    conditions: Conditions | None = None,
    progress: Progress = silent,
) -> Days:
    """Live through one day for each seed under a policy. Raises InvalidInput for no seed or a negative one."""
    conditions = conditions or Conditions()
    if not len(seeds) or min(seeds) < 0:
        raise InvalidInput(f"The seeds are {list(seeds)}.", next_step="Give one or more, each at least 0.")
    requests, luck = draw(city, seeds, conditions)
    reach, state = Reach.of(city), begin(city, len(seeds), conditions)
    records: list[dict[str, np.ndarray]] = []
    for tick in range(TICKS):
        progress("simulate the market", tick, TICKS)
        records.append(_step(city, reach, policy, conditions, state, requests[:, tick], luck[:, tick], tick))
    progress("simulate the market", TICKS, TICKS)
    columns = {name: np.stack([record[name] for record in records]) for name in records[0]}
    return Days(tuple(seeds), **columns)


def _step(
    city: City,
    reach: Reach,
    policy: Policy,
    conditions: Conditions,
    state: State,
    requests: np.ndarray,
    luck: np.ndarray,
    tick: int,
) -> dict[str, np.ndarray]:
    """One tick, in place; what happened in it."""
    state.free = state.free + state.coming[0]
    state.coming = np.concatenate([state.coming[1:], np.zeros_like(state.coming[:1])])
    change_shifts(city, conditions, state, luck[:, 0], tick)
    seen = _look(city, conditions, state, tick)
    multiplier = policy.price(seen)
    priced_out, refused = _ask(city, reach, conditions.riders, state, requests, multiplier, luck[:, 1])
    served = _send(city, reach, conditions.riders, state, luck[:, 2])
    left = _give_up(conditions.riders, state, luck[:, 3])
    move(city, conditions, state, multiplier, luck[:, 4], tick)
    today = requests.mean(axis=1, keepdims=True) + 4 * requests
    usual = city.requests[tick].mean() + 4 * city.requests[tick]
    state.pressure = 0.85 * state.pressure + 0.15 * (today + 1) / (usual + 1)
    state.last = multiplier
    return {
        "requests": requests,
        "priced_out": priced_out,
        "unmet": refused + left,
        **served,
        "multiplier": multiplier,
        "forecast": seen.requests,
        "cars": seen.cars,
        "online": state.free.sum(axis=1) + state.coming.sum(axis=(0, 2)),
    }


def _look(city: City, conditions: Conditions, state: State, tick: int) -> Seen:
    """The forecasts: the ordinary day's next minutes times today's level; cars that are free or known to come."""
    ahead = city.requests[(tick + np.arange(_AHEAD)) % TICKS].sum(axis=0)
    state.supply = 0.5 * state.supply + 0.5 * (state.free + state.coming[: _AHEAD - 1].sum(axis=0))
    start, end = conditions.emergency or (0, 0)
    emergency = np.full(len(state.free), start <= tick < end)
    return Seen(ahead * state.pressure + state.waiting, state.supply, city.trip_min, state.last, emergency)


def _ask(
    city: City,
    reach: Reach,
    riders: Riders,
    state: State,
    requests: np.ndarray,
    multiplier: np.ndarray,
    luck: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """New riders see price and wait, and join those who wait or do not: how many the price, how many the wait kept."""
    wait_min = quoted_min(reach, state.waiting, state.free)
    usual = multiplier + riders.usd_per_min * TICK_MIN / city.fare_usd
    cost = multiplier + riders.usd_per_min * wait_min / city.fare_usd
    would = riders.would_pay(usual)
    agree = riders.would_pay(np.maximum(cost, usual)) * riders.would_wait(wait_min)
    paying = np.floor(requests * would + luck)
    joined = np.minimum(np.floor(requests * agree + luck), paying)
    state.waiting = state.waiting + joined
    state.worth = state.worth + joined * riders.worth_above(np.maximum(cost, usual))
    state.paying = state.paying + joined * multiplier
    return requests - paying, paying - joined


def _send(city: City, reach: Reach, riders: Riders, state: State, luck: np.ndarray) -> dict[str, np.ndarray]:
    """Send cars to riders: completed trips, their waits, what riders gain and drivers earn."""
    sent = dispatch(reach, state.waiting, state.free)  # (worlds, rider's district, car's district)
    own = np.eye(city.districts, dtype=bool)
    minutes = np.where(own, near_min(state.free)[:, None, :], reach.minutes)
    taken = sent.sum(axis=2)
    share = np.divide(taken, state.waiting, out=np.zeros_like(taken), where=state.waiting > 0)
    wait_min = share * state.waited_min + (sent * minutes).sum(axis=2)
    worth, paying = share * state.worth, share * state.paying
    surplus = (worth - paying) * city.fare_usd - riders.usd_per_min * wait_min
    earnings = DRIVER_SHARE * paying * city.fare_usd
    state.free = state.free - sent.sum(axis=1)
    drive(city, state, sent, minutes, luck)
    paid = np.divide(paying.sum(axis=1), taken.sum(axis=1), out=np.ones(len(taken)), where=taken.sum(axis=1) > 0)
    state.pay = 0.85 * state.pay + 0.15 * paid
    for name in ("waiting", "waited_min", "worth", "paying"):
        column = getattr(state, name)
        setattr(state, name, np.maximum(column - (taken if name == "waiting" else share * column), 0.0))
    return {"completed": taken, "wait_min": wait_min, "surplus_usd": surplus, "earnings_usd": earnings}


def _give_up(riders: Riders, state: State, luck: np.ndarray) -> np.ndarray:
    """Of those who still wait, some leave, (worlds, districts)."""
    left = np.floor(state.waiting * riders.leaving + luck)
    share = np.divide(left, state.waiting, out=np.zeros_like(left), where=state.waiting > 0)
    state.waiting = state.waiting - left
    state.waited_min = state.waited_min * (1 - share) + TICK_MIN * state.waiting
    state.worth, state.paying = state.worth * (1 - share), state.paying * (1 - share)
    return left
