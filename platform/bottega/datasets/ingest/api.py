"""Rows of an HTTP API that answers JSON, page after page."""

from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx
import msgspec

from bottega.datasets.ingest.files import frame_of
from bottega.datasets.ingest.source import Batch
from bottega.datasets.ingest.web import Web
from bottega.errors import InvalidData, InvalidInput


class ApiSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="api"):
    """A JSON API: `rows` is the path of the list in each answer (`data.items`; empty: the answer is the list).

    Paging by `page` (a parameter counts pages from `first`), `offset` (a parameter counts rows, `size` a page),
    `cursor` (`next` is the path of the token that the next request sends as the parameter) or `link` (`next` is the
    path of the next page's address); `none` is a single page.
    """

    url: str
    rows: str = ""
    paging: Literal["page", "offset", "cursor", "link", "none"] = "none"
    parameter: str = ""
    first: int = 1
    size: int = 100
    next: str = "next"
    most_pages: int = 10_000
    pause_s: float = 0.0
    timeout_s: float = 10.0
    deadline_s: float = 60.0

    def batches(self, position: Any) -> Iterator[Batch]:
        """One batch a page, from where the position says."""
        if self.paging in ("page", "offset", "cursor") and not self.parameter:
            raise InvalidInput(f"Paging by {self.paging} needs a parameter.", next_step='Add parameter = "page".')
        web = Web(self.pause_s, self.timeout_s, self.deadline_s)
        number, at = (0, None) if position is None else (position["page"], position["next"])
        if position is not None and at is None:
            return
        before: bytes | None = None
        try:
            while True:
                if number >= self.most_pages:
                    raise InvalidData(
                        f"{self.url} has more than {self.most_pages} pages.",
                        next_step="Raise most_pages if that is right.",
                    )
                address = self._address(number, at)
                answer = web.get(address)
                if answer.status_code != 200:
                    raise InvalidData(f"{address} answered {answer.status_code}.", next_step="Check the address.")
                found = _decode(address, answer)
                rows = _at(found, self.rows)
                if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                    what = f"{self.rows!r}" if self.rows else "the answer"
                    raise InvalidData(
                        f"{address}: {what} is no list of objects.", next_step="Correct 'rows' in the source."
                    )
                if rows and answer.content == before:
                    raise InvalidData(f"{address} repeats the page before it.", next_step="Check parameter and paging.")
                before = answer.content
                number += 1
                at = self._following(address, found, len(rows))
                if rows:
                    yield Batch(f"page_{number:06d}", frame_of(rows), {"page": number, "next": at})
                if at is None or not rows:
                    return
        finally:
            web.close()

    def done(self, position: Any) -> None:
        """An API keeps its rows."""

    def _address(self, number: int, at: Any) -> str:
        match self.paging:
            case "page":
                return _with(self.url, self.parameter, str(self.first + number))
            case "offset":
                return _with(self.url, self.parameter, str(number * self.size))
            case "cursor" if at is not None:
                return _with(self.url, self.parameter, str(at))
            case "link" if at is not None:
                return urljoin(self.url, str(at))
        return self.url

    def _following(self, address: str, found: Any, rows: int) -> Any:
        """Where the next page is; None at the end."""
        if self.paging == "none":
            return None
        if self.paging == "page":
            return True
        if self.paging == "offset":
            return True if rows == self.size else None
        return _at(found, self.next, missing=None) or None


def _decode(address: str, answer: httpx.Response) -> Any:
    try:
        return msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"{address} answered no JSON: {error}.", next_step="Check the address.") from error


_NOTHING = object()


def _at(value: Any, path: str, missing: Any = _NOTHING) -> Any:
    """What lies at a dotted path."""
    for name in filter(None, path.split(".")):
        if not isinstance(value, dict) or name not in value:
            if missing is not _NOTHING:
                return missing
            raise InvalidData(f"The answer has no {path!r}.", next_step="Correct the path in the source.")
        value = value[name]
    return value


def _with(url: str, name: str, value: str) -> str:
    """The address with one more parameter."""
    parts = urlsplit(url)
    query = str(httpx.QueryParams(parts.query).set(name, value))
    return urlunsplit(parts._replace(query=query))
