import numpy as np
import pytest
import torch

from bottega.errors import InvalidInput
from bottega.features import function_steps, on_request
from bottega.features.steps import Function


@on_request(unit="km")
def great_circle_km(xp, pu_lat, pu_lon, do_lat, do_lon):
    """Distance on a sphere of 6,371 km."""
    a, b = xp.deg2rad(pu_lat), xp.deg2rad(do_lat)
    dx = xp.deg2rad(do_lon - pu_lon)
    h = xp.sin((b - a) / 2) ** 2 + xp.cos(a) * xp.cos(b) * xp.sin(dx / 2) ** 2
    return 2 * 6371 * xp.asin(xp.sqrt(h))


@on_request(outputs=("hour_sin", "hour_cos"))
def circle(xp, hour):
    angle = hour * (2 * xp.pi / 24)
    return xp.sin(angle), xp.cos(angle)


COLUMNS = [np.array([40.7, 40.6]), np.array([-74.0, -73.8]), np.array([40.8, 40.6]), np.array([-73.9, -73.8])]


def test_the_declaration_is_the_signature():
    assert great_circle_km.name == "great_circle_km"
    assert great_circle_km.inputs == ("pu_lat", "pu_lon", "do_lat", "do_lon")
    assert great_circle_km.outputs == ("great_circle_km",)
    assert (great_circle_km.unit, great_circle_km.description) == ("km", "Distance on a sphere of 6,371 km.")
    assert circle.outputs == ("hour_sin", "hour_cos")


def test_it_runs_on_numpy_as_a_numeric_function_of_the_plan():
    (km,) = great_circle_km(*COLUMNS)
    assert km.dtype == np.float64
    assert km[0] == pytest.approx(13.94, abs=0.05)  # Manhattan's tip to Astoria
    assert km[1] == 0.0
    sin, cos = circle(np.array([6, 0], np.int32))
    np.testing.assert_allclose([sin, cos], [[1, 0], [0, 1]], atol=1e-15)


def test_the_same_code_runs_on_torch_and_traces():
    class Traced(torch.nn.Module):
        def forward(self, *columns):
            return great_circle_km.apply(torch, *columns)

    tensors = tuple(torch.from_numpy(column) for column in COLUMNS)
    (expected,) = great_circle_km(*COLUMNS)
    (eager,) = great_circle_km.apply(torch, *tensors)
    assert eager.dtype == torch.float64
    np.testing.assert_allclose(eager.numpy(), expected, rtol=1e-14)
    (traced,) = torch.export.export(Traced(), tensors).module()(*tensors)
    np.testing.assert_allclose(traced.numpy(), expected, rtol=1e-14)


def test_a_constant_result_fills_the_batch():
    @on_request
    def one(xp, hour):
        return 1

    assert one(np.zeros(3))[0].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda pu_lat: pu_lat, "does not take xp and columns"),
        (lambda xp: 1, "does not take xp and columns"),
        (lambda: 1, "does not take xp and columns"),
        (lambda xp, a=1: a, "'a=1' .* is not a plain column name"),
        (lambda xp, *a: a, "is not a plain column name"),
    ],
)
def test_a_function_of_another_shape_is_refused(function, message):
    with pytest.raises(InvalidInput, match=message):
        on_request(function)


def test_a_wrong_number_of_columns_is_refused():
    with pytest.raises(InvalidInput, match="takes hour"):
        circle(np.zeros(1), np.zeros(1))

    @on_request(outputs=("a", "b"))
    def lopsided(xp, hour):
        return hour

    with pytest.raises(InvalidInput, match="returned 1 columns, it declares 2: a, b"):
        lopsided(np.zeros(1))


@on_request
def pace(xp, great_circle_km, hour_sin):
    return great_circle_km * hour_sin


def test_functions_are_ordered_by_what_they_take():
    steps = function_steps([pace, great_circle_km, circle], ["hour", *great_circle_km.inputs])
    names = [step.name for step in steps]
    assert sorted(names) == ["circle", "great_circle_km", "pace"]
    assert names[-1] == "pace"
    assert Function("circle", ("hour",), ("hour_sin", "hour_cos")) in steps


def test_an_argument_that_nothing_provides_is_named():
    with pytest.raises(
        InvalidInput, match=r"circle takes 'hour', which nothing provides. There are: hour_cos, hour_sin, minute"
    ):
        function_steps([circle], ["minute"])


def test_a_cycle_is_named():
    @on_request
    def chicken(xp, egg):
        return egg

    @on_request
    def egg(xp, chicken):
        return chicken

    with pytest.raises(InvalidInput, match=r"form a cycle: (egg -> chicken -> egg|chicken -> egg -> chicken)"):
        function_steps([chicken, egg], [])


def test_an_output_that_exists_already_is_refused():
    with pytest.raises(InvalidInput, match="gives the column 'hour_cos', which exists already"):
        function_steps([circle], ["hour", "hour_cos"])


def test_a_function_that_takes_its_own_output_is_a_cycle():
    @on_request
    def hour(xp, hour):
        return hour

    with pytest.raises(InvalidInput, match="form a cycle: hour -> hour"):
        function_steps([hour], [])


def test_names_are_told_apart():
    first = on_request(outputs=("a",))(lambda_named("f"))
    second = on_request(outputs=("b",))(lambda_named("f"))
    with pytest.raises(InvalidInput, match=r"Two on-request functions have the name 'f'\. Rename"):
        function_steps([first, second], ["hour"])
    assert len(function_steps([first, first], ["hour"])) == 1
    with pytest.raises(InvalidInput, match="'f' declares output 'a' twice"):
        on_request(outputs=("a", "a"))(lambda_named("f"))


def lambda_named(name):
    def function(xp, hour):
        return hour

    function.__name__ = name
    return function
