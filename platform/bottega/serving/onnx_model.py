"""A plain ONNX file on ONNX Runtime, one thread, text tensors included."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bottega.compile import onnx_engine
from bottega.errors import InvalidData, InvalidInput
from bottega.serving.protocol import DATATYPES, TensorSpec

_NAMES = {"float16": "FP16", "float": "FP32", "double": "FP64", "string": "BYTES"}


class OnnxModel:
    """An ONNX model's tensors, and how to run it.

    With `joins` requests may be joined along the first axis, which the model's configuration must promise: the graph
    alone does not tell whether a row's answer depends on the others.
    """

    platform = "onnxruntime_onnx"

    def __init__(self, session: Any, joins: bool) -> None:
        self._session = session
        self.inputs = tuple(_spec(argument) for argument in session.get_inputs())
        self.outputs = tuple(_spec(argument) for argument in session.get_outputs())
        self.joins = joins
        self._names = [tensor.name for tensor in self.outputs]
        self._texts = {tensor.name for tensor in self.inputs if tensor.datatype == "BYTES"}

    @classmethod
    def load(cls, path: Path, joins: bool = False) -> "OnnxModel":
        """Raises InvalidData for a file that is no model, or whose tensors the protocol cannot name."""
        refused: tuple[type[Exception], ...] = (*onnx_engine.session_errors(), OSError)
        try:
            session = onnx_engine.open_session(path.read_bytes())
        except refused as error:
            raise InvalidData(f"{path} is no model that runs: {str(error).splitlines()[0][:300]}") from None
        return cls(session, joins)

    def check(self, arrays: Mapping[str, np.ndarray]) -> int:
        """Names, types and shapes; the rows are the first axis, where it may be of any size."""
        known = {tensor.name for tensor in self.inputs}
        if arrays.keys() != known:
            missing, foreign = known - arrays.keys(), sorted(arrays.keys() - known)
            what = f"The input {min(missing)!r} is missing" if missing else f"The model has no input {foreign[0]!r}"
            raise InvalidInput(f"{what}.", next_step=f"Its inputs are {', '.join(t.name for t in self.inputs)}.")
        rows = {len(arrays[t.name]) for t in self.inputs if _fits(t, arrays[t.name]) and t.shape[:1] == (-1,)}
        if self.joins and len(rows) > 1:
            raise InvalidInput(f"The inputs differ in their number of rows: {sorted(rows)}.")
        return max(rows, default=1)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Raises InvalidInput for values on which an operator fails."""
        given = {name: _decoded(name, array) if name in self._texts else array for name, array in arrays.items()}
        try:
            found = self._session.run(self._names, given)
        except onnx_engine.session_errors() as error:
            raise InvalidInput(f"The model refuses the values: {str(error).splitlines()[0][:300]}") from None
        return dict(zip(self._names, map(_encoded, found), strict=True))


def _spec(argument: Any) -> TensorSpec:
    kind = argument.type.removeprefix("tensor(").removesuffix(")")
    datatype = _NAMES.get(kind, kind.upper())
    if not argument.type.startswith("tensor(") or datatype not in DATATYPES:
        raise InvalidData(f"{argument.name!r} is a {argument.type}, which is no tensor of the protocol.")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
    return TensorSpec(argument.name, datatype, shape)


def _fits(tensor: TensorSpec, array: np.ndarray) -> bool:
    """True, or InvalidInput."""
    same = len(array.shape) == len(tensor.shape) and all(
        want in (-1, size) for want, size in zip(tensor.shape, array.shape, strict=True)
    )
    if array.dtype != DATATYPES[tensor.datatype] or not same:
        given = "BYTES" if array.dtype.kind == "O" else next(k for k, v in DATATYPES.items() if v == array.dtype)
        raise InvalidInput(
            f"Input {tensor.name!r} is {given} of shape {list(array.shape)}.",
            next_step=f"Give {tensor.datatype} of shape {list(tensor.shape)}, -1 for any size.",
        )
    return True


def _decoded(name: str, array: np.ndarray) -> np.ndarray:
    texts = np.empty(array.shape, object)
    try:
        texts.ravel()[:] = [value.decode() for value in array.ravel()]
    except UnicodeDecodeError:
        raise InvalidInput(f"Input {name!r} is not UTF-8, and the model takes text.") from None
    return texts


def _encoded(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "OU":
        return array
    found = np.empty(array.shape, object)
    found.ravel()[:] = [value.encode() for value in array.ravel()]
    return found
