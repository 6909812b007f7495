"""Keys across segments: every repetition is found, and a segment that is replaced does not repeat itself."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.datasets.ingest.keys import Keys


def test_a_replaced_part_and_those_after_it_do_not_count(tmp_path):
    keys, every = Keys(tmp_path), np.ones(2, bool)
    for part, own in enumerate(([1, 2], [3, 4])):
        keys.keep("a", part, np.array(own, np.uint64))
    assert keys.repeated("b", 0, np.array([4, 5], np.uint64), every).tolist() == [True, False]
    assert keys.repeated("a", 1, np.array([2, 3], np.uint64), every).tolist() == [True, False]
    assert keys.repeated("a", 0, np.array([1, 3], np.uint64), every).tolist() == [False, False]
    keys.forget("a", 0)
    assert Keys(tmp_path).repeated("b", 0, np.array([1, 3], np.uint64), every).tolist() == [False, True]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.lists(st.integers(0, 12), min_size=1, max_size=6)),
        max_size=12,
    )
)
def test_the_same_as_looking_at_every_row(tmp_path_factory, batches):
    keys = Keys(tmp_path_factory.mktemp("keys"))
    written: dict[tuple[str, int], list[int]] = {}
    for group, part, rows in batches:
        found = np.array(rows, np.uint64)
        earlier = {key for (g, p), own in written.items() if g != group or p < part for key in own}
        expected = [key in earlier or key in rows[:i] for i, key in enumerate(rows)]
        repeated = keys.repeated(group, part, found, np.ones(len(rows), bool))
        assert repeated.tolist() == expected
        keys.keep(group, part, found[~repeated])
        written[group, part] = found[~repeated].tolist()
