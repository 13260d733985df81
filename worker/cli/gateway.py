"""``callctl gateway``."""

import asyncio
import os
import signal

import structlog
from prometheus_client import disable_created_metrics

from worker import logs
from worker.cli.running import group, run
from worker.gateways.asterisk.service import Service
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.settings import Settings

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

app = group()


@app.callback()
def gateways() -> None:
    """Connect the workers with a telephone network."""


@app.command()
def asterisk() -> None:
    """Run a gateway to an Asterisk until SIGTERM or Ctrl-C; a second signal exits at once."""
    run(serve)


async def serve(settings: Settings) -> int:
    """Run a gateway until a signal; return the exit code.

    Raises:
        ConfigurationError: The settings and the services do not fit together.
    """
    own = AsteriskSettings.from_environment(os.environ)
    logs.configure(settings)
    # A series more for each series, which Prometheus reckons without.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    service = Service(settings, own)
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
