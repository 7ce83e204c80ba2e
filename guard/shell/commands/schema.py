"""JSON Schemas, generated from the code that reads and writes the messages."""

from typing import Any, Literal

import msgspec

from guard.decision import Decision
from guard.event import (
    LARGEST_COUNT,
    LONGEST_WORD,
    NEWEST_SECONDS,
    OLDEST_SECONDS,
    Request,
)
from guard.shell.policy_file import json_schema
from guard.shell.publish import Rejected

Which = Literal["policy", "event", "decision", "rejection"]
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# The decoder gives every field of a request a default, so that it fails on rubbish
# only; what must be there, and in what range, is judged later. Here is both at once.
_WORD = {"type": "string", "minLength": 1, "maxLength": LONGEST_WORD}
_OPTIONAL_WORD = {"type": ["string", "null"], "maxLength": LONGEST_WORD}
_FIELDS: dict[str, dict[str, Any]] = {
    "service": {**_WORD, "description": "Who answered the request."},
    "ts": {
        "description": (
            "When the request ended: seconds since the epoch, UTC, or an instant of "
            "RFC 3339 with its time zone."
        ),
        "anyOf": [
            {"type": "number", "minimum": OLDEST_SECONDS, "maximum": NEWEST_SECONDS},
            {"type": "string", "format": "date-time"},
        ],
    },
    "latency_ms": {
        "type": "number",
        "minimum": 0,
        "description": "How long it took, in milliseconds.",
    },
    "status": {
        "description": (
            "An HTTP status, or the name of a gRPC code. 500 and above is an error, and"
            " so are UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE"
            " and DATA_LOSS."
        ),
        "anyOf": [
            {"type": "integer", "minimum": 100, "maximum": 599},
            {"type": "string", "pattern": "^([1-5][0-9][0-9]|[A-Z_]+)$"},
            {"type": "null"},
        ],
    },
    "error": {
        "type": ["boolean", "null"],
        "description": "Whether it failed; true whatever the status says.",
    },
    "cohort": {
        **_OPTIONAL_WORD,
        "description": "`canary`, `baseline`, or free text.",
    },
    "version": {**_OPTIONAL_WORD, "description": "Of the code that answered."},
    "critical": {
        "type": "boolean",
        "default": False,
        "description": "Critical requests have limits of their own.",
    },
    "instance": {
        "type": "string",
        "default": "",
        "description": "Which pod or host answered.",
    },
    "count": {
        "type": "integer",
        "minimum": 1,
        "maximum": LARGEST_COUNT,
        "default": 1,
        "description": "How many equal requests this stands for.",
    },
    "type": {"const": "request", "default": "request"},
}
_REQUIRED = ["service", "ts", "latency_ms"]
_ONE_OF_EACH = [("status", "error"), ("cohort", "version")]


def schema_of(which: Which) -> str:
    """Return a JSON Schema (2020-12) as indented text."""
    schema: dict[str, Any]
    match which:
        case "policy":
            schema = json_schema()
        case "event":
            schema = _event_schema()
        case "decision":
            schema = msgspec.json.schema(Decision)
        case "rejection":
            schema = msgspec.json.schema(Rejected)
    schema = {"$schema": DIALECT, **schema}
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()


def _event_schema() -> dict[str, Any]:
    """Return the schema of a request; KeyError when a field is not described here."""
    names = [field.encode_name for field in msgspec.structs.fields(Request)]
    return {
        "title": "Request",
        "description": (
            "One finished request, or `count` equal ones. A Kafka value holds one, a "
            "JSON array of them, or one a line. Unknown fields are ignored."
        ),
        "type": "object",
        "properties": {name: _FIELDS[name] for name in names},
        "required": _REQUIRED,
        "allOf": [
            {"anyOf": [_is_there(name) for name in pair]} for pair in _ONE_OF_EACH
        ],
    }


def _is_there(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
