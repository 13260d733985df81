"""Publish commands and reports, and subscribe to events, as any service would."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pydantic_core import from_json, to_json

from schemas.commands import Command, command_fields
from schemas.reports import Report
from worker.broker.connection import (
    Channel,
    broker_errors,
    close,
    connect,
    open_channel,
    until_lost,
)
from worker.broker.decoding import clear_undecodable
from worker.errors import BrokerUnavailable, ConfigurationError
from worker.names import Names
from worker.settings import Settings

#: Events that wait to be read; beyond that the broker drops the oldest for this subscriber.
_SUBSCRIBER_QUEUE_LENGTH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Received:
    """An event as a subscriber gets it.

    Attributes:
        kind: The canonical event.
        body: The body, as it was published.
        headers: The AMQP headers.
        correlation_id: The ``message_id`` of the command it answers.
        message_id: Its own id; copies of an event have the same.
        at: When it was received, by ``time.monotonic``.
    """

    kind: str
    body: dict[str, Any]
    headers: Mapping[str, Any]
    correlation_id: str | None
    message_id: str | None
    at: float

    @property
    def content(self) -> dict[str, Any]:
        """The body without its envelope."""
        inner = self.body.get("content")
        return inner if isinstance(inner, dict) else self.body


class Client:
    """A connection that publishes with confirms, and subscribes.

    Args:
        connection: The connection.
        names: The installation's names.
        publisher: A channel with confirms.
    """

    def __init__(self, connection: AbstractConnection, names: Names, publisher: Channel) -> None:
        self._connection = connection
        self._names = names
        self._publisher = publisher

    async def until_lost(self) -> None:
        """Wait until the connection is gone.

        Raises:
            BrokerUnavailable: Always, then.
        """
        await until_lost(self._connection)

    async def publish_command(self, command: Command, *, reply_to: str | None = None) -> str:
        """Publish a command, and return its ``message_id`` once RabbitMQ has it.

        Raises:
            BrokerUnavailable: It is not confirmed.
            ConfigurationError: There is no command exchange, or no queue behind it.
        """
        return await self.publish(command.request_id, command_fields(command), reply_to=reply_to)

    async def publish_report(self, report: Report) -> str:
        """Publish a network report, as a telephony gateway does.

        Raises:
            BrokerUnavailable: It is not confirmed.
            ConfigurationError: There is no command exchange, or no queue behind it.
        """
        fields = report.model_dump(mode="json", exclude_none=True)
        return await self.publish(report.request_id, fields)

    async def publish(
        self, request_id: str, body: Mapping[str, Any], *, reply_to: str | None = None
    ) -> str:
        """Publish a body as it is, and return its ``message_id`` once RabbitMQ has it."""
        message_id = secrets.token_hex(16)
        properties = Basic.Properties(
            content_type="application/json",
            delivery_mode=2,
            message_id=message_id,
            reply_to=reply_to,
            timestamp=datetime.fromtimestamp(int(time.time()), tz=UTC),
        )
        try:
            async with broker_errors("publishing"):
                await self._publisher.basic_publish(
                    to_json(body),
                    exchange=self._names.commands,
                    routing_key=request_id,
                    properties=properties,
                    mandatory=True,
                )
        except PublishError:
            raise ConfigurationError(f"no queue is bound to {self._names.commands}") from None
        except DeliveryError:
            raise BrokerUnavailable("RabbitMQ refuses the command: its partition is full") from None
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                raise ConfigurationError(
                    f"there is no exchange {self._names.commands}: has a worker ever run?"
                ) from None
            raise
        return message_id

    @asynccontextmanager
    async def events(self, pattern: str = "#") -> AsyncIterator["asyncio.Queue[Received]"]:
        """Subscribe to events by a topic pattern, such as ``*.123XYZ`` or ``call_held.*``.

        Yields:
            The queue they arrive in, from now on and in their order.

        Raises:
            BrokerUnavailable: The connection is gone.
        """
        received: asyncio.Queue[Received] = asyncio.Queue()

        async def on_event(message: DeliveredMessage) -> None:
            received.put_nowait(_received(message))

        channel = await open_channel(self._connection)
        async with broker_errors("subscribing"):
            queue = await channel.queue_declare(
                exclusive=True,
                auto_delete=True,
                arguments={"x-max-length": _SUBSCRIBER_QUEUE_LENGTH, "x-overflow": "drop-head"},
            )
            name = queue.queue or ""
            await channel.queue_bind(name, self._names.events, pattern)
            await channel.basic_consume(name, on_event, no_ack=True)
        try:
            yield received
        finally:
            async with broker_errors("unsubscribing"):
                await channel.close()


def _received(message: DeliveredMessage) -> Received:
    properties = message.header.properties
    clear_undecodable(properties)
    return Received(
        kind=properties.message_type or "",
        body=from_json(message.body),
        headers=properties.headers or {},
        correlation_id=properties.correlation_id,
        message_id=properties.message_id,
        at=time.monotonic(),
    )


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[Client]:
    """Open a client of the installation that the settings name.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached.
    """
    connection = await connect(settings.amqp_url.get_secret_value(), "callctl")
    try:
        publisher = await open_channel(connection, confirms=True)
        yield Client(connection, Names(settings.namespace), publisher)
    finally:
        await close(connection)


async def answer(
    events: "asyncio.Queue[Received]", message_id: str, timeout_seconds: float
) -> Received:
    """Wait for the event that answers a command; others that arrive meanwhile are dropped.

    Raises:
        BrokerUnavailable: It does not come in time.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                event = await events.get()
                if event.correlation_id == message_id:
                    return event
    except TimeoutError:
        raise BrokerUnavailable(
            f"no event answers the command within {timeout_seconds:g} s: is a worker running?"
        ) from None
