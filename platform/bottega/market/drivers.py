"""Drivers: they log on and off, go where riders are, and are busy until their riders have arrived."""

import numpy as np

from bottega.market.city import TICK_MIN, TICKS, City
from bottega.market.conditions import Conditions
from bottega.market.state import LONGEST_TICKS, State


def drive(city: City, state: State, sent: np.ndarray, minutes: np.ndarray, luck: np.ndarray) -> None:
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
    ticks = np.clip(np.floor(took / TICK_MIN + spread).astype(np.int64), 1, LONGEST_TICKS) - 1
    np.add.at(state.coming, (ticks, world[row], end), riders[row, end])


def change_shifts(city: City, conditions: Conditions, state: State, luck: np.ndarray, tick: int) -> None:
    """Drivers log on and off: towards the hour's usual number, and more of them where trips pay more."""
    online = state.free.sum(axis=1) + state.coming.sum(axis=(0, 2))
    wanted = city.cars[tick] * conditions.drivers * state.pay**conditions.elasticity
    gap = 0.2 * (wanted - online)
    share = city.requests[tick] / city.requests[tick].sum()
    state.free = state.free + np.floor(np.maximum(gap, 0)[:, None] * share + luck)
    free = np.maximum(state.free.sum(axis=1), 1)
    off = np.minimum(np.maximum(-gap, 0) / free, 1.0)[:, None]
    state.free = state.free - np.minimum(np.floor(state.free * off + luck), state.free)


def move(city: City, conditions: Conditions, state: State, multiplier: np.ndarray, luck: np.ndarray, tick: int) -> None:
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
    ticks = np.clip(np.round(city.minutes / TICK_MIN).astype(np.int64), 1, LONGEST_TICKS) - 1
    for ahead_ticks in np.unique(ticks):
        state.coming[ahead_ticks] += (flow * (ticks == ahead_ticks)).sum(axis=1)
