"""The worker's pages: metrics, health, readiness.

They answer from the first moment on, before the worker has joined its group, so they
are not Faust's: its web server starts with the app, and shows its insides.
"""

from collections.abc import Callable
from errno import EADDRINUSE

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


class CannotListen(RuntimeError):  # noqa: N818 - as `NotEnoughData`
    """The pages cannot be shown; the message says where and why."""


def make_app(
    registry: CollectorRegistry,
    *,
    why_not_alive: Callable[[], str],
    why_not_ready: Callable[[], str],
) -> web.Application:
    """Return the pages.

    Parameters
    ----------
    why_not_alive
        Why the process should be started again; empty when it should live on.
    why_not_ready
        Why the worker cannot be relied on at this moment; empty when it can.
    """

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(registry), headers=headers)

    async def healthz(_: web.Request) -> web.Response:
        return _answer("alive", why_not_alive())

    async def readyz(_: web.Request) -> web.Response:
        return _answer("ready", why_not_ready())

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


def _answer(word: str, why_not: str) -> web.Response:
    if why_not:
        return web.Response(text=f"{why_not}\n", status=503)
    return web.Response(text=f"{word}\n")


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Listen; `CannotListen` where that is not possible."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        reason = "the port is taken" if error.errno == EADDRINUSE else error.strerror
        raise CannotListen(f"cannot listen on {host}, port {port}: {reason}") from error
    return runner
