"""`bottega data ingest` as a person meets it: what it says, what it writes, and how it refuses a wrong spec."""

import json
import sys

import pandas as pd
import pytest

from bottega.cli import main
from bottega.features.store import OfflineStore

SPEC = """
table = "weather"
[source]
kind = "files"
path = "a.csv"
[[columns]]
name = "station"
type = "integer"
[[checks]]
reason = "too_small"
kind = "range"
column = "station"
minimum = 1
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run `bottega data ingest spec.toml ...`: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    for name in ("BOTTEGA_WORKSPACE", "BOTTEGA_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "spec.toml").write_text(SPEC)
    (tmp_path / "in" / "a.csv").write_text("station,note\n1,a\n0,b\nx,c\n2,d\n3\n")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bottega", "data", "ingest", "in/spec.toml", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_a_table_is_ingested_once_and_again_when_asked(run, tmp_path):
    code, out, _ = run("--json")
    found = json.loads(out)
    assert code == 0
    assert (found["table"], found["rows_read"], found["rows"]) == ("weather", 5, 2)
    assert found["refused"] == {"wrong_number_of_fields": 1, "wrong_type_station": 1, "too_small": 1}
    assert OfflineStore(tmp_path / "workspace" / "offline").read("weather")["station"].tolist() == [1, 2]
    (kept,) = (tmp_path / "workspace" / "quarantine" / "weather").iterdir()
    assert pd.read_parquet(kept)["row"].tolist() == [1, 2, 4]
    assert json.loads(run("--json")[1])["segments"] == []
    assert json.loads(run("--json", "--again")[1]) == found


def test_people_are_told_what_happened(run):
    _, out, _ = run()
    assert "5 rows read, 2 written to 1 segments of weather." in out
    assert "too_small" in out
    assert "quarantine/weather" in out
    assert "No row was refused." in run()[1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "range"', 'kind = "rage"', "Invalid enum value 'rage' - at `$.checks[0].kind`"),
        ('column = "station"', 'column = "zone"', "checks[0].column: there is no column 'zone'. There are: station."),
        ('"a.csv"', '"b.csv"', "There is no file in/b.csv."),
        ('kind = "files"\npath = "a.csv"', 'kind = "queue"', "missing required field `log` - at `$.source`"),
    ],
)
def test_a_wrong_spec_is_one_line_and_exit_code_2(run, tmp_path, old, new, said):
    assert old in SPEC
    (tmp_path / "in" / "spec.toml").write_text(SPEC.replace(old, new))
    code, _, error = run()
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_help_says_what_a_spec_holds(run):
    code, out, _ = run("--help")
    assert code == 0
    for word in (
        "table",
        "source",
        "columns",
        "checks",
        "timezone",
        "files",
        "api",
        "page",
        "queue",
        "docs/INGESTION.md",
    ):
        assert word in out
