"""What Prometheus scrapes."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from guard.event import Rejection
from guard.reading import LimitReading, Reading, Side
from guard.shell import metrics
from guard.shell.app import make_registry
from guard.verdict import Verdict

QUANTILES = {"0.5": 10.0, "0.95": 250.0, "0.99": 900.0}
LIMITS = (LimitReading("error_ratio", "critical", "rollback", 0.25),)


def reading(service, requests=100, errors=5, version="v2"):
    """A rollout's reading."""
    canary, baseline = Side(requests, errors, QUANTILES), Side(900, 1, {})
    return Reading(service, version, Verdict.PASS, "watched", canary, baseline, LIMITS)


def scraped(registry):
    """Samples by name and labels, these in the order of their names."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, *dict(sorted(sample.labels.items())).values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_reason_is_there_from_the_beginning():
    """A rate over a counter that appears with its first event would miss that event."""
    registry = CollectorRegistry()
    metrics.make(registry)
    found = scraped(registry)
    for reason in Rejection:
        name = "guard_rejected_total", reason.word
        assert found.get(name) == (None if reason is Rejection.NONE else 0)


def test_names_carry_the_prefix_and_the_unit():
    """Every family is `guard_…`, and times are in seconds."""
    registry = CollectorRegistry()
    metrics.make(registry)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    names = [family.name for family in families]
    assert all(name.startswith("guard_") for name in names)
    assert not any("_ms" in name or "millis" in name for name in names)
    assert all(family.documentation for family in registry.collect())


def test_readings_are_taken_when_they_are_asked_for():
    """Requests, errors, quantiles and distance to limits, by service and role."""
    registry = CollectorRegistry()
    found = [reading("cart")]
    registry.register(metrics.Readings(lambda: found, cap=10))
    values = scraped(registry)
    assert values["guard_window_requests", "canary", "cart"] == 100
    assert values["guard_window_requests", "baseline", "cart"] == 900
    assert values["guard_window_errors", "canary", "cart"] == 5
    assert values["guard_window_latency_seconds", "0.95", "canary", "cart"] == 0.25
    assert ("guard_window_latency_seconds", "0.95", "baseline", "cart") not in values
    limit = "guard_limit_ratio", "rollback", "error_ratio", "cart", "critical"
    assert values[limit] == 0.25
    found[0] = reading("cart", requests=7)
    assert scraped(registry)["guard_window_requests", "canary", "cart"] == 7


def test_services_beyond_the_cap_are_summed_up():
    """A flood of names becomes one; those that have labels keep them."""
    registry = CollectorRegistry()
    found = [reading("a"), reading("b")]
    registry.register(metrics.Readings(lambda: found, cap=2))
    scraped(registry)
    found[:] = [reading("c"), reading("d", requests=11), reading("a")]
    values = scraped(registry)
    assert values["guard_window_requests", "canary", metrics.OTHER] == 111
    assert values["guard_window_errors", "canary", metrics.OTHER] == 10
    assert values["guard_window_requests", "canary", "a"] == 100
    limited = {key[3] for key in values if key[0] == "guard_limit_ratio"}
    assert limited == {"a"}


def test_a_service_with_two_rollouts_has_one_set_of_samples():
    """Versions are no labels: the rollout with most traffic counts, the worst limit.

    A sample that stands twice would make Prometheus refuse the whole scrape.
    """
    registry = CollectorRegistry()
    worse = (LIMITS[0]._replace(ratio=1.5),)
    found = [
        reading("cart", requests=100, version="v3"),
        reading("cart", requests=4, version="v2")._replace(limits=worse),
    ]
    registry.register(metrics.Readings(lambda: found, cap=2))
    text = generate_latest(registry).decode()
    lines = [line.rsplit(" ", 1)[0] for line in text.splitlines() if line[:1] != "#"]
    assert sorted(lines) == sorted(set(lines))
    values = scraped(registry)
    assert values["guard_window_requests", "canary", "cart"] == 100
    assert values["guard_window_requests", "baseline", "cart"] == 900
    limit = "guard_limit_ratio", "rollback", "error_ratio", "cart", "critical"
    assert values[limit] == 1.5


def test_the_process_is_measured_too():
    """Memory, processor time and garbage of the process, in a registry of its own."""
    first, second = make_registry(), make_registry()
    assert first is not second
    names = {key[0] for key in scraped(first)}
    assert {"process_cpu_seconds_total", "python_info"} <= names
