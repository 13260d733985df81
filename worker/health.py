"""``/live``, ``/ready`` and ``/metrics`` over HTTP."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from worker.errors import ConfigurationError
from worker.metrics import Metrics


@asynccontextmanager
async def serve(
    host: str, port: int, problems: Callable[[], list[str]], metrics: Metrics
) -> AsyncIterator[int]:
    """Serve ``/live`` (the process answers), ``/ready`` (it takes commands) and ``/metrics``.

    Args:
        host: The address to listen on.
        port: The port; 0 takes any free one.
        problems: What keeps the worker from taking commands; empty when nothing does.
        metrics: What it counts.

    Yields:
        The port.

    Raises:
        ConfigurationError: The port is taken.
    """

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def ready(_: web.Request) -> web.Response:
        found = problems()
        body: dict[str, Any] = {"ready": not found, "problems": found}
        return web.json_response(body, status=503 if found else 200)

    async def counted(_: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes(
        [web.get("/live", live), web.get("/ready", ready), web.get("/metrics", counted)]
    )
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigurationError(
                f"CALL_CONTROL_HTTP_PORT: cannot listen on {host}:{port}: {error.strerror}"
            ) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
