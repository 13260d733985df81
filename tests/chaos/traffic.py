"""Commands that flow, all that is seen of what becomes of them, and the checker's verdict."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Final

from tests.chaos.checker import check
from tests.chaos.history import History
from tests.chaos.load import Load
from tests.chaos.timeline import Latency, Timeline
from tests.chaos.witness import Witness, read_calls
from tests.harness import Installation
from worker.store import CallStore, close, connect

#: Commands per second of judged traffic: few enough that no backlog hides what a fault costs.
_RATE: Final = 200.0

#: Seconds of judged traffic before and after what is done meanwhile.
_PAUSE_SECONDS: Final = 1.0


class Traffic:
    """Producers and a subscriber of an installation.

    Args:
        installation: The installation; a worker of it must have started.
        random: Where all that is random comes from.
        rate: Commands per second.
    """

    def __init__(self, installation: Installation, random: Random, rate: float) -> None:
        self._installation = installation
        amqp_url, names = installation.services.amqp_url, installation.names
        self.timeline = Timeline()
        self.load = Load(amqp_url, names.commands, random=random, rate=rate, timeline=self.timeline)
        self._witness = Witness(
            amqp_url, events=names.events, journal=names.journal, timeline=self.timeline
        )

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Let commands flow; when the block is left, wait until all of them are answered."""
        async with asyncio.TaskGroup() as tasks:
            subscribing = tasks.create_task(self._witness.subscribe())
            await self._witness.subscribed()
            loading = tasks.create_task(self.load.run())
            yield
            # What is not answered by then is for the checker to report.
            with suppress(AssertionError):
                await self.load.pause()
            loading.cancel()
            subscribing.cancel()
        await self._witness.remove()

    async def history(self) -> History:
        """Return what crossed the wire, and what Redis holds now."""
        redis = connect(self._installation.settings.redis_url.get_secret_value())
        try:
            store = CallStore.of(redis, self._installation.settings)
            stored = await read_calls(store, list(self.load.published))
        finally:
            await close(redis)
        journal = await self._witness.read_journal()
        return History(self.load.published, self._witness.seen, journal, stored)


@asynccontextmanager
async def judged(installation: Installation) -> AsyncIterator[Traffic]:
    """Let commands flow from before the block until after it; judge every call by the contract.

    Raises:
        AssertionError: The checker finds a violation, or a worker has ended.
    """
    traffic = Traffic(installation, Random(7), _RATE)  # noqa: S311 - repeatable, not secret
    async with traffic.flowing():
        await asyncio.sleep(_PAUSE_SECONDS)
        yield traffic
        await asyncio.sleep(_PAUSE_SECONDS)
    print(Latency.of(traffic.timeline.timings))  # noqa: T201 - pytest -rP shows it
    verdict = check(await traffic.history())
    assert not verdict.violations, verdict.breaches()
    assert verdict.outcomes == verdict.commands > 0
    for worker in installation.workers:
        assert worker.process.returncode is None, worker.log.read_text()[-3000:]
