"""External views: features of an entity that a service outside the platform knows, declared like any other."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bottega.errors import InvalidData, InvalidInput, NotFound
from bottega.features.binding import bind_keys, bind_times, check_columns
from bottega.features.checks import check_duration, check_name, find_feature, key_columns
from bottega.features.entity import Entity, check_entity
from bottega.features.service import MOST_ROWS, Failed, ask, check_address, find_address, number_asks, with_defaults
from bottega.features.static import Attribute, check_attributes
from bottega.features.steps import Service
from bottega.progress import Progress, silent
from bottega.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

RECORDED_AT = "recorded_at"
"""The column of recorded answers that says when each came."""
LONGEST_TIMEOUT_S = 10.0
PATIENCE_S = 30.0
"""How long a training set waits for one answer, and how often it asks again."""
ATTEMPTS = 5
_AT, _ROW = "the moment", "the row"
"""Names that no feature can have."""


@dataclass(frozen=True)
class ExternalView:
    """Features of an entity that a service knows, by key and moment (the protocol: bottega.features.service).

    `endpoint` is the service's address, or a name for it: the setting `BOTTEGA_ENDPOINT_<NAME>` then holds the address,
    which may differ between training and serving. An answer is asked for whole multiples of `max_age` and holds until
    the next: offline and online ask the same question, so a service that is a function of key and moment gives them the
    same value. A request that is served waits `timeout_s` at most; without an answer it goes on with the defaults.

    A training set asks about the past. Where the service cannot tell (`history=False`), `source` names a table of what
    it said: the keys, `recorded_at`, and the features. The value at t is then the latest one recorded at or before t,
    not older than `max_age`. `keys` names that table's key columns where they have other names than the entity's.

    >>> zone = Entity("zone", keys="zone", dtype="int32")
    >>> weather = ExternalView("weather", zone, "http://127.0.0.1:9000/ask", [Attribute("temperature_c", "degC")])
    >>> weather.service.max_age_s
    600
    """

    name: str
    entity: Entity
    endpoint: str
    features: tuple[Attribute, ...]
    timeout_s: float = 0.25
    max_age: str = "10m"
    history: bool = True
    source: str | None = None
    owner: str = ""
    description: str = ""
    keys: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        entity: Entity,
        endpoint: str,
        features: Iterable[Attribute | str],
        timeout_s: float = 0.25,
        max_age: str = "10m",
        history: bool = True,
        source: str | None = None,
        owner: str = "",
        description: str = "",
        keys: Sequence[str] = (),
    ) -> None:
        check_name("ExternalView", name)
        what = f"ExternalView {name!r}"
        check_entity(what, entity)
        _check_endpoint(what, endpoint)
        if not isinstance(timeout_s, int | float) or not 0 < timeout_s <= LONGEST_TIMEOUT_S:
            raise InvalidInput(
                f"The timeout of {what} is {timeout_s!r}.",
                next_step=f"It is in seconds, above 0 and at most {LONGEST_TIMEOUT_S:g}: a request waits that long.",
            )
        check_duration(f"The max_age of {what}:", max_age)
        if history == (source is not None):
            both = "a source of recorded answers and a service that knows the past"
            raise InvalidInput(
                f"{what} has {both if history else 'no history, and no source of recorded answers'}.",
                next_step='Give history=False and source="recorded_answers" together, or neither.',
            )
        if source is not None:
            check_name(f"The source of {what}:", source)
        fields = {
            "name": name,
            "entity": entity,
            "endpoint": endpoint,
            "features": check_attributes(what, features),
            "timeout_s": float(timeout_s),
            "max_age": max_age,
            "history": history,
            "source": source,
            "owner": owner,
            "description": description,
            "keys": key_columns(what, entity.keys, keys),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The name of the table of recorded answers, if a training set needs one."""
        return (self.source,) if self.source else ()

    @property
    def service(self) -> Service:
        """What it takes to ask the service, as data."""
        return Service(
            self.name,
            self.endpoint,
            self.entity.keys,
            self.entity.dtype,
            tuple(feature.name for feature in self.features),
            tuple(None if np.isnan(feature.default) else float(feature.default) for feature in self.features),
            self.timeout_s,
            check_duration("max_age", self.max_age),
        )

    def feature(self, name: str) -> Attribute:
        """The attribute of that name; NotFound says which there are."""
        return find_feature(
            f"ExternalView {self.name!r}", self.name, {feature.name: feature for feature in self.features}, name
        )


def _check_endpoint(what: str, endpoint: str) -> None:
    if not isinstance(endpoint, str) or "://" not in endpoint:
        check_name(f"The endpoint of {what}: neither an address nor", endpoint)
    elif "@" in check_address(endpoint):
        raise InvalidInput(
            f"The endpoint of {what} holds a name or password, which would go into every artefact.",
            next_step="Give the endpoint a name, and set BOTTEGA_ENDPOINT_<NAME> to the address.",
        )


def read_external(
    view: ExternalView,
    labels: "pd.DataFrame",
    keys: Sequence[str],
    at: str,
    sources: Mapping[str, Any] = MappingProxyType({}),
    *,
    endpoints: Mapping[str, str] | None = None,
    progress: Progress = silent,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, np.ndarray]:
    """A view's features at each label's moment, (labels,) float64 each, as a request at that moment would get them.

    `keys` and `at` name columns of `labels`; `sources` holds the table of recorded answers where the view needs one;
    `endpoints` are the addresses of named endpoints (default: the settings). The service is asked at most MOST_ROWS
    questions at once, again where it fails.

    Raises Unavailable where it fails for good: a training set with invented defaults would hide it.
    """
    what = "The label table"
    check_columns(what, labels, [*keys, at])
    bound, known = bind_keys(what, labels, keys, view.entity.dtype)
    at_us, present = bind_times(what, labels, at)
    rows = np.flatnonzero(known & present)
    taken, moments = tuple(key[rows] for key in bound), at_us[rows]
    if view.source is None:
        address = find_address(view.endpoint, load_settings().endpoints if endpoints is None else endpoints)
        asks, asked = number_asks(view.service, taken, moments)
        values = _ask_all(view.service, address, asks, progress, sleep)
    else:
        if view.source not in sources:
            raise NotFound(f"The source {view.source!r} of ExternalView {view.name!r} was not given.")
        values, asked = _recorded(view, sources[view.source], taken, moments), np.arange(len(rows))
    numbers = np.full(len(labels), -1)
    numbers[rows] = asked
    return with_defaults(view.service, values, numbers)


def ask_now(
    view: ExternalView, keys: tuple[int | str, ...], at_us: int, endpoints: Mapping[str, str]
) -> dict[str, float]:
    """What a view's service says of one entity at a moment, asked once and waited for as a served request waits.

    Raises Unavailable where a request would go on with the defaults.
    """
    import httpx

    columns = tuple(np.array([key], object if isinstance(key, str) else np.int64) for key in keys)
    asks, numbers = number_asks(view.service, columns, np.array([at_us]))
    if not asks:
        raise InvalidInput(
            f"ExternalView {view.name!r} asks nothing about the key {', '.join(map(str, keys))} at that moment.",
            next_step=f"Keys are {view.entity.dtype}, moments lie between the years 1970 and 3000.",
        )
    with httpx.Client(trust_env=False) as client:
        said = ask(client, find_address(view.endpoint, endpoints), view.service, asks, view.timeout_s)
    return {name: float(value) for name, (value,) in with_defaults(view.service, said, numbers).items()}


def _ask_all(
    service: Service, address: str, asks: list, progress: Progress, sleep: Callable[[float], None]
) -> np.ndarray:
    import httpx
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, Failed) and error.again),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(multiplier=0.5, max=10),
        sleep=sleep,
        reraise=True,
    )
    values = np.empty((len(service.features), len(asks)))
    with httpx.Client(trust_env=False) as client:
        for first in range(0, len(asks), MOST_ROWS):
            progress(f"ask {service.view}", first, len(asks))
            part = slice(first, first + MOST_ROWS)
            values[:, part] = retrying(ask, client, address, service, asks[part], PATIENCE_S)
    progress(f"ask {service.view}", len(asks), len(asks))
    return values


def _recorded(view: ExternalView, source: Any, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> np.ndarray:
    """The latest recorded answers: (features, rows) float64."""
    import pandas as pd

    from bottega.features.batches import Batches

    what = f"The source {view.source!r} of ExternalView {view.name!r}"
    names = [feature.name for feature in view.features]
    wanted = [*view.keys, RECORDED_AT, *names]
    table = pd.concat(list(Batches(what, source).read(wanted)), ignore_index=True)
    check_columns(what, table, wanted)
    for name in names:
        if table[name].dtype.kind not in "iufb":
            raise InvalidData(f"{what}: the column {name!r} is {table[name].dtype}; it must be numbers.")
    answer_keys, known = bind_keys(what, table, view.keys, view.entity.dtype)
    recorded_us, present = bind_times(what, table, RECORDED_AT)
    by = [f"key {i}" for i in range(len(keys))]
    answers = pd.DataFrame(
        {_AT: recorded_us, **dict(zip(by, answer_keys, strict=True))}
        | {name: table[name].to_numpy(np.float64, na_value=np.nan) for name in names}
    )[known & present].sort_values(_AT, kind="stable")
    asked = pd.DataFrame({_AT: at_us, **dict(zip(by, keys, strict=True))}).sort_values(_AT, kind="stable")
    oldest_us = view.service.max_age_s * 1_000_000
    found = pd.merge_asof(asked.reset_index(names=_ROW), answers, on=_AT, by=by or None, tolerance=oldest_us)
    return found.sort_values(_ROW)[names].to_numpy(np.float64).T
