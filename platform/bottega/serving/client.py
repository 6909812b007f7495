"""A small typed client of the server: predictions, tensors, status."""

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx
import msgspec
import numpy as np
import tenacity

from bottega.errors import (
    BottegaError,
    Conflict,
    InvalidData,
    InvalidInput,
    NotFound,
    StorageError,
    TooLarge,
    Unavailable,
    Unsupported,
)
from bottega.serving.address import TOKEN_VARIABLE, Address, read_server
from bottega.serving.codec import json_reason
from bottega.serving.explanation import Ages, Explanation
from bottega.serving.inference import DeadlineExceeded
from bottega.serving.protocol import DATATYPES
from bottega.serving.status import Status
from bottega.serving.web import Unauthorized
from bottega.workspace import Workspace

T = TypeVar("T")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0
"""Between tries; each wait is drawn from 0 up to a limit that doubles, so that clients do not come back together."""
_LOST = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_KINDS: dict[int, type[BottegaError]] = {
    401: Unauthorized,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidData,
    501: Unsupported,
    503: Unavailable,
    504: DeadlineExceeded,
    507: StorageError,
}


class TimedOut(Unavailable):
    """The server did not answer within the client's deadline."""


class Predictions(msgspec.Struct, frozen=True):
    """Answers in the order of the rows, their ids, the units of their fields, and the version that answered.

    `feature_ages_s` are the ages of each row's looked-up features; `explanations` are there where they were asked for.
    """

    usecase: str
    model_version: int
    ids: list[str]
    answers: list[dict[str, Any]]
    units: dict[str, str]
    feature_ages_s: list[Ages] = []
    explanations: list[Explanation] = []


class Client:
    """Talks to one server; use it in a `with` block.

    `timeout_s` is the deadline of a call with all its tries. Where the connection fails or the server answers 503, it
    tries up to `retries` times again. That is safe: a prediction changes nothing, and all tries carry the same request
    id, under which the prediction log's readers count it once. Errors are those that the server raised.
    """

    def __init__(self, url: str, token: str = "", timeout_s: float = 10.0, retries: int = 2) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.url = url
        self._timeout_s = timeout_s
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes),
            wait=tenacity.wait_random_exponential(FIRST_WAIT_S, LONGEST_WAIT_S),
            stop=tenacity.stop_after_attempt(retries + 1) | tenacity.stop_before_delay(timeout_s),
            reraise=True,
        )
        self._http = httpx.Client(base_url=url, headers=headers, trust_env=False)

    @classmethod
    def from_workspace(cls, workspace: Workspace, timeout_s: float = 10.0) -> "Client":
        """A client of the server that runs for this workspace. Raises Unavailable where none does."""
        address = read_server(workspace)
        if address is None:
            raise Unavailable(
                f"No server runs for workspace {workspace.root}.", next_step="Start one with 'bottega serve'."
            )
        return cls.at(address, timeout_s)

    @classmethod
    def at(cls, address: Address, timeout_s: float = 10.0) -> "Client":
        """A client of the server at an address, with the token that the environment holds."""
        return cls(address.url, os.environ.get(TOKEN_VARIABLE, ""), timeout_s)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self,
        usecase: str,
        rows: Sequence[Mapping[str, object]],
        ids: Sequence[str] | None = None,
        *,
        logged: bool = True,
        explain: bool = False,
    ) -> Predictions:
        """Answers for rows of request fields; times are text with an offset, or aware datetimes.

        `logged=False` keeps them out of the prediction log: for questions that will never get a label. With `explain`
        the feature values behind each answer come, too.
        """
        body: dict[str, object] = {"rows": list(rows), "id": uuid.uuid4().hex, "explain": explain}
        if ids is not None:
            body["ids"] = list(ids)
        headers = {} if logged else {"x-bottega-log": "off"}
        path = f"/v1/{usecase}/predict"
        return _decode(self._request("POST", path, msgspec.json.encode(body), headers), Predictions)

    def infer(self, model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Tensors in, tensors out, by the Open Inference Protocol."""
        names = {dtype: name for name, dtype in DATATYPES.items()}
        tensors = [
            {"name": name, "datatype": names[array.dtype], "shape": array.shape, "data": array.ravel().tolist()}
            for name, array in inputs.items()
        ]
        body = msgspec.json.encode({"id": uuid.uuid4().hex, "inputs": tensors})
        answer = msgspec.json.decode(self._post(f"/v2/models/{model}/infer", body))
        return {
            output["name"]: np.array(output["data"], DATATYPES[output["datatype"]]).reshape(output["shape"])
            for output in answer["outputs"]
        }

    def describe(self, usecase: str) -> dict[str, Any]:
        """The fields of a use case's request and answer, the ids that exist, an example."""
        return msgspec.json.decode(self._request("GET", f"/v1/{usecase}"))

    def status(self) -> Status:
        """What is live, how much it answered, and how fast."""
        return _decode(self._request("GET", "/v1/status"), Status)

    def wait_for_log(self, timeout_s: float = 30.0) -> None:
        """Wait until every answered row is in the prediction log's files, or was counted as dropped."""
        deadline = time.monotonic() + timeout_s
        self._post("/v1/log/flush", b"")
        while self.status().prediction_log["waiting"]:
            if time.monotonic() > deadline:
                raise Unavailable(f"The prediction log of {self.url} did not finish writing in {timeout_s:g} s.")
            time.sleep(0.01)

    def _post(self, path: str, body: bytes) -> bytes:
        return self._request("POST", path, body)

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        until = time.monotonic() + self._timeout_s
        for attempt in self._retrying.copy():
            with attempt:
                return self._try(self._http.build_request(method, path, content=body, headers=headers), until)
        raise AssertionError("the last attempt returns or raises")

    def _try(self, request: httpx.Request, until: float) -> bytes:
        request.extensions["timeout"] = httpx.Timeout(max(until - time.monotonic(), 1e-3)).as_dict()
        try:
            response = self._http.send(request)
        except _LOST as error:
            raise Unavailable(
                f"The server at {self.url} does not answer: {error}.", next_step="Start one with 'bottega serve'."
            ) from None
        except httpx.TimeoutException:
            raise TimedOut(f"The server at {self.url} did not answer in {self._timeout_s:g} s.") from None
        if response.status_code >= 400:
            raise _error(response)
        return response.content


def _passes(error: BaseException) -> bool:
    """Whether another try may help: a lost connection, or 503."""
    return isinstance(error, Unavailable) and not isinstance(error, TimedOut)


def _error(response: httpx.Response) -> BottegaError:
    """The error that the server meant, so that a caller sees the same one as without a server."""
    try:
        text = msgspec.json.decode(response.content, type=dict[str, str])["error"]
    except (msgspec.MsgspecError, KeyError):
        text = f"The server answered {response.status_code}."
    kind = _KINDS.get(response.status_code, InvalidInput if response.status_code < 500 else BottegaError)
    return kind(text)


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"The server's answer is not understood: {json_reason(error)}.") from None
