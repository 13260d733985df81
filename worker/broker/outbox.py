"""Publish events and dead letters, and wait until RabbitMQ has confirmed them."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import structlog
from prometheus_client import Gauge
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    wait_random_exponential,
)

from worker.broker.connection import Channel, Connection, broker_errors, is_blocked, open_channel
from worker.broker.publisher import Batch, Outgoing, Publisher, open_publisher
from worker.errors import BrokerUnavailable

__all__ = ["Batch", "Outbox", "Outgoing"]

_log: Final = structlog.get_logger(__name__)

#: Seconds that a batch is held, at most, before it is published again on another channel.
_MOST_HOLD_SECONDS: Final = 60.0

#: Seconds that replies may take to be confirmed; they keep the acknowledgements waiting.
_REPLY_SECONDS: Final = 5.0


class _Incomplete(BrokerUnavailable):
    """Raised while RabbitMQ refuses some of a batch, or does not confirm it."""


def _raise_if_incomplete(messages: Sequence[Outgoing]) -> None:
    if messages:
        raise _Incomplete(f"RabbitMQ has not taken {len(messages)} events")


def _to_repeat(batches: Iterable[Batch]) -> list[Outgoing]:
    """Return what has not been confirmed, and what comes behind it in the same order."""
    again: list[Outgoing] = []
    broken: set[str] = set()
    for batch in batches:
        failed = batch.unconfirmed.union(batch.refused)
        for place, message in enumerate(batch.messages):
            if place in failed:
                broken.add(message.order)
            if message.order in broken:
                again.append(message)
    return again


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
        self, connection: Connection, *, confirm_seconds: float, unconfirmed: Gauge
    ) -> None:
        self._connection = connection
        self._confirm_seconds = confirm_seconds
        self._unconfirmed = unconfirmed
        self._events: Publisher | None = None
        self._replies: Publisher | None = None
        self._life: Channel | None = None
        self._unconfirmed_batches: deque[Batch] = deque()
        # Held while something is repeated: nothing of the same call may come in between.
        self._writing = asyncio.Lock()

    async def publish(self, messages: Sequence[Outgoing]) -> Batch:
        """Publish a batch behind those before it, and return it: see ``confirmed``.

        Raises:
            BrokerUnavailable: The connection is gone.
        """
        async with self._writing:
            batch = await self._publish(messages)
            self._unconfirmed_batches.append(batch)
            return batch

    async def drain(self) -> None:
        """Wait until the socket has taken most of what has been published.

        Raises:
            BrokerUnavailable: The connection is gone.
        """
        try:
            await self._connection.frames.drain()
        except OSError as error:
            raise BrokerUnavailable(f"RabbitMQ: {error} (while publishing)") from error

    async def confirmed(self, batch: Batch) -> None:
        """Return when all of a batch is confirmed. Of each it is to be asked, in their order.

        Raises:
            BrokerUnavailable: Part of it is not confirmed, and may have been published or not.
        """
        batches = self._unconfirmed_batches
        if not batches or batches[0] is not batch:
            # It has been repeated together with one before it.
            return
        await self._wait([batch])
        if not batch.taken:
            try:
                async with self._writing:
                    await self._hold_and_repeat()
            finally:
                self._unconfirmed.set(0)
        else:
            batches.popleft()

    async def _publish(self, messages: Sequence[Outgoing]) -> Batch:
        if self._events is None:
            self._events = await open_publisher(self._connection)
        return self._events.publish(messages, mandatory=True)

    async def _hold_and_repeat(self) -> None:
        """Hold all that is not confirmed, and repeat what is not, until it is.

        Raises:
            BrokerUnavailable: The broker does not live.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Incomplete),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
        )
        batches: Collection[Batch] = self._unconfirmed_batches
        if self._unconfirmed_batches[0].done.done():
            # It was refused; of those behind it nothing is known yet.
            await self._wait(batches)
        left: list[Outgoing] = []
        async for attempt in retrying:
            with attempt:
                if left:
                    batches = [await self._publish(left)]
                    await self._wait(batches)
                doublings = min(attempt.retry_state.attempt_number - 1, 10)
                hold_seconds = min(self._confirm_seconds * 2**doublings, _MOST_HOLD_SECONDS)
                await self._hold(batches, hold_seconds)
                left = _to_repeat(batches)
                _raise_if_incomplete(left)
        self._unconfirmed_batches.clear()

    async def _wait(self, batches: Iterable[Batch]) -> None:
        waiting = {batch.done for batch in batches if not batch.done.done()}
        if waiting:
            await asyncio.wait(waiting, timeout=self._confirm_seconds)

    async def _hold(self, batches: Collection[Batch], seconds: float) -> None:
        """Hold batches that were not confirmed in time for so long, or while the broker blocks.

        Raises:
            BrokerUnavailable: The broker does not live.
        """
        held = 0.0
        while not all(batch.done.done() for batch in batches):
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
                    # Left open: one that waits for a queue would not answer.
                    self._events = None
                    break
            await self._wait(batches)
        for batch in batches:
            if batch.done.done():
                batch.done.result()
            for place, why in batch.refused.items():
                exchange = batch.messages[place].exchange
                _log.warning("event refused", exchange=exchange, why=why)

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
                if self._replies is None or not self._replies.is_open:
                    self._replies = await open_publisher(self._connection)
                batch = self._replies.publish(messages, mandatory=False)
                await batch.done
        except BrokerUnavailable as error:
            # Of a connection that is lost, others tell the session.
            _log.warning("replies not confirmed", why=str(error))
            return
        if batch.refused:
            why = next(iter(batch.refused.values()))
            _log.warning("replies refused", count=len(batch.refused), why=why)
