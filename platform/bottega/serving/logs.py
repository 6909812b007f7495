"""What the server says on standard error: one line an event, for people or as JSON for machines.

An event's fields travel in the record's `fields` (`extra={"fields": {...}}`): JSON lines hold them as members, text
lines as `name=value`.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import msgspec

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)
ACCESS = "bottega.access"
"""Logger of one event a request, at level info."""


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (UTC), level, logger, message, the event's fields, and a stack where one is."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextLines(logging.Formatter):
    """A record as text, with the event's fields behind the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message's line, before the stack where one is."""
        fields = "".join(f" {name}={_short(value)}" for name, value in _fields(record).items())
        return super().formatMessage(record) + fields


def configure_logs(log_format: LogFormat = "text", level: LogLevel = "warning", access: bool = False) -> None:
    """Have every logger of this process write to standard error, those of requests only with `access`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger(ACCESS).setLevel(logging.INFO if access else logging.CRITICAL)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of each client that speaks no HTTP
    logging.captureWarnings(True)


def log_options() -> list[str]:
    """The words of a command line that have another server process log as this one does."""
    root = logging.getLogger()
    in_json = any(isinstance(handler.formatter, JsonLines) for handler in root.handlers)
    level = logging.getLevelName(root.level).lower()
    words = ["--log-format", "json" if in_json else "text", "--log-level", level if level in LEVELS else "warning"]
    return [*words, "--access-log"] if logging.getLogger(ACCESS).isEnabledFor(logging.INFO) else words


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = getattr(record, "fields", {})
    return found


def _short(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return text if text.isprintable() and " " not in text and text else repr(text)
