import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.times import DAY_US
from bottega.training.split import split_by_time


@pytest.mark.parametrize(("days", "gate_days"), [(59, 7), (35, 7), (34, 6.8), (10, 2)])
def test_the_gate_is_the_newest_week_or_the_newest_fifth(days, gate_days):
    split = split_by_time(0, days * DAY_US)
    assert (split.until_us - split.gate_us) / DAY_US == pytest.approx(gate_days)
    assert 0 < split.tune_us < split.gate_us


def test_each_moment_belongs_to_one_part_and_edges_go_to_the_later_one():
    split = split_by_time(0, 10 * DAY_US)
    at = np.array([0, split.tune_us - 1, split.tune_us, split.gate_us - 1, split.gate_us, split.until_us - 1])
    assert split.part(at).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_span_under_a_day_is_refused():
    with pytest.raises(InvalidInput, match="shorter than a day"):
        split_by_time(0, DAY_US - 1)
