"""`bottega search`, `newcomers` and `rides` as a person meets them, without any data at hand."""

import json
import sys

import pandas as pd
import pytest

from bottega.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run `bottega ...` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    for name in ("BOTTEGA_WORKSPACE", "BOTTEGA_DATA"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bottega", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_search_in_the_invented_guide(run):
    code, out, _ = run("search", "quite italien", "--limit", "3", "--open-at", "2024-01-20T20:00", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["data_source"] == "simulator:eats"
    assert found["corrections"]["italien"][0] == "italian"
    assert all("Italian" in hit["place"]["cuisines"] and hit["open"] for hit in found["hits"])
    _, out, _ = run("search", "", "--cuisine", "thai", "--price", "$$", "--why")
    assert "found in simulator:eats" in out
    assert "cuisine: " in out


def test_search_says_why(run):
    _, out, _ = run("search", "lively mexican", "--limit", "1", "--why")
    assert "'mexican' in cuisines" in out
    assert "rank 1" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search"], "nothing to search for"),
        (["search", "pizza", "--price", "cheap"], "'cheap' is no price"),
        (["search", "pizza", "--cuisine", "Itallian"], "Near it: Italian"),
        (["search", "pizza", "--open-at", "tonight"], "'tonight' is no time"),
        (["search", "pizza", "--limit", "0"], "limit is 0"),
        (["search", "pizza", "--source", "yelp"], "Sources are entree_chicago, uci_restaurant"),
        (["newcomers"], "'uci_restaurant' is not here"),
        (["rides", "evaluate", "--trying", "0"], "never tries"),
        (["rides", "compare", "--requests", "100", "--seeds", "1", "--plot", "a.txt"], "no picture"),
    ],
)
def test_bad_input_gets_one_line(run, arguments, says):
    code, _, error = run(*arguments)
    assert code == 2
    assert says in error
    assert len(error.strip().splitlines()) == 1


def test_newcomers_of_own_tables(run, tmp_path):
    folder = tmp_path / "workspace" / "data" / "uci_restaurant"
    folder.mkdir(parents=True)
    plain = {"latitude": 22.1, "longitude": -101.0, "cuisines": "Mexican|Bar", "payments": "cash"}
    place = dict.fromkeys(
        ("alcohol", "smoking_area", "dress_code", "accessibility", "ambience", "franchise", "area", "other_services",
         "parking", "state"), "x")  # fmt: skip
    user = dict.fromkeys(
        ("smoker", "drink_level", "dress_preference", "ambience", "transport", "interest", "activity"), "x"
    )
    places = [{**plain, **place, "place_id": n, "name": f"p{n}", "city": "slp", "price": "low"} for n in range(8)]
    users = [{**plain, **user, "user_id": f"U{n}", "birth_year": 1990 + n, "budget": "low"} for n in range(12)]
    ratings = [
        {"user_id": f"U{u}", "place_id": p, "rating": (p + u // 6) % 3, "food_rating": 1, "service_rating": 1}
        for u in range(12)
        for p in range(u % 2, 8, 2)
    ]
    hours = [{"place_id": 0, "hours": "08:00-12:00;", "days": "Mon;"}]
    for name, rows in (("places", places), ("users", users), ("ratings", ratings), ("hours", hours)):
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
    _, out, _ = run("newcomers", "--seeds", "2", "--json")
    found = json.loads(out)
    assert (found["data_source"], found["rows"]) == ("workspace:uci_restaurant", 48)
    assert set(found["metrics"]) == {"new guests", "new places"}
    _, out, _ = run("newcomers", "--user", "U3", "--limit", "2", "--json")
    assert "you like Bar and Mexican" in json.loads(out)[0]["reasons"]
    assert "against popularity" in run("newcomers", "--seeds", "1")[1].replace("\n", " ")


def test_rides(run, tmp_path):
    _, out, _ = run("rides", "simulate", "--requests", "500", "--json")
    assert json.loads(out)["rows"] == 500
    _, out, _ = run("rides", "compare", "--requests", "600", "--seeds", "2", "--plot", tmp_path / "a.svg", "--json")
    metrics = json.loads(out)["metrics"]
    assert metrics["informed"]["regret"] < metrics["popular"]["regret"]
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    _, out, _ = run("rides", "evaluate", "--rows", "400", "--seeds", "2", "--json")
    assert {score["estimator"] for score in json.loads(out)["scores"]} >= {"naive", "ips", "doubly robust"}
