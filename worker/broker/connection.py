"""Connections to RabbitMQ, and its client libraries' errors as the worker's own.

Connections are plain ones, not aio-pika's robust ones: a worker that lost its connection has lost
its partitions too, and starts over with a fresh view instead of restoring the old one.

What is relied on below aio-pika is aiormq's channel, and that ``kwargs`` reach aiormq's connection.
What comes and goes with every command passes aiormq by (``frames``).
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, cast
from urllib.parse import unquote, urlsplit

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelNotFoundEntity, DeliveryError
from aiormq import Channel
from aiormq import Connection as AiormqConnection
from yarl import URL

from worker.broker.decoding import tolerate_undecodable_properties
from worker.broker.frames import Frames
from worker.cancellation import cancellations, raise_if_cancelled
from worker.errors import BrokerUnavailable, ConfigurationError

__all__ = [
    "Channel",
    "Connection",
    "broker_errors",
    "broker_version",
    "close",
    "connect",
    "is_blocked",
    "is_lost",
    "is_missing",
    "open_channel",
    "until_lost",
]

#: Seconds without traffic after which a connection counts as dead, unless the URL says otherwise.
_HEARTBEAT_SECONDS: Final = 10

#: Seconds that connecting, or one exchange of frames, may take.
OPERATION_SECONDS: Final = 10.0

_CLOSE_SECONDS: Final = 2.0

# RabbitMQ 4.3 cancels a consumer that takes too long and waits for an answer that aiormq gives
# only from 4.3.7 on; a partition would stand still (rabbitmq-server issue 17317). A client that
# does not advertise consumer_cancel_notify gets its channel closed instead, which it notices.
_CAPABILITIES: Final = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": False,
    "publisher_confirms": True,
}


class Connection(aio_pika.Connection):
    """A connection whose frames can be handed over.

    Attributes:
        frames: What is read and written beside aiormq.
    """

    def __init__(self, target: URL, name: str) -> None:
        super().__init__(
            target, client_properties={"connection_name": name, "capabilities": {**_CAPABILITIES}}
        )
        self.frames = Frames()
        # What aio-pika passes on to aiormq.
        self.kwargs["transport_factory"] = self.frames


async def connect(url: str, name: str) -> Connection:
    """Return an open connection.

    Args:
        url: ``amqp://`` or ``amqps://``. Where it names several hosts, as in
            ``amqp://user:password@one:5672,two:5672/vhost``, they are tried in a random order, so
            that the workers of a cluster spread over its nodes.
        name: What RabbitMQ shows as the connection's name.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached, or refuses.
        ConfigurationError: The URL is not one of RabbitMQ's.
    """
    targets = _targets(url)
    random.shuffle(targets)
    while True:
        target = targets.pop()
        try:
            return await _connect(target, name)
        except BrokerUnavailable:
            if not targets:
                raise


def _targets(url: str) -> list[URL]:
    """Return one URL for each host that a URL names."""
    try:
        parts = urlsplit(url)
        credentials, at, hosts = parts.netloc.rpartition("@")
        netlocs = [f"{credentials}{at}{host}" for host in hosts.split(",")]
        targets = [URL(parts._replace(netloc=netloc).geturl()) for netloc in netlocs]
    except ValueError:
        # What it says may hold the password.
        raise ConfigurationError("CALL_CONTROL_AMQP_URL: not a URL") from None
    if any(target.scheme not in {"amqp", "amqps"} or not target.host for target in targets):
        raise ConfigurationError("CALL_CONTROL_AMQP_URL: expected amqp:// or amqps:// and a host")
    return targets


async def _connect(target: URL, name: str) -> Connection:
    if "heartbeat" not in target.query:
        target = target.update_query(heartbeat=str(_HEARTBEAT_SECONDS))
    tolerate_undecodable_properties()
    connection = Connection(target, name)
    try:
        # uvloop's errors do not say where to.
        async with broker_errors(f"connecting to {target.host}:{target.port}"):
            await connection.connect()
    except BaseException as error:
        # aio-pika would close it when it is collected, by then perhaps without a running loop.
        await connection.close()
        if not isinstance(error, BrokerUnavailable):
            raise
        if "Connection.OpenOk" in str(error):
            # What aiormq makes of connection.close where it asks for the virtual host.
            vhost = unquote(target.raw_path[1:]) or "/"
            raise BrokerUnavailable(
                f"RabbitMQ: there is no virtual host {vhost}, or this user may not use it"
            ) from None
        reading = error.__cause__ and error.__cause__.__cause__
        hung_up = isinstance(reading, asyncio.IncompleteReadError | ConnectionResetError)
        if hung_up and target.scheme == "amqp":
            raise BrokerUnavailable(
                f"RabbitMQ: {target.host}:{target.port} closes the connection instead of speaking"
                " AMQP: is it a port for TLS (amqps://)?"
            ) from None
        raise
    return connection


async def open_channel(
    connection: AbstractConnection, *, number: int | None = None, confirms: bool = False
) -> Channel:
    """Return an open channel.

    Args:
        connection: The connection.
        number: The channel's number; without one, aiormq counts up and never back, and reaches
            the broker's ``channel_max`` in a process that opens channels for long enough.
        confirms: Whether publishing waits for the broker's confirm; a message that no queue takes
            then raises, if it was published as mandatory.

    Raises:
        BrokerUnavailable: The connection is gone.
    """
    async with broker_errors("opening a channel"):
        if connection.transport is None:
            raise RuntimeError("the connection is closed")
        try:
            # aio-pika's own channels leave what watches the connection behind on it.
            channel = await connection.transport.connection.channel(
                number, publisher_confirms=confirms, on_return_raises=confirms
            )
        except ValueError as error:
            # Its number is taken: the closing of its last channel has not been answered in time.
            raise BrokerUnavailable(f"RabbitMQ: {error}") from error
        return cast("Channel", channel)


def broker_version(connection: AbstractConnection) -> str:
    """Return the version that a broker gave when the connection was opened.

    Raises:
        BrokerUnavailable: The connection is gone.
    """
    if connection.transport is None:
        raise BrokerUnavailable("RabbitMQ: connection lost")
    properties = cast("AiormqConnection", connection.transport.connection).server_properties
    return str(properties["version"])


async def is_blocked(connection: AbstractConnection) -> bool:
    """Tell whether the broker has stopped reading what is published here.

    It does so while an alarm for memory or disk is on, and says so with ``connection.blocked``
    (RabbitMQ documentation, "Blocked Connection Notifications").
    """
    if connection.transport is None:
        return False
    try:
        async with asyncio.timeout(0):
            await connection.transport.connection.ready()
    except TimeoutError:
        return True
    return False


def is_lost(connection: AbstractConnection) -> bool:
    """Tell whether a connection is gone."""
    return connection.transport is None or connection.transport.connection.is_closed


def is_missing(cause: BaseException | None) -> bool:
    """Tell whether an error means that a queue or an exchange does not exist.

    A node that is still starting says NOT_FOUND too, of queues that are there but not up yet.
    """
    return isinstance(cause, ChannelNotFoundEntity) and "inaccessible" not in str(cause)


async def until_lost(*connections: AbstractConnection) -> None:
    """Wait until one of some connections is gone.

    Raises:
        BrokerUnavailable: Always, then.
    """
    transports = [each.transport for each in connections]
    closing = [each.connection.closing for each in transports if each is not None]
    if len(closing) == len(connections):
        await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)
    raise BrokerUnavailable("RabbitMQ: connection lost")


async def close(connection: AbstractConnection) -> None:
    """Close a connection, and do not wait long for a broker that does not answer."""
    with suppress(TimeoutError, *CONNECTION_EXCEPTIONS):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()


@asynccontextmanager
async def broker_errors(doing: str, seconds: float = OPERATION_SECONDS) -> AsyncIterator[None]:
    """Bound what is done in time, and raise ``BrokerUnavailable`` for whatever fails it.

    Refused publishes (``DeliveryError``) pass: the connection is well, and the caller can do more
    about them. A connection found half open cancels whoever waits on it, and one that fails turns
    a cancellation into its own error; the task's own count tells which it was.
    """
    before = cancellations()
    try:
        async with asyncio.timeout(seconds):
            yield
    except asyncio.CancelledError as error:
        raise_if_cancelled(before)
        raise BrokerUnavailable(f"RabbitMQ: connection lost while {doing}") from error
    except DeliveryError:
        raise_if_cancelled(before)
        raise
    except TimeoutError as error:
        raise_if_cancelled(before)
        raise BrokerUnavailable(f"RabbitMQ: no answer in {seconds:g} s while {doing}") from error
    except CONNECTION_EXCEPTIONS as error:
        raise_if_cancelled(before)
        text = str(error) or type(error).__name__
        raise BrokerUnavailable(f"RabbitMQ: {text} (while {doing})") from error
    raise_if_cancelled(before)
