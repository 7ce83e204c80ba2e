"""What makes a request unusable."""

import math

import numpy as np
import pytest

from guard.event import (
    LARGEST_COUNT,
    LONGEST_WORD,
    NEWEST_SECONDS,
    OLDEST_AGE_SECONDS,
    OLDEST_SECONDS,
    Kind,
    Numbers,
    Rejection,
    check,
    kind_of,
    status_of,
)

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("status", "error", "found"),
    [
        (100, None, (False, 1)),
        (599, None, (True, 5)),
        (499, None, (False, 4)),
        (404, True, (True, 4)),
        (503, False, (True, 5)),
        ("200", None, (False, 2)),
        ("OK", None, (False, 2)),
        ("NOT_FOUND", None, (False, 4)),
        ("UNAVAILABLE", None, (True, 5)),
        (None, True, (True, 0)),
        (None, False, (False, 0)),
        (None, None, None),
        (99, None, None),
        (600, True, None),
        (-200, None, None),
        (10**40, None, None),
        ("2xx", None, None),
        ("0200", None, None),
        ("²00", None, None),
        ("", None, None),
        ("ok", None, None),
    ],
)
def test_status(status, error, found):
    """HTTP statuses as numbers or text, gRPC names, or the error flag alone."""
    assert status_of(status, error) == found


@pytest.mark.parametrize(
    ("words", "rejection"),
    [
        ({"type_": "signal"}, Rejection.UNKNOWN_TYPE),
        ({"service": ""}, Rejection.MISSING_FIELD),
        ({"status": None}, Rejection.MISSING_FIELD),
        ({"version": None, "cohort": None}, Rejection.NO_COHORT),
        ({"version": "", "cohort": ""}, Rejection.NO_COHORT),
        ({"service": "s" * (LONGEST_WORD + 1)}, Rejection.TOO_LARGE),
        ({"version": "v" * (LONGEST_WORD + 1)}, Rejection.TOO_LARGE),
        ({"cohort": "c" * (LONGEST_WORD + 1)}, Rejection.TOO_LARGE),
        ({"service": "\ud800"}, Rejection.WRONG_TYPE),
        ({"version": "é\udfff"}, Rejection.WRONG_TYPE),
        ({"status": 99}, Rejection.BAD_STATUS),
        ({"service": "é" * LONGEST_WORD, "version": None}, Rejection.NONE),
        ({"cohort": None}, Rejection.NONE),
        ({"service": "\0"}, Rejection.NONE),
    ],
)
def test_words(words, rejection):
    """Each fault of the words has its reason."""
    good = {
        "service": "s",
        "version": "v",
        "cohort": "canary",
        "status": 500,
        "error": None,
        "type_": "request",
    }
    kind = kind_of(**(good | words))
    is_good = rejection is Rejection.NONE
    assert kind == Kind(rejection, is_error=is_good, status_class=5 * is_good)


@pytest.mark.parametrize(
    ("numbers", "rejection"),
    [
        ({}, Rejection.NONE),
        ({"latency": 0.0}, Rejection.NONE),
        ({"latency": -math.inf}, Rejection.MISSING_FIELD),
        ({"latency": -1e-9}, Rejection.BAD_LATENCY),
        ({"latency": math.nan}, Rejection.BAD_LATENCY),
        ({"latency": math.inf}, Rejection.BAD_LATENCY),
        ({"count": 0}, Rejection.BAD_COUNT),
        ({"count": LARGEST_COUNT}, Rejection.NONE),
        ({"count": LARGEST_COUNT + 1}, Rejection.BAD_COUNT),
        ({"time": -math.inf}, Rejection.MISSING_FIELD),
        ({"time": math.nan}, Rejection.TOO_OLD),
        ({"time": -1e308}, Rejection.TOO_OLD),
        ({"time": OLDEST_SECONDS - 1}, Rejection.TOO_OLD),
        ({"time": NOW - OLDEST_AGE_SECONDS}, Rejection.NONE),
        ({"time": NOW - OLDEST_AGE_SECONDS - 1}, Rejection.TOO_OLD),
        ({"time": NOW + 60}, Rejection.NONE),
        ({"time": NOW + 60.001}, Rejection.FUTURE),
        ({"time": 1e308}, Rejection.FUTURE),
        ({"time": math.inf}, Rejection.FUTURE),
        ({"time": NEWEST_SECONDS + 1, "stamp": NEWEST_SECONDS}, Rejection.FUTURE),
        ({"words": Rejection.BAD_STATUS, "count": 0}, Rejection.BAD_STATUS),
        ({"latency": -1.0, "count": 0}, Rejection.BAD_LATENCY),
    ],
)
def test_numbers(numbers, rejection):
    """Each fault of the numbers has its reason; faults of the words come first."""
    good = {"time": NOW, "latency": 1.0, "count": 1, "stamp": NOW, "words": 0}
    drawn = good | numbers
    found = check(
        Numbers(
            np.array([drawn["time"]]),
            np.array([drawn["latency"]]),
            np.array([drawn["count"]]),
            np.array([drawn["stamp"]]),
        ),
        np.array([int(drawn["words"])]),
        60.0,
    )
    assert found.tolist() == [rejection]


def test_reasons_have_words():
    """A reason stands in metrics by its name in lower case."""
    assert Rejection.BAD_LATENCY.word == "bad_latency"
