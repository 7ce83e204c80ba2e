"""The demo: a broker, a worker and a sender in one process, on real telemetry.

The broker is the mock cluster inside librdkafka: no Java, no container. Event time runs
at a multiple of real time, so the worker is given a clock that does so too. Nothing
else is different from a worker in production: the events go through Kafka topics, the
decisions are read back from theirs.
"""

import asyncio
import contextlib
import dataclasses
import gzip
import sys
import time
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any, NamedTuple, NoReturn

import aiokafka
import msgspec
from rich.console import Console
from rich.live import Live

from guard.decision import Decision
from guard.shell import app, policy_file
from guard.shell.async_clients import aiokafka_options
from guard.shell.commands.demo_view import (
    Summary,
    Table,
    decided,
    print_decision,
    print_summary,
)
from guard.shell.settings import Settings
from guard.shell.stream import Worker

FAULTY, HEALTHY = "productcatalogservice", "recommendationservice"
FAULT_BEGINS_SECONDS = 90.0  # after the recording does
PARTITIONS = 4  # the mock broker gives every topic that is asked for by name so many
LATENESS_SECONDS = 5.0
SETTLE_SECONDS = 20.0  # real seconds for the last decisions
REFRESH_SECONDS = 0.25
INTRODUCTION = (
    "Real telemetry of two services of an online shop, {speed:g} times as fast as it "
    "happened. From second {begins:g} on, the canary of {faulty} answers with errors; "
    "that of {healthy} is well."
)


class DemoUnavailable(RuntimeError):  # noqa: N818 - as `NotEnoughData`
    """The demo cannot run here; the message says what is missing."""


@dataclasses.dataclass(frozen=True)
class Clock:
    """Event time: begins at `origin`, runs `speed` times as fast as the real one."""

    origin: float
    speed: float

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.origin + (time.time() - self.origin) * self.speed


class Event(NamedTuple):
    """A recorded request, as seconds after the recording's begin."""

    second: float
    fields: dict[str, Any]


def recording() -> list[Event]:
    """Return the events that the package carries."""
    packed = files("guard.shell").joinpath("demo_data/episodes.ndjson.gz").read_bytes()
    events = [
        msgspec.json.decode(line) for line in gzip.decompress(packed).splitlines()
    ]
    first = events[0]["ts"]
    return [Event(event["ts"] - first, event) for event in events]


class Broker:
    """The mock cluster, and the producer that keeps it alive."""

    def __init__(self, topics: list[str]) -> None:
        try:
            from confluent_kafka import Producer  # noqa: PLC0415 - an extra
        except ImportError:
            raise DemoUnavailable(
                "the demo needs confluent-kafka: pip install 'rollback-guard[demo]'"
            ) from None
        self.producer: Any = Producer(
            {"test.mock.num.brokers": 1, "linger.ms": 5, "log_level": 2}
        )
        for topic in topics:
            while not self._has(topic):
                time.sleep(0.05)
        brokers = self.producer.list_topics(timeout=5).brokers
        server = next(iter(brokers.values()))
        self.address = f"{server.host}:{server.port}"

    def _has(self, topic: str) -> bool:
        found = self.producer.list_topics(topic, timeout=5).topics[topic]
        return len(found.partitions) == PARTITIONS

    async def play(
        self, events: list[Event], topic: str, clock: Clock, begin: float
    ) -> None:
        """Send every event when its time has come; its record has the same time."""
        for number, (second, fields) in enumerate(events):
            at = begin + second
            while (ahead := at - clock()) > 0:
                self.producer.poll(0)
                await asyncio.sleep(min(0.02, ahead / clock.speed))
            self.producer.produce(
                topic,
                msgspec.json.encode({**fields, "ts": round(at, 6)}),
                partition=number % PARTITIONS,
                timestamp=int(at * 1000),
            )
        self.producer.flush(5)


def run_demo(*, speed: float) -> int:
    """Play the episodes; the exit status says whether the guard was right."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    events = recording()
    settings = Settings(
        http_port=0, lateness_seconds=LATENESS_SECONDS, skew_seconds=2.0, dry_run=False
    )
    with console.status("starting a broker") if console.is_terminal else _nothing():
        broker = Broker(list(settings.topics.values()))
    settings = msgspec.structs.replace(settings, brokers=(broker.address,))
    words = INTRODUCTION.format(
        speed=speed, begins=FAULT_BEGINS_SECONDS, faulty=FAULTY, healthy=HEALTHY
    )
    console.print(words, soft_wrap=not console.is_terminal)
    summary = asyncio.run(Demo(broker, settings, events, speed, console).run())
    print_summary(console, summary)
    return 0 if summary.is_right else 1


def _nothing() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


class Demo:
    """One showing."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        events: list[Event],
        speed: float,
        console: Console,
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._events = events
        self._speed = speed
        self._console = console
        self._policy = policy_file.load()
        self._table = Table(self._policy)
        self._decisions: list[Decision] = []
        self._clock = Clock(time.time(), speed)
        self._begin = self._clock()  # event time at which the recording begins
        self._worker: Worker | None = None

    async def run(self) -> Summary:
        """Play to the end."""
        stop, ready = asyncio.Event(), asyncio.Event()

        def started(worker: Worker) -> None:
            self._worker = worker
            ready.set()

        guard = asyncio.create_task(
            app.run(
                self._settings,
                self._policy,
                stop=stop,
                clock=self._clock,
                fail=_fail,
                started=started,
            )
        )
        await _either(guard, ready.wait())
        await self._until(lambda: self._worker is not None and self._worker.is_ready)
        self._begin = self._clock() + LATENESS_SECONDS
        began = time.monotonic()
        with self._shown():
            reader = asyncio.create_task(self._follow())
            topic = self._settings.input_topic
            playing = self._broker.play(self._events, topic, self._clock, self._begin)
            await _either(guard, playing)
            sent = time.monotonic() - began
            await self._until(self._is_settled)
            reader.cancel()
        stop.set()
        await guard
        return self._summary(sent)

    def _is_settled(self) -> bool:
        """Whether every second of the recording is judged."""
        end = self._begin + self._events[-1].second
        runs = self._worker.judges if self._worker else []
        return bool(runs) and all(run.engine.chain.passed() > end for run in runs)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while not is_so() and time.monotonic() < deadline:  # noqa: ASYNC110 - of time
            await asyncio.sleep(0.1)
        await asyncio.sleep(2 * REFRESH_SECONDS)

    @contextlib.contextmanager
    def _shown(self) -> Any:
        """Show the live table, on a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=1 / REFRESH_SECONDS,
        ):
            yield

    def _render(self) -> Any:
        readings = self._worker.readings() if self._worker else []
        second = max(0.0, self._clock() - self._begin)
        return self._table.render(readings, min(second, self._events[-1].second))

    async def _follow(self) -> None:
        """Print every decision as it comes on the topic.

        Event time runs on when the recording is over: what is said of its end by then
        (no more telemetry) is no part of it.
        """
        seen: set[str] = set()
        end = self._begin + self._events[-1].second
        async for value in follow(self._settings, self._settings.decisions_topic):
            decision = msgspec.json.decode(value, type=Decision)
            if decision.id not in seen and decided(decision) <= end:
                seen.add(decision.id)
                self._decisions.append(decision)
                print_decision(self._console, decision, self._begin)

    def _summary(self, seconds: float) -> Summary:
        return Summary(
            decisions=self._decisions,
            faulty=FAULTY,
            began=self._begin + FAULT_BEGINS_SECONDS,
            events=len(self._events),
            seconds=seconds,
            event_seconds=self._events[-1].second,
        )


async def follow(settings: Settings, topic: str) -> AsyncIterator[bytes]:
    """Yield the values of a topic from its beginning on, without an end."""
    consumer = aiokafka.AIOKafkaConsumer(
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        **aiokafka_options(settings),
    )
    await consumer.start()
    try:
        places = [aiokafka.TopicPartition(topic, n) for n in range(PARTITIONS)]
        consumer.assign(places)
        async for record in consumer:
            yield record.value
    finally:
        await consumer.stop()


async def _either(guard: "asyncio.Task[int]", other: Any) -> None:
    """Wait for something, unless the worker ends before."""
    task = asyncio.ensure_future(other)
    await asyncio.wait({guard, task}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        guard.result()
        raise DemoUnavailable("the worker ended before the demo did")
    task.result()


def _fail(reason: str) -> NoReturn:
    raise DemoUnavailable(f"the worker ended: {reason}")
