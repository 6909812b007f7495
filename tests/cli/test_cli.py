import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bottega.cli import main
from bottega.features import Entity, FeatureView, count
from bottega.features.online import OnlineStore
from bottega.files import write_json
from bottega.workspace import FORMAT


@dataclass(frozen=True)
class Terminal:
    """The command line as a person meets it, in this process, in an empty folder."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments, **environment):
        """(exit code, standard output, standard error)."""
        with self.monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("BOTTEGA_")]:
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["bottega", *map(str, arguments)])
            self.capture.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        said = self.capture.readouterr()
        return ended.value.code or 0, said.out, said.err

    def refused(self, *arguments, code=2, **environment):
        """The one line that a wrong use gets."""
        found, _, error = self.run(*arguments, **environment)
        assert found == code, error
        assert "Traceback" not in error
        lines = error.strip().splitlines()
        assert len(lines) == 1, error
        return lines[0]


@pytest.fixture
def terminal(tmp_path, monkeypatch, capsys):
    return Terminal(tmp_path, monkeypatch, capsys)


COMMANDS = ["data", "features", "train", "registry", "compile", "deploy", "serve", "predict", "evaluate"]
COMMANDS += ["search", "newcomers", "rides", "batch", "queue", "monitor", "market", "studio", "lab", "demo", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_stage_has_help(command, terminal):
    code, out, _ = terminal.run(command, "--help")
    assert code == 0
    assert "--help" in out


def test_help_does_not_load_the_heavy_libraries(tmp_path):
    heavy = ("pandas", "torch", "xgboost", "mlflow", "tvm", "evidently")
    script = f"import sys, bottega.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_the_version(tmp_path, terminal):
    assert terminal.run("--version")[1].startswith("bottega ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nonsense"], "There is no use case 'nonsense'"),
        (["train", "eta", "--from", "soon"], "'soon' is not a time"),
        (["train", "eta", "--from", "2010-01-01", "--until", "2010-02-01"], "has data from 2024-01-01"),
        (["train", "eta", "--from", "2024-03-02", "--until", "2024-03-01"], "is empty"),
        (["train", "eta", "--from", "2024-03-10T02:30", "--until", "2024-04-01"], "the clock skips it"),
        (["evaluate", "eta"], "Run 'bottega train eta' first"),
        (["compile", "eta@champion"], "Run 'bottega train eta' first"),
        (["compile", "../eta"], "is no reference to a model"),
        (["deploy", "eta@champion"], "Run 'bottega train eta' first"),
        (["data", "show", "nothing"], "There is no dataset 'nothing'"),
        (["data", "get", "tlc_green_trips", "--month", "January"], "January"),
        (["data", "check", "absent.parquet"], "absent.parquet"),
        (["features", "show", "nothing"], "has no view 'nothing'"),
        (["lab", "start", "77"], "77"),
        (["monitor", "eta"], "No version of eta is live"),
        (["monitor", "replay", "eta"], "Give --from and --until"),
        (["demo", "--scenario", "shock", "--no-studio"], "needs real trips"),
        (["demo", "--scenario", "nothing", "--no-studio"], "There is no scenario 'nothing'"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments, message, tmp_path, terminal):
    assert message in terminal.refused(*arguments)


def test_predict_says_plainly_when_no_server_runs(tmp_path, terminal):
    line = terminal.refused("predict", "eta", "pu_zone=74", code=1)
    assert "No server runs" in line
    assert "bottega serve" in line


def test_resume_without_a_demo(tmp_path, terminal):
    assert "no demo to resume" in terminal.refused("demo", "--resume", "--no-studio", code=1)


def test_a_workspace_of_a_newer_version(tmp_path, terminal):
    write_json(tmp_path / "w" / "workspace.json", {"format": FORMAT + 1})
    assert "newer version wrote it" in terminal.refused("data", "list", "--workspace", tmp_path / "w", code=1)


def test_a_wrong_setting_names_its_origin(tmp_path, terminal):
    assert "the environment sets seed to 'many'" in terminal.refused("data", "list", BOTTEGA_SEED="many")


def test_a_data_folder_that_is_none(tmp_path, terminal):
    line = terminal.refused("train", "eta", "--from", "2024-02-01", BOTTEGA_DATA=str(tmp_path / "absent"))
    assert "which is no folder" in line


@pytest.mark.parametrize("content", [b"PAR1", b"", b"pickup_at,dropoff_at\n1,2\n"], ids=["truncated", "empty", "csv"])
def test_a_file_that_is_not_what_it_claims(content, tmp_path, terminal):
    file = tmp_path / "green_2024-01.parquet"
    file.write_bytes(content)
    assert "green_2024-01.parquet" in terminal.refused("data", "check", file)


def test_a_missing_column_is_named(tmp_path, terminal):
    file = tmp_path / "green_2024-01.csv"
    file.write_text("pickup_at,dropoff_at,pu_zone,do_zone,distance_mi\n2024-01-05 10:00,2024-01-05 10:10,1,2,3\n")
    assert "fare_usd" in terminal.refused("data", "check", file)


def test_json_is_one_object_on_standard_output(tmp_path, terminal):
    code, out, _ = terminal.run("data", "check", "--from", "2024-02-01", "--until", "2024-02-02", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["data_source"] == "simulator:city_simulator"
    assert found["rows"] > 1000
    assert sum(found["rows_rejected"].values()) > 0


def test_two_workspaces_and_both_places_of_the_option(tmp_path, terminal):
    assert terminal.run("--workspace", "one", "data", "list")[0] == 0
    assert terminal.run("data", "list", "--workspace", "two")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


class Answers(io.StringIO):
    """A person at a terminal, with the answers typed ahead."""

    def isatty(self):
        return True


def test_a_view_is_dropped_when_a_person_says_so(tmp_path, terminal, monkeypatch):
    view = FeatureView("zone_traffic", Entity("zone", "zone"), "trips", "t", [count().over("5m", "1h")])
    store = OnlineStore(tmp_path / "w" / "online")
    store.declare(view.definition)
    drop = ("features", "drop", "zone_traffic", "--workspace", tmp_path / "w")
    wrong = terminal.refused("features", "drop", "zone_trafic", "--yes", "--workspace", tmp_path / "w")
    assert "holds no view 'zone_trafic'. It holds: zone_traffic." in wrong
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert "Add --yes." in terminal.refused(*drop)
    monkeypatch.setattr(sys, "stdin", Answers("n\n"))
    assert "Add --yes." in terminal.refused(*drop, "--json")
    code, out, _ = terminal.run(*drop)
    assert (code, len(store.definitions())) == (1, 1)
    assert "Drop zone_traffic and its 2 features from the online store?" in out
    monkeypatch.setattr(sys, "stdin", Answers("y\n"))
    code, out, _ = terminal.run(*drop)
    assert (code, store.definitions()) == (0, ())
    assert "Dropped zone_traffic" in out
    store.declare(view.definition)
    code, out, _ = terminal.run(*drop, "--yes", "--json")
    assert (code, json.loads(out)) == (0, {"view": "zone_traffic", "dropped": True, "features": 2})
    assert store.definitions() == ()


def test_the_password_of_the_online_store_is_never_said(tmp_path, terminal):
    pytest.importorskip("redis")
    for address in ("redis://:hidden@127.0.0.1:9/0", "mysql://me:hidden@127.0.0.1:9/0"):
        for command in (["drop", "zone_traffic", "--yes"], ["lookup", "zone_traffic", "74", "--at", "2024-03-01"]):
            code, out, error = terminal.run("features", *command, BOTTEGA_ONLINE=address)
            assert code
            assert "hidden" not in out + error


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
@pytest.mark.slow
def test_a_full_disk_is_said_plainly(tmp_path, terminal):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not allow mounting a tmpfs")
    try:
        line = terminal.refused(
            "data",
            "simulate",
            "--from",
            "2024-02-01",
            "--until",
            "2024-02-09",
            "--workspace",
            small / "w",
            code=1,
        )
        assert "No space is left" in line
        assert "--workspace" in line
    finally:
        subprocess.run(["umount", str(small)], check=True)
