"""How a worker stands, and ``/live``, ``/ready`` and ``/metrics`` over HTTP."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from worker.errors import ConfigurationError, StoreRegressed


@dataclass
class Standing:
    """How a worker stands with the services it needs.

    Attributes:
        joined: Whether it is among the workers.
        beaten_at: When its heartbeat was last taken, by ``time.monotonic``.
        blocked: Whether RabbitMQ blocks what it publishes.
        stalled: The partitions that stand still.
        regressed: Why Redis cannot be worked with; None while it can.
    """

    joined: bool = False
    beaten_at: float = field(default=float("-inf"))
    blocked: bool = False
    stalled: frozenset[int] = frozenset()
    regressed: StoreRegressed | None = None

    def problems(self, lapse_seconds: float) -> list[str]:
        """Say what keeps the worker from taking commands; nothing when it is ready.

        Args:
            lapse_seconds: The age at which a heartbeat counts no more.
        """
        found = []
        if self.regressed is not None:
            found.append(str(self.regressed))
        elif not self.joined:
            found.append("not joined: waiting for RabbitMQ and Redis")
        elif time.monotonic() - self.beaten_at > lapse_seconds:
            found.append("heartbeat lapsed: Redis does not answer")
        if self.blocked:
            found.append("RabbitMQ blocks publishing: it is short of memory or disk")
        if self.stalled:
            found.append(f"partitions stalled: {sorted(self.stalled)}")
        return found


class Counted(Protocol):
    """What a process counts."""

    def page(self) -> bytes:
        """Return it in Prometheus' text format."""


@asynccontextmanager
async def serve(
    host: str, port: int, problems: Callable[[], list[str]], metrics: Counted
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
                f"CALL_CONTROL_HTTP_PORT: cannot listen on {host}:{port}: {error.strerror};"
                " 0 takes any free port"
            ) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
