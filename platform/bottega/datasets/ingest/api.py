"""Rows of an HTTP API that answers JSON, page after page."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec
import pyarrow as pa

from bottega.datasets.ingest.source import Batch, End, mark
from bottega.datasets.ingest.web import Answer, Web, join
from bottega.errors import InvalidData, InvalidInput

_Seconds = Annotated[float, msgspec.Meta(ge=0)]


class _Next(msgspec.Struct, frozen=True):
    """Which page comes next: how many pages and rows came before it, and its cursor or address."""

    page: int = 0
    rows: int = 0
    token: str = ""


class ApiSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="api"):
    """A JSON API: `rows` is the path of the list in each answer (`data.items`; empty: the answer is the list).

    Paging by `page` (`parameter` counts pages from `first`) or by `offset` (it counts rows) ends with the first empty
    page. By `cursor` (`next` is the path of what the next request sends as `parameter`) or by `link` (`next` is the
    path of the next page's address; without `next` it is in the header Link) it ends where there is no next. `none` is
    a single page.
    """

    url: str
    rows: str = ""
    paging: Literal["page", "offset", "cursor", "link", "none"] = "none"
    parameter: str = ""
    first: int = 1
    next: str = ""
    most_pages: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    pause_s: _Seconds = 0.1
    timeout_s: _Seconds = 10.0
    deadline_s: _Seconds = 60.0

    @property
    def address(self) -> str:
        """The first page's address."""
        return self.url

    def batches(self, position: Any, pages: Path, now: datetime) -> Iterator[Batch | End]:
        """One batch a page, from where an interrupted run stopped, else from the first page on."""
        del pages, now
        self._check()
        group = f"api_{mark(self.url)}"
        at: _Next | None = msgspec.convert(position or {}, _Next)
        seen: set[str] = set()
        web = Web(self.pause_s, self.timeout_s, self.deadline_s)
        try:
            while at is not None:
                if at.page >= self.most_pages:
                    raise InvalidData(
                        f"{self.url} has more than {self.most_pages} pages.", next_step="Raise most_pages if it has."
                    )
                address = self._page(at)
                answer = web.get(address)
                found = _decode(address, answer)
                rows = _rows(address, found, self.rows)
                self._refuse_repetition(address, rows, seen)
                page, at = at.page, self._following(address, at, answer, found, len(rows))
                position = None if at is None else msgspec.to_builtins(at)
                if rows or at is not None:
                    yield _batch(address, group, page, rows, position)
            yield End(group, page + 1 if rows else page, None)
        finally:
            web.close()

    def _check(self) -> None:
        if self.paging in ("page", "offset", "cursor") and not self.parameter:
            raise InvalidInput(
                f"source.parameter: paging by {self.paging} needs one.", next_step=f'Add parameter = "{self.paging}".'
            )
        if self.paging == "cursor" and not self.next:
            raise InvalidInput("source.next: paging by cursor needs it.", next_step='Add next = "meta.next", say.')

    def _page(self, at: _Next) -> str:
        match self.paging:
            case "page":
                return _with(self.url, self.parameter, str(self.first + at.page))
            case "offset":
                return _with(self.url, self.parameter, str(at.rows))
            case "cursor" if at.token:
                return _with(self.url, self.parameter, at.token)
            case "link" if at.token:
                return at.token
        return self.url

    def _following(self, address: str, at: _Next, answer: Answer, found: Any, rows: int) -> _Next | None:
        """The next page; None at the end."""
        ahead = _Next(at.page + 1, at.rows + rows)
        if self.paging in ("page", "offset"):
            return ahead if rows else None
        token = self._token(address, answer, found)
        if not token:
            return None
        if token == at.token:
            raise InvalidData(f"{address} names itself as its next page.", next_step="Correct 'next' in the source.")
        return msgspec.structs.replace(ahead, token=token)

    def _token(self, address: str, answer: Answer, found: Any) -> str:
        """The next cursor or address; "" where there is none."""
        if self.paging == "cursor":
            value = _at(found, self.next)
            return "" if value is None else str(value)
        if self.paging == "none":
            return ""
        said = httpx.Response(200, headers=answer.headers).links.get("next", {}).get("url")
        link = _at(found, self.next) if self.next else said
        if not link:
            return ""
        following = join(address, str(link))
        if urlsplit(following)[:2] != urlsplit(self.url)[:2]:
            raise InvalidData(
                f"{address} names a next page on another site: {following}.", next_step="Correct 'url' in the source."
            )
        return following

    def _refuse_repetition(self, address: str, rows: list[Any], seen: set[str]) -> None:
        content = hashlib.sha256(msgspec.json.encode(rows)).hexdigest()
        if rows and content in seen:
            raise InvalidData(
                f"{address} repeats the rows of an earlier page.", next_step="Check 'parameter' and 'paging'."
            )
        seen.add(content)


def _batch(origin: str, group: str, part: int, rows: list[Any], position: Any) -> Batch:
    """A batch of JSON objects; what is none is kept as an unreadable row."""
    wrong = {i: "no_object" for i, row in enumerate(rows) if not isinstance(row, dict)}
    texts = [msgspec.json.encode(row).decode() for row in rows]
    objects = [None if i in wrong else row for i, row in enumerate(rows)]
    original = pa.table({"record": pa.array(texts, pa.string())})
    return Batch(origin, group, part, "json", objects, original, position, wrong)


def _decode(address: str, answer: Answer) -> Any:
    if answer.status != 200:
        raise InvalidData(f"{address} answered HTTP {answer.status}.", next_step="Check the address.")
    try:
        return msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidData(f"{address} answered no JSON: {error}.", next_step="Check the address.") from None


def _rows(address: str, found: Any, path: str) -> list[Any]:
    rows = _at(found, path)
    if not isinstance(rows, list):
        what = f"{path!r}" if path else "the answer"
        raise InvalidData(f"{address}: {what} is no list of rows.", next_step="Correct 'rows' in the source.")
    return rows


def _at(value: Any, path: str) -> Any:
    """What lies at a dotted path; None where there is nothing."""
    for name in filter(None, path.split(".")):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _with(url: str, name: str, value: str) -> str:
    """The address with this parameter."""
    return str(httpx.URL(url).copy_set_param(name, value))
