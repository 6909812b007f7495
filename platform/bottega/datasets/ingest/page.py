"""Rows of a table on a web page: robots.txt is obeyed, and a kept page is asked for again only when it is old."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bottega.datasets.ingest.html import read_table
from bottega.datasets.ingest.robots import Robots
from bottega.datasets.ingest.source import Batch, End, mark
from bottega.datasets.ingest.web import Answer, Web
from bottega.errors import InvalidData
from bottega.files import write_atomic, write_json

_Seconds = Annotated[float, msgspec.Meta(ge=0)]


class _Kept(msgspec.Struct, frozen=True):
    """What is known of a kept page: when it was fetched (seconds since 1970), its sameness, its encoding, its sum."""

    fetched_at: float
    etag: str
    last_modified: str
    encoding: str
    sha256: str


class PageSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="page"):
    """A table of an HTML page, chosen by a CSS `selector` or its `caption`.

    Its header rows (those of `th` alone at its top, or `header_rows` of them) give the names. A page younger than
    `max_age_s` is not asked for again; an older one only for changes. Between requests `pause_s` pass.
    """

    url: str
    selector: str = "table"
    caption: str = ""
    header_rows: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_age_s: _Seconds = 3600.0
    pause_s: _Seconds = 1.0
    timeout_s: _Seconds = 10.0
    deadline_s: _Seconds = 60.0

    @property
    def address(self) -> str:
        """The page's address, and which of its tables."""
        return "\n".join((self.url, self.selector, self.caption))

    def batches(self, position: Any, pages: Path, now: datetime) -> Iterator[Batch | End]:
        """One batch: the table as it is now; nothing where the page is the one that was ingested last."""
        content, encoding = self.fetch(pages, now)
        same = hashlib.sha256(content).hexdigest()
        if position == same:
            return
        group = f"page_{mark(self.address)}"
        table, wrong = read_table(self.url, content, encoding, self.selector, self.caption, self.header_rows)
        yield Batch(self.url, group, 0, "text", table, table, None, wrong)
        yield End(group, 1, same)

    def fetch(self, pages: Path, now: datetime) -> tuple[bytes, str]:
        """The page's content and its declared encoding, from the folder `pages` where it is fresh or unchanged."""
        file = pages / f"{hashlib.sha256(self.url.encode()).hexdigest()[:24]}.html"
        kept = _read_kept(file)
        age_s = now.timestamp() - kept.fetched_at if kept is not None else 0.0
        if kept is not None and 0 <= age_s < self.max_age_s:
            return file.read_bytes(), kept.encoding
        web = Web(self.pause_s, self.timeout_s, self.deadline_s)
        try:
            marks = {} if kept is None else {"if-none-match": kept.etag, "if-modified-since": kept.last_modified}
            asked = {name: value for name, value in marks.items() if value and value.isascii()}
            answer = web.get(self.url, asked, before=Robots(web).ask)
        finally:
            web.close()
        if answer.status == 304 and kept is not None:
            write_json(file.with_suffix(".json"), msgspec.structs.replace(kept, fetched_at=now.timestamp()))
            return file.read_bytes(), kept.encoding
        if answer.status != 200:
            raise InvalidData(f"{self.url} answered HTTP {answer.status}.", next_step="Check the address.")
        write_atomic(file, answer.content)
        fresh = _kept(answer, now)
        write_json(file.with_suffix(".json"), fresh)
        return answer.content, fresh.encoding


def _kept(answer: Answer, now: datetime) -> _Kept:
    told = answer.headers
    return _Kept(
        now.timestamp(),
        told.get("etag", ""),
        told.get("last-modified", ""),
        _charset(told.get("content-type", "")),
        hashlib.sha256(answer.content).hexdigest(),
    )


def _charset(content_type: str) -> str:
    _, _, said = content_type.lower().partition("charset=")
    return said.split(";")[0].strip().strip('"')


def _read_kept(file: Path) -> _Kept | None:
    """What is known of a kept page; None where it is not there, or not whole."""
    try:
        kept = msgspec.json.decode(file.with_suffix(".json").read_bytes(), type=_Kept)
        whole = hashlib.sha256(file.read_bytes()).hexdigest() == kept.sha256
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return kept if whole else None
