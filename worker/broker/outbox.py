"""Publish events and dead letters, and wait until RabbitMQ has confirmed them."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import DeliveryError
from pamqp.commands import Basic
from prometheus_client import Gauge
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    wait_random_exponential,
)

from worker.broker.connection import Channel, broker_errors, is_blocked, open_channel
from worker.broker.encoding import decoded
from worker.errors import BrokerUnavailable

_log: Final = structlog.get_logger(__name__)

#: Seconds that a batch is held, at most, before it is published again on another channel.
_MOST_HOLD_SECONDS: Final = 60.0

#: Seconds that replies may take to be confirmed; they keep the acknowledgements waiting.
_REPLY_SECONDS: Final = 5.0


class Outgoing(NamedTuple):
    """A message on its way out.

    Attributes:
        exchange: Where to; the default exchange for a reply.
        routing_key: Its routing key.
        body: Its body.
        encoded: Its properties. An error in encoding them would here be one of the connection's.
        order: Of messages of one order (a call's), those behind a refused one go out again with
            it, so that its first copy is followed by copies of theirs.
    """

    exchange: str
    routing_key: str
    body: bytes
    encoded: bytes
    order: str

    @property
    def properties(self) -> Basic.Properties:
        """Its properties, as those who get it have them."""
        return decoded(self.encoded)


class _Incomplete(BrokerUnavailable):
    """Raised while RabbitMQ refuses some of a batch, or does not confirm it."""


class _Unconfirmed(Exception):
    """What became of a message that has not been confirmed in time."""


def _raise_if_incomplete(messages: Sequence[Outgoing]) -> None:
    if messages:
        raise _Incomplete(f"RabbitMQ has not taken {len(messages)} events")


def _raise_if_lost(failures: Iterable[BaseException]) -> None:
    for error in failures:
        if not isinstance(error, DeliveryError | _Unconfirmed):
            text = f"RabbitMQ: {error or type(error).__name__} (while publishing)"
            raise BrokerUnavailable(text) from error


def _failure(publishing: "asyncio.Task[None]") -> BaseException | None:
    if not publishing.done():
        return _Unconfirmed()
    # A connection found half open cancels whoever waits on it.
    return asyncio.CancelledError() if publishing.cancelled() else publishing.exception()


class Outbox:
    """Publishes with confirms, in order, over one channel; replies go over another.

    A refused publish is one that a full queue bound to the events exchange does not take, or that
    no queue takes. It is tried again, with those behind it of the same call, until it is
    confirmed: what has not been confirmed has not been said. So is, ever less often, one that is
    not confirmed: a node that was cut off for a moment may have lost it, or its confirm.

    Args:
        connection: A connection that only publishes: a broker short of memory blocks it, and must
            not stop the consuming with it.
        confirm_seconds: How long a batch may take to be confirmed before the broker is asked for
            a sign of life. If it gives one, what is not confirmed is published again; while it
            blocks what publishes because it is short of memory or disk, the batch is held. In
            neither case is all begun anew, which would only have every command delivered again,
            and RabbitMQ counts how often.
        unconfirmed: Told 1 while a batch is held, and 0 again.
    """

    def __init__(
        self, connection: AbstractConnection, *, confirm_seconds: float, unconfirmed: Gauge
    ) -> None:
        self._connection = connection
        self._confirm_seconds = confirm_seconds
        self._unconfirmed = unconfirmed
        self._events: Channel | None = None
        self._replies: Channel | None = None
        self._life: Channel | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish a batch, and return when all of it is confirmed.

        Raises:
            BrokerUnavailable: Part of it is not confirmed, and may have been published or not.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Incomplete),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
        )
        left = list(messages)
        try:
            async for attempt in retrying:
                with attempt:
                    doublings = min(attempt.retry_state.attempt_number - 1, 10)
                    hold_seconds = min(self._confirm_seconds * 2**doublings, _MOST_HOLD_SECONDS)
                    left = await self._publish_once(left, hold_seconds)
                    _raise_if_incomplete(left)
        finally:
            self._unconfirmed.set(0)

    async def _publish_once(
        self, messages: Sequence[Outgoing], hold_seconds: float
    ) -> list[Outgoing]:
        """Publish messages, and return those to publish again."""
        if self._events is None:
            self._events = await open_channel(self._connection, confirms=True)
        tasks = [
            asyncio.create_task(_publish(self._events, message, mandatory=True))
            for message in messages
        ]
        publishing = asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._hold(publishing, hold_seconds)
            results = [_failure(task) for task in tasks]
        finally:
            if publishing.cancel():
                # Nobody will ask it what became of it.
                publishing.add_done_callback(lambda done: done.cancelled() or done.exception())
        _raise_if_lost(result for result in results if result is not None)
        if any(isinstance(result, _Unconfirmed) for result in results):
            # Left open: one that waits for a queue would not answer.
            self._events = None
        again: list[Outgoing] = []
        broken: set[str] = set()
        for message, result in zip(messages, results, strict=True):
            if result is not None:
                broken.add(message.order)
            if isinstance(result, DeliveryError):
                _log.warning("event refused", exchange=message.exchange, why=str(result))
            if message.order in broken:
                again.append(message)
        return again

    async def _hold(self, publishing: "asyncio.Future[Any]", seconds: float) -> None:
        """Wait for the confirms of a batch for so long, and longer while the broker blocks.

        Raises:
            BrokerUnavailable: The broker does not live.
        """
        held = 0.0
        await asyncio.wait({publishing}, timeout=self._confirm_seconds)
        while not publishing.done():
            if not await is_blocked(self._connection):
                await self._sign_of_life()
                held += self._confirm_seconds
                self._unconfirmed.set(1)
                _log.warning(
                    "events not confirmed",
                    seconds=held,
                    why="has a queue bound to them lost its majority?",
                )
                if held >= seconds:
                    return
            await asyncio.wait({publishing}, timeout=self._confirm_seconds)

    async def _sign_of_life(self) -> None:
        """Ask for an answer on a channel of its own: the one that publishes may wait for a queue.

        Raises:
            BrokerUnavailable: There was none, nor any sign that the broker blocks.
        """
        try:
            async with broker_errors("waiting for confirms", self._confirm_seconds):
                if self._life is None or self._life.is_closed:
                    self._life = await open_channel(self._connection)
                await self._life.basic_qos(prefetch_count=1)
        except BrokerUnavailable:
            if not await is_blocked(self._connection):
                raise

    async def reply(self, messages: Sequence[Outgoing]) -> None:
        """Publish copies of events to those who asked for a reply.

        A queue that is not there, or refuses, is its owner's business: the event itself has been
        confirmed, and the command must not wait for it.

        So is one that does not confirm in time.
        """
        if not messages:
            return
        try:
            async with broker_errors("publishing replies", _REPLY_SECONDS):
                if self._replies is None or self._replies.is_closed:
                    self._replies = await open_channel(self._connection, confirms=True)
                results = await asyncio.gather(
                    *(_publish(self._replies, message, mandatory=False) for message in messages),
                    return_exceptions=True,
                )
        except BrokerUnavailable as error:
            # Of a connection that is lost, others tell the session.
            _log.warning("replies not confirmed", why=str(error))
            return
        refused = [str(result) for result in results if isinstance(result, BaseException)]
        if refused:
            _log.warning("replies refused", count=len(refused), why=refused[0])


async def _publish(channel: Channel, message: Outgoing, *, mandatory: bool) -> None:
    await channel.basic_publish(
        message.body,
        exchange=message.exchange,
        routing_key=message.routing_key,
        properties=message.properties,
        mandatory=mandatory,
        wait=False,
    )
