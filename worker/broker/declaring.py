"""Declare what an installation has at RabbitMQ, or make sure that it is there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused, ConnectionCommandInvalid

from worker.broker.connection import Channel, broker_errors, is_missing, open_channel
from worker.broker.topology import Exchange, Queue, Topology
from worker.errors import BrokerUnavailable, MayNotConfigure, TopologyMismatch
from worker.settings import HashExchange

#: The plugin that each type of the command exchange comes with; RabbitMQ 4.3 has x-modulus-hash
#: built in.
_PLUGINS: Final = {
    HashExchange.MODULUS: "rabbitmq_sharding",
    HashExchange.CONSISTENT: "rabbitmq_consistent_hash_exchange",
}

#: Declaring goes over several channels at once, since each answers only one request at a time.
_CHANNELS: Final = 8


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
    # One after the other: RabbitMQ, up to 4.0 at least, closes the connection of who deletes an
    # exchange just when the one that it is bound to is deleted (its issue 11951).
    await _each(connection, [exchange.delete for exchange in unwanted.exchanges], channels=1)
    await _each(connection, [queue.delete for queue in unwanted.queues])


_Step = Callable[[Channel], Awaitable[object]]


async def _each(
    connection: AbstractConnection, steps: Sequence[_Step], channels: int = _CHANNELS
) -> None:
    async def run(share: Sequence[_Step]) -> None:
        channel = await open_channel(connection)
        try:
            for step in share:
                async with _refusals(), broker_errors("declaring the topology"):
                    await step(channel)
        finally:
            async with broker_errors("closing a channel"):
                await channel.close()

    shares = [steps[i::channels] for i in range(min(channels, len(steps)))]
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
