"""A worker of which one part hangs, as software does: no error, no end.

python tests/faults/hangs.py PART run ...     what follows is given to `guard`
"""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver

from guard.shell import cli
from guard.shell.batches import Consumer
from guard.shell.folding import FoldRun
from guard.shell.judging import JudgeRun
from guard.shell.stream import Worker

FETCHES = 25  # more than are buffered before partitions are open


async def _for_ever(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


async def _never_acknowledged(*_: Any) -> Any:
    return asyncio.get_running_loop().create_future()


def _deaf(make: Callable[..., None]) -> Callable[..., None]:
    def made(run: FoldRun, *args: Any) -> None:
        make(run, *args)
        run._send = _never_acknowledged

    return made


def _after_the_first(snapshot: Callable[..., Any]) -> Callable[..., Any]:
    async def write(run: JudgeRun, **options: Any) -> None:
        await (snapshot(run, **options) if options else _for_ever())

    return write


def _in_mid_stream(fetch: Callable[..., Any]) -> Callable[..., Any]:
    """Block the consumer's whole thread, heartbeat and all."""
    fetches = 0

    async def fetched(*args: Any, **options: Any) -> Any:
        nonlocal fetches
        if fetches > FETCHES:
            time.sleep(3600)  # noqa: ASYNC251 - that is what hangs
        records = await fetch(*args, **options)
        fetches += bool(records)
        return records

    return fetched


# The part's class and method, and what makes of the method one that hangs.
PARTS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "start": (faust.App, "start", lambda _: _for_ever),
    "opening": (Worker, "_read_snapshot", lambda _: _for_ever),
    "thread": (driver.AIOKafkaConsumerThread, "_fetch_records", _in_mid_stream),
    "fold": (FoldRun, "add", lambda _: _for_ever),
    "judge": (JudgeRun, "add", lambda _: _for_ever),
    "sending": (FoldRun, "__init__", _deaf),
    "snapshot": (JudgeRun, "snapshot", _after_the_first),
    "commit": (Consumer, "_commit", lambda _: _for_ever),
}

if __name__ == "__main__":
    owner, name, hanging = PARTS[sys.argv.pop(1)]
    setattr(owner, name, hanging(getattr(owner, name)))
    cli.main()
