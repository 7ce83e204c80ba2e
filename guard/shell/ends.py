"""How far partitions reach, asked over a connection of its own.

The worker's own consumer cannot be asked: whether it hangs is what is to be found out.
"""

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError
from faust.types import TP

from guard.shell.async_clients import aiokafka_options
from guard.shell.settings import Settings

ANSWER_SECONDS = 5.0


class Ends:
    """Asks Kafka for ends; whoever is done with it closes it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Any = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def ask(self, places: Collection[TP]) -> dict[TP, int] | None:
        """Return the offsets behind the last records; None when Kafka does not answer.

        Takes no longer than `ANSWER_SECONDS`. Not `wait_for`, which waits on when what
        it has cancelled does not end.
        """
        asking: asyncio.Task[dict[TP, int] | None] = self._spawn(self._ask(places))
        done, _ = await asyncio.wait({asking}, timeout=ANSWER_SECONDS)
        if done and asking.result() is not None:
            return asking.result()
        asking.cancel()
        client, self._client = self._client, None
        if client is not None:
            self._spawn(_stop(client))
        return None

    async def _ask(self, places: Collection[TP]) -> dict[TP, int] | None:
        try:
            if self._client is None:
                self._client = aiokafka.AIOKafkaConsumer(
                    enable_auto_commit=False,
                    request_timeout_ms=round(ANSWER_SECONDS * 1000),
                    **aiokafka_options(self._settings),
                )
                await self._client.start()
            ends: dict[TP, int] = await self._client.end_offsets(list(places))
        except (KafkaError, OSError):
            return None
        return {place: ends[place] for place in places}

    def _spawn(self, work: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Let the connection go."""
        if self._client is not None:
            await _stop(self._client)
            self._client = None


async def _stop(client: Any) -> None:
    with contextlib.suppress(KafkaError, OSError):
        await client.stop()
