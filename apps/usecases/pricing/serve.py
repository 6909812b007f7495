"""The pricing endpoint: what is asked, what is answered, and how forecasts become a price with a reason."""

from typing import Any

from bottega.features import OnRequest, on_request
from bottega.features.text import Text
from bottega.market.policies import surge
from bottega.schema import Field
from usecases.pricing.features import CITY_TIMEZONE

SLOPE, TIGHTNESS = 0.7, 0.9
"""Gentler than what `bottega market compare` finds: raises begin later, and rise more slowly."""
CAP, EMERGENCY_CAP = 2.5, 1.2
HOUR_US = 3_600_000_000.0

REQUEST = (
    Field("zone", "INT32", description="Zone of the pickup: a number of the zone table", known_in="zones"),
    Field("at", "INT64", description="The moment of asking", is_time=True),
)
ANSWER = (
    Field("multiplier", "FP64", description="Price over the ordinary price: never below 1, never above the cap"),
    Field(
        "confidence", "FP64", description="How sure the forecasts are that requests exceed cars, or that they do not"
    ),
    Field("requests", "FP64", unit="trips", description="Pickups of this hour: as likely fewer as more"),
    Field("requests_low", "FP64", unit="trips", description="Nine of ten such hours have at least this ..."),
    Field("requests_high", "FP64", unit="trips", description="... and nine of ten at most this"),
    Field(
        "cars", "FP64", unit="cars", description="Cars at hand: the usual number, as more or fewer get free than usual"
    ),
    Field("cap", "FP64", description="The highest multiplier now: a low one where an emergency is declared"),
    Field("reason", "BYTES", description="Why the price is what it is"),
    Field("expires_at", "BYTES", description="When the forecasts, and with them the price, end: ISO 8601, in UTC"),
)


@on_request
def cars(xp: Any, cars_mean: Any, pickups_usual: Any, dropoffs_usual: Any) -> Any:
    """Cars at hand: as many as usually pick up there at this hour, more or fewer as more or fewer get free than usual.

    Drop-offs alone would not do: where many are picked up and few dropped off, cars come back empty, every day.
    """
    return pickups_usual * (cars_mean + 1.0) / (dropoffs_usual + 1.0)


@on_request
def cap(xp: Any, declared: Any) -> Any:
    """The highest multiplier: a low one where an emergency was declared in the last six hours."""
    return xp.where(declared >= 1.0, EMERGENCY_CAP, CAP)


@on_request
def multiplier(xp: Any, requests_mean: Any, cars: Any, cap: Any) -> Any:
    """The market's rule on the forecasts."""
    return surge(xp, requests_mean, cars, SLOPE, TIGHTNESS, cap)


@on_request
def confidence(xp: Any, requests_mean: Any, cars: Any, multiplier: Any) -> Any:
    """Chance that more ask than cars come, where the price is raised, else that no more do; both nearly normal.

    As in the rule there is at least one car. The counts scatter by a tenth of their square more than Poisson's. A
    logistic curve stands in for the normal one.
    """
    some = xp.maximum(cars, 1.0)
    spread = requests_mean + some + 0.1 * (requests_mean * requests_mean + some * some)
    more = 1.0 / (1.0 + xp.exp(-1.702 * (requests_mean - some) / xp.sqrt(spread)))
    return xp.where(multiplier > 1.0, more, 1.0 - more)


@on_request
def hour_end(xp: Any, at: Any) -> Any:
    """The end of the hour."""
    return (xp.floor(at / HOUR_US) + 1.0) * HOUR_US


answers: tuple[OnRequest, ...] = (cars, cap, multiplier, confidence, hour_end)

texts = (
    Text(
        "{requests_mean:.0f} requests for {cars:.0f} cars in the hour until {hour_end:%H:%M}",
        "reason",
        times=("hour_end",),
        timezone=CITY_TIMEZONE,
    ),
    Text("{hour_end:%Y-%m-%dT%H:%M:%SZ}", "expires_at", times=("hour_end",)),
)

quantiles = {"requests_low": 0.1, "requests": 0.5, "requests_high": 0.9}
