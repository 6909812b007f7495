"""Tuning: what is searched, that a tuned kernel answers alike, and that nothing is searched twice."""

from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from bottega.compile import integer, library, tune
from bottega.compile.native import build
from bottega.compile.schedule import schedule
from bottega.compile.target import host
from bottega.compile.tune import Tuner, heaviest
from bottega.errors import InvalidInput

ROWS, DEPTH, COLUMNS = 16, 48, 32
TRIALS = 6


def product(rows: int, depth: int, columns: int) -> tirx.PrimFunc:
    """A matrix product and the exponential of it."""
    left, right = te.placeholder((rows, depth), "float32", "left"), te.placeholder((depth, columns), "float32", "right")
    step = te.reduce_axis((0, depth), "step")
    sums = te.compute((rows, columns), lambda i, j: te.sum(left[i, step] * right[step, j], axis=step), name="sums")
    return te.create_prim_func([left, right, te.compute(sums.shape, lambda i, j: te.exp(sums[i, j]), name="answer")])


def doubled() -> tirx.PrimFunc:
    values = te.placeholder((64, 64), "float32", "values")
    return te.create_prim_func([values, te.compute(values.shape, lambda i, j: values[i, j] * 2.0)])


def packed() -> tirx.PrimFunc:
    left, right = te.placeholder((64, 64), "uint8", "left"), te.placeholder((4, 16, 16, 4), "int8", "right")
    return te.create_prim_func([left, right, integer.multiply(left, right)])


def answer(module: tvm.IRModule, name: str, folder: Path, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    folder.mkdir()
    build(tvm.IRModule({name: module[name].with_attr("global_symbol", name)}), host(), folder / "f.so")
    out = library.aligned((len(left), right.shape[1]), np.float32)
    library.load(folder / "f.so")(name)(*map(library.tensor, (left, right, out)))
    return out


def test_the_heaviest_kernels_are_searched_and_equal_ones_once() -> None:
    small, large = product(4, 8, 16), product(64, 64, 64)
    kernels = {"a": small, "b": large, "c": small, "d": doubled(), "e": packed(), "f": product(2, 2, 16)}
    found = heaviest(tvm.IRModule(kernels))
    assert found[0] == ("b",)
    assert set(found[1]) == {"a", "c"}
    assert found[2] == ("f",) and len(found) == tune.HEAVIEST


def test_a_tuned_kernel_answers_alike_and_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "GAIN", -1000.0)  # keep the tuned kernel, however slow
    kernels = tvm.IRModule({"f": product(ROWS, DEPTH, COLUMNS), "g": product(ROWS, DEPTH, COLUMNS), "h": doubled()})
    steps: list[tuple[str, int, int]] = []
    first = Tuner(tmp_path / "tuning", TRIALS, seed=1, progress=lambda *step: steps.append(step))
    tuned = first(kernels, host())
    (report,) = first.kernels
    assert report.kept and report.found > 0 and report.flops >= 2 * ROWS * DEPTH * COLUMNS
    assert steps[-1] == (tune.TASK, TRIALS, TRIALS)
    random = np.random.default_rng(0)
    left, right = (
        library.aligned_copy(random.standard_normal(s).astype(np.float32)) for s in ((ROWS, DEPTH), (DEPTH, COLUMNS))
    )
    expected = np.exp(left.astype(np.float64) @ right)
    for name in ("f", "g"):
        np.testing.assert_allclose(answer(tuned, name, tmp_path / name, left, right), expected, rtol=2e-5)
    by_rules = schedule(kernels, host())
    assert tuned["f"].script() != by_rules["f"].script()
    assert tuned["h"].script() == by_rules["h"].script()
    assert "T.parallel" not in tuned["f"].script()

    again = Tuner(tmp_path / "tuning", TRIALS)
    monkeypatch.setattr(tune, "search", None)
    assert again(kernels, host())["f"].script() == tuned["f"].script()
    assert again.kernels[0].found == 0 and again.kernels[0].kept


def test_a_tuned_kernel_that_is_not_faster_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "medians_us", lambda runs: {"rules": 10.0, "tuned": 9.9})
    kernels, tuner = tvm.IRModule({"f": product(4, 16, 16)}), Tuner(tmp_path, 1)
    assert tuner(kernels, host())["f"].script() == schedule(kernels, host())["f"].script()
    assert tuner.notes() == [
        f"Tuning does not pay: 0 of 1 kernels are faster, {tuner.kernels[0].found} new candidates.",
        "f: 10.0 us by rules, 9.9 us tuned, the rules' kernel stays",
    ]


def test_nothing_to_search(tmp_path: Path) -> None:
    tuner = Tuner(tmp_path, 4)
    tuner(tvm.IRModule({"d": doubled()}), host())
    assert tuner.notes() == ["Tuning: no kernel is worth a search."]
    with pytest.raises(InvalidInput, match="trials"):
        Tuner(tmp_path, 0)
