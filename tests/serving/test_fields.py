"""Fields of several values a row, and fields that carry a file, on every way in and out."""

import base64

import msgspec
import numpy as np
import pytest

from bottega.errors import InvalidInput
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Model, Stack
from bottega.schema import Field
from bottega.serving.binary import decode_body
from bottega.serving.fields import request_columns
from bottega.serving.log import PredictionLog, read_predictions
from bottega.serving.openapi_schemas import of_field
from bottega.serving.rows import decode_rows, encode_answers
from bottega.serving.segments import Answered
from bottega.workspace import Workspace

RECENT = Field("recent", "INT32", shape=(3,), fill=-1)
PICTURE = Field("picture", "BYTES", is_binary=True, is_logged=False)
PLAN = FeaturePlan(
    (RECENT, PICTURE),
    (Stack(("recent",), "features", widths=(3,)), Model("features", ("scores", "best"), widths=(2, 1))),
    (Field("scores", "FP32", shape=(2,)), Field("names", "BYTES", shape=(2,))),
)
PNG = b"\x89PNG\x00\xff"
BODY = {"recent": [4, 5], "picture": base64.b64encode(PNG).decode()}


def columns(body: dict) -> dict[str, np.ndarray]:
    return decode_rows(msgspec.json.encode(body), PLAN).columns


def tensors(recent: object, shape: list[int], picture: str) -> dict[str, np.ndarray]:
    body = {
        "inputs": [
            {"name": "recent", "datatype": "INT32", "shape": shape, "data": recent},
            {"name": "picture", "datatype": "BYTES", "shape": [1], "data": [picture]},
        ]
    }
    return request_columns(PLAN, *decode_body(msgspec.json.encode(body), None))


def test_json_lists_are_filled_up_and_files_are_base64():
    found = columns(BODY)
    assert found["recent"].tolist() == [[4, 5, -1]]
    assert found["recent"].dtype == np.int32
    assert found["picture"].tolist() == [PNG]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"recent": [1, 2, 3, 4]}, "recent has 4 values; it must have at most 3"),
        ({"recent": 4}, "recent is '4'; it must be a list"),
        ({"recent": [1, "x"]}, "recent is 'x'; it must be a number"),
        ({"picture": "?"}, "picture is no base64"),
        ({"picture": [1]}, "must be text"),
    ],
)
def test_what_is_no_list_or_no_file_is_refused(change, reason):
    with pytest.raises(InvalidInput, match=reason):
        columns({**BODY, **change})


def test_tensors_carry_lists_as_a_dimension_and_files_as_base64_in_json():
    found = tensors([[4, 5, 6]], [1, 3], BODY["picture"])
    assert found["recent"].tolist() == [[4, 5, 6]]
    assert found["picture"].tolist() == [PNG]
    with pytest.raises(InvalidInput, match=r"'recent' has shape \[1, 2\]; it must be \[rows, 3\]"):
        tensors([[4, 5]], [1, 2], BODY["picture"])


def test_binary_tensors_carry_files_as_they_are():
    raw = len(PNG).to_bytes(4, "little") + PNG
    head = msgspec.json.encode(
        {
            "inputs": [
                {"name": "recent", "datatype": "INT32", "shape": [1, 3], "data": [1, 2, 3]},
                {"name": "picture", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}},
            ]
        }
    )
    found = request_columns(PLAN, *decode_body(head + raw, str(len(head))))
    assert found["picture"].tolist() == [PNG]


def test_steps_take_and_give_several_numbers_a_row():
    ready = columns(BODY)
    PLAN.steps[0].run(ready, None)
    assert ready["features"].tolist() == [[4, 5, -1]]
    assert PLAN.features == ("recent[0]", "recent[1]", "recent[2]")
    PLAN.model().share(np.array([[1, 2, 3]], np.float32), ready)
    assert PLAN.model().width == 3
    assert ready["scores"].tolist() == [[1, 2]]
    assert ready["best"].tolist() == [3]


def test_answers_are_lists_and_the_log_has_them_but_not_the_file(tmp_path):
    workspace = Workspace.open(tmp_path / "w")
    rows = decode_rows(msgspec.json.encode(BODY), PLAN)
    answers = {"scores": np.array([[0.5, 0.25]], np.float32), "names": np.array([["a", "b"]], object)}
    answer = msgspec.json.decode(encode_answers("u", 1, PLAN, rows, answers, [{}]))
    assert answer["answer"] == {"scores": [0.5, 0.25], "names": ["a", "b"]}
    log = PredictionLog(workspace.predictions)
    log.append(Answered("u", 1, PLAN, rows.ids, rows.columns, answers, 1_700_000_000_000_000, 1.0))
    log.close()
    logged = read_predictions(workspace, "u")
    assert "picture" not in logged
    assert logged["recent"][0].tolist() == [4, 5, -1]
    assert logged["names"][0].tolist() == ["a", "b"]


def test_the_openapi_schema_says_so():
    assert of_field(RECENT)["maxItems"] == 3
    assert of_field(PICTURE) == {"type": "string", "contentEncoding": "base64"}
