"""Everything an installation has at RabbitMQ, as data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pamqp.common import FieldValue

from worker.broker.connection import Channel
from worker.names import Names
from worker.settings import JOURNAL_BYTES, Gateway, HashExchange, Settings

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

#: The header of an action that names the gateway that has its call; empty where none has.
GATEWAY: Final = "gateway"

#: The header of what is to be read when the time for an action is over, and how long that is.
DEADLINE: Final = "deadline"

#: The header, and the message type, of what stands in the journal and is no event.
MARK: Final = "mark"

#: The mark of a command that waits for the network: its record, which no event carries yet.
PENDING: Final = "pending"


class Deadline(StrEnum):
    """How long a gateway may take for an action. A queue for each: the first in it ends first."""

    ACTING = "acting"
    RINGING = "ringing"


Arguments = dict[str, FieldValue]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: str
    arguments: Arguments = field(default_factory=dict)

    async def declare(self, channel: Channel) -> None:
        """Make sure that it exists just so."""
        await channel.exchange_declare(
            self.name, exchange_type=self.type, durable=True, arguments=self.arguments
        )

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
    """A binding of a queue, or of another exchange, to an exchange."""

    exchange: str
    destination: str
    routing_key: str = ""
    arguments: Arguments = field(default_factory=dict)
    to_exchange: bool = False

    async def declare(self, channel: Channel) -> None:
        """Make sure that it exists."""
        bind = channel.exchange_bind if self.to_exchange else channel.queue_bind
        await bind(self.destination, self.exchange, self.routing_key, arguments=self.arguments)


@dataclass(frozen=True, slots=True)
class Topology:
    """What there is to declare, in this order of kinds: queues, exchanges, bindings."""

    queues: tuple[Queue, ...]
    exchanges: tuple[Exchange, ...]
    bindings: tuple[Binding, ...]

    def __add__(self, other: "Topology") -> "Topology":
        return Topology(
            self.queues + other.queues,
            self.exchanges + other.exchanges,
            self.bindings + other.bindings,
        )


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
            Binding(names.dead_letters, names.dead_letters),
            Binding(names.events, names.journal, "#"),
            # To x-consistent-hash the key of a binding is a weight; to x-modulus-hash, nothing.
            *(Binding(names.commands, name, "1") for name in partition_queues),
        ),
    )


def network_topology(names: Names, hash_exchange: HashExchange = HashExchange.MODULUS) -> Topology:
    """Return what workers and gateways need besides, to speak with each other.

    What is asked of a call is routed by the gateway that has it. A call that no gateway has spoken
    of goes to one of them by its hash: so does what is asked of it next, such as to end it. What no
    queue takes comes back as a command would come, and so does what has stood in one for too long:
    in its own call's partition, behind what has been said of the call before.
    """
    back: Arguments = {"alternate-exchange": names.commands}
    deadlines = [(each, names.deadline(each)) for each in Deadline]
    return Topology(
        queues=tuple(Queue(name, _returning(names)) for _, name in deadlines),
        exchanges=(
            Exchange(names.new_calls, hash_exchange, back),
            Exchange(names.actions, "headers", back),
        ),
        bindings=(
            Binding(names.actions, names.new_calls, "", _matching(GATEWAY, ""), to_exchange=True),
            *(
                Binding(names.actions, name, "", _matching(DEADLINE, each))
                for each, name in deadlines
            ),
            Binding(names.actions, names.journal, "", _matching(MARK, PENDING)),
        ),
    )


def gateway_topology(names: Names, gateway: str) -> Topology:
    """Return the queue of a gateway. One process consumes it, and others stand by."""
    queue = names.gateway(gateway)
    arguments: Arguments = {
        **_returning(names),
        "x-single-active-consumer": True,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-consumer-disconnected-timeout": DISCONNECTED_TIMEOUT_MS,
    }
    return Topology(
        queues=(Queue(queue, arguments),),
        exchanges=(),
        bindings=(
            Binding(names.actions, queue, "", _matching(GATEWAY, gateway)),
            Binding(names.new_calls, queue, "1"),
        ),
    )


def _returning(names: Names) -> Arguments:
    """Return the arguments of a queue whose messages become commands when their time is over."""
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": names.commands,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _matching(header: str, value: str) -> Arguments:
    return {"x-match": "all", header: value}


def topology_of(settings: Settings, gateways: Sequence[str] = ()) -> Topology:
    """Return the topology that settings ask for, and named gateways besides."""
    names = Names(settings.namespace)
    wanted = topology(names, settings.partitions, settings.hash_exchange, settings.journal_bytes)
    if settings.gateway is Gateway.EXTERNAL or gateways:
        wanted += network_topology(names, settings.hash_exchange)
    for gateway in gateways:
        wanted += gateway_topology(names, gateway)
    return wanted
