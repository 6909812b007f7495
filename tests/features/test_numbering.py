"""Numbering: equal keys have equal numbers, others none."""

import numpy as np
import pytest

from bottega.features.numbering import Numbering

TEXTS = np.array(["a", "b", "", "'; DROP TABLE x"], object)


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("text", [False, True])
def test_numbers_are_those_of_a_dictionary(columns, text):
    rng = np.random.default_rng(columns)
    known, asked = ([rng.integers(0, 4, 40) for _ in range(columns)] for _ in range(2))
    if text:
        known, asked = ([TEXTS[key] for key in keys] for keys in (known, asked))
    else:
        known = [key * 10**15 for key in known]
        asked = [key * 10**15 for key in asked]
    keep = slice(0, 12)  # so that some are unknown
    numbering = Numbering(tuple(key[keep] for key in known))
    numbers: dict[tuple, int] = {}
    for row in zip(*(key[keep].tolist() for key in known), strict=True):
        numbers.setdefault(row, len(numbers))
    expected = [numbers.get(row, -1) for row in zip(*(key.tolist() for key in asked), strict=True)]
    assert numbering.find(tuple(asked), 40).tolist() == expected
    assert numbering.size == len(numbers)
    assert numbering.find(tuple(key[:0] for key in asked), 0).tolist() == []


def test_without_keys_there_is_one_entity():
    assert Numbering(()).find((), 3).tolist() == [0, 0, 0]


def test_of_no_rows_nothing_is_known():
    assert Numbering((np.empty(0, np.int64),)).find((np.array([1, 2]),), 2).tolist() == [-1, -1]
