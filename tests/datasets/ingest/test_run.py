"""One ingestion as a whole: steps, state, progress, and what it does with a declaration that changes."""

import signal
import subprocess
import sys
import textwrap

import pytest

from bottega.datasets.catalog import Check, Column
from bottega.datasets.ingest.files import FileSource
from bottega.errors import InvalidData


@pytest.fixture
def source(tmp_path, weather):
    lines = ["station,at,kind,temperature_c", *(f"{i},2025-12-31T10:00:00Z,rain,{i / 2}" for i in range(1, 8))]
    (tmp_path / "a.csv").write_text("\n".join([*lines, "x,,,"]))
    return FileSource(str(tmp_path / "a.csv"), rows_at_once=3)


def test_steps_are_plain_ibis_functions_over_the_good_rows(source, weather):
    def warm(table):
        return table.filter(table.temperature_c > 1)

    def fahrenheit(table):
        return table.mutate(fahrenheit=table.temperature_c * 1.8 + 32, odd=(table.station % 2).cast("int64").nullif(0))

    found = weather.run(weather.spec(source), steps=[warm, fahrenheit])
    assert (found.rows_read, found.rows, found.refused) == (8, 5, {"wrong_type_station": 1})
    table = weather.store.read("weather")
    assert table["fahrenheit"].tolist() == pytest.approx([34.7, 35.6, 36.5, 37.4, 38.3])
    assert table["odd"].astype("Int64").fillna(0).tolist() == [1, 0, 1, 0, 1]


def test_progress_counts_rows(source, weather):
    seen = []
    weather.run(weather.spec(source), progress=lambda task, done, total: seen.append((task, done, total)))
    assert [done for _, done, _ in seen] == [3, 6, 8, 8, 8]
    assert seen[-1] == ("ingest weather", 8, 8)


def test_again_reads_everything_into_the_same_segments(source, weather):
    first = weather.ingest(source)
    assert weather.ingest(source).segments == ()
    assert weather.run(weather.spec(source), again=True) == first
    assert weather.stations == [1, 2, 3, 4, 5, 6, 7]


def test_rows_that_are_all_refused_leave_an_empty_table(source, weather):
    found = weather.ingest(source, checks=(Check("none", "range", "station", minimum=100),))
    assert found.refused == {"wrong_type_station": 1, "none": 7}
    assert weather.stations == []


def test_a_damaged_state_says_what_to_do(source, weather):
    weather.ingest(source)
    state = next((weather.workspace.data / "ingest" / "weather").glob("*.json"))
    state.write_text("{")
    with pytest.raises(InvalidData, match=r"\.json is damaged: .*\. Remove it: the source is then read"):
        weather.ingest(source)
    state.unlink()
    assert weather.ingest(source).rows == 7
    assert weather.stations == [1, 2, 3, 4, 5, 6, 7]


def test_columns_that_change_do_not_fit_the_table(source, weather):
    weather.ingest(source)
    with pytest.raises(InvalidData, match="kind is missing"):
        weather.ingest(source, columns=(Column("station", "integer"), Column("at", "time")), checks=())


def test_a_check_on_bool_and_number_values(tmp_path, weather):
    (tmp_path / "b.csv").write_text("ok,x\ntrue,1.5\nfalse,1.5\n,1.5\ntrue,2\n")
    checks = (Check("not_ok", "allowed", "ok", values=(True,)), Check("odd", "allowed", "x", values=(1.5,)))
    columns = (Column("ok", "bool", nullable=True), Column("x", "number"))
    found = weather.ingest(FileSource(str(tmp_path / "b.csv")), columns=columns, checks=checks)
    assert found.refused == {"not_ok": 1, "odd": 1}
    assert weather.store.read("weather")["ok"].astype(object).fillna("-").tolist() == [True, "-"]


KILLED = """
    import os, signal, sys
    from datetime import UTC, datetime
    from pathlib import Path
    import bottega.files
    from bottega.datasets.ingest.run import ingest
    from bottega.datasets.ingest.spec import read_spec
    from bottega.features.store import OfflineStore
    from bottega.workspace import Workspace

    left = int(sys.argv[3])
    replace = Path.replace
    def dying(self, target):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)
    workspace = Workspace.open(Path(sys.argv[2]))
    Path.replace = dying
    spec, write = read_spec(Path(sys.argv[1])), OfflineStore(workspace.offline).write
    ingest(spec, write, workspace, datetime(2026, 1, 1, tzinfo=UTC))
"""


@pytest.mark.slow
def test_killed_before_any_write_of_a_file_and_run_again_nothing_is_lost_or_doubled(tmp_path, source, weather):
    columns = "".join(
        f'[[columns]]\nname = "{column.name}"\ntype = "{column.type}"\nnullable = {str(column.nullable).lower()}\n'
        for column in weather.columns
    )
    unique = '[[checks]]\nreason = "twice"\nkind = "duplicate"\ncolumns = ["station"]\n'
    spec = tmp_path / "spec.toml"
    spec.write_text(f'table = "weather"\n[source]\nkind = "files"\npath = "a.csv"\nrows_at_once = 2\n{columns}{unique}')
    for killed_at in range(1, 40, 2):
        root = tmp_path / f"w{killed_at}"
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(spec), str(root)]
        ran = subprocess.run([*command, str(killed_at)], capture_output=True, text=True)
        if ran.returncode == 0:
            break
        assert ran.returncode == -signal.SIGKILL, ran.stderr
        subprocess.run([*command, "1000"], check=True)
        from bottega.features.store import OfflineStore

        assert OfflineStore(root / "offline").read("weather")["station"].tolist() == [1, 2, 3, 4, 5, 6, 7]
        assert len(list((root / "quarantine" / "weather").glob("*.parquet"))) == 1
    assert killed_at > 10
