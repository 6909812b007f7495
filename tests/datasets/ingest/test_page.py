"""A page: fetched politely and seldom, and read as it is."""

import time

import pytest

from bottega.datasets.ingest.page import PageSource
from bottega.errors import InvalidData, Unavailable

PAGE = """<html><table><tr><td>no caption</td></tr></table>
<table class="w"><caption>Weather</caption>
<tr><th>station</th><th>at</th><th>kind</th><th>temperature_c</th></tr>
<tr><td>1</td><td rowspan="2">2025-12-31T10:00:00Z</td><td>rain</td><td>3.5</td></tr>
<tr><td>2</td><td colspan="2"></td></tr>
<tr><td>x</td><td>2025-12-31T12:00:00Z</td><td> dry
</td><td>1</td></tr>
<tr><td>4</td><td>2025-12-31T12:00:00Z</td></tr></table></html>"""


class Publisher:
    """Plays a site with one page that changes, its robots.txt and its marks of sameness."""

    def __init__(self, mark="etag"):
        self.robots = (200, b"User-agent: *\nDisallow: /private")
        self.body, self.version, self.mark = PAGE, 1, mark

    def __call__(self, path, headers):
        if path == "/robots.txt":
            return self.robots[0], {}, self.robots[1]
        told = f'"{self.version}"' if self.mark == "etag" else f"Mon, 0{self.version} Dec 2025 10:00:00 GMT"
        asked = headers.get("if-none-match" if self.mark == "etag" else "if-modified-since")
        if asked == told:
            return 304, {}, b""
        name = "etag" if self.mark == "etag" else "last-modified"
        return 200, {name: told, "content-type": "text/html; charset=utf-8"}, self.body.encode()


def quick(url, **options):
    return PageSource(url, **{"caption": "Weather", "pause_s": 0.0, "deadline_s": 5.0, **options})


def test_a_table_is_read_and_what_does_not_fit_is_kept_apart(site, weather):
    site.answer = Publisher()
    found = weather.ingest(quick(f"{site.url}/w"))
    assert (found.rows_read, found.rows) == (4, 2)
    assert found.refused == {"wrong_number_of_fields": 1, "wrong_type_station": 1}
    table = weather.store.read("weather")
    assert table["at"].dt.hour.tolist() == [10, 10]
    assert table["kind"].isna().tolist() == [False, True]
    assert site.headers[0]["user-agent"].startswith("bottega/")


@pytest.mark.parametrize("mark", ["etag", "last-modified"])
def test_a_page_is_asked_for_again_when_it_is_old_and_only_for_changes(site, weather, mark):
    site.answer = publisher = Publisher(mark)
    source = quick(f"{site.url}/w")
    weather.ingest(source)
    assert site.asked == ["/robots.txt", "/w"]
    assert weather.ingest(source).segments == ()
    assert site.asked == ["/robots.txt", "/w"]  # still young
    old = quick(f"{site.url}/w", max_age_s=0)
    weather.ingest(old)
    assert site.asked[2:] == ["/robots.txt", "/w"]
    assert weather.ingest(old).segments == ()  # 304: nothing new
    publisher.version, publisher.body = 2, PAGE.replace(">1<", ">7<", 1)
    assert weather.ingest(old).rows == 2
    assert weather.stations == [7, 2]


def test_a_page_without_marks_of_sameness_is_compared(site, weather):
    publisher = Publisher()
    site.answer = lambda path, headers: (publisher(path, {})[0], {}, publisher(path, {})[2])
    old = quick(f"{site.url}/w", max_age_s=0)
    assert weather.ingest(old).rows == 2
    assert weather.ingest(old).segments == ()


def test_a_damaged_copy_is_fetched_again(site, weather):
    site.answer = Publisher()
    source = quick(f"{site.url}/w")
    weather.ingest(source)
    for file in (weather.workspace.data / "ingest" / "pages").iterdir():
        file.write_bytes(file.read_bytes()[:-10])
    assert weather.run(weather.spec(source), again=True).rows == 2
    assert len(site.asked) == 4
    assert "if-none-match" not in site.headers[-1]


@pytest.mark.parametrize(
    ("robots", "path", "allowed"),
    [
        ((200, b"User-agent: *\nDisallow: /private"), "/private/w", False),
        ((200, b"User-agent: *\nDisallow: /private"), "/w", True),
        ((200, b"User-agent: bottega\nDisallow: /"), "/w", False),
        ((200, b"User-agent: bottega\nAllow: /w\nUser-agent: *\nDisallow: /"), "/w", True),
        ((200, b"\xff\x00 no robots"), "/w", True),
        ((404, b""), "/w", True),
        ((503, b""), "/w", False),
    ],
)
def test_robots_txt_is_obeyed(site, weather, robots, path, allowed):
    site.answer = publisher = Publisher()
    publisher.robots = robots
    if allowed:
        assert weather.ingest(quick(site.url + path)).rows == 2
    else:
        with pytest.raises(Unavailable, match=r"robots\.txt"):
            weather.ingest(quick(site.url + path, deadline_s=0.3))
        assert path not in site.asked


def test_a_redirect_into_what_is_forbidden_is_not_followed(site, weather):
    publisher = Publisher()
    site.answer = lambda path, headers: (
        (302, {"location": "/private/w"}, b"") if path == "/w" else publisher(path, headers)
    )
    with pytest.raises(Unavailable, match=r"/private/w: the site's robots\.txt does not allow 'bottega'"):
        weather.ingest(quick(f"{site.url}/w"))
    assert "/private/w" not in site.asked


def test_the_pause_that_a_site_asks_for_is_kept(site, weather):
    site.answer = publisher = Publisher()
    publisher.robots = (200, b"User-agent: *\nCrawl-delay: 0.4")
    weather.ingest(quick(f"{site.url}/w"))
    assert site.times_s[1] - site.times_s[0] > 0.35
    assert time.monotonic() > site.times_s[1]
    assert PageSource("http://host/").pause_s == 1.0


def test_an_answer_that_is_no_page_is_told(site, weather):
    site.answer = lambda path, headers: (404, {}, b"")
    with pytest.raises(InvalidData, match="/w answered HTTP 404"):
        weather.ingest(quick(f"{site.url}/w"))
    site.answer = lambda path, headers: (404 if path == "/robots.txt" else 200, {}, b"\x89PNG\x00\x00")
    with pytest.raises(InvalidData, match=r"has no table 'Weather'\. Its tables: none"):
        weather.ingest(quick(f"{site.url}/w"))


def test_another_selector_reads_the_kept_page_anew(site, weather):
    site.answer = Publisher()
    with pytest.raises(InvalidData, match="has no table 'Snow'"):
        weather.ingest(quick(f"{site.url}/w", caption="Snow"))
    assert weather.ingest(quick(f"{site.url}/w", caption="", selector="table.w")).rows == 2
    assert site.asked == ["/robots.txt", "/w"]
