"""``callctl worker``."""

import asyncio
import gc
import os
import signal

import structlog
from prometheus_client import disable_created_metrics

from worker import logs
from worker.cli.running import group, run
from worker.service import Service
from worker.settings import Settings

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

#: How many objects more than before there are when garbage is looked for among them, and after how
#: many such looks among those that outlived one. A batch makes thousands, all of which are freed
#: without; at Python's 700 and 10 looking at them takes twice the time, and at 20 000 it pauses
#: the worker for up to 9 ms instead of 3.
_GARBAGE_THRESHOLDS = (5_000, 20)

app = group()


@app.command()
def worker() -> None:
    """Run a worker until SIGTERM or Ctrl-C; a second signal exits at once."""
    run(serve)


async def serve(settings: Settings) -> int:
    """Run a worker until a signal; return the exit code.

    Raises:
        ConfigurationError: The settings and the services do not fit together.
    """
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    logs.configure(settings)
    # A series more for each series, which Prometheus reckons without.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    service = Service(settings)
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
