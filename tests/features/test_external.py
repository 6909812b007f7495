"""External views: a real HTTP service in a thread, asked for the past and the present, in good and in bad health."""

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.compile.executor import bind_steps
from bottega.errors import InvalidData, InvalidInput, NotFound, Unavailable
from bottega.features import Attribute, Entity, ExternalView, FeatureView, count, reference_steps
from bottega.features.external import ask_now, read_external
from bottega.features.external_reader import FAILURES, ExternalReader
from bottega.features.offline import TrainingSet
from bottega.features.plan import run_steps
from bottega.features.service import MOST_ROWS, Failed, ask, read_answer
from bottega.features.steps import Parts

ZONE = Entity("zone", keys=("zone",), dtype="int32")
Behaviour = Callable[[dict, int], tuple[int, bytes]]


def truth(zone: int, moment: str) -> float | None:
    """What the service says: a pure function of key and moment, null for every seventh."""
    mixed = zone * 7919 + int(pd.Timestamp(moment).timestamp()) // 60
    return None if mixed % 7 == 0 else mixed % 1000 / 8


def honest(question: dict, call: int) -> tuple[int, bytes]:
    values = [truth(zone, at) for zone, at in zip(question["keys"]["zone"], question["at"], strict=True)]
    return 200, json.dumps({"features": {"temperature_c": values, "rain_mm": [0] * len(values)}}).encode()


class Service:
    """A real HTTP service whose behaviour a test may change; it keeps the questions that it was asked."""

    def __init__(self) -> None:
        self.behave: Behaviour = honest
        self.questions: list[dict] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["content-length"])))
                service.questions.append(question)
                status, body = service.behave(question, len(service.questions))
                try:
                    self.send_response(status)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:  # the platform has given up
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/ask"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


@pytest.fixture
def reader() -> Iterator[ExternalReader]:
    opened = ExternalReader({})
    yield opened
    opened.close()


def weather(endpoint: str, **options) -> ExternalView:
    features = [Attribute("temperature_c", "degC", default=-99.0), Attribute("rain_mm", "mm")]
    return ExternalView("weather", ZONE, endpoint, features, **{"timeout_s": 5.0} | options)


def at(*texts: str) -> np.ndarray:
    return np.array([pd.Timestamp(text, tz="UTC").value // 1000 for text in texts])


NOON = at("2024-01-16T12:03:20")


def test_a_view_is_data_for_the_plan():
    view = weather("weather_service", max_age="1h", owner="ops")
    found = view.service
    assert (found.view, found.endpoint, found.keys, found.key_dtype) == (
        "weather",
        "weather_service",
        ("zone",),
        "int32",
    )
    assert (found.features, found.defaults) == (("temperature_c", "rain_mm"), (-99.0, None))
    assert (found.timeout_s, found.max_age_s, view.source_names) == (5.0, 3600, ())
    with pytest.raises(NotFound, match=r"ExternalView 'weather' has no feature 'wind'. It has: temperature_c, rain_mm"):
        view.feature("wind")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a b"}, "is not a name"),
        ({"entity": "zone"}, "The entity of ExternalView 'weather' is 'zone'"),
        ({"endpoint": "not a name"}, "neither an address nor.*is not a name"),
        ({"endpoint": "ftp://host/"}, "is no address of a service"),
        ({"endpoint": "http:///path"}, "is no address of a service"),
        ({"endpoint": "http://host:99999/"}, "is no address of a service"),
        ({"endpoint": "http://me:secret@host/"}, "holds a name or password, which would go into every artefact"),
        ({"features": []}, "has no features"),
        ({"features": ["x", "x"]}, "declares feature 'x' twice"),
        ({"features": ["x; DROP TABLE y"]}, "is not a name"),
        ({"timeout_s": 0}, "The timeout of ExternalView 'weather' is 0. It is in seconds"),
        ({"timeout_s": 60}, "at most 10: a request waits that long"),
        ({"timeout_s": "1s"}, "The timeout of"),
        ({"max_age": "soon"}, "is not a duration"),
        ({"history": False}, 'no history, and no source of recorded answers. Give history=False and source="recorded'),
        ({"source": "said"}, "a source of recorded answers and a service that knows the past"),
        ({"keys": ("a", "b")}, "names 2 key columns"),
    ],
)
def test_a_wrong_declaration_says_what_would_be_right(options, message):
    given_options = {"name": "weather", "entity": ZONE, "endpoint": "weather", "features": ["x"]} | options
    with pytest.raises(InvalidInput, match=message):
        ExternalView(**given_options)


def test_a_question_names_the_entitys_keys_and_a_whole_multiple_of_max_age(service, reader):
    labels = pd.DataFrame({"pu": [4, 4, 9], "t": np.concatenate([NOON, NOON + 60_000_000, NOON + 600_000_000])})
    found = read_external(weather(service.address), labels, ["pu"], "t")
    assert service.questions == [
        {"keys": {"zone": [4, 9]}, "at": ["2024-01-16T12:00:00Z", "2024-01-16T12:10:00Z"]},
    ]
    expected = [truth(4, "2024-01-16T12:00Z"), truth(4, "2024-01-16T12:00Z"), truth(9, "2024-01-16T12:10Z")]
    assert found["temperature_c"].tolist() == expected
    assert found["rain_mm"].tolist() == [0.0] * 3


def test_what_was_trained_on_is_what_is_served(service, reader):
    random = np.random.default_rng(5)
    labels = pd.DataFrame(
        {
            "zone": pd.Series(random.integers(-3, 60, 3000)).where(random.random(3000) > 0.05),
            "t": at("2024-03-01")[0] + random.integers(0, 86_400_000_000, 3000),
        }
    )
    view = weather(service.address, max_age="1m")
    offline = read_external(view, labels, ["zone"], "t")
    assert max(len(question["at"]) for question in service.questions) == MOST_ROWS
    online: dict[str, list[float]] = {"temperature_c": [], "rain_mm": []}
    for first in range(0, 3000, 500):
        part = labels[first : first + 500]
        found = reader(view.service, (part["zone"].to_numpy(),), part["t"].to_numpy())
        for name, values in online.items():
            values += found[name].tolist()
    for name in online:
        np.testing.assert_array_equal(offline[name], online[name])
    known = labels["zone"].notna()
    assert set(offline["temperature_c"][~known]) == {-99.0}
    assert np.isnan(offline["rain_mm"][~known]).all()
    counts = reader.counts()["weather"]
    assert (counts["rows"], counts["invalid"], counts["unanswered"]) == (3000, int((~known).sum()), 0)


def test_references_become_a_step_that_both_executors_run_alike(service, reader):
    view = weather(service.address)
    references = {
        "pu_c": "weather:temperature_c@pu",
        "pu_rain": "weather:rain_mm@pu",
        "do_c": "weather:temperature_c@do",
    }
    steps = reference_steps(references, [view])
    assert [(step.keys, step.at, step.outputs) for step in steps] == [
        (("pu",), "at", {"pu_c": "temperature_c", "pu_rain": "rain_mm"}),
        (("do",), "at", {"do_c": "temperature_c"}),
    ]
    parts = Parts({}, {}, lambda *_: {}, lambda features: features, reader)
    columns = {"pu": np.array([1, 2, 3]), "do": np.array([3, 2, 1]), "at": np.repeat(NOON, 3)}
    expected, found = run_steps(steps, columns, parts), bind_steps(steps, parts)(columns)
    assert expected.keys() == found.keys() == {*columns, *references}
    for name in references:
        np.testing.assert_array_equal(expected[name], found[name])
    assert expected["do_c"].tolist() == [truth(3, "2024-01-16T12:00Z"), -99.0, truth(1, "2024-01-16T12:00Z")]
    assert truth(2, "2024-01-16T12:00Z") is None


def test_a_training_set_joins_external_features_beside_the_others(service):
    traffic = FeatureView("traffic", ZONE, "trips", "t", [count().over("1h")])
    trips = pd.DataFrame({"zone": [4, 4], "t": NOON.repeat(2) - 600_000_000})
    labels = pd.DataFrame({"pu": [4, 5], "do": [5, 4], "requested_at": NOON.repeat(2)})
    references = {"busy": "traffic:count_1h@pu", "pu_c": "weather:temperature_c@pu", "do_c": "weather:temperature_c@do"}
    seen: list[tuple[str, int, int]] = []
    joined = TrainingSet(labels, references).compute(
        [traffic, weather(service.address)],
        {"trips": trips},
        progress=lambda task, done, total: seen.append((task, done, total)),
    )
    assert joined["busy"].tolist() == [2.0, 0.0]
    assert joined["pu_c"].tolist() == [truth(4, "2024-01-16T12:00Z"), truth(5, "2024-01-16T12:00Z")]
    assert joined["do_c"].tolist() == joined["pu_c"].tolist()[::-1]
    assert ("ask weather", 2, 2) in seen


def failing(status: int, times: int) -> Behaviour:
    return lambda question, call: (status, b"no") if call <= times else honest(question, call)


def test_a_training_set_asks_again_where_that_may_help(service):
    service.behave = failing(503, 2)
    pauses: list[float] = []
    labels = pd.DataFrame({"zone": [4], "t": NOON})
    found = read_external(weather(service.address), labels, ["zone"], "t", sleep=pauses.append)
    assert found["temperature_c"].tolist() == [truth(4, "2024-01-16T12:00Z")]
    assert len(pauses) == 2


def answering(body: bytes) -> Behaviour:
    return lambda question, call: (200, body)


BROKEN = {
    b"": "malformed",
    b"<html>": "malformed",
    b"[]": "malformed",
    b"\xff\xfe": "malformed",
    b"[" * 100_000: "malformed",
    b"{}": "malformed",
    b'{"features": {}}': "it lacks temperature_c, rain_mm",
    b'{"features": {"temperature_c": [1], "rain_mm": []}}': "it has 0 values for 1 questions",
    b'{"features": {"temperature_c": [1, 2], "rain_mm": [1]}}': "it has 2 values for 1 questions",
    b'{"features": {"temperature_c": ["1"], "rain_mm": [1]}}': "Expected `float | null`, got `str`",
    b'{"features": {"temperature_c": [true], "rain_mm": [1]}}': "Expected `float | null`, got `bool`",
    b'{"features": {"temperature_c": [NaN], "rain_mm": [1]}}': "malformed",
    b'{"features": {"temperature_c": [1e999], "rain_mm": [1]}}': "malformed",
    b'{"features": {"temperature_c": 1, "rain_mm": [1]}}': "Expected `array`",
    b'{"features": {"temperature_c": null, "rain_mm": [1]}}': "Expected `array`",
}


@pytest.mark.parametrize("body", BROKEN)
def test_what_is_no_answer_ends_a_training_set_and_no_prediction(service, reader, body):
    service.behave = answering(body)
    view, labels = weather(service.address), pd.DataFrame({"zone": [4], "t": NOON})
    with pytest.raises(Unavailable, match=r"The service of view 'weather' gave no answer \(malformed\)") as caught:
        read_external(view, labels, ["zone"], "t", sleep=lambda _: pytest.fail("asked a malformed service again"))
    assert BROKEN[body] in str(caught.value)
    found = reader(view.service, (np.array([4]),), NOON)
    assert found["temperature_c"].tolist() == [-99.0]
    assert np.isnan(found["rain_mm"]).all()
    counts = reader.counts()["weather"]
    assert (counts["malformed"], counts["unanswered"], counts["hits"]) == (1, 1, 0)


def test_features_that_nobody_asked_for_are_ignored():
    view = weather("weather")
    body = b'{"version": 2, "features": {"rain_mm": [null], "temperature_c": [7], "sky": ["grey", "blue"]}}'
    np.testing.assert_array_equal(read_answer(view.service, body, 1), [[7.0], [np.nan]])


def test_a_status_is_no_answer_and_nothing_is_followed(service, reader):
    elsewhere = weather(service.address)
    for status, reason in ((500, "status"), (302, "status"), (404, "status"), (204, "status")):
        service.behave = lambda question, call, status=status: (status, b"" if status == 204 else b"no")
        before = reader.counts().get("weather", {}).get(reason, 0)
        found = reader(elsewhere.service, (np.array([status]),), NOON)
        assert found["temperature_c"].tolist() == [-99.0]
        assert reader.counts()["weather"][reason] == before + 1
    with pytest.raises(Unavailable, match="it said 204"):
        read_external(elsewhere, pd.DataFrame({"zone": [1], "t": NOON}), ["zone"], "t")


def test_nobody_at_the_address_means_defaults_now_and_an_error_in_training(reader):
    view = weather("http://127.0.0.1:9/ask")  # the discard port, where nobody listens
    assert reader(view.service, (np.array([4]),), NOON)["temperature_c"].tolist() == [-99.0]
    assert reader.counts()["weather"]["unreachable"] == 1
    pauses: list[float] = []
    with pytest.raises(Unavailable, match=r"\(unreachable\).*See whether 'http://127.0.0.1:9/ask' is up"):
        read_external(view, pd.DataFrame({"zone": [4], "t": NOON}), ["zone"], "t", sleep=pauses.append)
    assert len(pauses) == 4


def test_one_entity_is_asked_about_as_a_request_would(service):
    view = weather("weather_service", max_age="10m")
    named = {"weather_service": service.address}
    said = truth(4, "2024-01-16T12:00Z")
    assert ask_now(view, (4,), int(NOON[0]), named) == {"temperature_c": said, "rain_mm": 0.0}
    assert service.questions == [{"keys": {"zone": [4]}, "at": ["2024-01-16T12:00:00Z"]}]
    service.behave = lambda question, call: (500, b"")
    with pytest.raises(Unavailable, match="it said 500"):
        ask_now(view, (4,), int(NOON[0]), named)
    assert len(service.questions) == 2
    with pytest.raises(InvalidInput, match="asks nothing about the key 2147483648"):
        ask_now(view, (2**31,), int(NOON[0]), named)
    with pytest.raises(NotFound, match="Set BOTTEGA_ENDPOINT_WEATHER_SERVICE"):
        ask_now(view, (4,), int(NOON[0]), {})


def test_a_slow_answer_is_not_waited_for_but_serves_the_next_request(service):
    ready, reader = threading.Event(), ExternalReader({})
    service.behave = lambda question, call: honest(question, call) if ready.wait(20) else (500, b"")
    view = weather(service.address, timeout_s=0.5)
    assert reader(view.service, (np.array([4]),), NOON)["temperature_c"].tolist() == [-99.0]
    counts = reader.counts()["weather"]
    assert (counts["calls"], counts["late"], counts["unanswered"]) == (1, 1, 1)
    ready.set()
    reader.close()  # waits for the call
    found = reader(view.service, (np.array([4]),), NOON)
    assert found["temperature_c"].tolist() == [truth(4, "2024-01-16T12:00Z")]
    assert (len(service.questions), reader.counts()["weather"]["hits"]) == (1, 1)


def test_a_service_that_never_answers_times_out(service, reader):
    ready = threading.Event()
    service.behave = lambda question, call: (500 if ready.wait(20) else 504, b"")
    view = weather(service.address, timeout_s=0.05)
    assert reader(view.service, (np.array([4]),), NOON)["temperature_c"].tolist() == [-99.0]
    reader.close()
    counts = reader.counts()["weather"]
    assert (counts["late"], counts["timeout"], counts["unanswered"]) == (1, 1, 1)
    ready.set()


def test_an_answer_that_trickles_in_does_not_hold_its_caller_for_ever(service):
    view = weather(service.address)
    with httpx.Client(transport=httpx.MockTransport(trickle)) as client, pytest.raises(Failed, match="timeout"):
        ask(client, service.address, view.service, [(int(NOON[0]), 4)], timeout_s=0.05)
    with httpx.Client(transport=httpx.MockTransport(flood)) as client, pytest.raises(Failed, match="bytes came"):
        ask(client, service.address, view.service, [(int(NOON[0]), 4)], timeout_s=60)


def trickle(request: httpx.Request) -> httpx.Response:
    def parts() -> Iterator[bytes]:
        while True:
            time.sleep(0.01)
            yield b" "

    return httpx.Response(200, content=parts())


def flood(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=itertools.repeat(b" " * 2**20))


def test_a_question_under_way_is_not_asked_again(service):
    ready, asked, reader = threading.Event(), threading.Event(), ExternalReader({})

    def behave(question: dict, call: int) -> tuple[int, bytes]:
        asked.set()
        ready.wait(20)
        return honest(question, call)

    service.behave = behave
    view, found = weather(service.address, timeout_s=8.0), []
    threads = [
        threading.Thread(target=lambda: found.append(reader(view.service, (np.array([4, 4]),), NOON.repeat(2))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
        assert asked.wait(20)
    ready.set()
    for thread in threads:
        thread.join()
    assert [one["temperature_c"].tolist() for one in found] == [[truth(4, "2024-01-16T12:00Z")] * 2] * 3
    assert len(service.questions) == 1
    reader.close()


def test_answers_are_kept_for_max_age_and_the_longest_unused_goes_first(service):
    reader = ExternalReader({}, most_cached=2)
    view = weather(service.address)

    def ask(zone: int, moment: np.ndarray = NOON) -> int:
        before = len(service.questions)
        reader(view.service, (np.array([zone]),), moment)
        return len(service.questions) - before

    assert [ask(1), ask(1), ask(1, NOON + 300_000_000), ask(1, NOON + 600_000_000)] == [1, 0, 0, 1]
    assert [ask(1), ask(2), ask(1), ask(1, NOON + 600_000_000)] == [0, 1, 0, 1]
    assert reader.counts()["weather"]["hits"] == 4
    reader.close()


def test_a_service_that_fails_on_and_on_is_left_alone_for_a_while(service, caplog):
    now = [0.0]
    reader = ExternalReader({}, clock=lambda: now[0])
    service.behave = failing(500, FAILURES)
    view = weather(service.address)

    def ask(zone: int) -> float:
        return reader(view.service, (np.array([zone]),), NOON)["temperature_c"].item()

    with caplog.at_level(logging.WARNING, "bottega.features"):
        assert [ask(zone) for zone in range(FAILURES + 2)] == [-99.0] * (FAILURES + 2)
    assert len(caplog.records) == 1
    assert "Predictions go on with the defaults" in caplog.text
    counts = reader.counts()["weather"]
    assert (counts["calls"], counts["status"], counts["resting"]) == (FAILURES, FAILURES, 2)
    now[0] = 2.0
    assert ask(1) == truth(1, "2024-01-16T12:00Z")
    reader.close()


@pytest.mark.parametrize(
    "keys",
    [
        np.array([np.nan, np.inf, 1.5, -1e300]),
        np.array([2**31, -(2**31) - 1, 2**63 - 1, -(2**63)]),
        np.array([2.0**31, 2.0**53, 2.0**63, -(2.0**60)]),
        np.array(["4", "'; DROP TABLE x", None, ""], object),
        np.array([True, False, True, True]),
    ],
)
def test_what_is_no_key_never_reaches_the_service(service, reader, keys):
    found = reader(weather(service.address).service, (keys,), NOON.repeat(4))
    assert found["temperature_c"].tolist() == [-99.0] * 4
    assert service.questions == []
    assert reader.counts()["weather"]["invalid"] == 4


@pytest.mark.parametrize("moment", [-1, 2**62, np.iinfo(np.int64).min, 32_503_680_000_000_000])
def test_what_is_no_moment_never_reaches_the_service(service, reader, moment):
    found = reader(weather(service.address).service, (np.array([4]),), np.array([moment]))
    assert found["temperature_c"].tolist() == [-99.0]
    labels = pd.DataFrame({"zone": [4], "t": [moment]})
    assert read_external(weather(service.address), labels, ["zone"], "t")["temperature_c"].tolist() == [-99.0]
    assert service.questions == []


def test_keys_of_text_and_entities_without_keys(service, reader):
    service.behave = lambda question, call: (
        200,
        json.dumps(
            {"features": {"length": [len(text) for text in question["keys"].get("plate", question["at"])]}}
        ).encode(),
    )
    plate = ExternalView("plates", Entity("plate", ("plate",), "string"), service.address, ["length"], timeout_s=5)
    keys = np.array(["ab", "ü'\"\n", "", None, "x" * 1001], object)
    np.testing.assert_array_equal(
        reader(plate.service, (keys,), NOON.repeat(5))["length"], [2.0, 4.0, 0.0, np.nan, np.nan]
    )
    offline = read_external(plate, pd.DataFrame({"plate": keys, "t": NOON.repeat(5)}), ["plate"], "t")
    np.testing.assert_array_equal(offline["length"], [2.0, 4.0, 0.0, np.nan, np.nan])
    city = ExternalView("city", Entity("city"), service.address, ["length"], timeout_s=5)
    assert reader(city.service, (), NOON.repeat(2))["length"].tolist() == [20.0, 20.0]
    assert service.questions[-1] == {"keys": {}, "at": ["2024-01-16T12:00:00Z"]}


def test_an_empty_batch_asks_nothing(service, reader):
    found = reader(weather(service.address).service, (np.zeros(0, np.int64),), np.zeros(0, np.int64))
    assert found["rain_mm"].shape == (0,)
    labels = pd.DataFrame({"zone": np.zeros(0, np.int64), "t": np.zeros(0, np.int64)})
    assert read_external(weather(service.address), labels, ["zone"], "t")["rain_mm"].shape == (0,)
    assert service.questions == []


def test_a_named_endpoint_is_found_in_the_settings(service, monkeypatch):
    view, labels = weather("weather_service"), pd.DataFrame({"zone": [4], "t": NOON})
    with pytest.raises(NotFound, match=r"'weather_service' has no address\. Set BOTTEGA_ENDPOINT_WEATHER_SERVICE, or"):
        read_external(view, labels, ["zone"], "t", endpoints={})
    monkeypatch.setenv("BOTTEGA_ENDPOINT_WEATHER_SERVICE", service.address)
    expected = [truth(4, "2024-01-16T12:00Z")]
    assert read_external(view, labels, ["zone"], "t")["temperature_c"].tolist() == expected
    for endpoints, found in (({"weather_service": service.address}, expected), ({}, [-99.0])):
        reader = ExternalReader(endpoints)
        assert reader(view.service, (np.array([4]),), NOON)["temperature_c"].tolist() == found
        assert reader.counts()["weather"].get("address", 0) == (not endpoints)
        reader.close()


def test_wrong_labels_are_refused_before_anything_is_asked(service):
    view = weather(service.address)
    with pytest.raises(InvalidData, match="The label table has no column 'pu'"):
        read_external(view, pd.DataFrame({"zone": [4], "t": NOON}), ["pu"], "t")
    with pytest.raises(InvalidData, match=r"the key 'zone' is .*must be whole numbers"):
        read_external(view, pd.DataFrame({"zone": ["a"], "t": NOON}), ["zone"], "t")
    assert service.questions == []


RECORDED = weather("weather", history=False, source="said", max_age="10m", keys=("station",))


def latest(said: pd.DataFrame, zone: float, moment: int) -> float:
    """The oracle: a loop over all recorded answers."""
    best, value = -1, np.nan
    for row in said.to_dict("records"):
        recorded = row["recorded_at"]
        if row["station"] == zone and moment - 600_000_000 <= recorded <= moment and recorded >= best:
            best, value = recorded, row["temperature_c"]
    return -99.0 if np.isnan(value) else value


minutes = st.integers(0, 40)
answers = st.lists(st.tuples(st.integers(1, 3), minutes, st.floats(-50, 50) | st.just(np.nan)), max_size=20)


@settings(max_examples=60, deadline=None)
@given(answers, st.lists(st.tuples(st.integers(1, 4) | st.none(), minutes), min_size=1, max_size=20))
def test_recorded_answers_are_joined_as_of_the_labels_moment(recorded, asked):
    said = pd.DataFrame(recorded, columns=["station", "recorded_at", "temperature_c"])
    said = said.astype({"station": "int64", "recorded_at": "int64", "temperature_c": float}).assign(rain_mm=1.0)
    said["recorded_at"] = NOON[0] + said["recorded_at"] * 60_000_000
    labels = pd.DataFrame(asked, columns=["zone", "t"])
    labels["t"] = NOON[0] + labels["t"] * 60_000_000
    labels["zone"] = labels["zone"].astype(float)
    found = read_external(RECORDED, labels, ["zone"], "t", {"said": said})
    expected = [latest(said, zone, moment) for zone, moment in zip(labels["zone"], labels["t"], strict=True)]
    assert found["temperature_c"].tolist() == expected


def test_recorded_answers_may_lie_in_parquet_and_must_be_whole(tmp_path):
    said = pd.DataFrame({"station": [4], "recorded_at": NOON, "temperature_c": [7.5], "rain_mm": [None]})
    said.astype({"rain_mm": float}).to_parquet(tmp_path / "said.parquet")
    labels = pd.DataFrame({"zone": [4, 5], "requested_at": NOON.repeat(2)})
    joined = TrainingSet(labels, ["weather:temperature_c"]).compute([RECORDED], {"said": tmp_path / "said.parquet"})
    assert joined["temperature_c"].tolist() == [7.5, -99.0]
    with pytest.raises(NotFound, match="The source 'said' of view 'weather' was not given"):
        TrainingSet(labels, ["weather:temperature_c"]).compute([RECORDED], {})
    with pytest.raises(InvalidData, match="has no column 'recorded_at'"):
        read_external(RECORDED, labels, ["zone"], "requested_at", {"said": said.drop(columns="recorded_at")})
    with pytest.raises(InvalidData, match=r"the column 'temperature_c' is .*it must be numbers"):
        read_external(RECORDED, labels, ["zone"], "requested_at", {"said": said.assign(temperature_c="warm")})
