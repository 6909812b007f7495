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

import msgspec
import numpy as np

from bottega.errors import InvalidInput
from bottega.market.city import TICK_MIN, TICKS, City
from bottega.market.dispatch import Reach, dispatch, near_min, quoted_min
from bottega.market.policies import HORIZON_MIN, Policy, Seen
from bottega.market.riders import Riders
from bottega.progress import Progress, silent

DRIVER_SHARE = 0.75
"""Of a fare, what the driver gets."""
_LONGEST_TICKS = 32
_AHEAD = HORIZON_MIN // TICK_MIN
_STREAMS = 5


class Conditions(msgspec.Struct, frozen=True):
    """What a market's days are like: the share of ordinary drivers, how they answer to pay, and an emergency, if any.

    `elasticity`: pay that is 1 % better brings so many per cent more drivers; 0 for drivers who do not respond.
    `emergency`: first and last tick (exclusive) of a declared one, in which `emergency_factor` times as many ask.
    """

    drivers: float = 1.0
    elasticity: float = 0.6
    riders: Riders = Riders()
    emergency: tuple[int, int] | None = None
    emergency_factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.drivers <= 10:
            raise InvalidInput(f"The share of drivers is {self.drivers:g}; it must be above 0 and at most 10.")
        if not 0 <= self.elasticity <= 5:
            raise InvalidInput(f"The elasticity is {self.elasticity:g}; it must be from 0 to 5.")


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


@dataclass
class _State:
    """The worlds between two ticks: (worlds, districts) each, but for those that say otherwise."""

    free: np.ndarray
    coming: np.ndarray  # (ticks ahead, worlds, districts): cars that get free then
    waiting: np.ndarray
    waited_min: np.ndarray  # of all who wait, together
    worth: np.ndarray  # of the rides of all who wait, together, in ordinary fares
    paying: np.ndarray  # their multipliers, added up
    pressure: np.ndarray  # how today's requests compare to an ordinary day's
    supply: np.ndarray  # smoothed cars
    last: np.ndarray  # multiplier
    pay: np.ndarray  # (worlds,): smoothed multiplier of the drivers' trips


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
    requests, luck = _draw(city, seeds, conditions)
    reach, state = Reach.of(city), _begin(city, len(seeds), conditions)
    records: list[dict[str, np.ndarray]] = []
    for tick in range(TICKS):
        progress("simulate the market", tick, TICKS)
        records.append(_step(city, reach, policy, conditions, state, requests[:, tick], luck[:, tick], tick))
    progress("simulate the market", TICKS, TICKS)
    columns = {name: np.stack([record[name] for record in records]) for name in records[0]}
    return Days(tuple(seeds), **columns)


def _draw(city: City, seeds: Sequence[int], conditions: Conditions) -> tuple[np.ndarray, np.ndarray]:
    """Requests (worlds, ticks, districts) and luck (worlds, ticks, streams, districts), each world from its seed."""
    expected = city.requests.copy()
    if conditions.emergency is not None:
        expected[slice(*conditions.emergency)] *= conditions.emergency_factor
    requests, luck = [], []
    for seed in seeds:
        rng = np.random.default_rng([seed, 0])
        level = rng.lognormal(0, 0.08) * np.exp(_wander(rng, city.districts, 0.15))
        requests.append(rng.poisson(expected * level))
        luck.append(np.random.default_rng([seed, 1]).uniform(size=(TICKS, _STREAMS, city.districts)))
    return np.stack(requests).astype(np.float64), np.stack(luck)


def _wander(rng: np.random.Generator, districts: int, spread: float) -> np.ndarray:
    """A slow swing of each district's demand within a day, (ticks, districts): an autoregression of about two hours."""
    keep = np.exp(-TICK_MIN / 120)
    steps = rng.normal(0, spread * np.sqrt(1 - keep**2), (TICKS, districts))
    swing = np.zeros((TICKS, districts))
    swing[0] = rng.normal(0, spread, districts)
    for tick in range(1, TICKS):
        swing[tick] = keep * swing[tick - 1] + steps[tick]
    return swing


def _begin(city: City, worlds: int, conditions: Conditions) -> _State:
    """Midnight: the ordinary number of cars, free, where requests are."""
    shape = (worlds, city.districts)
    share = city.requests[0] / city.requests[0].sum()
    free = np.broadcast_to(np.round(city.cars[0] * conditions.drivers * share), shape).copy()
    nobody, ones = np.zeros(shape), np.ones(shape)
    return _State(
        free=free,
        coming=np.zeros((_LONGEST_TICKS, *shape)),
        waiting=nobody,
        waited_min=nobody,
        worth=nobody,
        paying=nobody,
        pressure=ones,
        supply=free,
        last=ones,
        pay=np.ones(worlds),
    )


def _step(
    city: City,
    reach: Reach,
    policy: Policy,
    conditions: Conditions,
    state: _State,
    requests: np.ndarray,
    luck: np.ndarray,
    tick: int,
) -> dict[str, np.ndarray]:
    """One tick, in place; what happened in it."""
    state.free = state.free + state.coming[0]
    state.coming = np.concatenate([state.coming[1:], np.zeros_like(state.coming[:1])])
    _change_shifts(city, conditions, state, luck[:, 0], tick)
    seen = _look(city, conditions, state, tick)
    multiplier = policy.price(seen)
    priced_out, refused = _ask(city, reach, conditions.riders, state, requests, multiplier, luck[:, 1])
    served = _send(city, reach, conditions.riders, state, luck[:, 2])
    left = _give_up(conditions.riders, state, luck[:, 3])
    _move(city, conditions, state, multiplier, luck[:, 4], tick)
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


def _look(city: City, conditions: Conditions, state: _State, tick: int) -> Seen:
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
    state: _State,
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


def _send(city: City, reach: Reach, riders: Riders, state: _State, luck: np.ndarray) -> dict[str, np.ndarray]:
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
    _drive(city, state, sent, minutes, luck)
    paid = np.divide(paying.sum(axis=1), taken.sum(axis=1), out=np.ones(len(taken)), where=taken.sum(axis=1) > 0)
    state.pay = 0.85 * state.pay + 0.15 * paid
    for name in ("waiting", "waited_min", "worth", "paying"):
        column = getattr(state, name)
        setattr(state, name, np.maximum(column - (taken if name == "waiting" else share * column), 0.0))
    return {"completed": taken, "wait_min": wait_min, "surplus_usd": surplus, "earnings_usd": earnings}


def _drive(city: City, state: _State, sent: np.ndarray, minutes: np.ndarray, luck: np.ndarray) -> None:
    """Cars that were sent get free at their riders' destinations, when they have been there."""
    world, start, origin = np.nonzero(sent)
    count = sent[world, start, origin]
    chance = (luck[world, start] + 0.618 * origin) % 1
    upto = np.floor(count[:, None] * np.cumsum(city.destination, axis=1)[start] + chance[:, None])
    upto[:, -1] = count  # a sum of shares may fall short of 1 by a rounding
    riders = np.diff(upto, axis=1, prepend=0.0)  # (groups, destinations)
    row, end = np.nonzero(riders)
    took = minutes[world[row], start[row], origin[row]] + city.minutes[start[row], end]
    spread = (luck[world[row], end] + 0.382 * start[row]) % 1
    ticks = np.clip(np.floor(took / TICK_MIN + spread).astype(np.int64), 1, _LONGEST_TICKS) - 1
    np.add.at(state.coming, (ticks, world[row], end), riders[row, end])


def _give_up(riders: Riders, state: _State, luck: np.ndarray) -> np.ndarray:
    """Of those who still wait, some leave, (worlds, districts)."""
    left = np.floor(state.waiting * riders.leaving + luck)
    share = np.divide(left, state.waiting, out=np.zeros_like(left), where=state.waiting > 0)
    state.waiting = state.waiting - left
    state.waited_min = state.waited_min * (1 - share) + TICK_MIN * state.waiting
    state.worth, state.paying = state.worth * (1 - share), state.paying * (1 - share)
    return left


def _change_shifts(city: City, conditions: Conditions, state: _State, luck: np.ndarray, tick: int) -> None:
    """Drivers log on and off: towards the hour's usual number, and more of them where trips pay more."""
    online = state.free.sum(axis=1) + state.coming.sum(axis=(0, 2))
    wanted = city.cars[tick] * conditions.drivers * state.pay**conditions.elasticity
    gap = 0.2 * (wanted - online)
    share = city.requests[tick] / city.requests[tick].sum()
    state.free = state.free + np.floor(np.maximum(gap, 0)[:, None] * share + luck)
    free = np.maximum(state.free.sum(axis=1), 1)
    off = np.minimum(np.maximum(-gap, 0) / free, 1.0)[:, None]
    state.free = state.free - np.minimum(np.floor(state.free * off + luck), state.free)


def _move(
    city: City, conditions: Conditions, state: _State, multiplier: np.ndarray, luck: np.ndarray, tick: int
) -> None:
    """Some drivers without a rider go where requests are; those who answer to pay, rather where it is better."""
    ahead = city.requests[(tick + 3) % TICKS]
    pull = ahead * multiplier ** (2 * conditions.elasticity) / (state.free + 1)  # (worlds, districts)
    near = np.exp(-city.minutes / 8) * (1 - np.eye(city.districts))
    attraction = near * pull[:, None, :]  # (worlds, from, to)
    own = pull * 0.35
    going = attraction / (attraction.sum(axis=2) + own)[:, :, None]
    leaving = 0.25 * state.free
    flow = np.floor(leaving[:, :, None] * going + luck[:, None, :])
    over = np.maximum(flow.sum(axis=2) - state.free, 0)
    flow = np.where(over[:, :, None] > 0, 0.0, flow)
    state.free = state.free - flow.sum(axis=2)
    ticks = np.clip(np.round(city.minutes / TICK_MIN).astype(np.int64), 1, _LONGEST_TICKS) - 1
    for ahead_ticks in np.unique(ticks):
        state.coming[ahead_ticks] += (flow * (ticks == ahead_ticks)).sum(axis=1)
