"""Log lines: fields and stacks as JSON and as text."""

import json
import logging
import sys
from datetime import UTC, datetime

from bottega.serving.logs import JsonLines, TextLines


def record(message: str, fields: dict[str, object] | None = None, stack: bool = False) -> logging.LogRecord:
    info = None
    if stack:
        try:
            raise ValueError("a fault")
        except ValueError:
            info = sys.exc_info()
    made = logging.LogRecord("bottega.serving", logging.ERROR, "", 0, message, (), info)
    made.created = datetime(2024, 1, 16, 12, tzinfo=UTC).timestamp()
    if fields is not None:
        made.fields = fields
    return made


def test_a_json_line_holds_the_fields_and_the_stack_on_one_line() -> None:
    text = JsonLines().format(record("it\nfailed", {"event": "x", "at": datetime(2024, 1, 1, tzinfo=UTC)}, stack=True))
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("exception").endswith("ValueError: a fault")
    assert line == {
        "time": "2024-01-16T12:00:00+00:00",
        "level": "error",
        "logger": "bottega.serving",
        "message": "it\nfailed",
        "event": "x",
        "at": "2024-01-01T00:00:00Z",
    }


def test_a_text_line_ends_with_the_fields() -> None:
    text = TextLines().format(record("it failed", {"event": "x", "said": "a b", "count": 3, "more": {"a": 1}}))
    assert text.endswith(""" ERROR bottega.serving: it failed event=x said='a b' count=3 more={"a":1}""")
    assert TextLines().format(record("it failed", stack=True)).endswith("ValueError: a fault")
