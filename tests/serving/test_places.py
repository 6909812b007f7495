"""Search over HTTP: the same answers as in this process, and a reason for every wrong request."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from bottega.datasets.hours import DAYS, on_days
from bottega.errors import InvalidInput, NotFound
from bottega.ranking.index import build_index, open_index
from bottega.ranking.place import Place
from bottega.ranking.wishes import Wishes
from bottega.serving.places import Places
from bottega.serving.web import Request
from bottega.workspace import Workspace

PATH = "/v1/recommendations/search"
PLACES = [
    Place("0", "Osteria", "mill", "UTC", ("Italian",), ("Romantic",), price=2, hours=on_days((720, 900), DAYS)),
    Place("1", "Zen", "mill", "UTC", ("Japanese",), ("Quiet",), price=3, hours=on_days((1200, 1530), DAYS)),
    Place("2", "Trattoria", "quay", "UTC", ("Italian",), ("Quiet",), price=1),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_index(PLACES, tmp_path / "mill", dimensions=4)
    return tmp_path


def ask(places: Places, query: str = "", body: bytes | None = None) -> dict:
    request = Request("GET" if body is None else "POST", PATH, [], body or b"", query=query.encode())
    return msgspec.json.decode(asyncio.run(places.answer(request)).body)


def test_get_and_post_answer_what_the_index_answers(folder: Path) -> None:
    places, index = Places(folder), open_index(folder / "mill")
    wishes = Wishes("quiet italien", cuisines=("Italian", "Japanese"), prices=(1, 3), limit=5)
    expected = msgspec.json.decode(msgspec.json.encode(index.search(wishes)))
    query = "q=quiet+italien&cuisine=italian&cuisine=Japanese&price=1&price=$$$&limit=5"
    assert ask(places, query) == {"source": "mill", **expected}
    body = msgspec.json.encode({**msgspec.structs.asdict(wishes), "source": "mill"})
    assert ask(places, body=body) == {"source": "mill", **expected}


def test_what_is_open_is_found_by_the_place_s_clock(folder: Path) -> None:
    hits = ask(Places(folder), "open_at=2024-01-17T01:00")["hits"]
    assert [hit["place"]["name"] for hit in hits] == ["Zen"]
    later = datetime.fromisoformat("2024-01-17T01:00-05:00").isoformat().replace("+", "%2B")
    assert ask(Places(folder), f"open_at={later}")["hits"] == []


def test_an_index_that_was_built_anew_is_read_anew(folder: Path) -> None:
    places = Places(folder)
    assert ask(places, "q=zen")["found"] >= 1
    (folder / "mill").rename(folder / ".old")
    build_index([PLACES[0], PLACES[2]], folder / "mill", dimensions=4)
    assert ask(places, "q=zen")["found"] == 0


def test_several_indexes_need_a_name(folder: Path) -> None:
    build_index(PLACES, folder / "quay", dimensions=4)
    with pytest.raises(NotFound, match="mill, quay"):
        ask(Places(folder), "q=zen")
    assert ask(Places(folder), "q=zen&source=quay")["source"] == "quay"


@pytest.mark.parametrize(
    ("query", "body", "says"),
    [
        ("", None, "nothing to search for"),
        ("q=a&colour=red", None, "no parameter 'colour'"),
        ("q=a&q=b", None, "2 times"),
        ("q=a&limit=many", None, "whole number"),
        ("q=a&limit=999999", None, "1 to 100"),
        ("q=a&price=9", None, "no price"),
        ("q=a&open_at=soon", None, "no time"),
        ("q=a&source=../mill", None, "not the name of a source"),
        ("q=a&source=nowhere", None, "no index 'nowhere'"),
        ("&".join(["cuisine=a"] * 60), None, "more than 50"),
        ("q=" + "x" * 300, None, "at most 200"),
        ("", b"{", "The body is no search"),
        ("", b'{"text": 3}', "Expected `str`"),
        ("", b'{"words": "a"}', "unknown field `words`"),
    ],
)
def test_wrong_requests_get_a_reason(folder: Path, query: str, body: bytes | None, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ask(Places(folder), query, body)


def test_without_an_index_the_next_step_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="bottega search"):
        ask(Places(tmp_path / "none"), "q=a")


@pytest.fixture
def http(served: tuple[Workspace, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served[1], timeout=20) as client:
        yield client


def test_a_running_server_finds_an_index_that_comes_later(served: tuple[Workspace, str], http: httpx.Client) -> None:
    assert http.get(PATH, params={"q": "zen"}).status_code == 404
    build_index(PLACES, served[0].search / "mill", dimensions=4)
    found = http.get(PATH, params={"q": "zenn", "price": "3"})
    assert (found.status_code, found.json()["hits"][0]["place"]["name"]) == (200, "Zen")
    assert http.post(PATH, json={"text": "zen"}).json()["source"] == "mill"
    assert http.get(PATH, params={"q": "zen", "x": "1"}).status_code == 400
    assert http.delete(PATH).status_code == 405
    assert PATH in http.get("/openapi.json").json()["paths"]
