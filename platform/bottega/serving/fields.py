"""A use case's request fields as named tensors of the protocol."""

import numpy as np

from bottega.errors import InvalidInput, TooLarge
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns
from bottega.schema import Field
from bottega.serving.protocol import InferRequest
from bottega.serving.rows import MAX_ROWS, to_column


def request_columns(plan: FeaturePlan, request: InferRequest, arrays: dict[str, np.ndarray]) -> Columns:
    """Named tensors as request columns, (rows,) each. Raises InvalidInput naming the tensor and the rule."""
    names = [field.name for field in plan.request]
    for tensor in request.inputs:
        if tensor.name not in names:
            raise InvalidInput(
                f"The model has no input {tensor.name!r}.", next_step=f"Its inputs are {', '.join(names)}."
            )
    datatypes = {tensor.name: tensor.datatype for tensor in request.inputs}
    columns: Columns = {}
    for field in plan.request:
        if field.name not in arrays:
            raise InvalidInput(f"The input {field.name!r} is missing.", next_step=f"The inputs are {', '.join(names)}.")
        columns[field.name] = _column(field, datatypes[field.name], arrays[field.name])
    counts = {len(column) for column in columns.values()}
    if len(counts) > 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise InvalidInput(f"The inputs differ in their number of rows: {sizes}.")
    rows = counts.pop()
    if rows == 0:
        raise InvalidInput("The inputs have no rows.")
    if rows > MAX_ROWS:
        raise TooLarge(f"The request has {rows} rows; {MAX_ROWS} is the limit.", next_step="Send several requests.")
    return columns


def _column(field: Field, datatype: str, array: np.ndarray) -> np.ndarray:
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
        raise InvalidInput(f"Input {field.name!r} has shape {list(array.shape)}; it must be [rows] or [rows, 1].")
    flat = array.reshape(-1)
    allowed = (field.datatype, "BYTES") if field.is_time else (field.datatype,)
    if datatype not in allowed:
        raise InvalidInput(f"Input {field.name!r} has datatype {datatype}; it must be {' or '.join(allowed)}.")
    if datatype != "BYTES":
        return flat
    try:
        return to_column(field, [value.decode() for value in flat])
    except UnicodeDecodeError:
        raise InvalidInput(f"Input {field.name!r} is not UTF-8.") from None
