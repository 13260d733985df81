"""An installation at a glance: its workers, what waits in its queues, its calls by state."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from pydantic import BaseModel, ConfigDict, Field, computed_field

from worker import status
from worker.broker.connection import Channel, broker_errors, close, connect, open_channel
from worker.errors import BrokerUnavailable, ConfigurationError, StoreUnavailable
from worker.names import Names
from worker.settings import Settings
from worker.status import Status
from worker.store import RedisClient
from worker.store.errors import translated_errors

#: Seconds that asking all queues may take; what has not answered by then is left out.
_QUEUES_SECONDS: Final = 5.0

#: Calls that are looked at before they are counted anew, at most, and how many at once.
_MOST_CALLS: Final = 100_000
_PAGE: Final = 500

#: Seconds between two pages, and between two countings: Redis has commands to serve.
_PAGE_PAUSE_SECONDS: Final = 0.05
_COUNTING_PAUSE_SECONDS: Final = 10.0


class WorkerRow(BaseModel):
    """A worker, and what it does in a second.

    Attributes:
        status: How it is.
        commands_per_second: Since it was last looked at; None the first time.
        events_per_second: The same.
    """

    model_config = ConfigDict(frozen=True)

    status: Status
    commands_per_second: float | None = None
    events_per_second: float | None = None


class Queues(BaseModel):
    """What waits in queues and has not been delivered.

    Attributes:
        waiting: By partition, where anything does.
        unconsumed: The partitions that nobody consumes from.
        dead_letters: How many dead letters there are.
        asked: How many partitions have answered in time.
    """

    waiting: dict[int, int] = Field(default_factory=dict)
    unconsumed: list[int] = Field(default_factory=list)
    dead_letters: int = 0
    asked: int = 0

    @computed_field  # type: ignore[prop-decorator]  # as pydantic says
    @property
    def backlog(self) -> int:
        """How many commands wait."""
        return sum(self.waiting.values())


class Calls(BaseModel):
    """The calls in Redis.

    Attributes:
        states: How many there are in each state.
        counted: How many have been looked at.
        complete: Whether these are all.
        why: Why they cannot be counted; None where they can.
    """

    model_config = ConfigDict(frozen=True)

    states: dict[str, int] = Field(default_factory=dict)
    counted: int = 0
    complete: bool = False
    why: str | None = None


class Overview(BaseModel):
    """An installation at one moment.

    Attributes:
        at: When it was.
        partitions: How many there are.
        workers: The workers that live, by name.
        queues: What waits; None while RabbitMQ does not say.
        calls: The calls, as far as they have been counted.
        problems: What could not be asked.
    """

    at: datetime
    partitions: int
    workers: list[WorkerRow]
    queues: Queues | None
    calls: Calls
    problems: list[str]

    @computed_field  # type: ignore[prop-decorator]  # as pydantic says
    @property
    def commands_per_second(self) -> float:
        """Over all workers."""
        return sum(row.commands_per_second or 0.0 for row in self.workers)

    @computed_field  # type: ignore[prop-decorator]  # as pydantic says
    @property
    def events_per_second(self) -> float:
        """Over all workers."""
        return sum(row.events_per_second or 0.0 for row in self.workers)


@dataclass
class Survey:
    """Looks at an installation again and again; a service that is away costs its part of it.

    Args:
        settings: The installation.
        redis: A client; it belongs to the caller.
    """

    settings: Settings
    redis: RedisClient

    def __post_init__(self) -> None:
        self._names = Names(self.settings.namespace)
        self._connection: AbstractConnection | None = None
        self._rows: dict[str, WorkerRow] = {}
        self._calls = Calls()

    async def look(self) -> Overview:
        """Return what there is now.

        Raises:
            ConfigurationError: There is no such installation at RabbitMQ.
        """
        problems = []
        rows: list[WorkerRow] = []
        partitions, queues = self.settings.partitions, None
        try:
            partitions = await self._partitions()
            rows = [self._row(each) for each in await status.ask(self.redis, self._names)]
            self._rows = {row.status.worker: row for row in rows}
        except StoreUnavailable as error:
            problems.append(str(error))
        try:
            queues = await self._queues(partitions)
        except BrokerUnavailable as error:
            await self.close()
            problems.append(str(error))
        return Overview(
            at=datetime.now(tz=UTC),
            partitions=partitions,
            workers=rows,
            queues=queues,
            calls=self._calls,
            problems=problems,
        )

    async def close(self) -> None:
        """Close the connection to RabbitMQ."""
        if self._connection is not None:
            await close(self._connection)
            self._connection = None

    async def _partitions(self) -> int:
        client: Any = self.redis
        with translated_errors():
            return int(await client.get(self._names.partition_count) or self.settings.partitions)

    def _row(self, now: Status) -> WorkerRow:
        row = self._rows.get(now.worker)
        if row is None:
            return WorkerRow(status=now)
        before = row.status
        seconds = now.uptime_seconds - before.uptime_seconds
        if seconds <= 0:
            # It has not said anything new.
            return row
        return WorkerRow(
            status=now,
            commands_per_second=(now.commands - before.commands) / seconds,
            events_per_second=(now.events - before.events) / seconds,
        )

    async def _queues(self, partitions: int) -> Queues:
        if self._connection is None:
            url = self.settings.amqp_url.get_secret_value()
            self._connection = await connect(url, "callctl top")
        # A channel of its own number: aiormq counts up and never back.
        channel = await open_channel(self._connection, number=1)
        found = Queues()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUEUES_SECONDS):
                found.dead_letters, _ = await _queue(channel, self._names.dead_letters)
                for partition in range(partitions):
                    waiting, consumers = await _queue(channel, self._names.partition(partition))
                    found.asked += 1
                    if waiting:
                        found.waiting[partition] = waiting
                    if not consumers:
                        found.unconsumed.append(partition)
        async with broker_errors("closing a channel"):
            await channel.close()
        return found

    async def count_calls(self) -> None:
        """Count the calls by state, again and again, until cancelled; slowly, and not for ever."""
        while True:
            try:
                await self._count_calls()
            except StoreUnavailable as error:
                self._calls = Calls(why=str(error))
            await asyncio.sleep(_COUNTING_PAUSE_SECONDS)

    async def _count_calls(self) -> None:
        states: Counter[str] = Counter()
        seen = 0
        page: list[bytes] = []
        with translated_errors():
            keys = self.redis.scan_iter(match=f"{self._names.call_prefix}*", count=_PAGE)
            async for key in keys:
                page.append(key)
                if len(page) < _PAGE:
                    continue
                states += await self._states(page)
                seen += len(page)
                page.clear()
                if not self._calls.complete:
                    self._calls = Calls(states=states, counted=seen)
                if seen >= _MOST_CALLS:
                    break
                await asyncio.sleep(_PAGE_PAUSE_SECONDS)
            states += await self._states(page)
        complete = seen < _MOST_CALLS
        self._calls = Calls(states=states, counted=seen + len(page), complete=complete)

    async def _states(self, keys: list[bytes]) -> Counter[str]:
        pipeline: Any = self.redis.pipeline(transaction=False)
        for key in keys:
            pipeline.hget(key, "state")
        answers = await pipeline.execute(raise_on_error=False) if keys else []
        # Behind the state stand flags; what has expired meanwhile, or is no call, has none.
        return Counter(
            answer.split(b" ")[0].decode() for answer in answers if isinstance(answer, bytes)
        )


async def _queue(channel: Channel, name: str) -> tuple[int, int]:
    """Return how many messages wait in a queue, and how many consumers it has."""
    try:
        async with broker_errors(f"asking for {name}"):
            queue = await channel.queue_declare(name, passive=True)
    except BrokerUnavailable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            raise ConfigurationError(f"there is no queue {name}: has a worker ever run?") from None
        raise
    return queue.message_count or 0, queue.consumer_count or 0
