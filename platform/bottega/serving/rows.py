"""Plain JSON of the use-case endpoints: rows of named fields in, answers with units and ids out."""

import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from bottega.errors import InvalidInput, TooLarge
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns
from bottega.schema import Field
from bottega.serving.codec import json_reason
from bottega.serving.explanation import Ages, Explanation
from bottega.serving.repeats import count_colons, refuse_repeats

MAX_ROWS = 10_000
MAX_ID = 128
EXPLAIN = "explain"
"""The field of a body that asks for the values behind the answers, unless the use case has a field of that name."""
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_process = secrets.token_hex(4)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Rows:
    """A request as columns, (rows,) each, with one id a row; `single` where it came as one object.

    `explain` is whether the values behind the answers are wanted, too.
    """

    columns: Columns
    ids: tuple[str, ...]
    single: bool
    explain: bool = False


def new_id() -> str:
    """An id that no other request has."""
    return f"{_process}-{next(_numbers):x}"


def number_ids(request_id: str, rows: int) -> tuple[str, ...]:
    """One id for each row of a request: its own where it has one row, numbered ones otherwise."""
    return (request_id,) if rows == 1 else tuple(f"{request_id}-{i}" for i in range(rows))


def check_id(value: object) -> str:
    """A client's request id. Raises InvalidInput unless it is 1 to 128 printable characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID or not value.isprintable():
        raise InvalidInput(f"The id {str(value)[:40]!r} is not 1 to {MAX_ID} printable characters.")
    return value


def decode_rows(body: bytes, plan: FeaturePlan, header_id: str = "") -> Rows:
    """The request in a JSON body: one object of fields, or `{"rows": [...]}`. Raises InvalidInput with the reason.

    A row may carry an `id`; several rows may have theirs in `ids`; `header_id` stands in for a request without one.
    `explain` stands beside the fields of one row, or beside `rows`.
    """
    if not body:
        raise InvalidInput("The body is empty.", next_step=f"Send a JSON object with {_names(plan)}.")
    try:
        value = _OBJECT.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"The body is not a JSON object: {json_reason(error)}.", next_step=f"Send one with {_names(plan)}."
        ) from None
    refuse_repeats(body, count_colons(value))
    single = "rows" not in value
    explain = False if single and _has(plan, EXPLAIN) else value.pop(EXPLAIN, False)
    if not isinstance(explain, bool):
        raise InvalidInput(f"'{EXPLAIN}' must be true or false.")
    rows = [value] if single else _row_list(value)
    ids = None if single else value.get("ids")
    request_id = header_id if single else value.get("id", header_id)
    columns = _columns(rows, plan, single)
    return Rows(columns, _ids(rows, ids, request_id, plan), single, explain)


def _row_list(value: dict[str, Any]) -> list[dict[str, Any]]:
    rows = value["rows"]
    extra = value.keys() - {"rows", "ids", "id"}
    if extra:
        raise InvalidInput(f"{min(extra)!r} stands beside 'rows'.", next_step="Put the fields into each row.")
    if not isinstance(rows, list) or not rows:
        raise InvalidInput("'rows' must be a list of at least one object.")
    if len(rows) > MAX_ROWS:
        raise TooLarge(
            f"The request has {len(rows)} rows; {MAX_ROWS} is the limit.", next_step="Send several requests."
        )
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidInput(f"Row {i} is no object.", next_step="Each row is an object of fields.")
    return rows


def _columns(rows: list[dict[str, Any]], plan: FeaturePlan, single: bool) -> Columns:
    names = {field.name for field in plan.request}
    for i, row in enumerate(rows):
        where = "" if single else f" of row {i}"
        for name in names - row.keys():
            raise InvalidInput(f"The field {name!r}{where} is missing.", next_step=f"The fields are {_names(plan)}.")
        for name in row.keys() - names - {"id"}:
            raise InvalidInput(f"{name[:80]!r}{where} is no field.", next_step=f"The fields are {_names(plan)}.")
    return {field.name: to_column(field, [row[field.name] for row in rows]) for field in plan.request}


def to_column(field: Field, values: Sequence[object]) -> np.ndarray:
    """Values of one field as a column. Raises InvalidInput naming the field, the value and the rule."""
    try:
        return field.column(values)
    except OverflowError:
        raise InvalidInput(f"{field.name} has a value that does not fit {field.datatype}.") from None


def _ids(rows: list[dict[str, Any]], ids: object, request_id: object, plan: FeaturePlan) -> tuple[str, ...]:
    own_field = _has(plan, "id")
    if ids is not None:
        if not isinstance(ids, list) or len(ids) != len(rows):
            raise InvalidInput(f"'ids' must be a list of {len(rows)} texts, one for each row.")
        given = tuple(check_id(value) for value in ids)
    else:
        fallback = number_ids(new_id() if request_id in (None, "") else check_id(request_id), len(rows))
        given = tuple(
            check_id(row["id"]) if "id" in row and not own_field else other
            for row, other in zip(rows, fallback, strict=True)
        )
    if len(set(given)) < len(given):
        raise InvalidInput("Two rows have the same id.", next_step="Give each row an id of its own, or none.")
    return given


def encode_answers(
    usecase: str,
    version: int,
    plan: FeaturePlan,
    rows: Rows,
    answers: Columns,
    ages: Sequence[Ages],
    explanations: Sequence[Explanation] = (),
) -> bytes:
    """The JSON answer: model version, ids, fields and their units, ages of features, and explanations."""
    values = {field.name: to_list(answers[field.name]) for field in plan.answer}
    units = {field.name: field.unit for field in plan.answer if field.unit}
    head: dict[str, Any] = {"usecase": usecase, "model_version": version}
    if rows.single:
        answer = {name: column[0] for name, column in values.items()}
        found = {**head, "id": rows.ids[0], "answer": answer, "units": units, "feature_ages_s": ages[0]}
        if explanations:
            found["explanation"] = explanations[0]
        return msgspec.json.encode(found)
    listed = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    found = {**head, "ids": rows.ids, "answers": listed, "units": units, "feature_ages_s": ages}
    if explanations:
        found["explanations"] = explanations
    return msgspec.json.encode(found)


def to_list(column: np.ndarray) -> list:
    """Values of a column for JSON; a float32 as the shortest decimal that reads back as the same float32.

    >>> to_list(np.array([12.3], np.float32))
    [12.3]
    """
    if column.dtype == np.float32:
        return column.astype("U16").astype(np.float64).tolist()
    return column.tolist()


def _has(plan: FeaturePlan, name: str) -> bool:
    return any(field.name == name for field in plan.request)


def _names(plan: FeaturePlan) -> str:
    return ", ".join(field.name for field in plan.request)
