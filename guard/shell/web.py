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
    is_alive: Callable[[], bool],
    is_ready: Callable[[], bool],
) -> web.Application:
    """Return the pages.

    Parameters
    ----------
    is_alive
        Whether the process should live on.
    is_ready
        Whether partitions are assigned and their state is recovered.
    """

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(registry), headers=headers)

    async def healthz(_: web.Request) -> web.Response:
        return _answer("alive", is_so=is_alive())

    async def readyz(_: web.Request) -> web.Response:
        return _answer("ready", is_so=is_ready())

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


def _answer(word: str, *, is_so: bool) -> web.Response:
    if is_so:
        return web.json_response({"status": word})
    return web.json_response({"status": f"not {word}"}, status=503)


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
