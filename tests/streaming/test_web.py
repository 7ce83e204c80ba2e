"""The worker's pages, asked over a socket."""

import asyncio
import contextlib

import aiohttp
import pytest
from kafka_broker import free_ports
from prometheus_client import CollectorRegistry, Counter

from guard.shell import web


class State:
    """What the pages ask for."""

    why_not_alive = ""
    why_not_ready = "waiting for partitions"


@contextlib.asynccontextmanager
async def pages(state):
    """Serve the pages; yields a function that asks for one."""
    registry = CollectorRegistry()
    Counter("guard_test", "A test", registry=registry).inc(3)
    app = web.make_app(
        registry,
        why_not_alive=lambda: state.why_not_alive,
        why_not_ready=lambda: state.why_not_ready,
    )
    port = free_ports(1)[0]
    runner = await web.serve(app, "127.0.0.1", port)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def ask(path):
                async with session.get(path) as answer:
                    return answer.status, answer.content_type, await answer.text()

            yield ask
    finally:
        await runner.cleanup()


def test_health_and_readiness_are_asked_each_time():
    """200 when it is so, 503 and why when not; they are two questions."""
    state = State()

    async def main():
        async with pages(state) as ask:
            before = [await ask("/healthz"), await ask("/readyz")]
            state.why_not_alive, state.why_not_ready = "it hangs", ""
            return before, [await ask("/healthz"), await ask("/readyz")]

    before, after = asyncio.run(main())
    assert before == [
        (200, "text/plain", "alive\n"),
        (503, "text/plain", "waiting for partitions\n"),
    ]
    assert after == [
        (503, "text/plain", "it hangs\n"),
        (200, "text/plain", "ready\n"),
    ]


def test_metrics_are_the_registrys():
    """In the text format that Prometheus asks for."""

    async def main():
        async with pages(State()) as ask:
            return await ask("/metrics"), (await ask("/nothing"))[0]

    (status, kind, text), missing = asyncio.run(main())
    assert (status, kind, missing) == (200, "text/plain", 404)
    assert "guard_test_total 3.0" in text


@pytest.mark.parametrize(
    ("host", "words"), [("127.0.0.1", "the port is taken"), ("192.0.2.1", "")]
)
def test_an_address_that_cannot_be_had_is_a_sentence(host, words):
    """It names host, port and reason."""

    async def main():
        app = web.make_app(CollectorRegistry(), why_not_alive=str, why_not_ready=str)
        port = free_ports(1)[0]
        runner = await web.serve(app, "127.0.0.1", port)
        try:
            with pytest.raises(
                web.CannotListen, match=f"cannot listen on {host}, port {port}: {words}"
            ):
                await web.serve(app, host, port)
        finally:
            await runner.cleanup()

    asyncio.run(main())
