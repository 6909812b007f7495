"""Rows of a table on a web page: robots.txt is obeyed, and a kept page is asked for again only when it is old."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import msgspec
import pandas as pd

from bottega.datasets.ingest.source import Batch
from bottega.datasets.ingest.web import AGENT, Web
from bottega.errors import InvalidData, Unavailable
from bottega.files import write_atomic, write_json


class _Kept(msgspec.Struct, frozen=True):
    """What is known of a kept page: when it was fetched (seconds since 1970), and its marks of sameness."""

    fetched_at: float
    etag: str = ""
    last_modified: str = ""


class PageSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="page"):
    """A table of an HTML page, chosen by a CSS `selector` or by its `caption`; the first row holds the names.

    The page is kept in `cache`: younger than `max_age_s` it is not asked for at all, older only for changes.
    """

    url: str
    selector: str = "table"
    caption: str = ""
    cache: str = ".bottega-pages"
    max_age_s: float = 3600.0
    pause_s: float = 1.0
    timeout_s: float = 10.0
    deadline_s: float = 60.0

    def batches(self, position: Any) -> Iterator[Batch]:
        """One batch: the table as it is now; nothing where the page is the one that was ingested last."""
        content = self.fetch()
        mark = hashlib.sha256(content).hexdigest()
        if position != mark:
            yield Batch("page", read_table(self.url, content, self.selector, self.caption), mark)

    def done(self, position: Any) -> None:
        """A page stays where it is."""

    def fetch(self, clock: Callable[[], float] = time.time) -> bytes:
        """The page's content, from the cache where that is fresh or unchanged."""
        body = Path(self.cache) / f"{hashlib.sha256(self.url.encode()).hexdigest()[:24]}.html"
        meta = body.with_suffix(".json")
        kept = msgspec.json.decode(meta.read_bytes(), type=_Kept) if meta.exists() and body.exists() else None
        if kept is not None and clock() - kept.fetched_at < self.max_age_s:
            return body.read_bytes()
        web = Web(self.pause_s, self.timeout_s, self.deadline_s)
        try:
            _ask_robots(web, self.url)
            marks = {} if kept is None else {"if-none-match": kept.etag, "if-modified-since": kept.last_modified}
            answer = web.get(self.url, {name: value for name, value in marks.items() if value})
        finally:
            web.close()
        if answer.status_code == 304 and kept is not None:
            write_json(meta, msgspec.structs.replace(kept, fetched_at=clock()))
            return body.read_bytes()
        if answer.status_code != 200:
            raise InvalidData(f"{self.url} answered {answer.status_code}.", next_step="Check the address.")
        write_atomic(body, answer.content)
        told = answer.headers
        write_json(meta, _Kept(clock(), told.get("etag", ""), told.get("last-modified", "")))
        return answer.content


def read_table(url: str, content: bytes, selector: str, caption: str = "") -> pd.DataFrame:
    """A page's table as text; cells that span rows or columns fill all of them."""
    from bs4 import BeautifulSoup

    page = BeautifulSoup(content, "html.parser")
    tables = [table for table in page.select(selector) if not caption or _text(table.find("caption")) == caption]
    if not tables:
        every = [
            f"{i}: {_text(table.find('caption')) or 'no caption'}" for i, table in enumerate(page.find_all("table"))
        ]
        raise InvalidData(
            f"{url} has no table {caption or selector!r}.", next_step=f"Its tables: {', '.join(every) or 'none'}."
        )
    grid = _grid(tables[0])
    if len(grid) < 1 or len(set(grid[0])) < len(grid[0]) or not all(grid[0]):
        raise InvalidData(
            f"{url}: the table's first row is no list of different names.", next_step="Choose another table."
        )
    rows = [row for row in grid[1:] if len(row) == len(grid[0])]
    return pd.DataFrame(rows, columns=grid[0], dtype=object)


def _grid(table: Any) -> list[list[str]]:
    """Rows of texts, spans filled in."""
    grid: list[list[str]] = []
    hanging: dict[int, tuple[str, int]] = {}
    for line in table.find_all("tr"):
        cells, row = iter(line.find_all(["th", "td"])), list[str]()
        cell = next(cells, None)
        while cell is not None or len(row) in hanging:
            column = len(row)
            if column in hanging:
                text, left = hanging.pop(column)
                if left > 1:
                    hanging[column] = (text, left - 1)
                row.append(text)
                continue
            assert cell is not None
            wide, high = (_span(cell, name) for name in ("colspan", "rowspan"))
            for offset in range(wide):
                if high > 1:
                    hanging[column + offset] = (_text(cell), high - 1)
                row.append(_text(cell))
            cell = next(cells, None)
        if row:
            grid.append(row)
    return grid


def _span(cell: Any, name: str) -> int:
    given = str(cell.get(name, "1"))
    return min(int(given), 1000) if given.isdecimal() and int(given) > 0 else 1


def _text(element: Any) -> str:
    return "" if element is None else " ".join(element.get_text(" ").split())


def _ask_robots(web: Web, url: str) -> None:
    """Raise Unavailable where the site's robots.txt keeps us out; a site without one lets everybody in."""
    from protego import Protego

    answer = web.get(urljoin(url, "/robots.txt"))
    if answer.status_code >= 400:
        return
    if not Protego.parse(answer.text).can_fetch(url, AGENT):
        raise Unavailable(
            f"{url}: the site's robots.txt does not allow {AGENT!r} to fetch it.",
            next_step="Ask its owner, or use another source.",
        )
