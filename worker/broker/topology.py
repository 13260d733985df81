"""Everything an installation has at RabbitMQ, as data; and how it is declared or verified."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused, ConnectionCommandInvalid
from pamqp.common import FieldValue

from worker.broker.connection import Channel, broker_errors, is_missing, open_channel
from worker.errors import BrokerUnavailable, MayNotConfigure, TopologyMismatch
from worker.names import Names
from worker.settings import JOURNAL_BYTES, HashExchange, Settings

#: How often a command may come back before RabbitMQ dead-letters it. Every crash of a worker that
#: has it in hand counts, so it stands far above what crashes can add up to; a command that is
#: their cause never gets that far, because workers find it out and answer it.
DELIVERY_LIMIT: Final = 1000

#: How often a dead letter may be looked at. Each look counts as a delivery; from RabbitMQ 4.0 on,
#: a queue that names no limit drops a message after twenty, and one without any limit puts what is
#: handed back behind all the rest.
DEAD_LETTER_DELIVERY_LIMIT: Final = 1_000_000_000

#: Commands and bytes that may wait in one partition; beyond that a publish is refused by a nack,
#: so that the producer knows.
PARTITION_MESSAGES: Final = 100_000
PARTITION_BYTES: Final = 256 * 1024 * 1024

#: How long a consumer that cannot be reached keeps its partition, in milliseconds (RabbitMQ 4.3).
DISCONNECTED_TIMEOUT_MS: Final = 5_000

#: How long the journal keeps an event.
JOURNAL_AGE: Final = "7D"

#: The size of one of the journal's files, in bytes. A RabbitMQ that starts confirms no event before
#: it has read through the last of them; at the default of 500 MB that took 20 s with 200 MB in it.
JOURNAL_SEGMENT_BYTES: Final = 16 * 1024 * 1024

#: The plugin that each type of the command exchange comes with; RabbitMQ 4.3 has x-modulus-hash
#: built in.
_PLUGINS: Final = {
    HashExchange.MODULUS: "rabbitmq_sharding",
    HashExchange.CONSISTENT: "rabbitmq_consistent_hash_exchange",
}

#: Declaring goes over several channels at once, since each answers only one request at a time.
_CHANNELS: Final = 8

Arguments = dict[str, FieldValue]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: str

    async def declare(self, channel: Channel) -> None:
        """Make sure that it exists just so."""
        await channel.exchange_declare(self.name, exchange_type=self.type, durable=True)

    async def find(self, channel: Channel) -> None:
        """Make sure that it exists; RabbitMQ compares no arguments here."""
        await channel.exchange_declare(self.name, passive=True)

    async def delete(self, channel: Channel) -> None:
        """Delete it, if it is there."""
        await channel.exchange_delete(self.name)


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue."""

    name: str
    arguments: Arguments

    async def declare(self, channel: Channel) -> None:
        """Make sure that it exists just so."""
        await channel.queue_declare(self.name, durable=True, arguments=self.arguments)

    async def find(self, channel: Channel) -> None:
        """Make sure that it exists; RabbitMQ compares no arguments here."""
        await channel.queue_declare(self.name, passive=True)

    async def delete(self, channel: Channel) -> None:
        """Delete it, if it is there."""
        await channel.queue_delete(self.name)


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding of a queue to an exchange."""

    exchange: str
    queue: str
    routing_key: str

    async def declare(self, channel: Channel) -> None:
        """Make sure that it exists."""
        await channel.queue_bind(self.queue, self.exchange, self.routing_key)


@dataclass(frozen=True, slots=True)
class Topology:
    """What there is to declare, in this order of kinds: queues, exchanges, bindings."""

    queues: tuple[Queue, ...]
    exchanges: tuple[Exchange, ...]
    bindings: tuple[Binding, ...]


def topology(
    names: Names,
    partitions: int,
    hash_exchange: HashExchange = HashExchange.MODULUS,
    journal_bytes: int = JOURNAL_BYTES,
) -> Topology:
    """Return the topology of an installation.

    The command exchange has to send a call to the same partition for as long as there are
    commands of it. ``x-modulus-hash`` counts its queues in the order of their names.
    ``x-consistent-hash`` counts them in the order in which they were bound, and a broker that
    keeps its metadata in Mnesia (before RabbitMQ 4.2, or not migrated since) binds them anew, in
    an order of chance, whenever it starts: commands published afterwards overtake those before.
    """
    partition_arguments: Arguments = {
        "x-queue-type": "quorum",
        "x-single-active-consumer": True,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": names.dead_letters,
        # At-least-once dead lettering is given only by queues that refuse what they cannot hold
        # (RabbitMQ documentation, "Quorum Queues").
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-max-length": PARTITION_MESSAGES,
        "x-max-length-bytes": PARTITION_BYTES,
        "x-consumer-disconnected-timeout": DISCONNECTED_TIMEOUT_MS,
    }
    partition_queues = [names.partition(number) for number in range(partitions)]
    return Topology(
        queues=(
            Queue(
                names.dead_letters,
                {"x-queue-type": "quorum", "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT},
            ),
            Queue(
                names.journal,
                {
                    "x-queue-type": "stream",
                    "x-max-age": JOURNAL_AGE,
                    "x-max-length-bytes": journal_bytes,
                    "x-stream-max-segment-size-bytes": JOURNAL_SEGMENT_BYTES,
                },
            ),
            *(Queue(name, partition_arguments) for name in partition_queues),
        ),
        exchanges=(
            Exchange(names.dead_letters, "fanout"),
            Exchange(names.events, "topic"),
            Exchange(names.commands, hash_exchange),
        ),
        bindings=(
            Binding(names.dead_letters, names.dead_letters, ""),
            Binding(names.events, names.journal, "#"),
            # To x-consistent-hash the key of a binding is a weight; to x-modulus-hash, nothing.
            *(Binding(names.commands, name, "1") for name in partition_queues),
        ),
    )


def topology_of(settings: Settings) -> Topology:
    """Return the topology that settings ask for."""
    return topology(
        Names(settings.namespace),
        settings.partitions,
        settings.hash_exchange,
        settings.journal_bytes,
    )


async def establish(connection: AbstractConnection, wanted: Topology) -> None:
    """Declare what is missing; without the permission to configure, verify that nothing is.

    Bindings can only be declared, not verified.

    Raises:
        TopologyMismatch: The broker has something of another type or with another argument, which
            the error names, or lacks something that this user may not declare.
        BrokerUnavailable: The connection is gone.
    """
    try:
        await declare(connection, wanted)
    except MayNotConfigure:
        await _each(connection, [queue.find for queue in wanted.queues])
        # From RabbitMQ 4.3 on one finds only what one has a permission for; a worker has none for
        # the command exchange, which is the last.
        with suppress(MayNotConfigure):
            await _each(connection, [exchange.find for exchange in wanted.exchanges])


async def declare(connection: AbstractConnection, wanted: Topology) -> None:
    """Declare what is missing, and make sure that what is there is just so.

    Queues come first and bindings last. While the partitions of a new installation are being
    bound, its commands are spread over those that are bound already; so it has to be declared
    once before the first producer.

    Raises:
        MayNotConfigure: RabbitMQ's user may not declare something, which the error names.
        TopologyMismatch: The broker has something of another type or with another argument, which
            the error names.
        BrokerUnavailable: The connection is gone.
    """
    await _each(connection, [queue.declare for queue in wanted.queues])
    await _each(connection, [exchange.declare for exchange in wanted.exchanges])
    await _each(connection, [binding.declare for binding in wanted.bindings])


async def is_there(connection: AbstractConnection, queue: str) -> bool:
    """Tell whether a queue exists.

    Raises:
        BrokerUnavailable: The connection is gone, or the queue cannot be reached for now.
    """
    try:
        await find(connection, Queue(queue, {}))
    except TopologyMismatch:
        return False
    return True


async def find(connection: AbstractConnection, wanted: Queue | Exchange) -> None:
    """Make sure that something exists; RabbitMQ compares no arguments here.

    Raises:
        MayNotConfigure: RabbitMQ does not tell this user (4.3: one without any permission for it).
        TopologyMismatch: It does not.
        BrokerUnavailable: The connection is gone, or a queue cannot be reached for now.
    """
    await _each(connection, [wanted.find])


async def remove(connection: AbstractConnection, unwanted: Topology) -> None:
    """Delete a topology with all that is in it.

    Raises:
        BrokerUnavailable: The connection is gone.
    """
    await _each(connection, [exchange.delete for exchange in unwanted.exchanges])
    await _each(connection, [queue.delete for queue in unwanted.queues])


_Step = Callable[[Channel], Awaitable[object]]


async def _each(connection: AbstractConnection, steps: Sequence[_Step]) -> None:
    async def run(share: Sequence[_Step]) -> None:
        channel = await open_channel(connection)
        try:
            for step in share:
                async with _refusals(), broker_errors("declaring the topology"):
                    await step(channel)
        finally:
            async with broker_errors("closing a channel"):
                await channel.close()

    shares = [steps[i::_CHANNELS] for i in range(min(_CHANNELS, len(steps)))]
    results = await asyncio.gather(*map(run, shares), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


@asynccontextmanager
async def _refusals() -> AsyncIterator[None]:
    try:
        yield
    except BrokerUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, ChannelAccessRefused):
            raise MayNotConfigure(
                f"RabbitMQ: {cause}; declaring takes a user with permission to configure"
            ) from None
        if isinstance(cause, ChannelPreconditionFailed):
            raise TopologyMismatch(
                f"RabbitMQ: {cause}; a queue or exchange keeps the arguments it was declared with:"
                " set back what was changed, or delete it when it is empty"
            ) from None
        if is_missing(cause):
            raise TopologyMismatch(
                f"RabbitMQ: {cause}; run `callctl topology apply` as a user who may declare"
            ) from None
        if isinstance(cause, ConnectionCommandInvalid):
            plugins = " or ".join(f"{plugin} (for {kind})" for kind, plugin in _PLUGINS.items())
            raise TopologyMismatch(
                f"RabbitMQ: {cause}; CALL_CONTROL_HASH_EXCHANGE needs the plugin {plugins}"
            ) from None
        raise
