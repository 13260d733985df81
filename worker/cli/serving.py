"""How a process that serves is run: its logs, its signals, its drain."""

import asyncio
import os
import signal
from typing import Final, Protocol

import structlog
from prometheus_client import disable_created_metrics

from worker import logs
from worker.settings import Settings

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Serving(Protocol):
    """What runs until it is told to stop, and drains then."""

    @property
    def stopping(self) -> bool:
        """Whether it drains."""

    def stop(self) -> None:
        """Begin to drain."""

    async def run(self) -> None:
        """Work until it has drained."""


async def serve(service: Serving, settings: Settings) -> int:
    """Run a service until a signal; a second one exits at once. Return the exit code.

    Raises:
        ConfigurationError: The settings and the services do not fit together.
    """
    logs.configure(settings)
    # A series more for each series, which Prometheus reckons without.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if service.stopping:
            structlog.get_logger(__name__).warning("second signal: exiting at once")
            os._exit(128 + number)
        service.stop()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    await service.run()
    return 0
