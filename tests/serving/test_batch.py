"""Batch prediction: the answers that the artefact gives, whatever the kind of file, the kills and the bad rows."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from bottega.compile.runtime import Artifact
from bottega.errors import Conflict, InvalidData, InvalidInput, NotFound
from bottega.features.steps import Columns
from bottega.serving import deployment
from bottega.serving.batch import predict_file
from bottega.serving.batch_output import Manifest
from bottega.workspace import Workspace

Rows = Callable[[int], Columns]
Load = Callable[[Workspace, int], Artifact]
Fresh = Callable[[], Workspace]
ANSWER = ("eta_min", "low_min", "high_min")


def frame_of(columns: Columns) -> pd.DataFrame:
    frame = pd.DataFrame({name: column for name, column in columns.items() if name != "at"})
    frame["at"] = pd.to_datetime(columns["at"], unit="us", utc=True).as_unit("us")
    return frame


def answers_in(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output / "answers")


def same(found: pd.DataFrame, artifact: Artifact, columns: Columns) -> None:
    wanted = artifact.predict(columns)
    for name in ANSWER:
        np.testing.assert_array_equal(found[name].to_numpy(), wanted[name].astype(np.float32))


@pytest.mark.parametrize("kind", ["parquet", "csv", "folder"])
def test_a_file_is_answered_as_the_artefact_answers(
    built: Workspace, load: Load, some_rows: Rows, tmp_path: Path, kind: str
) -> None:
    columns = some_rows(1000)
    frame = frame_of(columns).assign(id=[f"trip {i}" for i in range(1000)], fare=2.5)
    source = tmp_path / f"in.{kind}"
    if kind == "csv":
        frame.to_csv(source, index=False)
    elif kind == "parquet":
        frame.to_parquet(source, row_group_size=170)
    else:
        source.mkdir()
        frame[:333].to_parquet(source / "a.parquet")
        frame[333:].to_parquet(source / "b.parquet", row_group_size=100)
    told: list[tuple[int, int]] = []
    result = predict_file(
        built,
        "eta",
        source,
        tmp_path / "out",
        segment_rows=300,
        progress=lambda _, done, all_: told.append((done, all_)),
    )
    assert (result.rows, result.answered, result.rejected, result.segments, result.computed) == (1000, 1000, 0, 4, 4)
    found = answers_in(tmp_path / "out")
    same(found, load(built, 1), columns)
    assert found["row"].tolist() == list(range(1000))
    assert found["id"].tolist() == frame["id"].tolist()
    pd.testing.assert_series_equal(found["at"], frame["at"])
    assert set(found["model_version"]) == {1}
    assert "fare" not in found
    assert [done for done, _ in told] == [0, 300, 600, 900, 1000]
    assert {total for _, total in told} == ({0} if kind == "csv" else {1000})


def test_a_named_version_answers(built: Workspace, load: Load, some_rows: Rows, tmp_path: Path) -> None:
    columns = some_rows(50)
    frame_of(columns).to_parquet(tmp_path / "in.parquet")
    assert predict_file(built, "eta", tmp_path / "in.parquet", tmp_path / "out", 2).version == 2
    same(answers_in(tmp_path / "out"), load(built, 2), columns)


def test_bad_rows_are_rejected_with_the_reason_and_the_others_answered(
    built: Workspace, load: Load, some_rows: Rows, tmp_path: Path
) -> None:
    columns = some_rows(200)
    lines = [
        f"{a},{b},{pd.Timestamp(t, unit='us', tz='UTC').isoformat()}" for a, b, t in zip(*columns.values(), strict=True)
    ]
    bad = {
        0: ("7,3,2024-01-09T12:00:00Z", "pu_zone 7 is unknown. Zones are 1 to 30 without 7"),
        1: ("x,3,2024-01-09T12:00:00Z", "pu_zone is 'x'; it must be a number."),
        60: ("3,,2024-01-09T12:00:00Z", "do_zone is None; it must be a number."),
        99: ("3,4,2024-01-09T12:00:00", "The time '2024-01-09T12:00:00' has no offset from UTC."),
        100: ("3,4", "The row has 2 values; the header has 3."),
        101: ("3,99999999999,2024-01-09T12:00:00Z", "do_zone is 99999999999; it must fit INT32."),
        199: ("3,4,1999-01-09T12:00:00Z", "at is before the data"),
    }
    for row, (line, _) in bad.items():
        lines[row] = line
    (tmp_path / "in.csv").write_text("\n".join(["pu_zone,do_zone,at", *lines]) + "\n\n")
    result = predict_file(built, "eta", tmp_path / "in.csv", tmp_path / "out", segment_rows=64)
    assert (result.answered, result.rejected) == (193, 7)
    rejected = pd.read_parquet(tmp_path / "out" / "rejected").set_index("row")
    assert sorted(rejected.index) == sorted(bad)
    for row, (_, reason) in bad.items():
        assert rejected["reason"][row].startswith(reason)
    assert msgspec.json.decode(rejected["given"][0]) == {"pu_zone": 7, "do_zone": 3, "at": "2024-01-09T12:00:00Z"}
    kept = [row for row in range(200) if row not in bad]
    found = answers_in(tmp_path / "out")
    assert found["row"].tolist() == kept
    same(found, load(built, 1), {name: column[kept] for name, column in columns.items()})


def test_nulls_and_fractions_of_a_parquet_file_are_rejected_one_by_one(built: Workspace, tmp_path: Path) -> None:
    at = pd.Timestamp("2024-01-09T12:00:00Z").as_unit("us")
    frame = pd.DataFrame({"pu_zone": [1.0, None, 2.5, 3.0], "do_zone": [1, 2, 3, 4], "at": [at, at, at, None]})
    frame.to_parquet(tmp_path / "in.parquet")
    predict_file(built, "eta", tmp_path / "in.parquet", tmp_path / "out")
    assert answers_in(tmp_path / "out")["row"].tolist() == [0]
    reasons = pd.read_parquet(tmp_path / "out" / "rejected")["reason"].tolist()
    assert reasons == [
        "pu_zone is None; it must be a number.",
        "pu_zone is 2.5; it must be a whole number.",
        "at is None; it must be text.",
    ]


def test_a_segment_without_a_good_row_is_empty(built: Workspace, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("pu_zone,do_zone,at\n7,7,now\n")
    result = predict_file(built, "eta", tmp_path / "in.csv", tmp_path / "out")
    assert (result.answered, result.rejected) == (0, 1)
    assert list(answers_in(tmp_path / "out")) == ["row", "pu_zone", "do_zone", "at", *ANSWER, "model_version"]


SCRIPT = """
import sys, time
from pathlib import Path
from bottega.serving.batch import predict_file
from bottega.workspace import Workspace
def said(task, done, total):
    print(done, flush=True)
    if done == 15_000:
        time.sleep(600)  # a run never ends before it is killed
root, source, output = map(Path, sys.argv[1:])
print(predict_file(Workspace.open(root), "eta", source, output, segment_rows=500, progress=said).computed)
"""


def test_a_killed_run_goes_on_after_its_last_segment(built: Workspace, some_rows: Rows, tmp_path: Path) -> None:
    columns = some_rows(20_000)
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    frame_of(columns).to_parquet(source)
    command = [sys.executable, "-c", SCRIPT, str(built.root), str(source), str(output)]
    seen: dict[str, int] = {}
    for wanted in (5, 12):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= 500 * wanted:
                    break
            os.kill(process.pid, signal.SIGKILL)
        finished = {path.name: path.stat().st_mtime_ns for path in (output / "answers").glob("*.parquet")}
        assert wanted <= len(finished) < 40
        assert seen.items() <= finished.items()
        seen = finished
        (output / "answers" / ".000099.parquet.half").write_bytes(b"PAR1")
    result = predict_file(built, "eta", source, output, segment_rows=500)
    assert (result.answered, result.segments, result.computed) == (20_000, 40, 40 - len(seen))
    assert {name: (output / "answers" / name).stat().st_mtime_ns for name in seen} == seen
    assert not list((output / "answers").glob(".*"))
    predict_file(built, "eta", source, tmp_path / "at once")
    pd.testing.assert_frame_equal(answers_in(output), answers_in(tmp_path / "at once"))
    assert predict_file(built, "eta", source, output, segment_rows=500).computed == 0
    manifest = msgspec.json.decode((output / "manifest.json").read_bytes(), type=Manifest)
    assert (manifest.complete, manifest.answered, manifest.rejected) == (True, 20_000, 0)


def test_a_changed_input_or_version_is_refused_or_starts_anew(
    fresh: Fresh, load: Load, some_rows: Rows, tmp_path: Path
) -> None:
    workspace, source, output = fresh(), tmp_path / "in.parquet", tmp_path / "out"
    frame_of(some_rows(100)).to_parquet(source)
    predict_file(workspace, "eta", source, output)
    deployment.deploy(workspace, "eta", 2, "newer")
    with pytest.raises(Conflict, match=r"is of version 1, not 2\..*--restart"):
        predict_file(workspace, "eta", source, output)
    columns = some_rows(30)
    frame_of(columns).to_parquet(source)
    with pytest.raises(Conflict, match="the input has changed"):
        predict_file(workspace, "eta", source, output, 1)
    assert len(answers_in(output)) == 100
    assert predict_file(workspace, "eta", source, output, restart=True).computed == 1
    same(answers_in(output), load(workspace, 2), columns)


def test_a_folder_of_something_else_is_left_alone(built: Workspace, some_rows: Rows, tmp_path: Path) -> None:
    frame_of(some_rows(3)).to_parquet(tmp_path / "in.parquet")
    (tmp_path / "out" / "answers").mkdir(parents=True)
    for restart in (False, True):
        with pytest.raises(Conflict, match="not empty, and no batch prediction"):
            predict_file(built, "eta", tmp_path / "in.parquet", tmp_path / "out", restart=restart)
    with pytest.raises(InvalidInput, match="is a file"):
        predict_file(built, "eta", tmp_path / "in.parquet", tmp_path / "in.parquet")


def test_two_runs_do_not_write_one_folder(built: Workspace, some_rows: Rows, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    frame_of(some_rows(3)).to_parquet(source)

    def meanwhile(task: str, done: int, total: int) -> None:
        with pytest.raises(Conflict, match="Another process writes"):
            predict_file(built, "eta", source, tmp_path / "out")

    assert predict_file(built, "eta", source, tmp_path / "out", progress=meanwhile).answered == 3


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("in.csv", b"pu_zone,at\n1,2\n", "has no column 'do_zone'"),
        ("in.csv", b"pu_zone,do_zone,at,at\n", "more than one column 'at'"),
        ("in.csv", b"", "has no column 'pu_zone'"),
        ("in.csv", b"pu_zone,do_zone,at\n1,2,\xff\n", "no CSV file in UTF-8"),
        ("in.csv", b'pu_zone,do_zone,at\n1,2,"open', "no CSV file in UTF-8"),
        ("in.parquet", b"PAR1", "cannot be read as Parquet"),
        ("in.json", b"{}", r"neither \.csv nor \.parquet"),
    ],
)
def test_an_unreadable_input_is_refused(
    built: Workspace, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidData, match=reason):
        predict_file(built, "eta", tmp_path / name, tmp_path / "out")


def test_what_does_not_exist_is_not_found(built: Workspace, some_rows: Rows, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    with pytest.raises(NotFound, match="There is no file"):
        predict_file(built, "eta", source, tmp_path / "out")
    frame_of(some_rows(3)).to_parquet(source)
    with pytest.raises(NotFound, match=r"no compiled version 9\. Compiled: 1, 2\."):
        predict_file(built, "eta", source, tmp_path / "out", 9)
    with pytest.raises(NotFound, match=r"No version of 'fare' is live\. Live: eta\."):
        predict_file(built, "fare", source, tmp_path / "out")


def test_memory_does_not_grow_with_the_file(built: Workspace, some_rows: Rows, tmp_path: Path) -> None:
    import tracemalloc

    peaks = []
    for copies in (2, 12):
        source = tmp_path / f"{copies}.csv"
        pd.concat([frame_of(some_rows(2000))] * copies).to_csv(source, index=False)
        tracemalloc.start()
        predict_file(built, "eta", source, tmp_path / f"out {copies}", segment_rows=1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 3, "twelve copies do not take six times what two take"


def test_the_command_line_answers_a_file(built: Workspace, some_rows: Rows, tmp_path: Path) -> None:
    frame_of(some_rows(20)).to_csv(tmp_path / "in.csv", index=False)
    command = [sys.executable, "-m", "bottega.cli", "-w", str(built.root), "batch", "eta"]
    said = subprocess.run(
        [*command, str(tmp_path / "in.csv"), str(tmp_path / "out"), "--json"], check=True, capture_output=True
    )
    assert msgspec.json.decode(said.stdout)["answered"] == 20
    again = subprocess.run(
        [*command, str(tmp_path / "in.csv"), str(tmp_path / "out"), "--version", "2"], check=False, capture_output=True
    )
    assert again.returncode == 1
    assert b"is of version 1, not 2" in again.stderr
