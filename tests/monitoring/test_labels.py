from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from bottega.errors import InvalidData, InvalidInput
from bottega.monitoring.labels import append_labels, join_labels, labels_folder, read_labels

NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)


def at(*minutes: float) -> pd.Series:
    return pd.Series([NOON + timedelta(minutes=m) for m in minutes], dtype="datetime64[us, UTC]")


def predictions(ids: str, version: int = 1) -> pd.DataFrame:
    times = at(*range(len(ids)))
    etas = [10.0 + row for row in range(len(ids))]
    return pd.DataFrame(
        {
            "request_id": list(ids),
            "predicted_at": times,
            "at": times,
            "eta_min": etas,
            "low_min": 5.0,
            "high_min": 20.0,
            "model_version": version,
        }
    )


def labels(ids: str, values: list[float], *minutes: float) -> pd.DataFrame:
    return pd.DataFrame({"request_id": list(ids), "label": values, "label_at": at(*minutes)})


def test_what_was_appended_is_read_in_the_order_of_arrival(workspace):
    append_labels(workspace, "eta", labels("bc", [2, 3], 20, 40))
    append_labels(workspace, "eta", labels("a", [1], 30))
    read = read_labels(workspace, "eta")
    assert read["request_id"].tolist() == ["b", "a", "c"]
    assert read["label"].tolist() == [2.0, 1.0, 3.0]
    assert str(read["label_at"].dtype) == "datetime64[us, UTC]"
    since, until = NOON + timedelta(minutes=30), NOON + timedelta(minutes=40)
    assert read_labels(workspace, "eta", since, until)["request_id"].tolist() == ["a"]
    assert read_labels(workspace, "demand").empty


def test_no_rows_write_no_segment(workspace):
    assert append_labels(workspace, "eta", labels("", [])) is None
    assert not labels_folder(workspace, "eta").exists()


def test_a_half_written_segment_is_not_read(workspace):
    path = append_labels(workspace, "eta", labels("a", [1], 30))
    assert path is not None
    (path.parent / f".{path.name}.abc").write_bytes(path.read_bytes()[:40])  # what a killed writer leaves
    assert read_labels(workspace, "eta")["request_id"].tolist() == ["a"]


def test_a_damaged_segment_is_named(workspace):
    path = append_labels(workspace, "eta", labels("a", [1], 30))
    assert path is not None
    path.write_bytes(b"not parquet at all")
    with pytest.raises(InvalidData, match="damaged"):
        read_labels(workspace, "eta")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (pd.DataFrame({"request_id": ["a"], "label": [1.0]}), "no column 'label_at'"),
        (labels("a", [float("nan")], 3), "request 'a' is nan"),
        (labels("a", [1.0], 3).assign(label_at=pd.Timestamp("2024-03-04")), "with an offset"),
    ],
)
def test_labels_that_cannot_be_joined_are_refused(workspace, broken, message):
    with pytest.raises(InvalidInput, match=message):
        append_labels(workspace, "eta", broken)


def test_join_counts_what_is_matched_unmatched_duplicate_waiting_and_overdue(workspace, monitor):
    asked = predictions("abcd")
    append_labels(workspace, "eta", labels("abx", [11, 12, 13], 30, 31, 32))
    append_labels(workspace, "eta", labels("a", [9], 33))
    joined = join_labels(asked, read_labels(workspace, "eta"), monitor, NOON + timedelta(hours=6, minutes=2.5))
    assert joined.table["request_id"].tolist() == ["b", "a"]  # in the order of arrival
    assert joined.table["actual"].tolist() == [12.0, 9.0]  # the later label of "a" wins
    assert joined.table["predicted"].tolist() == [11.0, 10.0]
    counts = joined.counts
    assert (counts.predictions, counts.matched, counts.unmatched, counts.duplicates) == (4, 2, 1, 1)
    assert (counts.waiting, counts.overdue) == (2, 1)  # "c" was asked over 6 h ago, "d" not yet


def test_answers_that_were_left_out_as_repeats_are_counted(workspace, monitor):
    twice = pd.concat([predictions("ab"), predictions("b", version=2).assign(eta_min=7.0)])
    twice.attrs["repeats"] = 3
    append_labels(workspace, "eta", labels("ab", [11, 12], 30, 31))
    joined = join_labels(twice, read_labels(workspace, "eta"), monitor, NOON + timedelta(hours=1))
    assert joined.table["predicted"].tolist() == [10.0, 7.0]
    assert joined.counts.repeats == 4


def test_the_future_is_not_known(workspace, monitor):
    append_labels(workspace, "eta", labels("aa", [11, 9], 30, 50))
    known = read_labels(workspace, "eta")
    early = join_labels(predictions("a"), known, monitor, NOON + timedelta(minutes=40))
    late = join_labels(predictions("a"), known, monitor, NOON + timedelta(minutes=51))
    assert early.table["actual"].tolist() == [11.0] and early.counts.duplicates == 0
    assert late.table["actual"].tolist() == [9.0] and late.counts.duplicates == 1


def test_of_equally_late_labels_the_one_stored_last_counts(workspace, monitor):
    append_labels(workspace, "eta", labels("a", [1], 30), clock_ns=lambda: 1)
    append_labels(workspace, "eta", labels("a", [2], 30), clock_ns=lambda: 2)
    joined = join_labels(predictions("a"), read_labels(workspace, "eta"), monitor, NOON + timedelta(hours=1))
    assert joined.table["actual"].tolist() == [2.0]


def test_nothing_arrived_yet(workspace, monitor):
    joined = join_labels(predictions("ab"), read_labels(workspace, "eta"), monitor, NOON + timedelta(hours=1))
    assert joined.table.empty and joined.counts.waiting == 2
    assert {"actual", "predicted", "low", "high"} <= set(joined.table.columns)


def test_a_monitor_of_another_field_is_refused(workspace, monitor):
    append_labels(workspace, "eta", labels("a", [1], 30))
    asked = predictions("a").drop(columns="eta_min")
    with pytest.raises(InvalidData, match="'eta_min'"):
        join_labels(asked, read_labels(workspace, "eta"), monitor, NOON + timedelta(hours=1))
