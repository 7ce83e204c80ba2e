"""Words that are made of the numbers beside them, read at three in the morning."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.decision import CohortEvidence, Evidence, Latency, Reason, View
from guard.wording import (
    apart,
    duration,
    metric_name,
    milliseconds,
    number,
    percent,
    words,
)

COHORT = CohortEvidence(
    version="v2",
    requests=1204,
    errors=28,
    error_ratio=28 / 1204,
    error_interval=None,
    status={},
    late=20,
    latency_ms=None,
    buckets=[],
    seconds=[],
)


def evidence(*, requests=1204, latency=None, behind=None):
    canary = CohortEvidence(
        **{n: getattr(COHORT, n) for n in COHORT.__struct_fields__}
        | {"requests": requests, "latency_ms": latency}
    )
    view = View(
        window_seconds=60,
        critical_only=False,
        start="",
        end="",
        canary=canary,
        baseline=COHORT,
    )
    return Evidence(views=[view], sources={}, late_behind_seconds=behind)


def reason(rule="error_ratio", **fields):
    numbers = {
        "reading": 28 / 1204,
        "bound": 0.005,
        "requests": 1204,
        "window_seconds": 60,
        "held_seconds": 12,
        "sustain_seconds": 10,
    }
    asked = {"severity": "critical", "action": "rollback", "text": ""}
    return Reason(rule=rule, **{**asked, **numbers, **fields})


def said(rule="error_ratio", **fields):
    return words(reason(rule, **fields), evidence())


BLIND = {"reading": None, "bound": None, "held_seconds": None, "sustain_seconds": None}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {},
            (
                "error rate 2.33 % of 1,204 requests > critical limit 0.5 %, for 12 s "
                "(sustain 10 s)"
            ),
        ),
        (
            {"sustain_seconds": 0, "held_seconds": 1, "severity": "warning"},
            "error rate 2.33 % of 1,204 requests > warning limit 0.5 %, for 1 s",
        ),
        (
            {"held_seconds": 3},
            (
                "error rate 2.33 % of 1,204 requests > critical limit 0.5 %, for 3 s "
                "again (sustained for 10 s before, not cleared since)"
            ),
        ),
        (
            {"held_seconds": 612, "sustain_seconds": 600},
            (
                "error rate 2.33 % of 1,204 requests > critical limit 0.5 %, for 10 "
                "min 12 s (sustain 10 min)"
            ),
        ),
        (
            {"reading": 0.005004, "severity": "immediate"},
            (
                "error rate 0.5004 % of 1,204 requests > immediate limit 0.5 %, for 12 "
                "s (sustain 10 s)"
            ),
        ),
        (
            {
                "reading": 0.001,
                "held_seconds": 0,
                "kept_seconds": 4,
                "clear_seconds": 60,
            },
            (
                "error rate 0.1 % of 1,204 requests is within the critical limit 0.5 % "
                "again, for 4 s (cleared after 60 s)"
            ),
        ),
        (
            {
                "reading": 0.005,
                "held_seconds": 0,
                "kept_seconds": 4,
                "clear_seconds": 60,
            },
            (
                "error rate 0.5 % of 1,204 requests is within the critical limit 0.5 % "
                "again, for 4 s (cleared after 60 s)"
            ),
        ),
        (
            {"rule": "success_ratio", "reading": 0.7, "bound": 0.995},
            (
                "success rate 70 % of 1,204 requests < critical limit 99.5 %, for 12 s "
                "(sustain 10 s)"
            ),
        ),
        (
            {"rule": "success_ratio", "reading": 0.99499, "bound": 0.995},
            (
                "success rate 99.499 % of 1,204 requests < critical limit 99.5 %, for "
                "12 s (sustain 10 s)"
            ),
        ),
        (
            {"rule": "latency_p95", "reading": 500.4, "bound": 500.0},
            (
                "latency p95 500.4 ms of 1,204 requests > critical limit 500 ms, for "
                "12 s (sustain 10 s)"
            ),
        ),
        (
            {"rule": "latency_p99", "reading": 12345.6, "bound": 500.0},
            (
                "latency p99 12,346 ms of 1,204 requests > critical limit 500 ms, for "
                "12 s (sustain 10 s)"
            ),
        ),
        (
            {"critical_only": True},
            (
                "error rate 2.33 % of 1,204 critical requests > critical limit 0.5 %, "
                "for 12 s (sustain 10 s)"
            ),
        ),
        (
            {"beside": 0.002, "times": 2.0, "plus": 0.001},
            (
                "error rate 2.33 % of 1,204 requests > critical limit 0.5 % (2 x the "
                "baseline's 0.2 % + 0.1 %), for 12 s (sustain 10 s)"
            ),
        ),
        (
            {"beside": 0.002, "times": 1.0, "plus": 0.003},
            (
                "error rate 2.33 % of 1,204 requests > critical limit 0.5 % (the "
                "baseline's 0.2 % + 0.3 %), for 12 s (sustain 10 s)"
            ),
        ),
        (
            {
                "rule": "success_ratio",
                "reading": 0.97,
                "bound": 0.98,
                "beside": 0.999,
                "plus": 0.019,
            },
            (
                "success rate 97 % of 1,204 requests < critical limit 98 % (the "
                "baseline's 99.9 % - 1.9 %), for 12 s (sustain 10 s)"
            ),
        ),
        (
            {"rule": "latency_p95", "beside": 150.0, "times": 2.0, "plus": 0.0}
            | {"reading": 450.0, "bound": 300.0},
            (
                "latency p95 450 ms of 1,204 requests > critical limit 300 ms (2 x the "
                "baseline's 150 ms), for 12 s (sustain 10 s)"
            ),
        ),
        (
            {"reading": None, "requests": 0, "judged_at": "03:53:54Z"},
            (
                "error rate was beyond the critical limit 0.5 %, for 12 s, when last "
                "judged at 03:53:54Z; 0 requests now"
            ),
        ),
        (
            {"held_seconds": 0, "kept_seconds": 3, "judged_at": "03:53:54Z"},
            (
                "error rate was within the critical limit 0.5 % again when last judged "
                "at 03:53:54Z; 1,204 requests now"
            ),
        ),
        (
            {"held_seconds": 0, "kept_seconds": 0, "judged_at": "03:53:54Z"},
            (
                "error rate was beyond the critical limit 0.5 % before a gap, last "
                "judged at 03:53:54Z; 1,204 requests now"
            ),
        ),
    ],
)
def test_a_limit_says_both_numbers(fields, text):
    """What was read, what was allowed, and for how long."""
    assert said(**fields) == text


def test_what_cannot_be_judged_says_why():
    """No rule's name, no code: what is missing."""
    assert said("canary_silent", reading=41.27, bound=30.0, held_seconds=20) == (
        "no canary request for 20 s, while its past share of the traffic promised 41.3 "
        "(limit 30)"
    )
    assert said("no_baseline", **BLIND | {"held_seconds": 60}) == (
        "no baseline request in 60 s to hold the canary's 1,204 against, for 60 s; "
        "none ever"
    )
    assert said("little_traffic", **BLIND | {"held_seconds": 150, "requests": 7},
                least_requests=100) == (
        "too little traffic to judge: 7 canary and 1,204 baseline requests in 60 s, at "
        "least 100 are needed of each, for 2 min 30 s"
    )  # fmt: skip
    late = reason("late_telemetry", reading=0.01004, bound=0.01)
    assert words(late, evidence(behind=12.345)) == (
        "1.004 % of the canary's 1,204 requests in 60 s came too late to be counted "
        "(limit 1 %); a lateness of 12.3 s would have sufficed"
    )
    assert said("watch:adwin:mean_latency", **BLIND) == (
        "watch: the canary's mean latency changed (adwin), and there is no baseline to "
        "tell whether the canary did it"
    )
    skew = {"bound": 2.0, "held_seconds": None}
    assert said("clock_skew", reading=3.4, beside=0.02, **skew) == (
        "clock skew: in 60 s Kafka saw the quickest canary request 3.4 s after its own "
        "time, the quickest baseline request 0.02 s after its own time: 3.38 s apart "
        "(limit 2 s)"
    )
    assert said("clock_skew", reading=None, beside=-2.001, **skew) == (
        "clock skew: in 60 s Kafka saw the quickest baseline request 2 s before its "
        "own time: 2.001 s ahead of Kafka's clock (limit 2 s)"
    )
    again = {"kept_seconds": 4, "clear_seconds": 60}
    assert said("canary_silent", **BLIND | again) == (
        "the canary had fallen silent; it can be judged again for 4 s, trusted after "
        "60 s"
    )


def test_a_clear_says_how_it_is_now():
    """The error rate, and the latency where there is one."""
    clear = Reason(
        rule="clear", text="", severity="warning", action="clear", clear_seconds=60
    )
    latency = Latency(p50=100.0, p95=150.2, p99=400.0)
    assert words(clear, evidence(latency=latency)) == (
        "no limit is broken any more, for 60 s: error rate 2.33 % of 1,204 requests, "
        "latency p95 150 ms"
    )
    assert words(clear, evidence()).endswith("of 1,204 requests")


def test_numbers_have_the_digits_that_count():
    """Small ones, great ones, and none that is rounded to another integer."""
    assert [number(x) for x in (0.5, 0.000123456, 99.96, 1e6, 123.4, 0.0)] == [
        "0.5", "0.000123", "100", "1,000,000", "123", "0",
    ]  # fmt: skip
    assert [percent(x) for x in (0.0, 0.00123, 0.9999, 0.99999949, 0.12345)] == [
        "0 %", "0.123 %", "99.99 %", "100 %", "12.3 %",
    ]  # fmt: skip
    assert [duration(x) for x in (0, 119, 120, 3600, 3661, 90061)] == [
        "0 s", "119 s", "2 min", "1 h", "1 h 1 min 1 s", "25 h 1 min 1 s",
    ]  # fmt: skip
    assert metric_name("success_ratio") == "success rate"
    assert metric_name("latency_p99") == "latency p99"


@pytest.mark.parametrize(
    ("written", "unit", "scale"), [(percent, " %", 100), (milliseconds, " ms", 1)]
)
@given(data=st.data())
def test_over_the_limit_never_looks_equal(written, unit, scale, data):
    """Whatever is over is printed over, and whatever is under, under."""
    top = 1.0 if scale == 100 else 1e7
    bound = data.draw(st.floats(1e-6, top, allow_subnormal=False))
    by = data.draw(st.sampled_from([1e-15, 1e-9, 1e-4, 0.1]))
    reading = bound * (1 + by)
    texts = apart(reading, bound, written)
    shown = [Decimal(text.removesuffix(unit).replace(",", "")) for text in texts]
    assert (shown[0] > shown[1]) == (reading > bound)
    assert all(text.endswith(unit) for text in texts)


def test_an_absolute_limit_stands_there_exactly():
    """As the policy says it, however many digits it has."""
    assert "critical limit 0.12345 %" in said(bound=0.0012345)
    assert "critical limit 99.9995 %" in said("success_ratio", bound=0.999995)
