"""Recorded answers: what an artefact gave when it was built, asked again wherever it is loaded.

They lie in the artefact and are signed with it. A library that loads and yet answers otherwise, because of another CPU,
another runtime or memory that fails, is found before its first client.
"""

from pathlib import Path

import numpy as np

from bottega.compile.manifest import Manifest
from bottega.compile.parity import QUANTISED_TOLERANCE, TOLERANCE, relative_error
from bottega.errors import IntegrityError
from bottega.features.steps import Predict

RECORDED = "recorded.npz"
ROWS = 64


def record(folder: Path, predict: Predict, inputs: np.ndarray) -> None:
    """Write the first rows of `inputs`, (samples, features) float32, with their predictions."""
    rows = np.ascontiguousarray(inputs[:ROWS], np.float32)
    np.savez(folder / RECORDED, allow_pickle=False, features=rows, prediction=predict(rows))


def check_recorded(folder: Path, manifest: Manifest, predict: Predict) -> None:
    """Raise IntegrityError unless `predict` gives what was recorded; an artefact without a record passes."""
    if RECORDED not in manifest.files:
        return
    with np.load(folder / RECORDED, allow_pickle=False) as recorded:
        error = relative_error(predict(recorded["features"]), recorded["prediction"])
    tolerance = QUANTISED_TOLERANCE if manifest.precision is not None else TOLERANCE[manifest.kind]
    if not error <= tolerance:
        raise IntegrityError(
            f"{folder} differs by {error:.1e} relative from the answers that it gave when it was built; at most "
            f"{tolerance:.0e} is allowed.",
            next_step="Compile it again on this machine.",
        )
