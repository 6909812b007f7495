"""An HTTP API: every page once, whatever the paging; what makes no sense is refused, and what was read stays."""

import json

import pytest

from bottega.datasets.ingest.api import ApiSource
from bottega.errors import InvalidData, InvalidInput, Unavailable


def quick(url, **options):
    return ApiSource(url, **{"pause_s": 0.0, "deadline_s": 10.0, **options})


def test_every_way_of_paging_reads_every_page_once(site, weather):
    good = weather.good
    pages = [list(good[:2]), list(good[2:])]

    def cursor(path):
        return {"items": pages["c=x" in path], "meta": {"next": None if "c=x" in path else "x"}}

    def link(path):
        return {"items": pages[path == "/w2"], "next": "/w2"} if path != "/w2" else {"items": pages[1]}

    ways = [
        (
            {"paging": "page", "parameter": "p", "rows": "data.items"},
            lambda path: {"data": {"items": [*pages, []][int(path[-1]) - 1]}},
            ["/w?a=1&p=1", "/w?a=1&p=2", "/w?a=1&p=3"],
        ),
        (
            {"paging": "offset", "parameter": "from"},
            lambda path: good[int(path.rpartition("=")[2]) :][:2],
            ["/w?a=1&from=0", "/w?a=1&from=2", "/w?a=1&from=3"],
        ),
        (
            {"paging": "cursor", "parameter": "c", "rows": "items", "next": "meta.next"},
            cursor,
            ["/w?a=1", "/w?a=1&c=x"],
        ),
        ({"paging": "link", "rows": "items", "next": "next"}, link, ["/w?a=1", "/w2"]),
        ({"paging": "none"}, lambda path: good, ["/w?a=1"]),
    ]
    for options, answer, asked in ways:
        site.asked.clear()
        site.serve_json(answer)
        source = quick(f"{site.url}/w?a=1", **options)
        assert weather.ingest(source).rows == 3
        assert site.asked == asked
        assert weather.stations == [1, 2, 3]
        assert weather.ingest(source).refused == {}  # once more: the same segments
        assert weather.stations == [1, 2, 3]


def test_the_next_page_may_stand_in_the_header_link(site, weather):
    def answer(path, headers):
        told = {"link": f'<{site.url}/2>; rel="next", <{site.url}/9>; rel="last"'} if path == "/1" else {}
        return 200, told, json.dumps(weather.good[:1] if path == "/1" else weather.good[1:]).encode()

    site.answer = answer
    assert weather.ingest(quick(f"{site.url}/1", paging="link")).rows == 3
    assert site.asked == ["/1", "/2"]


def test_a_shorter_api_leaves_no_old_rows_and_shifted_rows_are_not_lost(site, weather):
    rows = [weather.good[0] | {"station": i + 1} for i in range(6)]
    source = quick(f"{site.url}/w", paging="offset", parameter="o")
    site.serve_json(lambda path: rows[int(path.rpartition("=")[2]) :][:2])
    weather.ingest(source)
    del rows[0]
    assert weather.ingest(source).refused == {}
    assert weather.stations == [2, 3, 4, 5, 6]
    del rows[1:]
    weather.ingest(source)
    assert weather.stations == [2]


def test_an_empty_page_with_a_next_one_is_not_the_end(site, weather):
    pages = {"": ([], "a"), "a": (weather.good[:2], "b"), "b": ([], "c"), "c": (weather.good[2:], None)}
    site.serve_json(lambda path: dict(zip(("rows", "next"), pages[path.partition("c=")[2]], strict=True)))
    assert weather.ingest(quick(f"{site.url}/w", paging="cursor", parameter="c", rows="rows", next="next")).rows == 3


def test_an_interrupted_run_goes_on_with_the_page_that_was_missing(site, weather):
    down = [True]

    def answer(path, headers):
        page = int(path[-1])
        if page == 2 and down:
            return 503, {}, b""
        return 200, {}, json.dumps([weather.good[:2], weather.good[2:], []][page - 1]).encode()

    site.answer = answer
    source = quick(f"{site.url}/w", paging="page", parameter="p", deadline_s=0.2)
    with pytest.raises(Unavailable, match=r"p=2 did not answer within 0\.2 s .* HTTP 503"):
        weather.ingest(source)
    assert weather.stations == [1, 2]
    down.clear()
    site.asked.clear()
    assert len(weather.ingest(source).segments) == 1
    assert site.asked == ["/w?p=2", "/w?p=3"]
    assert weather.stations == [1, 2, 3]


def test_busy_and_broken_answers_are_tried_again(site, weather):
    trouble = [(429, {"retry-after": "0"}, b""), (503, {}, b""), (200, {"content-length": "9999"}, b"[")]
    good = json.dumps(weather.good).encode()
    site.answer = lambda path, headers: trouble.pop(0) if trouble else (200, {}, good)
    assert weather.ingest(quick(site.url)).rows == 3
    assert len(site.asked) == 4


def test_rows_that_break_rules_are_kept_as_they_came(site, weather):
    bad = [
        ({"station": "7", "at": "2025-12-31T10:00:00Z"}, "wrong_type_station"),
        ({"station": None, "at": "2025-12-31T10:00:00Z"}, "null_station"),
        ({"at": "2025-12-31T10:00:00Z"}, "null_station"),
        ({"station": 4, "at": 5}, "wrong_type_at"),
        ({"station": 4, "at": "2025-12-31T10:00:00"}, "no_offset_at"),
        ({"station": 4, "at": "2026-02-01T10:00:00Z"}, "future"),
        ({"station": 0, "at": "2026-02-01T10:00:00Z"}, "station_out_of_range"),  # the first rule that it breaks
        ({"station": 4, "at": "2025-12-31T10:00:00Z", "kind": "frogs"}, "unknown_kind"),
        ({"station": 4, "at": "2025-12-31T10:00:00Z", "kind": 3}, "wrong_type_kind"),
        ({"station": 4, "at": "2025-12-31T10:00:00Z", "temperature_c": 61}, "temperature_out_of_range"),
        ([1, 2], "no_object"),
        (None, "no_object"),
        ({"station": 1, "at": "2025-12-31T11:00:00+01:00"}, "duplicate"),
    ]
    site.serve_json(lambda path: [*weather.good, *(row for row, _ in bad)])
    found = weather.ingest(quick(site.url))
    assert (found.rows_read, found.rows) == (3 + len(bad), 3)
    assert found.rows_read == found.rows + sum(found.refused.values())
    kept = weather.quarantine()
    assert kept["reason"].tolist() == [reason for _, reason in bad]
    assert kept["row"].tolist() == list(range(3, 3 + len(bad)))
    assert [json.loads(record) for record in kept["record"]] == [row for row, _ in bad]


def test_an_api_that_makes_no_sense_is_refused(site, weather):
    good = list(weather.good)
    numbered = iter(range(1000))
    page = {"paging": "page", "parameter": "p"}
    cursor = {"paging": "cursor", "parameter": "c", "rows": "i", "next": "n"}
    link = {"paging": "link", "rows": "i", "next": "n"}
    cases = [
        ({}, lambda path: {"a": 1}, "the answer is no list of rows"),
        ({"rows": "data.items"}, lambda path: {"data": {}}, "'data.items' is no list of rows"),
        ({"rows": "data.items"}, lambda path: ["data"], "'data.items' is no list of rows"),
        (page, lambda path: good, r"p=2 repeats the rows of an earlier page"),
        (page, lambda path: [good[:1], good[1:]][int(path[-1]) % 2], "p=3 repeats the rows of an earlier page"),
        (page | {"most_pages": 3}, lambda path: [{"station": next(numbered)}], "more than 3 pages"),
        (cursor, lambda path: {"i": [{"station": next(numbered)}], "n": "x"}, "names itself as its next page"),
        (cursor | {"most_pages": 3}, lambda path: {"i": [], "n": next(numbered)}, "more than 3 pages"),
        (link, lambda path: {"i": good, "n": "http://localhost:1/"}, "a next page on another site"),
        (link, lambda path: {"i": good, "n": "http://["}, "links to"),
    ]
    for i, (options, answer, message) in enumerate(cases):
        site.serve_json(answer)
        with pytest.raises(InvalidData, match=message):
            weather.ingest(quick(f"{site.url}/{i}", **options))
    for body in (b"<html>", b"", b"\xff", b"[" * 100_000):
        site.answer = lambda path, headers, body=body: (200, {}, body)
        with pytest.raises(InvalidData, match="answered no JSON"):
            weather.ingest(quick(f"{site.url}/x"))
    site.answer = lambda path, headers: (403, {}, b"")
    with pytest.raises(InvalidData, match="answered HTTP 403"):
        weather.ingest(quick(f"{site.url}/y"))


def test_paging_needs_what_it_needs(weather):
    with pytest.raises(InvalidInput, match=r"source\.parameter: paging by page"):
        weather.ingest(ApiSource("http://127.0.0.1:1/", paging="page"))
    with pytest.raises(InvalidInput, match=r"source\.next: paging by cursor"):
        weather.ingest(ApiSource("http://127.0.0.1:1/", paging="cursor", parameter="c"))


def test_two_sources_of_one_table_do_not_replace_each_other(site, weather):
    site.serve_json(lambda path: [weather.good[int(path[-1])]])
    for page in "012":
        weather.ingest(quick(f"{site.url}/{page}"))
    assert weather.stations == [1, 2, 3]
    site.serve_json(lambda path: [weather.good[0]])
    assert weather.ingest(quick(f"{site.url}/other")).refused == {"duplicate": 1}
