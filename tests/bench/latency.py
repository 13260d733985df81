"""How long a command waits for its event while commands come on a schedule, whatever happens.

The schedule does not wait for anybody: a command is published when it is due, also where those
before it have not been answered, and its time counts from when it was due and not from when it
could be sent. So a contender that stands still for a second is charged with every command that
was due in that second, and not with one ("coordinated omission").
"""

import asyncio
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final

from pamqp.commands import Basic

from tests.bench.commands import Sent, mixed
from tests.bench.drain import START_SECONDS
from tests.bench.figures import percentile, waits
from tests.bench.results import Latency
from tests.bench.stage import JobNotDone, Stage, connected, taken
from tests.harness import eventually
from worker.broker import connection as broker
from worker.broker.contents import DELIVER, Contents
from worker.broker.decoding import decode_properties
from worker.broker.publisher import open_publisher

#: Seconds for which events are waited for after the last command was due.
_PATIENCE_SECONDS: Final = 2.0

#: A contender that has no more than so many seconds' worth of commands to answer, when the last
#: was due, has kept up.
_BEHIND_SECONDS: Final = 0.5


class Arrivals:
    """When the events of commands came, by the commands' ids.

    They are read when somebody asks, and not when they come: reading an event takes as long as all
    that its contender does, on the same cores, and would be charged to it.
    """

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._unread: list[tuple[float, bytes]] = []

    async def subscribe(self, stage: Stage) -> None:
        """Listen to all events, with a queue of its own that nobody confirms to."""
        channel = await broker.open_channel(stage.connection)
        queue = (await channel.queue_declare(exclusive=True)).queue or ""
        await channel.queue_bind(queue, stage.calls.names.events, "#")
        events = Contents(DELIVER, 0, self._on_event)
        stage.connection.frames.hand(channel, events.take)
        await channel.rpc(Basic.Consume(queue=queue, no_ack=True))

    @property
    def count(self) -> int:
        """How many events have come."""
        return len(self._at) + len(self._unread)

    def at(self) -> Mapping[str, float]:
        """Return when the event of each command came first, in seconds of the monotonic clock."""
        for at, encoded in self._unread:
            properties, _ = decode_properties(encoded)
            self._at.setdefault(properties.correlation_id or "", at)
        self._unread.clear()
        return self._at

    async def until(self, command: Sent, stage: Stage) -> None:
        """Wait until a command is answered.

        Raises:
            JobNotDone: That takes too long.
        """
        try:
            await eventually(lambda: command.id in self.at(), "an event arrives", START_SECONDS)
        except AssertionError as error:
            raise JobNotDone(f"{stage.contender.title} answers nothing: {error}") from None

    def _on_event(self, arguments: bytes, encoded: bytes, body: bytes) -> None:
        del arguments, body
        self._unread.append((time.monotonic(), encoded))


class Schedule:
    """Commands at equal distances, published when they are due.

    Attributes:
        due: When each was due, by its id.
        sent: When it was sent.
    """

    def __init__(self, stage: Stage, commands: Sequence[Sent], rate: float) -> None:
        self._stage = stage
        self._commands = [(each.id, [stage.outgoing(each)]) for each in commands]
        self._interval = 1 / rate
        self.due: dict[str, float] = {}
        self.sent: dict[str, float] = {}

    async def publish(self) -> None:
        """Publish all of them, and return when they are confirmed.

        Raises:
            JobNotDone: RabbitMQ refuses one.
        """
        batches = []
        async with connected(self._stage.calls.services) as connection:
            publisher = await open_publisher(connection)
            start = time.monotonic() + self._interval
            for place, (id_, message) in enumerate(self._commands):
                self.due[id_] = due = start + place * self._interval
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                self.sent[id_] = time.monotonic()
                batches.append(publisher.publish(message, mandatory=True))
            for batch in batches:
                await taken(batch)
        self._stage.published += len(self._commands)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Let Python look for no garbage here: whoever waits meanwhile would be charged with it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def latency(
    stage: Stage, round_: int, rate: int, seconds: float, *, seed: int, warm_seconds: float = 2.0
) -> Latency:
    """Start a contender, give it commands at a rate, and stop it.

    Args:
        stage: The contender's place.
        round_: The round.
        rate: Commands per second.
        seconds: For how long.
        seed: Of the commands.
        warm_seconds: How long the schedule runs before what counts.

    Raises:
        JobNotDone: It answers nothing.
    """
    arrivals = Arrivals()
    await arrivals.subscribe(stage)
    first, *commands = islice(mixed(seed), 1 + round((warm_seconds + seconds) * rate))
    await stage.publish([first])
    await stage.start()
    await arrivals.until(first, stage)
    await eventually(stage.has_joined, "all processes join", START_SECONDS)
    schedule = Schedule(stage, commands, rate)
    expected = arrivals.count + len(commands)
    with without_garbage_collection():
        await schedule.publish()
        behind = expected - arrivals.count
        with suppress(AssertionError):
            await eventually(
                lambda: arrivals.count >= expected, "all events come", _PATIENCE_SECONDS
            )
    came = arrivals.at()
    counted = commands[round(warm_seconds * rate) :]
    due = {each.id: schedule.due[each.id] for each in counted}
    waited = waits(due, came, time.monotonic())
    return Latency(
        subject=stage.contender.key,
        round=round_,
        rate=rate,
        commands=len(counted),
        unanswered=len(due.keys() - came.keys()),
        p50=percentile(waited, 0.5),
        p99=percentile(waited, 0.99),
        p999=percentile(waited, 0.999),
        producer_late=percentile(waits(due, schedule.sent, time.monotonic()), 0.99),
        kept_up=behind <= rate * _BEHIND_SECONDS,
    )
