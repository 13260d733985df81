"""Where one contender does its work: queues, exchanges and keys of its own, and its processes."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from deploy.local import Services
from tests.bench.commands import Sent, shares
from tests.bench.contenders import Contender
from tests.bench.peers.job import counter_of, queue_of
from tests.bench.processes import Memory, cpu_seconds, family, listener, memory
from tests.bench.shares import hold
from tests.harness import Installation, Worker, eventually, installation
from worker.broker import connection as broker
from worker.broker.connection import Channel, Connection
from worker.broker.declaring import establish
from worker.broker.encoding import PERSISTENT
from worker.broker.publisher import Batch, Outgoing, open_publisher
from worker.broker.topology import Queue, topology_of
from worker.settings import Settings

#: Publishes under way at once, on each of the connections.
_BURST: Final = 500
_CONNECTIONS: Final = 4

#: Messages that RabbitMQ sends ahead when events are counted; a stream asks for some limit.
_STREAM_PREFETCH: Final = 2000

#: Seconds that a contender may take to stop before it is killed.
_STOP_SECONDS: Final = 10.0


class JobNotDone(Exception):
    """Raised when a contender takes no commands, or takes them and does not answer them."""


async def taken(batch: Batch) -> None:
    """Wait until RabbitMQ has taken what was published.

    Raises:
        JobNotDone: It has refused some of it: what follows would measure less than was asked for.
    """
    await batch.done
    if batch.refused:
        raise JobNotDone(f"RabbitMQ refuses commands: {set(batch.refused.values())}")


@dataclass(frozen=True, slots=True)
class Sample:
    """How far a contender was at a moment, and what it had cost until then.

    Attributes:
        at: The moment, in seconds of the monotonic clock.
        done: Commands taken from the queue so far.
        cpu: CPU seconds of its processes.
        broker_cpu: RabbitMQ's; None where its process is not seen.
        redis_cpu: Likewise.
    """

    at: float
    done: int
    cpu: float
    broker_cpu: float | None
    redis_cpu: float | None


@dataclass
class Stage:
    """One contender's place.

    Attributes:
        contender: The contender.
        calls: Its namespace, and the processes in it.
        queues: The queues with its commands.
        connection: A connection to RabbitMQ.
        counting: A channel on it, to look at the queues.
        brokers: RabbitMQ's process, where it is seen.
        redises: Redis' process, likewise.
        published: Commands published so far.
        processes: Its own processes.
        shares: The control groups into which they are put, if any.
    """

    contender: Contender
    calls: Installation
    queues: Sequence[str]
    connection: Connection
    counting: Channel
    brokers: list[int]
    redises: list[int]
    published: int = 0
    processes: list[Worker] = field(default_factory=list)
    shares: Sequence[Path] = ()

    async def start(self, count: int = 1) -> None:
        """Start it, so many times."""
        for _ in range(count):
            command = self.contender.command
            self.processes.append(await self.calls.spawn(command=command))
        for share, process in zip(self.shares, self.processes, strict=False):
            hold(share, process.pid)

    def has_joined(self) -> bool:
        """Tell whether its processes are all at work, as far as they say; peers do not."""
        is_worker = self.contender.is_worker
        return not is_worker or all(each.logged("worker joined") for each in self.processes)

    def pids(self) -> list[int]:
        """Return its processes, those of their own included.

        Raises:
            JobNotDone: One of them has ended.
        """
        for process in self.processes:
            if process.process.returncode is not None:
                log = process.log.read_text()[-3000:]
                raise JobNotDone(f"{self.contender.title} has ended; its log: {log}")
        return [pid for process in self.processes for pid in family(process.pid)]

    async def stop(self) -> None:
        """Stop its processes: politely, and in the end certainly."""
        for process in self.processes:
            everyone = family(process.pid)
            with suppress(ProcessLookupError):
                process.process.terminate()
            try:
                await asyncio.wait_for(process.process.wait(), _STOP_SECONDS)
            except TimeoutError:
                for pid in everyone:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await process.process.wait()
        self.processes.clear()

    async def done(self) -> int:
        """Count the commands that it has taken."""
        if not self.contender.consumes:
            return int(await self.calls.redis.get(counter_of(self.calls.names)) or 0)
        return self.published - await self.waiting()

    async def waiting(self) -> int:
        """Count the commands that it has not been given yet."""
        answers = [await self.counting.queue_declare(queue, passive=True) for queue in self.queues]
        return sum(answer.message_count or 0 for answer in answers)

    async def discard(self) -> None:
        """Forget the commands that are left."""
        for queue in self.queues:
            purged = await self.counting.queue_purge(queue)
            self.published -= purged.message_count or 0

    async def sample(self) -> Sample:
        """Look how far it is, and what it has cost."""
        before = time.monotonic()
        done = await self.done()
        at = (before + time.monotonic()) / 2
        return Sample(
            at=at,
            done=done,
            cpu=cpu_seconds(self.pids()),
            broker_cpu=cpu_seconds(self.brokers) if self.brokers else None,
            redis_cpu=cpu_seconds(self.redises) if self.redises else None,
        )

    def memory(self) -> Memory:
        """Return the memory of its largest process."""
        return memory(self.pids())

    async def publish(self, commands: Sequence[Sent]) -> None:
        """Publish commands, confirmed; those of each call in their order."""
        if self.contender.consumes:
            await asyncio.gather(*map(self._publish_share, shares(commands, _CONNECTIONS)))
        self.published += len(commands)

    async def _publish_share(self, commands: Sequence[Sent]) -> None:
        async with connected(self.calls.services) as connection:
            publisher = await open_publisher(connection)
            for start in range(0, len(commands), _BURST):
                burst = [self.outgoing(each) for each in commands[start : start + _BURST]]
                await taken(publisher.publish(burst, mandatory=True))

    def outgoing(self, command: Sent) -> Outgoing:
        """Return a command as it is published to this contender."""
        is_worker = self.contender.is_worker
        properties = Basic.Properties(
            content_type="application/json",
            correlation_id=command.id,
            delivery_mode=PERSISTENT,
            message_id=command.id,
        )
        return Outgoing(
            exchange=self.calls.names.commands if is_worker else "",
            routing_key=command.request_id if is_worker else self.queues[0],
            body=self.contender.encode(command, self.queues[0]),
            encoded=properties.marshal(),
            order=command.request_id,
        )

    async def answered(self, at_least: int, seconds: float) -> set[str]:
        """Read the journal; return the ids of the commands that events answer.

        Args:
            at_least: Return when so many have been found.
            seconds: Return when no event has come for so long.
        """
        found: set[str] = set()
        last = time.monotonic()

        async def on_event(message: DeliveredMessage) -> None:
            nonlocal last
            last = time.monotonic()
            found.add(message.header.properties.correlation_id or "")
            await channel.basic_ack(message.delivery_tag or 0, wait=False)

        # A connection of its own: RabbitMQ closes it when an acknowledgement comes after the
        # channel has been closed.
        async with connected(self.calls.services) as connection:
            channel = await broker.open_channel(connection)
            await channel.basic_qos(prefetch_count=_STREAM_PREFETCH)
            consuming = await channel.basic_consume(
                self.calls.names.journal, on_event, arguments={"x-stream-offset": "first"}
            )
            with suppress(AssertionError):
                await eventually(
                    lambda: len(found) >= at_least or time.monotonic() - last >= seconds,
                    "all events are read",
                )
            await channel.basic_cancel(consuming.consumer_tag or "")
        return found

    async def open(self) -> None:
        """Declare what it needs."""
        await establish(self.connection, topology_of(self.calls.settings))
        if not self.contender.is_worker:
            for queue in self.queues:
                await Queue(queue, self.contender.arguments(queue)).declare(self.counting)

    async def close(self) -> None:
        """Stop its processes, and remove what the installation does not know of."""
        await self.stop()
        if not self.contender.is_worker:
            for suffix in ("", *self.contender.queues):
                await self.counting.queue_delete(self.queues[0] + suffix)
            for suffix in self.contender.exchanges:
                await self.counting.exchange_delete(self.queues[0] + suffix)


@asynccontextmanager
async def connected(services: Services) -> AsyncIterator[Connection]:
    """Connect to RabbitMQ."""
    connection = await broker.connect(services.amqp_url, "benchmark")
    try:
        yield connection
    finally:
        await broker.close(connection)


@asynccontextmanager
async def stage(services: Services, contender: Contender, **settings: Any) -> AsyncIterator[Stage]:
    """Set up a contender's place, and remove it afterwards.

    Args:
        services: RabbitMQ and Redis.
        contender: The contender; it is not started.
        settings: Further settings of the worker.
    """
    partitions = Settings.from_environment({}).partitions
    values = {"partitions": partitions, **contender.settings}
    async with (
        installation(services, **values, **settings) as calls,
        connected(services) as connection,
    ):
        made = Stage(
            contender=contender,
            calls=calls,
            queues=(
                [calls.names.partition(number) for number in range(partitions)]
                if contender.is_worker
                else [queue_of(calls.names)]
            ),
            connection=connection,
            counting=await broker.open_channel(connection),
            brokers=listener(urlsplit(services.amqp_url).port or 5672),
            redises=listener(urlsplit(services.redis_url).port or 6379),
        )
        await made.open()
        try:
            yield made
        finally:
            await made.close()
