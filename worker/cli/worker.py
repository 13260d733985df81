"""``callctl worker``."""

import gc

from worker.cli.running import group, run
from worker.cli.serving import serve
from worker.service import Service
from worker.settings import Settings

#: How many objects more than before there are when garbage is looked for among them, and after how
#: many such looks among those that outlived one. A batch makes thousands, all of which are freed
#: without; at Python's 700 and 10 looking at them takes twice the time, and at 20 000 it pauses
#: the worker for up to 9 ms instead of 3.
_GARBAGE_THRESHOLDS = (5_000, 20)

app = group()


@app.command()
def worker() -> None:
    """Run a worker until SIGTERM or Ctrl-C; a second signal exits at once."""
    run(_serve)


async def _serve(settings: Settings) -> int:
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    return await serve(Service(settings), settings)
