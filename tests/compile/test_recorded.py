"""Recorded answers: an artefact that answers otherwise than when it was built is found out."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bottega.compile.manifest import Manifest, Parity
from bottega.compile.recorded import RECORDED, ROWS, check_recorded, record
from bottega.compile.target import Target
from bottega.errors import IntegrityError


def manifest(**other: Any) -> Manifest:
    target = Target(*("" for _ in msgspec.structs.fields(Target)))
    made = Manifest(
        "eta", "trees", "1", "trees", None, (), (), None, {}, target, (), Parity(0.0, 0, "XGBoost"), {RECORDED: ""}
    )
    return msgspec.structs.replace(made, **other)


def test_the_same_answers_pass_and_others_do_not(tmp_path: Path) -> None:
    inputs = np.random.default_rng(5).normal(size=(200, 3)).astype(np.float32)
    inputs[3, 1] = np.nan
    record(tmp_path, lambda rows: np.nansum(rows, axis=1, keepdims=True), inputs)
    with np.load(tmp_path / RECORDED) as recorded:
        assert recorded["features"].shape == (ROWS, 3)
    check_recorded(tmp_path, manifest(), lambda rows: np.nansum(rows, axis=1, keepdims=True) * np.float32(1 + 1e-6))
    with pytest.raises(IntegrityError, match=r"differs by .* from the answers that it gave when it was built"):
        check_recorded(tmp_path, manifest(), lambda rows: np.nansum(rows, axis=1, keepdims=True) + np.float32(0.01))
    with pytest.raises(IntegrityError):
        check_recorded(tmp_path, manifest(), lambda rows: rows)


def test_an_artefact_of_before_has_no_record(tmp_path: Path) -> None:
    check_recorded(tmp_path, manifest(files={}), lambda rows: rows)
