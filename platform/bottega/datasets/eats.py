"""Saltmere's restaurants, the people who eat there, and their sessions in its guide: all invented, the truth known.

A visitor starts from a restaurant that they know. The guide answers with a list of others like it, nearer to their part
of the city, always the same; a visitor looks down the list, or criticises what they see ("cheaper", "livelier"), which
leads to another list. They take
a restaurant when it is good enough for them. Restaurants, visitors and each day are drawn from the seed alone.
"""

import functools
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from bottega.datasets.city import CITY_SEED, build_city
from bottega.datasets.guide_labels import guide_labels, with_traits
from bottega.datasets.incidents import local_midnight
from bottega.datasets.names import zone_names
from bottega.datasets.sessions import ACTIONS, Sessions
from bottega.datasets.simulator import FIRST_DAY
from bottega.progress import Progress, silent
from bottega.times import HOUR_US, to_epoch_us

RESTAURANTS = 240
VISITORS = 3000
SESSIONS_A_DAY = 60
LIST = 10
LONGEST = 14
"""Steps after which a visitor gives up."""
_CUISINES = (
    "Italian", "Chinese", "Mexican", "Thai", "Indian", "Greek", "French", "Japanese", "Seafood", "Steakhouses",
    "Vegetarian", "Diners",
)  # fmt: skip
_BETTER = {"cheaper": ("price", -1), "nicer": ("quality", 1), "lively": ("lively", 1), "quieter": ("lively", -1),
           "creative": ("creative", 1), "traditional": ("creative", -1)}  # fmt: skip


@dataclass(frozen=True)
class Guide:
    """The restaurants as they truly are; row i is restaurant i."""

    table: pd.DataFrame
    """restaurant_id, name, features and their traits: what everybody can read."""
    cuisine: np.ndarray  # (restaurants,) int64: place in the list of cuisines
    zone: np.ndarray  # (restaurants,) int64: row of the city's zones
    traits: dict[str, np.ndarray]
    """price (0 to 3), quality, lively, creative (0 to 1): (restaurants,) float64 each."""
    lists: np.ndarray  # (boroughs, restaurants, actions, LIST) int64: what the guide shows after an action at one


@dataclass(frozen=True)
class Visitors:
    """What people truly want; row i is visitor i."""

    utility: np.ndarray  # (visitors, restaurants) float32: how much they would like each restaurant
    borough: np.ndarray  # (visitors,) int64: where they live
    wants: dict[str, np.ndarray]
    """The price, quality, liveliness and creativity that each likes best: (visitors,) float64."""


@functools.lru_cache(maxsize=2)
def build_guide(seed: int, restaurants: int = RESTAURANTS) -> Guide:
    """The restaurants and the guide's lists; the same seed gives the same."""
    rng = np.random.default_rng([seed, 11])
    city = build_city(CITY_SEED)
    near = np.exp(-np.hypot(*city.points_km.T) / 4)
    zone = rng.choice(len(near), restaurants, p=near / near.sum())
    cuisine = rng.choice(len(_CUISINES), restaurants, p=_shares(len(_CUISINES)))
    quality = rng.beta(4, 2.5, restaurants)
    price = np.clip(np.round(3 * quality + rng.normal(0, 0.7, restaurants)) - 0.0, 0, 3)
    traits = {
        "price": price,
        "quality": quality,
        "lively": rng.beta(1.5, 1.5, restaurants),
        "creative": rng.beta(1.5, 1.8, restaurants),
    }
    borough = _boroughs()
    middles = np.stack([city.points_km[borough == one].mean(0) for one in range(borough.max() + 1)])
    lists = _lists(cuisine, city.points_km[zone], middles, traits)
    return Guide(_readable(cuisine, traits, rng), cuisine, zone, traits, lists)


@functools.lru_cache(maxsize=2)
def build_visitors(seed: int, visitors: int = VISITORS) -> Visitors:
    """People with a home, a taste in cuisines, and wishes; the same seed gives the same."""
    guide = build_guide(seed)
    rng = np.random.default_rng([seed, 12])
    points_km = build_city(CITY_SEED).points_km
    zone = rng.integers(len(points_km), size=visitors)
    home = points_km[zone]
    taste = np.log(rng.dirichlet(np.full(len(_CUISINES), 0.5), visitors) + 0.02)  # (visitors, cuisines)
    wants = {
        "price": rng.choice([0.0, 1.0, 2.0, 3.0], visitors, p=[0.25, 0.4, 0.25, 0.1]),
        "quality": np.ones(visitors),
        "lively": rng.beta(1.2, 1.2, visitors),
        "creative": rng.beta(1.2, 1.2, visitors),
    }
    utility = 0.5 * taste[:, guide.cuisine]
    for name, weight in (("price", 0.7), ("quality", 2.5), ("lively", 2.0), ("creative", 1.5)):
        utility = utility - weight * np.abs(wants[name][:, None] - guide.traits[name][None])
    km = np.hypot(*(home[:, None] - points_km[guide.zone][None]).transpose(2, 0, 1))
    return Visitors((utility - 0.08 * km).astype(np.float32), _boroughs()[zone], wants)


def simulate_sessions(seed: int, since: date, until: date, progress: Progress = silent) -> Sessions:
    """The sessions of the local days in [since, until), from 2024 on: each day from the seed and the day alone."""
    days = [since + timedelta(days=n) for n in range((until - since).days)]
    drawn = []
    for done, day in enumerate(days):
        progress("simulate sessions", done, len(days))
        drawn.append(_day(seed, day))
    progress("simulate sessions", len(days), len(days))
    sessions = pd.concat([found for found, _ in drawn], ignore_index=True)
    events = pd.concat([found for _, found in drawn], ignore_index=True)
    return Sessions(sessions, events, build_guide(seed).table, {})


def _day(seed: int, day: date) -> tuple[pd.DataFrame, pd.DataFrame]:
    guide, people = build_guide(seed), build_visitors(seed)
    rng = np.random.default_rng([seed, 13, day.toordinal()])
    number = int(rng.poisson(SESSIONS_A_DAY))
    first_id = (day - FIRST_DAY).days * 1000
    visitors = np.minimum(rng.geometric(4 / VISITORS, number) - 1, VISITORS - 1)  # some come often
    starts = np.sort(rng.normal(18.5, 2.5, number).clip(8, 23.9) * HOUR_US).astype(np.int64)
    ends, rows = [], []
    for i, visitor in enumerate(visitors.tolist()):
        steps, end = _session(guide, people, visitor, rng)
        ends.append(end)
        rows += [(first_id + i, step, item, action) for step, (item, action) in enumerate(steps)]
    sessions = pd.DataFrame(
        {
            "session_id": first_id + np.arange(number, dtype=np.int64),
            "started_at": pd.to_datetime(to_epoch_us(local_midnight(day)) + starts, unit="us", utc=True),
            "user_id": visitors.astype(np.int64),
            "end_restaurant": pd.array(ends, dtype="Int64"),
        }
    )
    events = pd.DataFrame(rows, columns=["session_id", "step", "restaurant_id", "action"])
    return sessions, events.astype({"session_id": np.int64, "action": np.int8})


def _session(
    guide: Guide, people: Visitors, visitor: int, rng: np.random.Generator
) -> tuple[list[tuple[int, int]], int | None]:
    """The steps (restaurant, action) and the restaurant that was taken; None where the log lost it."""
    utility = people.utility[visitor]
    appetite = utility + rng.gumbel(0, 0.4, len(utility))  # what tonight is like
    known = utility + rng.gumbel(0, 1.5, len(utility))
    enough = np.quantile(appetite, 0.93)
    item, place, shown = int(np.argmax(known)), -1, np.empty(0, np.int64)
    steps: list[tuple[int, int]] = []
    for _ in range(LONGEST):
        action = _critique(guide, people, visitor, item, rng)
        if action or place < 0 or place + 1 >= len(shown):
            shown, place = guide.lists[people.borough[visitor], item, action], -1
        steps.append((item, action))
        place += 1
        item = int(shown[place])
        if appetite[item] >= enough or rng.uniform() < 0.06:
            break
    return steps, None if rng.uniform() < 0.1 else item


def _critique(guide: Guide, people: Visitors, visitor: int, item: int, rng: np.random.Generator) -> int:
    """The action at a restaurant: the critique of what is furthest from the wish, or to browse."""
    if rng.uniform() < 0.6:
        return 0
    gaps = []
    for action in ACTIONS[1:]:
        trait, sign = _BETTER[action]
        scale = 3.0 if trait == "price" else 1.0
        gaps.append(sign * (people.wants[trait][visitor] - guide.traits[trait][item]) / scale)
    return int(np.argmax(gaps)) + 1 if max(gaps) > 0.25 else 0


def _boroughs() -> np.ndarray:
    """The number of each zone's borough: (zones,) int64."""
    return np.unique(build_city(CITY_SEED).zones["borough"].astype(str), return_inverse=True)[1]


def _lists(
    cuisine: np.ndarray, points_km: np.ndarray, middles_km: np.ndarray, traits: dict[str, np.ndarray]
) -> np.ndarray:
    """For each borough, restaurant and action the LIST most alike and nearest, of those that the critique asks for
    where there are."""
    km = np.hypot(*(points_km[:, None] - points_km[None]).transpose(2, 0, 1))
    unlike = 1.5 * (cuisine[:, None] != cuisine[None]) + 0.1 * km
    for name, weight in (("price", 0.5), ("quality", 1.0), ("lively", 1.0), ("creative", 1.0)):
        unlike = unlike + weight * np.abs(traits[name][:, None] - traits[name][None])
    np.fill_diagonal(unlike, np.inf)
    away = np.hypot(*(middles_km[:, None] - points_km[None]).transpose(2, 0, 1))  # (boroughs, restaurants)
    lists = []
    for action in ACTIONS:
        penalty = np.zeros_like(unlike)
        if action in _BETTER:
            trait, sign = _BETTER[action]
            gain = sign * (traits[trait][None] - traits[trait][:, None])
            penalty = np.where(gain > 0.1, 0.0, 50.0)
        lists.append([np.argsort(unlike + penalty + far, axis=1, kind="stable")[:, :LIST] for far in 0.2 * away])
    return np.stack(lists).transpose(1, 2, 0, 3)


def _readable(cuisine: np.ndarray, traits: dict[str, np.ndarray], rng: np.random.Generator) -> pd.DataFrame:
    """Names and labels: what the guide prints of each restaurant."""
    labels = guide_labels()
    streets = zone_names(len(cuisine), rng)
    names = [f"{street.split()[0]} {rng.choice(labels.invented_names)}" for street in streets]
    taken: dict[str, int] = {}
    for i, name in enumerate(names):
        taken[name] = taken.get(name, 0) + 1
        names[i] = name if taken[name] == 1 else f"{name} {streets[i].split()[1]}"
    quality = np.array(["Good Food", "Excellent Food", "Extraordinary Food"])
    features = []
    for i in range(len(cuisine)):
        found = [_CUISINES[cuisine[i]], labels.prices[int(traits["price"][i])]]
        found.append(str(quality[np.searchsorted([0.5, 0.8], traits["quality"][i])]))
        found += ["Hip Place To Be"] if traits["lively"][i] > 0.65 else []
        found += ["Quiet for Conversation"] if traits["lively"][i] < 0.35 else []
        found += ["Creative"] if traits["creative"][i] > 0.65 else []
        found += ["Traditional"] if traits["creative"][i] < 0.35 else []
        features.append(found)
    return with_traits(pd.DataFrame({"restaurant_id": np.arange(len(cuisine)), "name": names, "features": features}))


def _shares(count: int) -> np.ndarray:
    shares = 1 / np.arange(1, count + 1) ** 0.7
    return shares / shares.sum()
