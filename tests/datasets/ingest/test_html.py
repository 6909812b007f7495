"""Tables of pages: spans, header rows, tables in tables, and what is no table."""

import random

import pytest

from bottega.datasets.ingest.html import read_table
from bottega.errors import InvalidData, InvalidInput


def read(html, selector="table", caption="", header_rows=None):
    table, wrong = read_table("http://h/", html.encode(), "utf-8", selector, caption, header_rows)
    return table.select([name for name in table.column_names if name != "record"]).to_pydict(), wrong


def test_cells_that_span_fill_all_of_their_places():
    html = """<table><tr><th>a<th>b<th>c
    <tr><td rowspan=3>1<td colspan=2>2
    <tr><td>3<td rowspan=0>4
    <tr><td>5</table>"""
    assert read(html) == ({"a": ["1", "1", "1"], "b": ["2", "3", "5"], "c": ["2", "4", "4"]}, {})


def test_a_grid_of_random_spans_is_filled_as_it_was_cut():
    rng = random.Random(7)
    for _ in range(200):
        rows, columns = rng.randint(1, 6), rng.randint(1, 6)
        grid = [[-1] * columns for _ in range(rows)]
        lines = []
        for y in range(rows):
            line = ""
            for x in range(columns):
                if grid[y][x] >= 0:
                    continue
                free = next((i for i in range(x, columns) if grid[y][i] >= 0), columns) - x
                wide, high = rng.randint(1, free), rng.randint(1, rows - y)
                number = rng.randint(0, 99)
                for down in range(y, y + high):
                    grid[down][x : x + wide] = [number] * wide
                line += f"<td rowspan={high} colspan={wide}>{number}</td>"
            lines.append(f"<tr>{line}</tr>")
        header = "".join(f"<th>c{x}</th>" for x in range(columns))
        found, wrong = read(f"<table><tr>{header}</tr>{''.join(lines)}</table>")
        assert not wrong
        assert [list(row) for row in zip(*found.values(), strict=True)] == [[str(n) for n in row] for row in grid]


def test_several_header_rows_are_joined():
    html = """<table><thead><tr><th rowspan=2>City<th colspan=2>Population<th>
    <tr><th>2010<td>2020<th></thead>
    <tr><th>Rome<td>1<td>2<td>x</table>"""
    assert read(html)[0] == {"City": ["Rome"], "Population 2010": ["1"], "Population 2020": ["2"], "column_4": ["x"]}


def test_header_rows_may_be_counted():
    html = "<table><tr><td>a<td>b<tr><td>1<td>2</table>"
    with pytest.raises(InvalidData, match=r"no list of different names: \[\]\. Set header_rows"):
        read(html)
    assert read(html, header_rows=1)[0] == {"a": ["1"], "b": ["2"]}


def test_a_row_of_another_length_is_told_and_not_dropped():
    table, wrong = read_table(
        "u", b"<table><tr><th>a<th>b<tr><td>1<tr><td>1<td>2<tr><td>1<td>2<td>3</table>", "", "table"
    )
    assert wrong == {0: "wrong_number_of_fields", 2: "wrong_number_of_fields"}
    assert table["record"].to_pylist() == ['["1"]', None, '["1","2","3"]']


def test_a_table_in_a_cell_is_text_and_may_be_chosen_itself():
    html = "<table id=o><tr><th>a<tr><td>x<table id=i><caption>In</caption><tr><th>b<tr><td>1</table></table>"
    assert read(html, "#o")[0] == {"a": ["x In b 1"]}
    assert read(html, caption="In")[0] == {"b": ["1"]}
    with pytest.raises(InvalidData, match=r"has no table 'Out'\. Its tables: no caption, In"):
        read(html, caption="Out")


@pytest.mark.parametrize(
    ("html", "what"),
    [
        ("<table></table>", "no list of different names"),
        ("<table><tr><th>a<th>a</table>", r"no list of different names: \['a', 'a'\]"),
        ("<p>nothing", "has no table 'table'. Its tables: none"),
        ("", "has no table"),
        ("/etc/passwd", "has no table"),
        ("<?xml version='1.0'?><x/>", "has no table"),
        ("<![x[<table>", "is no HTML|has no table"),
        ("<table>" + "<tr><td colspan=1000>" * 6000 + "</table>", "more than 5,000,000 cells"),
    ],
)
def test_what_is_no_table_says_so(html, what):
    with pytest.raises(InvalidData, match=what):
        read(html)


def test_deep_pages_and_wrong_selectors():
    with pytest.raises(InvalidData):
        read("<div>" * 20_000 + "<table>")
    with pytest.raises(InvalidInput, match=r"source\.selector: 'table\[' is no CSS selector"):
        read("<table>", "table[")


def test_the_declared_encoding_is_used():
    content = "<table><tr><th>città</table>".encode("latin-1")
    assert read_table("u", content, "iso-8859-1", "table")[0].column_names == ["città"]
    assert read_table("u", content, "no-such-encoding", "table")[0].num_columns == 1
