"""Quantities: read exactly, refused with a reason, shown as people write them."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.fault import shown
from guard.quantity import DURATION, LATENCY, RATIO, in_words, read

SCALES = [DURATION, LATENCY, RATIO]


@pytest.mark.parametrize(
    ("text", "scale", "expected"),
    [
        ("0.15 %", RATIO, 0.0015),
        ("0.5%", RATIO, 0.005),
        (0.005, RATIO, 0.005),
        ("99.9 %", RATIO, 0.999),
        ("300 ms", LATENCY, 300.0),
        ("2 s", LATENCY, 2000.0),
        ("750 us", LATENCY, 0.75),
        ("10 min", DURATION, 600.0),
        ("1 h", DURATION, 3600.0),
        ("2 d", DURATION, 172800.0),
        (90, DURATION, 90.0),
        ("90", DURATION, 90.0),
        ("-5 s", DURATION, -5.0),
    ],
)
def test_a_quantity_is_read_exactly(text, scale, expected):
    """As the float nearest to what was written, whatever the unit."""
    assert read(text, scale) == expected


@pytest.mark.parametrize(
    ("value", "scale", "message"),
    [
        (300, LATENCY, "needs a unit, such as 300 ms, is 300"),
        ("300", LATENCY, "needs a unit, such as 300 ms, is 300.0"),
        ("10 minutes", DURATION, 'unknown unit "minutes".*did you mean "min"'),
        ("10 x", DURATION, 'unknown unit "x" of a duration, known are: s, min, h, d$'),
        ("0,5 %", RATIO, 'must be a ratio such as 0.5 %, is "0,5 %"'),
        ("", RATIO, 'is ""'),
        (True, RATIO, "is true"),
        (False, DURATION, "is false"),
        (None, RATIO, "is nothing"),
        ([], RATIO, "is a list"),
        ({}, RATIO, "is a mapping"),
        (b"x", RATIO, "is a bytes"),
        (math.nan, RATIO, "is nan"),
        (math.inf, DURATION, "is inf"),
        ("9" * 99, DURATION, r'is "9{40}\.\.\."'),
    ],
)
def test_what_is_no_quantity_is_refused_with_what_it_is(value, scale, message):
    """The message says what is expected, and what was found."""
    with pytest.raises(ValueError, match=message):
        read(value, scale)


def test_an_int_that_python_will_not_print_is_refused():
    """Printing more than 4300 digits raises another error than ours."""
    with pytest.raises(ValueError, match="is a huge number"):
        read(10**5000, DURATION)


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
@given(thousandths=st.integers(0, 10**9))
def test_what_is_shown_reads_as_the_same(scale, thousandths):
    """A message quotes a bound in words that would set it again."""
    text = in_words(thousandths / 1000, scale)
    assert read(text, scale) == thousandths / 1000
    assert re.fullmatch(scale.pattern, text)


@pytest.mark.slow
@given(st.one_of(st.integers(), st.floats(), st.text(), st.binary(), st.none()))
def test_anything_can_be_shown(value):
    """What is at fault is itself shown shortly, and never fails to be."""
    assert len(shown(value)) <= 60
