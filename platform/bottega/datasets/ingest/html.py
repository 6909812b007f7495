"""Tables of HTML pages: which one, which rows are its header, and cells that span rows and columns."""

import itertools
import warnings
from typing import Any

import bs4
import pyarrow as pa
import soupsieve

from bottega.datasets.ingest.files import table_of
from bottega.errors import InvalidData, InvalidInput

_MOST_CELLS = 5_000_000
_MOST_COLUMNS = 1000  # what HTML allows a cell to span


def read_table(
    url: str, content: bytes, encoding: str, selector: str, caption: str = "", header_rows: int | None = None
) -> tuple[pa.Table, dict[int, str]]:
    """The first table that fits the CSS selector and the caption ("": any), as text; and which rows do not fit it.

    Cells that span rows or columns fill all of them. Of several header rows the texts of a column are joined; a column
    without one is called by its number, `column_1`. Raises InvalidData where there is no such table, or no header;
    InvalidInput for a wrong selector.
    """
    page = _parse(url, content, encoding)
    table = _find(url, page, selector, caption)
    grid, headers = _grid(url, table)
    top = header_rows or headers
    stacks = itertools.zip_longest(*grid[:top], fillvalue="")
    names = [" ".join(dict.fromkeys(filter(None, texts))) or f"column_{i + 1}" for i, texts in enumerate(stacks)]
    if not names or len(set(names)) < len(names):
        raise InvalidData(
            f"{url}: the table's header is no list of different names: {names}.",
            next_step="Set header_rows, or choose another table.",
        )
    return table_of(names, grid[top:])


def _parse(url: str, content: bytes, encoding: str) -> bs4.BeautifulSoup:
    with warnings.catch_warnings():
        # A page that looks like XML, a path or an address is parsed as what the server calls it: a page.
        warnings.simplefilter("ignore", bs4.XMLParsedAsHTMLWarning)
        warnings.simplefilter("ignore", bs4.MarkupResemblesLocatorWarning)
        try:
            return bs4.BeautifulSoup(content, "lxml", from_encoding=encoding or None)
        except (bs4.exceptions.ParserRejectedMarkup, RecursionError) as error:
            raise InvalidData(f"{url} is no HTML: {error}.", next_step="Check the address.") from None


def _find(url: str, page: bs4.BeautifulSoup, selector: str, caption: str) -> bs4.Tag:
    try:
        found = [one for one in page.select(selector) if one.name == "table"]
    except soupsieve.SelectorSyntaxError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InvalidInput(f"source.selector: {selector!r} is no CSS selector: {reason}.") from None
    for table in found:
        if not caption or _caption(table) == caption:
            return table
    every = [f"{_caption(table) or 'no caption'}" for table in page.find_all("table")]
    raise InvalidData(
        f"{url} has no table {caption or selector!r}.", next_step=f"Its tables: {', '.join(every) or 'none'}."
    )


def _grid(url: str, table: bs4.Tag) -> tuple[list[list[str]], int]:
    """Rows of texts, spans filled in; and how many of them, from the top, are header rows."""
    grid: list[list[str]] = []
    headers = cells = 0
    hanging: dict[int, tuple[str, int]] = {}  # by column: the text of a cell above, and for how many rows still
    for line in table.find_all("tr"):
        if line.find_parent("table") is not table:
            continue  # a table in a cell
        own = line.find_all(["th", "td"], recursive=False)
        row, hanging = _row(own, hanging)
        cells += len(row)
        if cells > _MOST_CELLS:
            raise InvalidData(f"{url}: the table has more than {_MOST_CELLS:,} cells.", next_step="Choose another.")
        if not row:
            continue
        if headers == len(grid) and _is_header(line, own):
            headers += 1
        grid.append(row)
    return grid, headers


def _row(own: list[Any], above: dict[int, tuple[str, int]]) -> tuple[list[str], dict[int, tuple[str, int]]]:
    """A row's texts by column, and what hangs into the rows below."""
    placed = {column: text for column, (text, _) in above.items()}
    below = {column: (text, left - 1) for column, (text, left) in above.items() if left > 1}
    column = 0
    for cell in own:
        while column in placed:
            column += 1
        text, high = _text(cell), _span(cell, "rowspan", 65_534)
        for at in range(column, column + _span(cell, "colspan", _MOST_COLUMNS)):
            placed[at] = text
            if high > 1:
                below[at] = (text, high - 1)
    return [placed.get(at, "") for at in range(max(placed, default=-1) + 1)], below


def _is_header(line: bs4.Tag, own: list[Any]) -> bool:
    parent = line.find_parent(["thead", "table"])
    return bool(own) and (all(cell.name == "th" for cell in own) or (parent is not None and parent.name == "thead"))


def _span(cell: Any, name: str, most: int) -> int:
    """How many rows or columns a cell fills; 0 rows are all that follow."""
    given = str(cell.get(name, "1")).strip()
    if not given.isdecimal():
        return 1
    return min(int(given), most) or (most if name == "rowspan" else 1)


def _caption(table: bs4.Tag) -> str:
    return _text(table.find("caption", recursive=False))


def _text(element: Any) -> str:
    return "" if element is None else " ".join(element.get_text(" ").split())
