"""Verification: what was compiled must answer as its reference does, before it is signed and as it will be loaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from bottega.compile import onnx_engine
from bottega.compile.calls import Native
from bottega.compile.candidates import Lowered
from bottega.compile.integer import is_quantised
from bottega.compile.manifest import Bucket, Parity
from bottega.compile.model import Model
from bottega.compile.parity import FLIPPED, QUANTISED_TOLERANCE, TOLERANCE, probes, relative_error, require
from bottega.compile.runtime import Artifact
from bottega.features.steps import Service
from bottega.training.package import ModelPackage
from bottega.training.reference import Reference

RANDOM_ROWS = 1024
_SEED = 11


def check_model(
    package: ModelPackage, lowered: Lowered, natives: Mapping[str, Native], buckets: Sequence[int]
) -> Parity:
    """Every function that may serve a bucket, and the ONNX model, on the package's rows and on random ones.

    Raises IntegrityError where an answer differs from the framework's.
    """
    trees, plan = package.info.kind == "trees", package.info.plan
    inputs = np.ascontiguousarray(package.inputs, np.float32)
    rows = np.concatenate([inputs, probes(inputs, RANDOM_ROWS, _SEED, missing_anywhere=trees)])
    expected = _expected(package, rows)
    candidates = [candidate for bucket in buckets for candidate in lowered.candidates(bucket)]
    worst = 0.0
    for bucket in [*candidates, Bucket(len(rows), "onnxruntime", "")]:
        model = Model(plan, (bucket,), natives, lambda: onnx_engine.model(lowered.onnx))
        error = relative_error(model(rows), expected)
        require(f"{bucket.entry or 'the ONNX model'} at batch {bucket.batch}", error, _tolerance(package))
        worst = max(worst, error if bucket.entry else 0.0)
    return Parity(worst, len(rows), "XGBoost" if trees else "ONNX Runtime")


def check_answers(package: ModelPackage, folder: Path, key: bytes) -> None:
    """The whole plan of the artefact in `folder`, on the package's sample requests.

    Raises IntegrityError where an answer differs from the one that the package's own parts give.
    """
    if not package.samples:
        return
    answers = Artifact.load(folder, key, _MadeUp, _made_up).predict(package.samples)
    expected = Reference(package, _MadeUp, read_external=_made_up).predict(package.samples)
    for name in expected:
        if _is_choice(expected[name]):
            differing = float(np.mean(answers[name] != expected[name]))
            require(f"The choice {name!r}", differing, FLIPPED)
        else:
            require(f"The answer {name!r}", relative_error(answers[name], expected[name]), _tolerance(package))


def _is_choice(column: np.ndarray) -> bool:
    """Whether a column holds texts or whole numbers: they are equal or not, however near the scores behind them."""
    return column.dtype.kind in "Oiub"


def _expected(package: ModelPackage, rows: np.ndarray) -> np.ndarray:
    """What the framework answers to model inputs; a quantised graph's answers are those of the graph as written."""
    if not _is_quantised(package):
        return Reference(package).parts.predict(rows)
    (found,) = onnx_engine.tensors(package.model, as_written=True)([rows], len(rows))
    return found


def _tolerance(package: ModelPackage) -> float:
    return QUANTISED_TOLERANCE if _is_quantised(package) else TOLERANCE[package.info.kind]


def _is_quantised(package: ModelPackage) -> bool:
    return package.info.kind == "network" and is_quantised(onnx.load_model_from_string(package.model))


class _MadeUp(dict[str, np.ndarray]):
    """What stands in for an online store: any feature of any view is a number made of keys and moment, or missing."""

    def __init__(self, view: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> None:
        super().__init__()
        mixed = sum(map(_whole, keys), np.asarray(at_us, np.int64) // 60_000_000)
        self._values = np.where(mixed % 7 == 0, np.nan, mixed % 61).astype(np.float64)

    def __missing__(self, feature: str) -> np.ndarray:
        return self._values + len(feature)


def _made_up(service: Service, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> _MadeUp:
    """What stands in for an external service."""
    return _MadeUp(service.view, keys, at_us)


def _whole(key: np.ndarray) -> np.ndarray:
    """Keys as whole numbers, text by its length."""
    given = np.asarray(key)
    return np.array([len(text) for text in given], np.int64) if given.dtype.kind == "O" else given.astype(np.int64)
