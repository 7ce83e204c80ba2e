"""What Prometheus scrapes: counters of the stream, and each service's readings.

Labels come from closed sets. Services are as many as the settings allow; what comes
after them is summed up under `other`, so a flood of names cannot flood Prometheus. The
readings of services are taken from the judge's windows when they are asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from guard.event import Rejection
from guard.reading import LimitReading, Reading
from guard.shell.watchdog import Stall

OTHER = "other"
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


class Metrics(NamedTuple):
    """All collectors of a worker."""

    events: Counter
    rejected: Counter
    late: Counter
    panes_sent: Counter
    panes_taken: Counter
    decisions: Counter
    rejections_told: Counter
    snapshots: Counter
    snapshot_bytes: Gauge
    repairs: Gauge
    watermark_age: Gauge
    source_behind: Gauge
    partitions: Gauge
    stalled: Gauge
    fold_seconds: Histogram
    judge_seconds: Histogram


def make(registry: CollectorRegistry) -> Metrics:
    """Return fresh collectors in this registry."""
    metrics = Metrics(
        events=Counter(
            "guard_events", "Records read from the input", registry=registry
        ),
        rejected=Counter(
            "guard_rejected",
            "Events that were not counted",
            ["reason"],
            registry=registry,
        ),
        late=Counter(
            "guard_late",
            "Requests behind the watermark, left out of the judgement",
            registry=registry,
        ),
        panes_sent=Counter(
            "guard_panes_sent", "Messages sent to the judges", registry=registry
        ),
        panes_taken=Counter(
            "guard_panes_taken",
            "Messages read by the judge, by what it did with them",
            ["taken"],
            registry=registry,
        ),
        decisions=Counter(
            "guard_decisions",
            "Decisions published",
            ["decision", "severity"],
            registry=registry,
        ),
        rejections_told=Counter(
            "guard_rejections_told",
            "Summaries sent to the topic of rejected input",
            registry=registry,
        ),
        snapshots=Counter(
            "guard_snapshots", "Snapshots of a partition written", registry=registry
        ),
        snapshot_bytes=Gauge(
            "guard_snapshot_bytes", "Size of the last snapshot", registry=registry
        ),
        repairs=Gauge(
            "guard_repairs",
            "Gaps in what Faust delivered that were gone back for",
            registry=registry,
        ),
        watermark_age=Gauge(
            "guard_watermark_age_seconds",
            "Clock less the watermark of the slowest source",
            registry=registry,
        ),
        source_behind=Gauge(
            "guard_source_behind_seconds",
            "How far a source partition's watermark is behind the newest",
            ["topic", "partition"],
            registry=registry,
        ),
        partitions=Gauge(
            "guard_partitions",
            "Partitions this worker owns",
            ["topic"],
            registry=registry,
        ),
        stalled=Gauge(
            "guard_stalled_seconds",
            "How long something has stood still while Kafka answered",
            ["what"],
            registry=registry,
        ),
        fold_seconds=Histogram(
            "guard_fold_seconds",
            "Time to fold a batch",
            buckets=_SECONDS,
            registry=registry,
        ),
        judge_seconds=Histogram(
            "guard_judge_seconds",
            "Time to judge a batch of messages",
            buckets=_SECONDS,
            registry=registry,
        ),
    )
    for reason in Rejection:
        if reason is not Rejection.NONE:
            metrics.rejected.labels(reason.word)
    for what in Stall:
        metrics.stalled.labels(what.value)
    return metrics


class Readings:
    """A collector of what the windows hold when Prometheus asks.

    Parameters
    ----------
    read
        Every rollout's reading of this moment.
    cap
        How many services get labels of their own.
    """

    def __init__(self, read: Callable[[], Iterable[Reading]], cap: int) -> None:
        self._read = read
        self._cap = cap
        self._known: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        """Yield the families of one scrape."""
        labels = ("service", "role")
        requests = GaugeMetricFamily(
            "guard_window_requests", "Requests in the rolling window", labels=labels
        )
        errors = GaugeMetricFamily(
            "guard_window_errors", "Errors in the rolling window", labels=labels
        )
        latency = GaugeMetricFamily(
            "guard_window_latency_seconds",
            "Latency quantiles of the rolling window",
            labels=(*labels, "quantile"),
        )
        distance = GaugeMetricFamily(
            "guard_limit_ratio",
            "Reading divided by its limit; over 1 is beyond it",
            labels=("service", "metric", "severity", "action"),
        )
        summed: dict[tuple[str, str], list[int]] = {}
        for reading in _by_service(self._read()):
            service = self._label(reading.service)
            for role, side in (
                ("canary", reading.canary),
                ("baseline", reading.baseline),
            ):
                total = summed.setdefault((service, role), [0, 0])
                total[0] += side.requests
                total[1] += side.errors
                if service != OTHER:
                    for quantile, value in side.quantiles_ms.items():
                        latency.add_metric([service, role, quantile], value / 1000.0)
            if service != OTHER:
                for gauge in reading.limits:
                    distance.add_metric(
                        [service, gauge.metric, gauge.severity, gauge.action],
                        gauge.ratio,
                    )
        for key, (count, failed) in summed.items():
            requests.add_metric(key, count)
            errors.add_metric(key, failed)
        yield from (requests, errors, latency, distance)

    def _label(self, service: str) -> str:
        if service in self._known:
            return service
        if len(self._known) >= self._cap:
            return OTHER
        self._known.add(service)
        return service


def _by_service(found: Iterable[Reading]) -> Iterator[Reading]:
    """Yield one reading for each service.

    The one of the rollout with most requests, an old one being still remembered, with
    the greatest ratio of each limit: two samples with the same labels would make
    Prometheus refuse them all.
    """
    rollouts: dict[str, list[Reading]] = {}
    for reading in found:
        rollouts.setdefault(reading.service, []).append(reading)
    for several in rollouts.values():
        limits: dict[tuple[str, str, str], LimitReading] = {}
        for gauge in sorted(g for reading in several for g in reading.limits):
            limits[gauge.metric, gauge.severity, gauge.action] = gauge
        busiest = max(several, key=lambda reading: reading.canary.requests)
        yield busiest._replace(limits=tuple(limits.values()))
