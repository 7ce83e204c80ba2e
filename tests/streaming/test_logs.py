"""Logs for machines and for people."""

import io
import json
import logging
from datetime import datetime

import pytest

from guard.shell import logs


@pytest.fixture
def log(monkeypatch):
    """Configure logging to a stream of ours; everything is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    noisy = {name: logging.getLogger(name).level for name in ("aiokafka", "faust")}

    def configure(kind, threshold="info", *, is_terminal=False):
        stream = io.StringIO()
        stream.isatty = lambda: is_terminal
        monkeypatch.setattr("sys.stderr", stream)
        logs.configure(kind, threshold)
        return stream

    yield configure
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in noisy.items():
        logging.getLogger(name).setLevel(before)


def test_one_object_a_line(log):
    """Time, level, logger, message, and what `extra` gave."""
    stream = log("json")
    logging.getLogger("guard.test").info(
        "it is %s", "so", extra={"partition": 3, "odd": {1, 2}}
    )
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert datetime.fromisoformat(found.pop("time")).tzinfo is not None
    assert found.pop("odd") in ("{1, 2}", [1, 2])
    assert found == {
        "level": "info",
        "logger": "guard.test",
        "message": "it is so",
        "partition": 3,
    }


def test_an_exception_stays_on_its_line(log):
    """A traceback does not break the format; nor does a message of two lines."""
    stream = log("json")
    try:
        raise ValueError("one\ntwo")  # noqa: TRY301 - a traceback is wanted
    except ValueError:
        logging.getLogger("guard.test").exception("it\nfailed")
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found["message"] == "it\nfailed"
    assert "ValueError: one\ntwo" in found["exception"]


@pytest.mark.parametrize(
    ("kind", "is_terminal", "is_json"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("text", False, False),
        ("json", True, True),
    ],
)
def test_text_is_for_terminals(log, kind, is_terminal, is_json):
    """Unless it is said otherwise."""
    stream = log(kind, is_terminal=is_terminal)
    logging.getLogger("guard.test").warning("look")
    assert stream.getvalue().startswith("{") is is_json
    assert "look" in stream.getvalue()


def test_the_clients_own_news_are_not_ours(log):
    """INFO of Faust and its clients is for themselves; their warnings are shown."""
    stream = log("text", "info")
    for name in ("aiokafka", "faust"):
        logging.getLogger(f"{name}.part").info("chatter")
        logging.getLogger(f"{name}.part").warning("trouble of %s", name)
    assert "chatter" not in stream.getvalue()
    assert stream.getvalue().count("trouble") == 2


def test_the_level_holds_for_all(log):
    """Below it nothing is said."""
    stream = log("text", "error")
    logging.getLogger("guard.test").warning("quiet")
    logging.getLogger("aiokafka").warning("quiet")
    assert stream.getvalue() == ""
