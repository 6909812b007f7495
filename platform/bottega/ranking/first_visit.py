"""What to offer somebody who was never here: what others liked nearby, with what speaks for it.

Popularity orders the list, since no model of attributes has beaten it here ('bottega newcomers' measures that);
attributes only leave out what is out of reach, and give the reasons.
"""

from dataclasses import dataclass

import numpy as np

from bottega.datasets.diners import Diners
from bottega.errors import InvalidInput, NotFound
from bottega.ranking.attributes import encode
from bottega.ranking.newcomers import ratings_of, shrunk_means


@dataclass(frozen=True)
class Suggestion:
    """A place, the mean rating (0 to 2) drawn to the overall mean, and reasons in words."""

    place_id: int
    name: str
    city: str
    rating: float
    ratings: int
    km: float
    reasons: tuple[str, ...]


def suggest(diners: Diners, user_id: str, limit: int = 10, reach_km: float = 10.0) -> list[Suggestion]:
    """The best rated places within reach of a guest, without any rating of the guest's own.

    Raises NotFound for an unknown guest, or one without a place in reach.
    """
    if limit < 1:
        raise InvalidInput(f"limit is {limit}: it is 1 or more.")
    found = np.flatnonzero((diners.users["user_id"] == user_id).to_numpy())
    if not len(found):
        known = sorted(diners.users["user_id"])
        raise NotFound(f"There is no guest {user_id!r}.", next_step=f"Guests are {known[0]} to {known[-1]}.")
    user = int(found[0])
    ratings = ratings_of(diners)
    others = ratings.user != user
    count = np.bincount(ratings.place[others], minlength=len(diners.places))
    mean = shrunk_means(ratings.place[others], ratings.value[others], ratings.value[others].mean(), len(count))
    fits = {name: values[user] for name, values in encode(diners).fits.items()}
    near = np.flatnonzero(fits["km"] <= reach_km)
    if not len(near):
        raise NotFound(f"No place is within {reach_km:g} km of {user_id}.", next_step="Reach further.")
    best = near[np.lexsort((fits["km"][near], -mean[near]))][:limit]
    return [
        Suggestion(
            int(diners.places["place_id"].iloc[row]),
            str(diners.places["name"].iloc[row]),
            str(diners.places["city"].iloc[row]),
            float(mean[row]),
            int(count[row]),
            float(fits["km"][row]),
            _reasons(diners, user, row, fits, count),
        )
        for row in best.tolist()
    ]


def _reasons(diners: Diners, user: int, row: int, fits: dict[str, np.ndarray], count: np.ndarray) -> tuple[str, ...]:
    reasons = [f"{count[row]} guests rated it" if count[row] else "nobody has rated it yet"]
    if fits["shares_cuisine"][row] == 1:
        shared = set(diners.users["cuisines"].iloc[user]) & set(diners.places["cuisines"].iloc[row])
        reasons.append(f"you like {' and '.join(sorted(shared)[:2])}")
    if fits["price_over_budget"][row] <= 0:
        reasons.append("within your budget")
    reasons.append(f"{fits['km'][row]:.1f} km away")
    return tuple(reasons)
