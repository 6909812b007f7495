"""Ingestion from real files, a real HTTP server and a real log: the good is written once, the rest is kept apart."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bottega.datasets.ingest.api import ApiSource
from bottega.datasets.ingest.files import FileSource
from bottega.datasets.ingest.page import PageSource, read_table
from bottega.datasets.ingest.queue import QueueSource
from bottega.datasets.ingest.rules import Column, check_rows
from bottega.datasets.ingest.run import Ingested, Spec, ingest, read_spec
from bottega.datasets.ingest.web import Web
from bottega.errors import InvalidData, InvalidInput, NotFound, Unavailable
from bottega.eventlog import open_log

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEATHER = (
    Column("station", "int", minimum=1),
    Column("at", "time", past=True),
    Column("kind", "text", required=False, allowed=("rain", "snow", "dry")),
    Column("temperature_c", "float", required=False, minimum=-60, maximum=60),
)


Answer = Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes]]


class Tables(dict[str, dict[str, pd.DataFrame]]):
    """Written segments by table and name."""

    def write(self, table: str, rows: pd.DataFrame, segment: str) -> None:
        self.setdefault(table, {})[segment] = rows

    def all(self, table: str) -> pd.DataFrame:
        return pd.concat(self[table].values(), ignore_index=True)


def weather(source: Any, **options: Any) -> Spec:
    return Spec("weather", source, WEATHER, unique=("station", "at"), **options)


def run(spec: Spec, folder: Path, tables: Tables, **options: Any) -> Ingested:
    return ingest(spec, tables.write, folder / "state", NOW, **options)


GOOD = [
    {"station": 1, "at": "2025-12-31T10:00:00Z", "kind": "rain", "temperature_c": 3.5},
    {"station": 2, "at": "2025-12-31T10:00:00+02:00", "kind": None, "temperature_c": None},
    {"station": 3, "at": "2025-12-31T11:00:00Z", "kind": "dry", "temperature_c": -4},
]
BAD = [
    ({"station": "seven", "at": "2025-12-31T10:00:00Z"}, "station is no int"),
    ({"station": 1.5, "at": "2025-12-31T10:00:00Z"}, "station is no int"),
    ({"station": True, "at": "2025-12-31T10:00:00Z"}, "station is no int"),
    ({"station": None, "at": "2025-12-31T10:00:00Z"}, "station is missing"),
    ({"station": 0, "at": "2025-12-31T10:00:00Z"}, "station is below 1"),
    ({"station": 4, "at": "2025-12-31T10:00:00"}, "at is no time"),
    ({"station": 4, "at": "yesterday"}, "at is no time"),
    ({"station": 4, "at": "2026-02-01T10:00:00Z"}, "at is in the future"),
    ({"station": 4, "at": "2025-12-31T10:00:00Z", "kind": "frogs"}, "kind is not one of the allowed values"),
    ({"station": 4, "at": "2025-12-31T10:00:00Z", "kind": 3}, "kind is no text"),
    ({"station": 4, "at": "2025-12-31T10:00:00Z", "temperature_c": 61}, "temperature_c is above 60"),
    ({"station": 4, "at": "2025-12-31T10:00:00Z", "temperature_c": float("inf")}, "temperature_c is no float"),
    ({"station": 1, "at": "2025-12-31T10:00:00Z"}, "station, at is there already"),
]


def test_each_row_is_kept_or_refused_for_the_first_rule_that_it_breaks():
    empty = {"station": None, "at": None, "kind": None, "temperature_c": None}
    rows = pd.DataFrame([*GOOD, *({**empty, **row} for row, _ in BAD)], dtype=object)
    found = check_rows(rows, WEATHER, ("station", "at"), NOW)
    assert found.positions.tolist() == list(range(3, 3 + len(BAD)))
    assert list(found.reasons) == [reason for _, reason in BAD]
    assert found.rows["station"].tolist() == [1, 2, 3]
    assert found.rows["at"].iloc[1].isoformat() == "2025-12-31T08:00:00+00:00"
    assert found.rows.dtypes.astype(str).tolist() == ["int64", "datetime64[us, UTC]", "str", "float64"]


def test_a_clock_without_offset_needs_to_be_named():
    rows = pd.DataFrame({"at": ["2025-07-01T12:00", "2025-11-02T01:30", "2025-03-09T02:30"]})
    found = check_rows(rows, [Column("at", "time", timezone="America/New_York")], (), NOW)
    assert [moment.isoformat() for moment in found.rows["at"]] == ["2025-07-01T16:00:00+00:00"]
    assert set(found.reasons) == {"at is no time"}  # the clock shows one of them twice, and skips the other


def test_files_are_read_once_and_again_when_they_change(tmp_path):
    folder, tables = tmp_path / "in", Tables()
    folder.mkdir()
    frame = pd.DataFrame(GOOD)
    frame.head(2).to_csv(folder / "a.csv", index=False)
    frame.tail(1).to_parquet(folder / "b.parquet")
    spec = weather(FileSource(str(folder)))
    assert run(spec, tmp_path, tables) == Ingested("weather", ("file_a", "file_b"), 3, {})
    assert run(spec, tmp_path, tables) == Ingested("weather", (), 0, {})
    pd.DataFrame([*GOOD[:2], BAD[4][0]]).to_csv(folder / "a.csv", index=False)
    assert run(spec, tmp_path, tables) == Ingested("weather", ("file_a",), 2, {"station is below 1": 1})
    assert tables.all("weather")["station"].tolist() == [1, 2, 3]
    kept = pd.read_parquet(tmp_path / "state" / "refused" / "weather" / "file_a.parquet")
    assert kept[["row", "reason", "station"]].to_numpy().tolist() == [[2, "station is below 1", "0"]]


def test_steps_are_plain_ibis_functions(tmp_path):
    pd.DataFrame(GOOD).to_csv(tmp_path / "a.csv", index=False)
    tables = Tables()
    steps = [lambda t: t.filter(t.station < 3), lambda t: t.mutate(fahrenheit=t.temperature_c * 1.8 + 32)]
    assert run(weather(FileSource(str(tmp_path / "a.csv"))), tmp_path, tables, steps=steps).rows == 2
    assert tables.all("weather")["fahrenheit"].tolist()[0] == pytest.approx(38.3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"station,at\n1,2,3\n", "cannot be read: CSV parse error"),
        (b"", "cannot be read"),
        (b"station,at\n1,2025-12-31T10:00:00Z\n", "The data has no column 'kind'. It has: station, at"),
    ],
)
def test_a_broken_file_says_what_is_wrong_and_writes_nothing(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    tables = Tables()
    with pytest.raises(InvalidData, match=message):
        run(weather(FileSource(str(tmp_path / "a.csv"))), tmp_path, tables)
    assert tables == {}
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + content)
    with pytest.raises(InvalidData, match=r"a\.parquet cannot be read"):
        run(weather(FileSource(str(tmp_path / "a.parquet"))), tmp_path, tables)


def test_files_of_two_schemas_and_files_that_are_not_there(tmp_path):
    pd.DataFrame(GOOD).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame(GOOD).drop(columns="kind").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InvalidData, match="the first file has station, at, kind, temperature_c"):
        run(weather(FileSource(str(tmp_path / "*.csv"))), tmp_path, Tables())
    with pytest.raises(NotFound, match="There is no file"):
        run(weather(FileSource(str(tmp_path / "none.csv"))), tmp_path, Tables())


class Site(ThreadingHTTPServer):
    """An HTTP server whose answers a test chooses; it notes what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answerer)
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes]] = lambda path, headers: (
            404,
            {},
            b"",
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answerer(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(self.path)
        self.server.headers.append(headers)
        status, told, body = self.server.answer(self.path, headers)
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **told}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        del format, arguments


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def as_json(value: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/json"}, json.dumps(value).encode()


PAGES = [GOOD[:2], GOOD[2:]]


@pytest.mark.parametrize(
    ("source", "answer", "asked"),
    [
        (
            {"paging": "page", "parameter": "p", "rows": "data.items"},
            lambda path: {"data": {"items": [*PAGES, []][int(path[-1]) - 1]}},
            ["/w?a=1&p=1", "/w?a=1&p=2", "/w?a=1&p=3"],
        ),
        (
            {"paging": "offset", "parameter": "from", "size": 2},
            lambda path: GOOD[int(path.rpartition("=")[2]) :][:2],
            ["/w?a=1&from=0", "/w?a=1&from=2"],
        ),
        (
            {"paging": "cursor", "parameter": "c", "rows": "items", "next": "meta.next"},
            lambda path: {"items": PAGES["c=x" in path], "meta": {"next": None if "c=x" in path else "x"}},
            ["/w?a=1", "/w?a=1&c=x"],
        ),
        (
            {"paging": "link", "rows": "items"},
            lambda path: {"items": PAGES[path == "/w2"], **({} if path == "/w2" else {"next": "/w2"})},
            ["/w?a=1", "/w2"],
        ),
        ({"paging": "none"}, lambda path: GOOD, ["/w?a=1"]),
    ],
)
def test_every_page_of_an_api_is_read_once(site, tmp_path, source, answer, asked):
    site.answer = lambda path, headers: as_json(answer(path))
    tables = Tables()
    spec = weather(ApiSource(f"{site.url}/w?a=1", **source))
    found = run(spec, tmp_path, tables)
    assert (found.rows, site.asked) == (3, asked)
    assert site.headers[0]["user-agent"] == "bottega"
    assert tables.all("weather")["station"].tolist() == [1, 2, 3]
    run(spec, tmp_path, tables)
    assert tables.all("weather")["station"].tolist() == [1, 2, 3]


def test_an_interrupted_api_goes_on_with_the_page_that_was_missing(site, tmp_path):
    tables, broken = Tables(), [True]

    def answer(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("p=2") and broken:
            return 404, {}, b""
        return as_json([*PAGES, []][int(path[-1]) - 1])

    site.answer = answer
    spec = weather(ApiSource(f"{site.url}/w", paging="page", parameter="p"))
    with pytest.raises(InvalidData, match="p=2 answered 404"):
        run(spec, tmp_path, tables)
    assert list(tables["weather"]) == ["page_000001"]
    broken.clear()
    assert run(spec, tmp_path, tables).segments == ("page_000002",)
    assert site.asked == ["/w?p=1", "/w?p=2", "/w?p=2", "/w?p=3"]


def test_busy_servers_are_asked_again_after_what_they_ask_for(site):
    answers = [(429, {"retry-after": "7"}, b""), (503, {}, b""), (200, {}, b"ok")]
    site.answer = lambda path, headers: answers.pop(0)
    waited: list[float] = []
    web = Web(sleep=waited.append)
    assert web.get(site.url).text == "ok"
    web.close()
    assert waited[0] == 7.0
    assert 0 < waited[1] < 10


def test_a_server_that_stays_down_is_given_up_with_the_reason(site):
    site.answer = lambda path, headers: (500, {}, b"")
    web = Web(attempts=3, sleep=lambda s: None)
    with pytest.raises(Unavailable, match="did not answer properly: status 500"):
        web.get(site.url)
    assert len(site.asked) == 3
    with pytest.raises(Unavailable, match="ConnectError"):
        web.get("http://127.0.0.1:1/")
    web.close()


@pytest.mark.parametrize(
    ("options", "value", "message"),
    [
        ({}, {"a": 1}, "the answer is no list of objects"),
        ({}, [1, 2], "no list of objects"),
        ({"rows": "data.items"}, {"data": {}}, "has no 'data.items'"),
        ({"paging": "page", "parameter": "p"}, GOOD, "repeats the page before it"),
        ({"paging": "cursor", "parameter": "c", "rows": "i", "most_pages": 3}, None, "has more than 3 pages"),
    ],
)
def test_an_api_that_makes_no_sense_is_refused(site, tmp_path, options, value, message):
    calls = iter(range(100))
    site.answer = lambda path, headers: as_json(
        value if value is not None else {"i": [{**GOOD[0], "n": next(calls)}], "next": "x"}
    )
    with pytest.raises(InvalidData, match=message):
        run(weather(ApiSource(site.url, **options)), tmp_path, Tables())
    site.answer = lambda path, headers: (200, {}, b"<html>")
    with pytest.raises(InvalidData, match="answered no JSON"):
        run(weather(ApiSource(site.url, **options)), tmp_path / "other", Tables())


PAGE = """<html><table><tr><td>no caption</td></tr></table>
<table class="w"><caption>Weather</caption>
<tr><th>station</th><th>at</th><th>kind</th><th>temperature_c</th></tr>
<tr><td>1</td><td rowspan="2">2025-12-31T10:00:00Z</td><td>rain</td><td>3.5</td></tr>
<tr><td>2</td><td colspan="2"></td></tr>
<tr><td>x</td><td>2025-12-31T12:00:00Z</td><td> dry
</td><td>1</td></tr></table></html>"""


def test_a_table_of_a_page_is_read_politely(site, tmp_path):
    robots, etag = [b"User-agent: *\nDisallow: /private"], ['"1"']

    def answer(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if path == "/robots.txt":
            return 200, {}, robots[0]
        if headers.get("if-none-match") == etag[0]:
            return 304, {}, b""
        return 200, {"etag": etag[0]}, PAGE.encode()

    site.answer = answer
    tables = Tables()
    source = PageSource(f"{site.url}/w", caption="Weather", cache=str(tmp_path / "pages"), pause_s=0)
    found = run(weather(source), tmp_path, tables)
    assert (found.rows, found.refused) == (2, {"station is no int": 1})
    assert tables.all("weather")["at"].dt.hour.tolist() == [10, 10]
    assert run(weather(source), tmp_path, tables).segments == ()
    assert site.asked == ["/robots.txt", "/w"]  # a young page is not asked for again
    old = PageSource(f"{site.url}/w", caption="Weather", cache=str(tmp_path / "pages"), pause_s=0, max_age_s=0)
    assert run(weather(old), tmp_path, tables).segments == ()
    assert site.headers[-1]["if-none-match"] == '"1"'
    with pytest.raises(Unavailable, match=r"robots\.txt does not allow 'bottega'"):
        run(weather(PageSource(f"{site.url}/private/w", cache=str(tmp_path / "pages"), pause_s=0)), tmp_path, tables)


def test_a_page_without_the_table_names_those_it_has():
    with pytest.raises(InvalidData, match=r"has no table 'Snow'. Its tables: 0: no caption, 1: Weather"):
        read_table("http://h/w", PAGE.encode(), "table", "Snow")
    assert read_table("http://h/w", PAGE.encode(), "table.w")["kind"].tolist() == ["rain", "", "dry"]


def test_a_queue_is_passed_once_its_rows_are_written(tmp_path):
    records = [json.dumps(row).encode() for row in GOOD] + [b"{", b'{"station":"x"}']
    with open_log(tmp_path / "log.db") as log:
        log.append("weather", records)
    fields = {"station": "int", "at": "time", "kind": "text", "temperature_c": "float"}
    spec = weather(QueueSource(str(tmp_path / "log.db"), "weather", fields, at_once=2))
    tables = Tables()

    def fail_once(table: str, rows: pd.DataFrame, segment: str) -> None:
        if segment == "offset_000000000002" and "failed" not in tables:
            tables["failed"] = {}
            raise OSError("the disk said no")
        tables.write(table, rows, segment)

    with pytest.raises(OSError, match="the disk said no"):
        ingest(spec, fail_once, tmp_path / "state", NOW)
    found = ingest(spec, fail_once, tmp_path / "state", NOW)
    assert found.segments == ("offset_000000000002", "offset_000000000004")
    assert found.refused == {"station is missing": 2}
    assert tables.all("weather")["station"].tolist() == [1, 2, 3]
    assert ingest(spec, fail_once, tmp_path / "state", NOW).segments == ()
    kept = pd.read_parquet(tmp_path / "state" / "refused" / "weather" / "offset_000000000002.parquet")
    assert kept["record"].tolist() == ["{"]


SPEC = """
table = "weather"
unique = ["station", "at"]

[source]
kind = "files"
path = "{path}"

[[columns]]
name = "station"
type = "int"

[[columns]]
name = "at"
type = "time"
"""


def test_the_command_ingests_into_the_offline_store(tmp_path):
    from bottega.features.store import OfflineStore

    pd.DataFrame([*GOOD, BAD[3][0]]).to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "weather.toml").write_text(SPEC.format(path=tmp_path / "a.csv"))
    command = [sys.executable, "-m", "bottega.cli", "data", "ingest", str(tmp_path / "weather.toml")]
    ran = subprocess.run(
        [*command, "--workspace", str(tmp_path / "w"), "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == {
        "table": "weather",
        "segments": ["file_a"],
        "rows": 3,
        "refused": {"station is missing": 1},
    }
    assert OfflineStore(tmp_path / "w" / "offline").read("weather")["station"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("kind = ", "kid = "), "kind"),
        (('kind = "files"', 'kind = "ftp"'), "ftp"),
        (('type = "int"', 'type = "integer"'), "integer"),
        (('name = "at"', 'name = "station"'), "declares column 'station' twice"),
        (('"station", "at"]', '"zone"]'), "unique names 'zone'"),
        (("table = ", "table "), "Expected '=' after a key"),
    ],
)
def test_a_wrong_spec_names_the_key_and_the_rule(tmp_path, change, message):
    (tmp_path / "spec.toml").write_text(SPEC.format(path="x.csv").replace(*change, 1))
    with pytest.raises(InvalidInput, match=rf"(?i){message}"):
        read_spec(tmp_path / "spec.toml")
    with pytest.raises(InvalidInput, match="There is no file"):
        read_spec(tmp_path / "none.toml")
