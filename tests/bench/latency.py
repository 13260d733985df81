"""How long a command waits for its event while commands come on a schedule, whatever happens.

The schedule does not wait for anybody: a command is published when it is due, also where those
before it have not been answered, and its time counts from when it was due and not from when it
could be sent. So a contender that stands still for a second is charged with every command that
was due in that second, and not with one ("coordinated omission").
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

from aiormq.abc import DeliveredMessage

from tests.bench.commands import Sent, mixed
from tests.bench.drain import START_SECONDS
from tests.bench.figures import percentile, waits
from tests.bench.results import Latency
from tests.bench.stage import JobNotDone, Stage, connected
from tests.harness import eventually
from worker.broker import connection as broker

#: Seconds for which events are waited for after the last command was due.
_PATIENCE_SECONDS: Final = 2.0

#: A contender that has no more than so many seconds' worth of commands to answer, when the last
#: was due, has kept up.
_BEHIND_SECONDS: Final = 0.5


class Arrivals:
    """When the events of commands came, by the commands' ids."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    async def subscribe(self, stage: Stage) -> None:
        """Listen to all events, with a queue of its own that nobody confirms to."""
        channel = await broker.open_channel(stage.connection)
        declared = await channel.queue_declare(exclusive=True)
        queue = declared.queue or ""
        await channel.queue_bind(queue, stage.calls.names.events, "#")
        await channel.basic_consume(queue, self._on_event, no_ack=True)

    async def until(self, command: Sent, stage: Stage) -> None:
        """Wait until a command is answered.

        Raises:
            JobNotDone: That takes too long.
        """
        try:
            await eventually(lambda: command.id in self.at, "an event arrives", START_SECONDS)
        except AssertionError as error:
            raise JobNotDone(f"{stage.contender.title} answers nothing: {error}") from None

    async def _on_event(self, message: DeliveredMessage) -> None:
        self.at.setdefault(message.header.properties.correlation_id or "", time.monotonic())


class Schedule:
    """Commands at equal distances, published when they are due.

    Attributes:
        due: When each was due, by its id.
        sent: When it was sent.
    """

    def __init__(self, stage: Stage, commands: Sequence[Sent], rate: float) -> None:
        self._stage = stage
        self._commands = commands
        self._interval = 1 / rate
        self.due: dict[str, float] = {}
        self.sent: dict[str, float] = {}

    async def publish(self) -> None:
        """Publish all of them, and return when they are confirmed."""
        async with (
            connected(self._stage.calls.services) as connection,
            asyncio.TaskGroup() as tasks,
        ):
            channel = await broker.open_channel(connection, confirms=True)
            start = time.monotonic() + self._interval
            for place, command in enumerate(self._commands):
                self.due[command.id] = due = start + place * self._interval
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                self.sent[command.id] = time.monotonic()
                tasks.create_task(self._stage.publish_one(channel, command))
        self._stage.published += len(self._commands)


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
    await schedule.publish()
    behind = sum(each.id not in arrivals.at for each in commands)
    with suppress(AssertionError):
        await eventually(
            lambda: arrivals.at.keys() >= schedule.due.keys(), "all arrive", _PATIENCE_SECONDS
        )
    counted = commands[round(warm_seconds * rate) :]
    due = {each.id: schedule.due[each.id] for each in counted}
    waited = waits(due, arrivals.at, time.monotonic())
    return Latency(
        subject=stage.contender.key,
        round=round_,
        rate=rate,
        commands=len(counted),
        unanswered=len(due.keys() - arrivals.at.keys()),
        p50=percentile(waited, 0.5),
        p99=percentile(waited, 0.99),
        p999=percentile(waited, 0.999),
        producer_late=percentile(waits(due, schedule.sent, time.monotonic()), 0.99),
        kept_up=behind <= rate * _BEHIND_SECONDS,
    )
