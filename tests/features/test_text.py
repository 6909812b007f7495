"""A sentence a row."""

import msgspec
import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.features.plan import AnyStep, run_steps
from bottega.features.steps import Parts
from bottega.features.text import Text


def nothing(*arguments: object) -> dict[str, np.ndarray]:
    raise AssertionError("a text reads nothing but columns")


PARTS = Parts({}, {}, nothing, lambda matrix: matrix)


def test_numbers_and_moments_are_told_by_their_formats() -> None:
    step = Text("{n:.0f} until {t:%H:%M}, {n:.1f}", "said", times=("t",), timezone="America/New_York")
    assert step.reads() == ("n", "t")
    assert msgspec.json.decode(msgspec.json.encode(step), type=AnyStep) == step
    at_us = np.array([1_673_240_400_000_000, 1_689_051_600_000_000])  # winter and summer
    ready = run_steps([step], {"n": np.array([2.6, 31.0]), "t": at_us}, PARTS)
    assert ready["said"].tolist() == ["3 until 00:00, 2.6", "31 until 01:00, 31.0"]


@pytest.mark.parametrize("template", ["{n.__class__}", "{n[0]}", "{}", "{0}"])
def test_only_columns_are_named(template: str) -> None:
    with pytest.raises(InvalidInput, match="which is no column"):
        run_steps([Text(template, "said")], {"n": np.array([1.0])}, PARTS)
