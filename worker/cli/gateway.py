"""``callctl gateway``."""

import os

from worker.cli.running import group, run
from worker.cli.serving import serve
from worker.gateways.asterisk.service import Service
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.settings import Settings

app = group()


@app.callback()
def gateways() -> None:
    """Connect the workers with a telephone network."""


@app.command()
def asterisk() -> None:
    """Run a gateway to an Asterisk until SIGTERM or Ctrl-C; a second signal exits at once."""
    run(_serve)


async def _serve(settings: Settings) -> int:
    return await serve(Service(settings, AsteriskSettings.from_environment(os.environ)), settings)
