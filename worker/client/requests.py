"""Publish commands, and take their answers by direct reply-to.

RabbitMQ's direct reply-to (its documentation, "Direct Reply-to") takes answers back over the
channel that published the command. An answer is lost with the channel; so what has none yet is
then published again with the same ``message_id``, and the worker answers it from its record.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from weakref import WeakValueDictionary

from aio_pika.exceptions import DeliveryError, PublishError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from schemas.wire import TIMESTAMP_HEADER
from worker.broker.connection import Channel, broker_errors, open_channel
from worker.client.errors import OutcomeUnknown
from worker.client.event import Event, read_event
from worker.client.link import Closed, Link, persistently
from worker.client.mistakes import mistakes
from worker.errors import BrokerUnavailable, ConfigurationError

_DIRECT_REPLY_TO: Final = "amq.rabbitmq.reply-to"


@dataclass(frozen=True, slots=True)
class Request:
    """A command or report on its way out.

    Attributes:
        request_id: The call.
        body: The body, encoded. Digits may be in it, so it is not shown.
        message_id: Its id.
        expires_seconds: How long RabbitMQ keeps it for a worker; None for ever.
        headers: Its AMQP headers.
    """

    request_id: str
    body: bytes = field(repr=False)
    message_id: str
    expires_seconds: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Requests:
    """Publishes requests with confirms, those of one call in their order, and waits for answers.

    Args:
        link: The connection; one that only this uses, since RabbitMQ stops reading from it while
            it is short of memory.
        exchange: The command exchange.
    """

    def __init__(self, link: Link, exchange: str) -> None:
        self._link = link
        self._exchange = exchange
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._waiting: dict[tuple[str, str | None], list[asyncio.Future[Event]]] = {}

    async def open(self) -> Channel:
        """Return the channel, opened anew if it was lost.

        Raises:
            BrokerUnavailable: RabbitMQ cannot be reached.
            ConfigurationError: The URL is not one of RabbitMQ's.
        """
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                channel = await open_channel(await self._link.get(), confirms=True)
                async with broker_errors("asking for replies"):
                    await channel.basic_consume(_DIRECT_REPLY_TO, self._on_reply, no_ack=True)
                self._channel = channel
            return self._channel

    async def _on_reply(self, message: DeliveredMessage) -> None:
        event = read_event(message)
        if event is None:
            return
        for future in self._waiting.get((event.request_id, event.correlation_id), ()):
            if not future.done():
                future.set_result(event)

    async def publish(self, request: Request, timeout_seconds: float) -> None:
        """Publish a request, and return once RabbitMQ has it.

        Raises:
            OutcomeUnknown: RabbitMQ has not confirmed it in time.
            ConfigurationError: There is no command exchange, or no queue behind it.
        """
        sending = _Sending(request, reply=False)
        async with sending.within(timeout_seconds), self._turn(request):
            await persistently(lambda: self._publish(sending))

    async def ask(self, request: Request, timeout_seconds: float) -> Event:
        """Publish a request, and return the event that answers it.

        Raises:
            OutcomeUnknown: No answer came in time.
            ConfigurationError: There is no command exchange, or no queue behind it.
        """
        sending = _Sending(request, reply=True)
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        key = (request.request_id, request.message_id)
        waiting = self._waiting.setdefault(key, [])
        waiting.append(future)
        try:
            async with sending.within(timeout_seconds):
                # Until RabbitMQ has it, the next command of the call waits: so their order holds,
                # however often one has to be published.
                async with self._turn(request):
                    channel = await persistently(lambda: self._publish(sending))
                while not await _answered(future, channel):
                    channel = await persistently(lambda: self._publish(sending))
                return future.result()
        finally:
            waiting.remove(future)
            if not waiting:
                self._waiting.pop(key, None)

    def _turn(self, request: Request) -> asyncio.Lock:
        return self._turns.setdefault(request.request_id, asyncio.Lock())

    async def _publish(self, sending: "_Sending") -> Channel:
        try:
            channel = await self.open()
            await self._publish_on(channel, sending)
        except BrokerUnavailable as error:
            sending.problem = str(error)
            raise
        sending.problem = "no worker has answered"
        return channel

    async def _publish_on(self, channel: Channel, sending: "_Sending") -> None:
        request = sending.request
        now = time.time()
        properties = Basic.Properties(
            content_type="application/json",
            delivery_mode=2,
            expiration=sending.expiration(),
            headers={TIMESTAMP_HEADER: int(now * 1000), **request.headers},
            message_id=request.message_id,
            reply_to=_DIRECT_REPLY_TO if sending.reply else None,
            timestamp=datetime.fromtimestamp(int(now), tz=UTC),
        )
        try:
            async with mistakes(self._exchange), broker_errors("publishing"):
                await channel.basic_publish(
                    request.body,
                    exchange=self._exchange,
                    routing_key=request.request_id,
                    properties=properties,
                    mandatory=True,
                    wait=False,
                )
        except PublishError:
            raise ConfigurationError(f"no queue is bound to {self._exchange}") from None
        except DeliveryError:
            raise BrokerUnavailable("RabbitMQ refuses the command: its partition is full") from None


async def _answered(future: "asyncio.Future[Event]", channel: Channel) -> bool:
    """Wait for an answer; tell whether it came before the channel was lost."""
    lost = channel.closing
    try:
        await asyncio.wait({future, lost}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        lost.cancel()
    return future.done()


@dataclass(slots=True)
class _Sending:
    """A request, and what keeps it from being answered at the moment."""

    request: Request
    reply: bool
    problem: str = "RabbitMQ has not confirmed it"
    began: float = field(default_factory=time.monotonic)

    def expiration(self) -> str | None:
        """Return what is left of the time for which RabbitMQ is to keep it, in milliseconds.

        Raises:
            OutcomeUnknown: Nothing is left: it is not to be published any more.
        """
        if self.request.expires_seconds is None:
            return None
        left = self.request.expires_seconds - (time.monotonic() - self.began)
        if left < 0:
            raise self._unknown("it has expired")
        return str(round(left * 1000))

    def _unknown(self, why: str) -> OutcomeUnknown:
        message_id = self.request.message_id
        return OutcomeUnknown(
            message_id,
            self.request.request_id,
            f"no answer: {why}; it is safe to try again with message_id {message_id}",
        )

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Bound it in time.

        Raises:
            OutcomeUnknown: The time is over, or the client closed.
        """
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise self._unknown(f"not within {seconds:g} s: {self.problem}") from None
        except Closed as error:
            raise self._unknown(str(error)) from None
