import numpy as np
import pandas as pd
import pytest

from bottega.lab.rules import Check, Wrong, check, number, numbers, pair, table, truth


def test_check_makes_a_check() -> None:
    @check("area", "squares")
    def squares(area):
        area(2.0)

    assert isinstance(squares, Check)
    assert (squares.function, squares.name) == ("area", "squares")


def test_values_of_the_right_kind_pass() -> None:
    frame = pd.DataFrame({"a": [1]})
    assert number(np.float32(2), "it") == 2.0
    assert truth(np.bool_(True), "it") is True
    assert numbers(pd.Series([1, 2]), 2, "it").tolist() == [1.0, 2.0]
    assert table(frame, ["a"], "it") is frame
    assert pair([1, 2], "it") == (1, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: number("two", "it"), "it must be a number; it is str 'two'."),
        (lambda: number(None, "it"), r"it must be a number; it is None \(is a `return` missing\?\)."),
        (lambda: truth(1, "it"), "it must be True or False; it is int 1."),
        (lambda: truth(np.array([True]), "it"), "it must be True or False"),
        (lambda: numbers([1.0], 2, "it"), r"it must be 2 numbers, one for each row; it has shape \(1,\)."),
        (lambda: numbers(["x", "y"], 2, "it"), "it must be 2 numbers; it is list"),
        (lambda: table([1], ["a"], "it"), "it must be a table"),
        (lambda: table(pd.DataFrame({"b": [1]}), ["a"], "it"), "it has no column 'a'; it has b."),
        (lambda: pair(3, "it"), "it must return two things"),
        (lambda: pair(pd.DataFrame({"b": [1], "c": [2]}), "it"), "it returned a DataFrame."),
    ],
)
def test_others_are_wrong_by_name(call, message: str) -> None:
    with pytest.raises(Wrong, match=message):
        call()
