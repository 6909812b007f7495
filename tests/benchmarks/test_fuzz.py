"""Fuzz of artefacts: thousands of valid requests answered as the framework does, thousands of invalid ones refused."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import xgboost

from bottega.compile.plain_build import build_plain
from bottega.compile.runtime import Artifact
from bottega.compile.xgboost_trees import read_xgboost
from bottega.errors import InvalidInput

ROOT = Path(__file__).parents[2]
KEY = b"a key of thirty-two bytes, or so"
NAMES = (pytest.param("deepeta", marks=pytest.mark.slow), pytest.param("cnn", marks=pytest.mark.slow), "trees")
"""The networks take a minute to compile."""
FAST, ALL = 300, 10_000
TOLERANCE = 2e-5
"""Relative to the answer, or to the usual size of answers."""
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Fuzzed:
    """An artefact, the framework's answer, a draw of valid requests, and whether NaN means something to the model."""

    artifact: Artifact
    expected: Callable[[Tensors], list[np.ndarray]]
    draw: Callable[[np.random.Generator, int], Tensors]
    missing: bool = False


@pytest.fixture(scope="module", params=NAMES)
def fuzzed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("fuzz") / request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield _trees(folder) if request.param == "trees" else _network(request.param, folder)


def _network(name: str, folder: Path) -> Fuzzed:
    from models.reference import reference_model

    model = reference_model(name)
    content = model.onnx()
    build_plain(content, folder, name=name, version="1", key=KEY, buckets=(1, 4, 16), measure=False)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def draw(random: np.random.Generator, rows: int) -> Tensors:
        drawn = model.inputs(rows, int(random.integers(2**31)))
        scale = np.float32(10.0 ** random.uniform(-3, 1))
        return {key: value * scale if value.dtype.kind == "f" else value for key, value in drawn.items()}

    return Fuzzed(Artifact.load(folder, KEY), lambda tensors: session.run(None, tensors), draw)


def _trees(folder: Path) -> Fuzzed:
    """Values at the thresholds and right beside them are where a tree that compares in another way goes wrong."""
    random = np.random.default_rng(0)
    features = random.normal(size=(4000, 12)).astype(np.float32)
    features[random.random(features.shape) < 0.1] = np.nan
    label = np.nan_to_num(features[:, :4]).sum(1) + random.normal(size=4000)
    options = {"max_depth": 6, "nthread": 1, "seed": 0}
    booster = xgboost.train(options, xgboost.DMatrix(features, label), 60)
    build_plain(
        read_xgboost(bytes(booster.save_raw("ubj"))), folder, name="trees", version="1", key=KEY, buckets=(1, 4, 16)
    )
    artifact = Artifact.load(folder, KEY)
    (tensor,) = artifact.manifest.inputs
    splits = booster.trees_to_dataframe().Split.dropna().to_numpy(np.float32)
    special = np.concatenate([splits, np.nextafter(splits, np.inf), np.nextafter(splits, -np.inf)])
    special = np.append(special, np.array([0, -0.0, np.nan, 1e30, -1e30, 1e-40], np.float32))

    def draw(random: np.random.Generator, rows: int) -> Tensors:
        some = random.normal(size=(rows, 12)).astype(np.float32)
        return {tensor.name: np.where(random.random(some.shape) < 0.5, random.choice(special, some.shape), some)}

    def expected(tensors: Tensors) -> list[np.ndarray]:
        return [booster.inplace_predict(tensors[tensor.name]).reshape(-1, 1)]

    return Fuzzed(artifact, expected, draw, missing=True)


def _valid(fuzzed: Fuzzed, seeds: range) -> None:
    usual = fuzzed.expected(fuzzed.draw(np.random.default_rng(0), 256))
    sizes = [float(np.sqrt(np.mean(np.square(answer)))) for answer in usual]  # near zero only they say what is close
    for seed in seeds:
        random = np.random.default_rng(seed)
        rows = int(random.choice([1, 1, 2, 3, 4, 5, 16, 17] if seed % 50 else [33, 70]))
        tensors = fuzzed.draw(random, rows)
        answers = list(
            fuzzed.artifact.run({name: _laid_out(array, random) for name, array in tensors.items()}).values()
        )
        expected = fuzzed.expected(tensors)
        shapes = [answer.shape for answer in answers]
        assert shapes == [answer.shape for answer in expected], f"seed {seed}"
        for answer, wanted, size in zip(answers, expected, sizes, strict=True):
            np.testing.assert_allclose(answer, wanted, TOLERANCE, TOLERANCE * size, err_msg=f"seed {seed}")


def _laid_out(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same values in another order of memory, every other row of a larger array, or not to be written."""
    match random.integers(4):
        case 0:
            return np.asfortranarray(array)
        case 1:
            wide = np.repeat(array, 2, axis=0)
            return wide[::2]
        case 2:
            frozen = array.copy()
            frozen.flags.writeable = False
            return frozen
    return array


def _invalid(fuzzed: Fuzzed, seeds: range) -> None:
    for seed in seeds:
        random = np.random.default_rng(seed)
        tensors: dict = fuzzed.draw(random, int(random.integers(1, 6)))
        name = str(random.choice(list(tensors)))
        what = _spoil(tensors, name, random, fuzzed)
        with pytest.raises(InvalidInput):
            fuzzed.artifact.run(tensors)
            pytest.fail(f"seed {seed}: {what} was answered")


def _spoil(tensors: dict, name: str, random: np.random.Generator, fuzzed: Fuzzed) -> str:
    """Break one rule of a valid request, and say which."""
    array: np.ndarray = tensors[name]
    kinds = ["left out", "foreign", "rank", "width", "type", "no array", "value"]
    kinds += ["rows"] if len(tensors) > 1 else []
    kind = str(random.choice(kinds))
    match kind:
        case "left out":
            del tensors[name]
        case "foreign":
            tensors[f"{name}_"] = tensors.pop(name) if random.random() < 0.5 else array
        case "rank":
            changed = [array[..., None], array[None], array[0], array.reshape(-1), np.asarray(array.flat[0])]
            tensors[name] = (
                changed[random.integers(len(changed) - (array.ndim == 1))] if array.ndim > 1 else array[None]
            )
        case "width":
            axis = int(random.integers(1, array.ndim)) if array.ndim > 1 else 0
            wider = np.concatenate([array, array], axis=axis)
            tensors[name] = [wider, np.take(array, [], axis=axis)][random.integers(2)] if axis else array[:, None]
        case "type":
            others = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u8", "?", "c8", "U", "O", ">f4", ">i8", "M8[s]"]
            other = np.dtype(str(random.choice([o for o in others if np.dtype(o) != array.dtype])))
            with np.errstate(all="ignore"):
                tensors[name] = array.astype("i8").astype(other) if other.kind == "M" else array.astype(other)
        case "no array":
            values: list[object] = [
                None,
                7,
                0.5,
                "x",
                b"x",
                [],
                [[1.0]],
                array.tolist(),
                {},
                memoryview(b"12"),
                object(),
            ]
            tensors[name] = values[random.integers(len(values))]
        case "rows":
            tensors[name] = np.concatenate([array, array])
        case "value":
            spoiled = array.copy()
            place = tuple(int(random.integers(size)) for size in array.shape)
            spoiled[place] = _bad_value(fuzzed, name, place[1:], random)
            tensors[name] = spoiled
    return kind


def _bad_value(fuzzed: Fuzzed, name: str, place: tuple[int, ...], random: np.random.Generator) -> float | int:
    """A number that the element at this place of a row must not be."""
    tensor = next(tensor for tensor in fuzzed.artifact.manifest.inputs if tensor.name == name)
    if tensor.datatype.startswith("FP"):
        return float(random.choice([np.inf, -np.inf] if fuzzed.missing else [np.inf, -np.inf, np.nan]))
    row = tensor.shape[1:]
    lowest, highest = (int(np.broadcast_to(limits, row)[place]) for limits in (tensor.lowest, tensor.highest))
    beyond = [
        lowest - 1,
        highest + 1,
        -(2**63),
        2**63 - 1,
        int(random.integers(highest + 1, 2**62)),
        lowest - int(random.integers(1, 2**40)),
    ]
    return beyond[random.integers(len(beyond))]


def test_valid_requests(fuzzed: Fuzzed) -> None:
    _valid(fuzzed, range(FAST))


def test_invalid_requests(fuzzed: Fuzzed) -> None:
    _invalid(fuzzed, range(FAST))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_ten_thousand_of_each(fuzzed: Fuzzed) -> None:
    _valid(fuzzed, range(ALL, 2 * ALL))
    _invalid(fuzzed, range(ALL, 2 * ALL))
