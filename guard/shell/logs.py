"""Logs: one JSON object a line where nobody reads along, plain lines on a terminal."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from typing_extensions import override

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, and what `extra` gave."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in record.__dict__.items() if k not in _OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure(kind: Literal["auto", "json", "text"], level: str) -> None:
    """Send all logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = kind == "text" or (kind == "auto" and sys.stderr.isatty())
    if as_text:
        handler.setFormatter(logging.Formatter("%(levelname)-7s %(name)s: %(message)s"))
    else:
        handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "faust", "mode", "kafka"):  # their INFO is for themselves
        logging.getLogger(noisy).setLevel(max(root.level, logging.WARNING))
    # It warns of every member of a group whose assignor it does not know, at length.
    logging.getLogger("kafka.admin._groups").setLevel(logging.ERROR)
