"""`/v1/recommendations/search`: places to eat, from the indexes that `bottega search` keeps in the workspace."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from bottega.errors import InvalidInput, NotFound
from bottega.ranking.wishes import Wishes, parse_moment, parse_price
from bottega.serving.codec import json_reason
from bottega.serving.protocol import check_name
from bottega.serving.web import Request, Response, WrongMethod, as_json

if TYPE_CHECKING:
    from bottega.ranking.search import SearchIndex

PARAMETERS = {
    "q": "What to look for.",
    "cuisine": "Only this cuisine; repeat for any of several.",
    "price": "Only this price, 1 (cheapest) to 4; repeat for any of several.",
    "city": "Only this city.",
    "open_at": "Only places open then: 'now' or ISO 8601; without an offset it is each place's own clock.",
    "limit": "How many hits, 1 to 100.",
    "source": "Which index; needed where there are several.",
}
"""What the query of the address may hold."""
REPEATED = ("cuisine", "price")


class Asked(Wishes, frozen=True, kw_only=True):
    """The body of a POST: wishes, and which index is meant."""

    source: str = ""


class Places:
    """The search indexes in a folder, opened when they are first asked, and again when they were built anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[str, tuple[int, SearchIndex]] = {}

    async def answer(self, request: Request) -> Response:
        """Search by GET with a query in the address, or by POST with a JSON body."""
        if request.method == "POST":
            asked = _from_body(request.body)
        elif request.method in ("GET", "HEAD"):
            asked = _from_query(request.query.decode("latin-1"))
        else:
            raise WrongMethod(
                f"{request.method} is not possible at {request.path[:200]}.", next_step="Use GET or POST."
            )
        return as_json(await asyncio.to_thread(self._search, asked))

    def _search(self, asked: Asked) -> dict[str, Any]:
        source, index = self._find(asked.source)
        return {"source": source, **msgspec.structs.asdict(index.search(asked))}

    def _find(self, wanted: str) -> tuple[str, "SearchIndex"]:
        from bottega.ranking.index import MANIFEST, open_index  # a server that is never asked loads no search library

        kept = sorted(path.parent.name for path in self._folder.glob(f"[!.]*/{MANIFEST}"))
        if not kept:
            raise NotFound("There is no search index here.", next_step="Build one with 'bottega search TEXT'.")
        source = check_name(wanted, "source") if wanted else kept[0]
        if source not in kept or (not wanted and len(kept) > 1):
            what = f"There is no index {source!r}" if wanted else "There are several indexes"
            raise NotFound(f"{what}.", next_step=f"Name one as source: {', '.join(kept)}.")
        built_ns = (self._folder / source / MANIFEST).stat().st_mtime_ns
        if source not in self._opened or self._opened[source][0] != built_ns:
            self._opened[source] = (built_ns, open_index(self._folder / source))
        return source, self._opened[source][1]


def _from_query(query: str) -> Asked:
    try:
        given = parse_qs(query, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise InvalidInput("The address has more than 50 parameters.") from None
    for name, values in given.items():
        if name not in PARAMETERS:
            raise InvalidInput(f"There is no parameter {name[:40]!r}.", next_step=f"There are {', '.join(PARAMETERS)}.")
        if len(values) > 1 and name not in REPEATED:
            raise InvalidInput(f"The parameter {name!r} stands there {len(values)} times: once is enough.")
    one = {name: values[0] for name, values in given.items()}
    limit = one.get("limit", "10")
    if not limit.isdecimal():
        raise InvalidInput(f"limit is {limit[:40]!r}: it is a whole number, 1 to 100.")
    return Asked(
        text=one.get("q", ""),
        cuisines=tuple(given.get("cuisine", ())),
        prices=tuple(map(parse_price, given.get("price", ()))),
        city=one.get("city", ""),
        open_at=parse_moment(one["open_at"], datetime.now(UTC)) if "open_at" in one else None,
        limit=int(limit[:4]),
        source=one.get("source", ""),
    )


def _from_body(body: bytes) -> Asked:
    try:
        return msgspec.json.decode(body, type=Asked)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        fields = ", ".join(field.name for field in msgspec.structs.fields(Asked))
        raise InvalidInput(
            f"The body is no search: {json_reason(error)}.", next_step=f"Its fields are {fields}."
        ) from None
