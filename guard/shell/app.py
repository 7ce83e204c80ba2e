"""The composition root: the only place where the parts of a worker meet."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)

from guard.policy import Policy
from guard.shell import metrics, web
from guard.shell.settings import Settings
from guard.shell.stream import Worker
from guard.shell.tune import tune

STOPPED, FATAL = 0, 70  # exit statuses; the supervisor starts a worker again after 70

log = logging.getLogger(__name__)


def make_registry() -> CollectorRegistry:
    """Return a fresh registry, with what Prometheus wants to know of any process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def end_process(reason: str) -> NoReturn:
    """End at once, without another word to Kafka."""
    log.critical("the worker ends: %s", reason)
    logging.shutdown()
    os._exit(FATAL)


async def run(
    settings: Settings,
    policy: Policy,
    *,
    stop: asyncio.Event,
    clock: Callable[[], float] = time.time,
    fail: Callable[[str], NoReturn] = end_process,
    started: Callable[[Worker], None] = lambda _: None,
) -> int:
    """Run a worker until `stop` is set; the exit status."""
    tune()
    registry = make_registry()
    worker = Worker(settings, policy, metrics.make(registry), clock=clock, fail=fail)
    registry.register(metrics.Readings(worker.readings, settings.services_cap))
    pages = web.make_app(
        registry,
        why_not_alive=lambda: worker.watch.reason,
        why_not_ready=lambda: "stopping" if stop.is_set() else worker.why_not_ready,
    )
    async with contextlib.AsyncExitStack() as stack:
        if settings.http_port:
            runner = await web.serve(pages, settings.http_host, settings.http_port)
            stack.push_async_callback(runner.cleanup)
        await worker.start()
        started(worker)
        if reason := await _crash(worker, stop):
            fail(reason)
        log.info("stopping")
        await worker.stop()
    return STOPPED


async def _crash(worker: Worker, stop: asyncio.Event) -> str:
    """Wait until told to stop, or until Faust does so; why it did."""
    stopped = asyncio.create_task(worker.wait_until_stopped())
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({told, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for task in (told, stopped):
        task.cancel()
    return "" if told.done() else stopped.result()


def run_until_signalled(settings: Settings, policy: Policy) -> int:
    """Run a worker until SIGTERM or SIGINT; the exit status."""

    async def main() -> int:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await run(settings, policy, stop=stop)

    return asyncio.run(main())
