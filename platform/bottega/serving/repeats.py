"""Keys that an object of JSON holds twice. Readers differ in which of the two counts, so such a body is refused.

The decoder takes the last one and says nothing. To look for repeats would cost more than to decode, so it is done only
where a body has more or fewer colons than what was decoded from it: each key has one, and texts may hold some.
"""

import json
from collections.abc import Mapping
from typing import Any

from bottega.errors import InvalidInput
from bottega.serving.protocol import InferRequest


def refuse_repeats(text: bytes | memoryview, colons: int) -> None:
    """Raise InvalidInput where an object in a JSON text has a key twice; `colons` are those of what was decoded."""
    content = bytes(text)
    if content.count(b":") != colons:
        try:
            json.loads(content, object_pairs_hook=_check, parse_int=str, parse_float=str)
        except RecursionError:
            raise InvalidInput("The body is nested too deeply.") from None


def count_colons(value: Any) -> int:
    """How many colons a decoded value has as JSON."""
    if isinstance(value, str):
        return value.count(":")
    if isinstance(value, dict):
        return sum(1 + key.count(":") + count_colons(one) for key, one in value.items())
    return sum(count_colons(one) for one in value) if isinstance(value, list) else 0


def request_colons(request: InferRequest) -> int:
    """How many colons an inference request has as JSON, where it names nothing that it leaves as it is by itself."""
    found = 1 + _given("id", request.id) + _given("parameters", request.parameters)
    for tensor in request.inputs:
        data = bytes(tensor.data)
        found += 3 + tensor.name.count(":") + tensor.datatype.count(":")
        found += _given("parameters", tensor.parameters) + (1 + data.count(b":") if data else 0)
    for output in request.outputs:
        found += 1 + output.name.count(":") + _given("parameters", output.parameters)
    return found + bool(request.outputs)


def _given(key: str, value: str | Mapping[str, Any]) -> int:
    return count_colons({key: value}) if value else 0


def _check(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidInput(f"The key {key[:80]!r} is given more than once.", next_step="Give each key once.")
        seen.add(key)
