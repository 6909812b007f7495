"""Routing: the same key meets the same version, and a share is a share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.features.plan import FeaturePlan
from bottega.features.steps import Calendar, Online
from bottega.schema import Field
from bottega.serving.routing import key_fields, place, request_key

PLAN = FeaturePlan(
    request=(Field("zone", "INT32"), Field("at", "INT64", is_time=True), Field("rider", "BYTES")),
    steps=(
        Calendar("at", "UTC", {"hour": "hour"}),
        Online("riders", ("rider",), "at", {"trips": "count"}),
        Online("hours", ("hour", "zone"), "at", {"speed": "mean"}),
    ),
    answer=(),
)


def test_the_entities_of_the_request_are_its_key() -> None:
    assert key_fields(PLAN) == ("zone", "rider")
    columns = {"zone": np.array([3, 4], np.int32), "rider": np.array(["ä", b"b"], object), "at": np.array([1, 2])}
    key = request_key(key_fields(PLAN), columns, ("one", "two"))
    assert key == "3,4\0ä,b".encode()
    assert request_key(key_fields(PLAN), {**columns, "at": np.array([5, 6])}, ("other", "ids")) == key
    assert request_key((), columns, ("one", "two")) == b"one"


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_share_of_the_keys_is_the_canarys(share: float) -> None:
    places = np.array([place(b"rider %d" % i, "eta/2") for i in range(20_000)])
    assert (places < share).mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 20_000))
    assert places.min() >= 0
    assert places.max() < 1
    shuffled = np.array([place(b"rider %d" % i, "eta/3") for i in range(20_000)])
    assert ((places < share) & (shuffled < share)).mean() == pytest.approx(share**2, abs=0.015)


@given(st.binary(max_size=200), st.text(max_size=100))
def test_a_key_keeps_its_place(key: bytes, salt: str) -> None:
    assert 0 <= place(key, salt) == place(key, salt) < 1
