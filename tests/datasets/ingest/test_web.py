"""Polite HTTP: what is tried again and how long it waits, and where it gives up."""

import email.utils
import time
from datetime import UTC, datetime, timedelta

import pytest

from bottega.datasets.ingest.web import Web, check_url
from bottega.errors import InvalidData, InvalidInput, Unavailable


@pytest.fixture
def waited():
    return []


@pytest.fixture
def web(waited):
    web = Web(sleep=waited.append)
    yield web
    web.close()


def replies(site, *answers):
    left = list(answers)
    site.answer = lambda path, headers: left.pop(0) if len(left) > 1 else left[0]


def test_a_busy_server_is_asked_again_after_what_it_asks_for(site, web, waited):
    moment = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    replies(
        site,
        (429, {"retry-after": "7"}, b""),
        (503, {"retry-after": moment}, b""),
        (502, {"retry-after": "soon"}, b""),
        (200, {}, b"ok"),
    )
    assert web.get(site.url).content == b"ok"
    assert waited[0] == 7.0
    assert 15 < waited[1] <= 20
    assert 0 < waited[2] < 2
    assert site.headers[0]["user-agent"].startswith("bottega/")


@pytest.mark.parametrize("status", [204, 400, 401, 404, 410])
def test_other_answers_are_final(site, web, status):
    site.answer = lambda path, headers: (status, {}, b"")
    assert web.get(site.url).status == status
    assert len(site.asked) == 1


def test_a_server_that_stays_down_is_given_up_at_the_deadline(site):
    web = Web(deadline_s=0.5)
    site.answer = lambda path, headers: (500, {}, b"")
    with pytest.raises(Unavailable, match=r"did not answer within 0\.5 s \(attempts: \d\): HTTP 500"):
        web.get(site.url)
    assert len(site.asked) > 1
    with pytest.raises(Unavailable, match="ConnectError"):
        web.get("http://127.0.0.1:1/")
    web.close()


def test_who_asks_for_more_patience_than_there_is_is_not_pestered(site, web, waited):
    site.answer = lambda path, headers: (429, {"retry-after": "3600"}, b"")
    with pytest.raises(Unavailable, match=r"attempts: 1\): HTTP 429, and asks to wait 3600 s"):
        web.get(site.url)
    assert (len(site.asked), waited) == (1, [])


def test_slow_and_broken_bodies(site):
    site.answer = lambda path, headers: (200, {"content-length": "100"}, b"short")
    web = Web(deadline_s=0.3)
    with pytest.raises(Unavailable, match="RemoteProtocolError"):
        web.get(site.url)
    site.answer, site.trickle_s = lambda path, headers: (200, {}, b"x" * 60), 0.05
    with pytest.raises(Unavailable, match=r"still sending after 0\.3 s"):
        web.get(site.url)
    web.close()
    site.trickle_s = 0.5
    web = Web(timeout_s=0.05, deadline_s=0.2)
    with pytest.raises(Unavailable, match="ReadTimeout"):
        web.get(site.url)
    web.close()


def test_what_is_too_large_or_wrongly_packed_is_refused(site):
    web = Web(most_bytes=1000)
    site.answer = lambda path, headers: (200, {}, b"x" * 1001)
    with pytest.raises(InvalidData, match="larger than 1,000 bytes"):
        web.get(site.url)
    site.answer = lambda path, headers: (200, {"content-encoding": "gzip"}, b"no gzip")
    with pytest.raises(InvalidData, match="cannot be unpacked"):
        web.get(site.url)
    web.close()


def test_redirects_are_followed_and_announced(site, web):
    site.answer = lambda path, headers: (302, {"location": "/b"}, b"") if path == "/a" else (200, {}, b"here")
    announced: list[str] = []
    assert web.get(f"{site.url}/a", before=announced.append).url == f"{site.url}/b"
    assert announced == [f"{site.url}/a", f"{site.url}/b"]
    site.answer = lambda path, headers: (302, {"location": path + "x"}, b"")
    with pytest.raises(InvalidData, match="more than 5 redirects"):
        web.get(site.url)
    for location in ("file:///etc/hostname", "http://["):
        site.answer = lambda path, headers, location=location: (302, {"location": location}, b"")
        with pytest.raises(InvalidInput):
            web.get(site.url)


def test_a_server_that_never_recovers_is_asked_ten_times(site, web, waited):
    site.answer = lambda path, headers: (500, {}, b"")
    with pytest.raises(Unavailable, match="attempts: 10"):
        web.get(site.url)
    assert waited == sorted(waited)
    assert len(waited) == 9


def test_between_two_requests_there_is_a_pause(site):
    web = Web(pause_s=0.2)
    site.answer = lambda path, headers: (200, {}, b"")
    for _ in range(3):
        web.get(site.url)
    web.close()
    gaps = [after - before for before, after in zip(site.times_s, site.times_s[1:], strict=False)]
    assert min(gaps) > 0.15
    assert time.monotonic() > site.times_s[-1]


@pytest.mark.parametrize("url", ["", "host/path", "ftp://host/", "http://", "http://[", "file:///etc/passwd"])
def test_what_is_no_address_is_refused_by_its_key(url):
    with pytest.raises(InvalidInput, match=r"source\.url: .* is no address"):
        check_url("source.url", url)
