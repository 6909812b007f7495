"""Calibration of a model file: rows from a .npz file make it a model in int8, and say what that costs."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from bottega.compile.metric import Arrays, Metric, accuracy, area_under_curve, distance_from, hit_rate, mean_abs_error
from bottega.compile.quantise import BOUND, Quantised, answers, quantise
from bottega.errors import InvalidData, InvalidInput
from bottega.progress import Progress, silent

LABEL = "label"
METRICS: Mapping[str, Callable[[np.ndarray], Metric]] = MappingProxyType(
    {"mae": mean_abs_error, "accuracy": accuracy, "auc": area_under_curve, "hit@10": hit_rate}
)
LEAST_ROWS = 32


def quantise_file(
    model: bytes, rows: Path, metric: str = "", bound: float = BOUND, progress: Progress = silent
) -> Quantised:
    """The ONNX model in int8: every other row of the file calibrates it, the rest judge it.

    The file holds one array for each input, by name, and with a `metric` of METRICS the array `label`. Without one the
    distance from float32 counts. Raises InvalidData for a file that is none or does not fit, GateFailed where int8
    costs more than `bound`.
    """
    arrays = _read(rows)
    label = arrays.pop(LABEL, None)
    calibration, held_back = ({name: array[start::2] for name, array in arrays.items()} for start in (0, 1))
    judge = _metric(metric, None if label is None else label[1::2], model, held_back)
    return quantise(model, calibration, held_back, judge, bound=bound, progress=progress)


def _read(rows: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(rows, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidData(f"{rows} is no .npz file: {error}.", next_step="Write one with numpy.savez.") from None
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or min(lengths.values()) < LEAST_ROWS:
        raise InvalidData(
            f"{rows} holds rows of each array: {lengths}.", next_step=f"Give as many of each, {LEAST_ROWS} or more."
        )
    return arrays


def _metric(name: str, label: np.ndarray | None, model: bytes, held_back: Arrays) -> Metric:
    if not name:
        return distance_from(answers(model, held_back))
    if name not in METRICS:
        raise InvalidInput(f"{name!r} is no metric.", next_step=f"Choose of {', '.join(METRICS)}.")
    if label is None:
        raise InvalidInput(f"The metric {name} needs labels.", next_step=f"Add the array {LABEL!r} to the rows.")
    return METRICS[name](label)
