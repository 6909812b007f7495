"""A use case's request fields as named tensors of the protocol."""

import numpy as np

from bottega.errors import InvalidInput, TooLarge
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns
from bottega.schema import Field
from bottega.serving.protocol import InferRequest, RequestInput
from bottega.serving.rows import MAX_ROWS, to_column


def request_columns(plan: FeaturePlan, request: InferRequest, arrays: dict[str, np.ndarray]) -> Columns:
    """Named tensors as request columns, (rows, *shape) each. Raises InvalidInput naming the tensor and the rule."""
    names = [field.name for field in plan.request]
    for tensor in request.inputs:
        if tensor.name not in names:
            raise InvalidInput(
                f"The model has no input {tensor.name!r}.", next_step=f"Its inputs are {', '.join(names)}."
            )
    tensors = {tensor.name: tensor for tensor in request.inputs}
    columns: Columns = {}
    for field in plan.request:
        if field.name not in arrays:
            raise InvalidInput(f"The input {field.name!r} is missing.", next_step=f"The inputs are {', '.join(names)}.")
        columns[field.name] = _column(field, tensors[field.name], arrays[field.name])
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


def _column(field: Field, tensor: RequestInput, array: np.ndarray) -> np.ndarray:
    rows = len(array) if array.ndim else 0
    if array.shape != (rows, *field.shape) and (field.shape or array.shape != (rows, 1)):
        wanted = f"[rows, {field.shape[0]}]" if field.shape else "[rows] or [rows, 1]"
        raise InvalidInput(f"Input {field.name!r} has shape {list(array.shape)}; it must be {wanted}.")
    found = array.reshape(rows, *field.shape)
    allowed = (field.datatype, "BYTES") if field.is_time else (field.datatype,)
    if tensor.datatype not in allowed:
        raise InvalidInput(f"Input {field.name!r} has datatype {tensor.datatype}; it must be {' or '.join(allowed)}.")
    if tensor.datatype != "BYTES" or (field.is_binary and not bytes(tensor.data)):
        return found  # numbers, or bytes that came as bytes; in JSON they are base64
    try:
        return to_column(field, np.vectorize(bytes.decode, otypes=[object])(found).tolist() if rows else [])
    except UnicodeDecodeError:
        raise InvalidInput(f"Input {field.name!r} is not UTF-8.") from None
