"""Ten episodes of telemetry for the worker: two real ones, eight drawn with a seed.

What a canary may do beside its baseline: stay well, fail from some second on, or only
for a while, become slow, fall silent, have hardly any traffic, have no baseline, share
a fault with it. Requests arrive as they do in production: up to two seconds after they
ended, some much later, spread over the partitions of a topic.
"""

import gzip
import random
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
from streaming.guard_process import Record, encoded

from guard.event import Request

SECONDS = 150.0  # of each drawn episode
FLUSH_SECONDS = 30.0  # after the last request one more event moves time on
LATENESS_SECONDS = 5.0


class Fault(NamedTuple):
    """What is wrong with a service between two seconds."""

    begin: float = SECONDS
    end: float = SECONDS
    errors: float = 0.0005
    slower: float = 1.0
    canary_per_second: float = 8.0
    both: bool = False


class Episode(NamedTuple):
    """A service on trial."""

    service: str
    fault: Fault = Fault()
    canary_per_second: float = 8.0
    baseline_per_second: float = 24.0


EPISODES = (
    Episode("healthy"),
    Episode("error-step", Fault(60, errors=0.15)),
    Episode("error-burst", Fault(40, 55, errors=0.04)),
    Episode("latency-step", Fault(50, slower=12.0)),
    Episode("silence", Fault(70, canary_per_second=0.0)),
    Episode("low-traffic", canary_per_second=0.4),
    Episode("no-baseline", Fault(80, errors=0.3), baseline_per_second=0.0),
    Episode("shared-fault", Fault(60, errors=0.1, both=True)),
)


def requests(
    episode: Episode, seconds: float, lots: random.Random
) -> Iterator[dict[str, Any]]:
    """The requests of an episode; `ts` begins at 0."""
    fault = episode.fault
    for second in range(int(seconds)):
        is_faulty = fault.begin <= second < fault.end
        for cohort, rate in (
            ("canary", episode.canary_per_second),
            ("baseline", episode.baseline_per_second),
        ):
            suffers = is_faulty and (cohort == "canary" or fault.both)
            if suffers and fault.canary_per_second == 0:
                continue
            whole = int(rate) + (lots.random() < rate % 1)
            for _ in range(whole):
                errors = fault.errors if suffers else 0.0005
                latency = lots.lognormvariate(4, 0.4) * (fault.slower if suffers else 1)
                yield {
                    "service": episode.service,
                    "ts": second + lots.random(),
                    "latency_ms": round(latency, 3),
                    "status": 503 if lots.random() < errors else 200,
                    "cohort": cohort,
                    "version": "v2" if cohort == "canary" else "v1",
                    "instance": f"{cohort}-{lots.randrange(3)}",
                }


def recorded() -> list[dict[str, Any]]:
    """The two real episodes that the package carries; `ts` begins at 0."""
    packed = files("guard.shell").joinpath("demo_data/episodes.ndjson.gz").read_bytes()
    found = [msgspec.json.decode(line) for line in gzip.decompress(packed).splitlines()]
    first = found[0]["ts"]
    return [{**event, "ts": event["ts"] - first} for event in found]


class Telemetry(NamedTuple):
    """Records for the input topic, in the order of their Kafka time."""

    records: list[Record]
    end: float  # every second before it is judged once all is read


def telemetry(
    begin: float,
    *,
    partitions: int = 4,
    seed: int = 11,
    episodes: tuple[Episode, ...] = EPISODES,
    with_recorded: bool = True,
    seconds: float = SECONDS,
) -> Telemetry:
    """All episodes at once, the first request at `begin`.

    A record's Kafka time is the request's arrival; one in 500 comes too late, one in a
    hundred carries another one with it, one in a thousand is rubbish.
    """
    lots = random.Random(seed)
    events = recorded() if with_recorded else []
    for episode in episodes:
        events += requests(episode, seconds, lots)
    arrivals = sorted(
        (event["ts"] + _delay(lots), number) for number, event in enumerate(events)
    )
    records = []
    for arrival, number in arrivals:
        event = events[number]
        moved = {**event, "ts": round(begin + event["ts"], 6)}
        value = encoded(moved)
        lot = lots.random()
        if lot < 0.001:
            value = value[:-1]
        elif lot < 0.01:
            value = b"[" + value + b"," + value + b"]"
        records.append(Record(lots.randrange(partitions), begin + arrival, value))
    last = records[-1].stamp + FLUSH_SECONDS
    records += [Record(place, last, flush(last)) for place in range(partitions)]
    return Telemetry(records, last - LATENESS_SECONDS)


def _delay(lots: random.Random) -> float:
    return lots.uniform(4, 12) if lots.random() < 0.002 else lots.uniform(0, 2)


def flush(at: float) -> bytes:
    """An event that does nothing but move the watermark on."""
    event = Request(service="flush", ts=at, latency_ms=1.0, status=200, cohort="none")
    return msgspec.json.encode(msgspec.structs.asdict(event))
