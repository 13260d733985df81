"""What the worker costs as calls, their histories and its own processes become more."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from secrets import token_hex
from typing import Final

from deploy.local import Services, redis_server
from tests.bench.commands import CONVERSATIONS, Sent, of_live_calls
from tests.bench.contenders import WORKER
from tests.bench.drain import START_SECONDS, Window, backlog, drain
from tests.bench.latency import Arrivals
from tests.bench.preload import bytes_of, preload
from tests.bench.results import Drained
from tests.bench.stage import JobNotDone, Stage, stage

#: So few that a worker never has two commands of one call in hand, however few the calls are. What
#: is decided together costs one round trip, and so few calls would look cheaper than many.
_PREFETCH: Final = 8

#: Finished calls whose memory is looked at.
_FINISHED_CALLS: Final = 1000


@dataclass(frozen=True, slots=True)
class Loaded:
    """A place with calls in it, in a Redis of its own."""

    place: Stage
    calls: Sequence[str]


@asynccontextmanager
async def loaded(services: Services, count: int, history: int) -> AsyncIterator[Loaded]:
    """Set up a place with so many calls, each with the records of so many commands."""
    async with AsyncExitStack() as stack:
        server = await asyncio.to_thread(stack.enter_context, redis_server())
        its = replace(services, redis_url=server.url)
        place = await stack.enter_async_context(stage(its, WORKER, prefetch=_PREFETCH))
        calls = await preload(place.calls, count, history)
        try:
            yield Loaded(place, calls)
        finally:
            # Nobody else has calls there, and a million are not deleted one by one.
            await place.calls.redis.flushall()


async def drain_loaded(
    loaded: Loaded, subject: str, round_: int, commands: int, window: Window
) -> Drained:
    """Have the worker drain commands of these calls, which all go on afterwards."""
    some = of_live_calls(round_, loaded.calls)
    await loaded.place.publish(list(islice(some, commands)))
    found = await drain(loaded.place, subject, round_, window)
    await loaded.place.discard()
    return found


async def bytes_per_call(services: Services) -> float:
    """Return what a finished call of eight commands takes in Redis: the mean of many.

    Their ids are as long as those that ``worker.client`` gives.
    """
    names = [f"finished-{number}" for number in range(_FINISHED_CALLS)]
    conversation = CONVERSATIONS[0]
    async with stage(services, WORKER) as place:
        await place.publish(
            [
                Sent(token_hex(16), name, {"request_id": name, **fields})
                for fields in conversation
                for name in names
            ]
        )
        await place.start()
        answered = await place.answered(place.published, seconds=START_SECONDS)
        if len(answered) < place.published:
            raise JobNotDone(f"{place.published} commands have {len(answered)} answers")
        await place.stop()
        found = await bytes_of(place.calls, names)
    return sum(found) / len(found)


async def first_event(services: Services) -> float:
    """Return how long a worker takes from its start to its first event, in seconds.

    The topology is there, and a command waits.

    Raises:
        JobNotDone: There is none.
    """
    arrivals = Arrivals()
    (command,) = backlog(0, 1)
    async with stage(services, WORKER) as place:
        await arrivals.subscribe(place)
        await place.publish([command])
        started = time.monotonic()
        await place.start()
        await arrivals.until(command, place)
    return arrivals.at()[command.id] - started
