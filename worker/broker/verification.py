"""Compare what an installation should have at RabbitMQ with what is there, and change nothing."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aio_pika.abc import AbstractConnection

from worker.broker.declaring import declare, find
from worker.broker.management import Management
from worker.broker.topology import Exchange, Queue, Topology
from worker.errors import MayNotConfigure, TopologyMismatch

#: How many are compared at once; each takes a channel.
_AT_ONCE: Final = 8


#: What is said of a queue that is bound to the commands and should not be.
_STRANGER: Final = (
    "no partition, but takes commands of some calls from them: unbind it, if"
    " CALL_CONTROL_PARTITIONS is the number in force"
)


class Match(StrEnum):
    """How something at the broker compares with what it should be."""

    SAME = "same"
    MISSING = "missing"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Compared:
    """An exchange, a queue or a binding, compared.

    Attributes:
        kind: ``exchange``, ``queue`` or ``binding``.
        name: Its name.
        match: How it compares.
        why: What RabbitMQ says of it, and what to do; empty where all is well.
    """

    kind: str
    name: str
    match: Match
    why: str = ""


async def verify(connection: AbstractConnection, wanted: Topology) -> list[Compared]:
    """Compare exchanges and queues; bindings cannot be seen over AMQP.

    Only a user who may declare something can have its type and arguments compared.

    Raises:
        BrokerUnavailable: The connection is gone, or a queue cannot be reached for now.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def compare(each: Queue | Exchange) -> Compared:
        async with turns:
            return await _compare(connection, each)

    things: tuple[Exchange | Queue, ...] = (*wanted.exchanges, *wanted.queues)
    results = await asyncio.gather(*map(compare, things), return_exceptions=True)
    compared = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        compared.append(result)
    return compared


async def _compare(connection: AbstractConnection, each: Queue | Exchange) -> Compared:
    if isinstance(each, Exchange):
        kind, alone = "exchange", Topology((), (each,), ())
    else:
        kind, alone = "queue", Topology((each,), (), ())
    try:
        await find(connection, each)
    except MayNotConfigure:
        return Compared(kind, each.name, Match.UNKNOWN, "this user may not see it")
    except TopologyMismatch as error:
        return Compared(kind, each.name, Match.MISSING, str(error))
    try:
        # RabbitMQ compares the arguments of what is there already.
        await declare(connection, alone)
    except MayNotConfigure:
        why = "there; only a user who may declare it can have its arguments compared"
        return Compared(kind, each.name, Match.UNKNOWN, why)
    except TopologyMismatch as error:
        return Compared(kind, each.name, Match.DIFFERENT, str(error))
    return Compared(kind, each.name, Match.SAME)


async def verify_bindings(
    management: Management, wanted: Topology, commands: str
) -> list[Compared]:
    """Compare bindings, which only the management shows.

    What else is bound to the events is their subscribers' business. A queue that is bound to the
    commands besides the partitions takes commands from them.

    Args:
        management: The management.
        wanted: What there should be.
        commands: The name of the command exchange.

    Raises:
        BrokerUnavailable: The management does not answer, or refuses.
    """
    compared = []
    for exchange in wanted.exchanges:
        there = {
            (str(each["destination"]), str(each["routing_key"]), _sorted(each["arguments"]))
            for each in await management.bindings_from(exchange.name)
        }
        ours = {
            (each.destination, each.routing_key, _sorted(each.arguments))
            for each in wanted.bindings
            if each.exchange == exchange.name
        }
        for binding in sorted(ours):
            match = Match.SAME if binding in there else Match.MISSING
            why = "" if match is Match.SAME else "callctl topology apply binds it"
            compared.append(Compared("binding", f"{exchange.name} → {binding[0]}", match, why))
        if exchange.name == commands:
            compared += [
                Compared("binding", f"{exchange.name} → {binding[0]}", Match.DIFFERENT, _STRANGER)
                for binding in sorted(there - ours)
            ]
    return compared


def _sorted(arguments: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(name), str(value)) for name, value in arguments.items()))
