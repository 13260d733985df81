"""What the users in ``deploy/rabbitmq/definitions.json`` cannot do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused

from deploy.local import Services
from tests.guarded import Guarded, guarded_installation, set_passwords
from tests.harness import PATIENCE_SECONDS
from worker.broker.connection import Channel, open_channel
from worker.broker.declaring import declare
from worker.broker.topology import topology_of
from worker.names import Names

#: The name of a gateway.
GATEWAY = "pbx-1"


@pytest.fixture(scope="module")
async def guarded(services: Services) -> AsyncIterator[Guarded]:
    """An installation whose users can log in, its topology applied by the one for that."""
    async with guarded_installation(services) as made:
        await set_passwords(made)
        made.calls.gateways.add(GATEWAY)
        wanted = topology_of(made.calls.settings, [GATEWAY])
        async with made.acting_as("topology") as connection:
            await declare(connection, wanted)
        yield made


Act = Callable[[Channel, Names], Awaitable[object]]


def publishing(exchange: str, key: str = "1") -> Act:
    """Return the attempt to publish; names are without their namespace."""

    async def act(channel: Channel, names: Names) -> None:
        await channel.basic_publish(
            b"{}", exchange=in_(names, exchange), routing_key=in_(names, key), mandatory=True
        )

    return act


def reading(queue: str) -> Act:
    """Return the attempt to get a message from a queue."""
    return lambda channel, names: channel.basic_get(in_(names, queue))


def consuming(queue: str) -> Act:
    """Return the attempt to consume a queue."""

    async def ignore(_: DeliveredMessage) -> None:
        pass

    async def act(channel: Channel, names: Names) -> None:
        # A stream asks for a limit first, and would refuse for want of it.
        await channel.basic_qos(prefetch_count=1)
        await channel.basic_consume(in_(names, queue), ignore)

    return act


def emptying(queue: str) -> Act:
    """Return the attempt to purge a queue."""
    return lambda channel, names: channel.queue_purge(in_(names, queue))


def deleting(queue: str) -> Act:
    """Return the attempt to delete a queue."""
    return lambda channel, names: channel.queue_delete(in_(names, queue))


def deleting_exchange(exchange: str) -> Act:
    """Return the attempt to delete an exchange."""
    return lambda channel, names: channel.exchange_delete(in_(names, exchange))


def declaring(queue: str, **arguments: str) -> Act:
    """Return the attempt to declare a queue; ``_`` in an argument's name stands for ``-``."""

    async def act(channel: Channel, names: Names) -> None:
        given: Any = {
            name.replace("_", "-"): in_(names, value) for name, value in arguments.items()
        }
        await channel.queue_declare(in_(names, queue), durable=True, arguments=given)

    return act


def declaring_exchange(exchange: str, **arguments: str) -> Act:
    """Return the attempt to declare an exchange."""

    async def act(channel: Channel, names: Names) -> None:
        given: Any = {
            name.replace("_", "-"): in_(names, value) for name, value in arguments.items()
        }
        await channel.exchange_declare(in_(names, exchange), durable=True, arguments=given)

    return act


def binding(queue: str, exchange: str) -> Act:
    """Return the attempt to bind a queue."""

    async def act(channel: Channel, names: Names) -> None:
        if "subscriber" in queue:
            await channel.queue_declare(in_(names, queue), durable=True)
        await channel.queue_bind(in_(names, queue), in_(names, exchange), "#")

    return act


def binding_exchange(to: str, from_: str) -> Act:
    """Return the attempt to bind an exchange to another."""

    async def act(channel: Channel, names: Names) -> None:
        if "subscriber" in from_:
            await channel.exchange_declare(in_(names, from_), durable=True)
        await channel.exchange_bind(destination=in_(names, to), source=in_(names, from_))

    return act


def in_(names: Names, name: str) -> str:
    """Return a name in a namespace."""
    return name.replace("call_control", names.base)


_NAMES = Names()
PARTITION = _NAMES.partition(0)
COMMANDS = _NAMES.commands
EVENTS = _NAMES.events
JOURNAL = _NAMES.journal
DEAD = _NAMES.dead_letters
ACTIONS = _NAMES.actions
ASKED = _NAMES.gateway(GATEWAY)
DEADLINES = _NAMES.deadline("acting")
OWN = f"{_NAMES.base}.subscriber.own"

FORBIDDEN = {
    "producer": {
        "consume commands": consuming(PARTITION),
        "get commands": reading(PARTITION),
        "empty a partition": emptying(PARTITION),
        "forge an event": publishing(EVENTS, "call_held.1"),
        "ask a gateway": publishing(ACTIONS),
        "forge a dead letter": publishing(DEAD),
        "publish past the command exchange": publishing("", PARTITION),
        "publish into the journal": publishing("", JOURNAL),
        "consume the journal": consuming(JOURNAL),
        "consume dead letters": consuming(DEAD),
        "declare a queue": declaring(OWN),
        "declare a partition": declaring("call_control.commands.99"),
        "bind a partition to the events": binding(PARTITION, EVENTS),
        "bind the journal to the commands": binding(JOURNAL, COMMANDS),
        "delete a partition": deleting(PARTITION),
        "delete the command exchange": deleting_exchange(COMMANDS),
    },
    "worker": {
        "publish a command": publishing(COMMANDS),
        "declare a partition": declaring("call_control.commands.99"),
        "declare an exchange": declaring_exchange("call_control.other"),
        "delete a partition": deleting(PARTITION),
        "delete the journal": deleting(JOURNAL),
        "delete the dead letters": deleting(DEAD),
        "delete the event exchange": deleting_exchange(EVENTS),
        "consume what gateways are asked": consuming(ASKED),
        "empty the deadlines": emptying(DEADLINES),
        "consume dead letters": consuming(DEAD),
        "empty the dead letters": emptying(DEAD),
        "bind the journal to the commands": binding(JOURNAL, COMMANDS),
        "bind a partition to the events": binding(PARTITION, EVENTS),
    },
    "subscriber": {
        "publish a command": publishing(COMMANDS),
        "ask a gateway": publishing(ACTIONS),
        "listen to what gateways are asked": binding(OWN, ACTIONS),
        "forge an event": publishing(EVENTS, "call_held.1"),
        "forge a dead letter": publishing(DEAD),
        "publish past the command exchange": publishing("", PARTITION),
        "consume commands": consuming(PARTITION),
        "get commands": reading(PARTITION),
        "consume dead letters": consuming(DEAD),
        "empty a partition": emptying(PARTITION),
        "delete the journal": deleting(JOURNAL),
        "delete a partition": deleting(PARTITION),
        "delete the event exchange": deleting_exchange(EVENTS),
        "declare a partition": declaring("call_control.commands.99"),
        "declare a queue of another name": declaring("call_control.other"),
        "listen to commands": binding(OWN, COMMANDS),
        "listen to dead letters": binding(OWN, DEAD),
        "bind the journal to an exchange of its own": binding(JOURNAL, EVENTS),
        "bind the command exchange to the events": binding_exchange(COMMANDS, EVENTS),
        "bind the event exchange to one of its own": binding_exchange(EVENTS, OWN),
        "forge events by dead lettering": declaring(OWN + ".a", x_dead_letter_exchange=EVENTS),
        "forge commands by dead lettering": declaring(OWN + ".b", x_dead_letter_exchange=COMMANDS),
        "fill partitions by dead lettering": declaring(
            OWN + ".c", x_dead_letter_exchange="", x_dead_letter_routing_key=PARTITION
        ),
        "forge events by an alternate exchange": declaring_exchange(
            OWN + ".d", alternate_exchange=EVENTS
        ),
    },
    "topology": {
        "ask a gateway": publishing(ACTIONS),
        "forge an event": publishing(EVENTS, "call_held.1"),
        "publish past the command exchange": publishing("", PARTITION),
        "consume the journal": consuming(JOURNAL),
        "declare a queue of another name": declaring("call_control.other"),
    },
    "operator": {
        "consume commands": consuming(PARTITION),
        "consume the journal": consuming(JOURNAL),
        "forge an event": publishing(EVENTS, "call_held.1"),
        "forge a dead letter": publishing(DEAD),
        "publish past the command exchange": publishing("", PARTITION),
        "declare a queue": declaring("call_control.other"),
        "delete the dead letters": deleting(DEAD),
        "listen to dead letters elsewhere": binding(JOURNAL, DEAD),
        "ask a gateway": publishing(ACTIONS),
    },
    "gateway": {
        "consume commands": consuming(PARTITION),
        "empty a partition": emptying(PARTITION),
        "forge an event": publishing(EVENTS, "call_held.1"),
        "forge an action": publishing(ACTIONS),
        "forge a dead letter": publishing(DEAD),
        "publish past the command exchange": publishing("", PARTITION),
        "consume dead letters": consuming(DEAD),
        "end a deadline": emptying(DEADLINES),
        "declare the queue of another gateway": declaring("call_control.gateways.pbx-2"),
        "delete its queue": deleting(ASKED),
        "listen to commands": binding(ASKED, COMMANDS),
    },
}


@pytest.mark.parametrize(
    ("role", "act"),
    [
        pytest.param(role, act, id=f"{role}: {what}")
        for role, acts in FORBIDDEN.items()
        for what, act in acts.items()
    ],
)
async def test_no_user_can_do_anything_else(guarded: Guarded, role: str, act: Act) -> None:
    """RabbitMQ refuses it, for lack of permission and not for another reason."""
    async with guarded.acting_as(role) as connection:
        channel = await open_channel(connection, confirms=True)
        with pytest.raises(ChannelAccessRefused):
            await asyncio.wait_for(act(channel, guarded.names), PATIENCE_SECONDS)
