"""Partitions: subscribe as owner or standby, hand over, take commands, acknowledge them.

The broker's single active consumer decides who gets a partition's commands; the rankings given
here only say who subscribes and who steps back. A partition is left by closing its channel after
what was taken from it is settled: ``basic.cancel`` would start the next owner too early, and what
was not taken goes back in order when the channel closes.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

import structlog
from pamqp.commands import Basic

from worker.broker.connection import Connection, broker_errors, open_channel
from worker.broker.contents import DELIVER, Contents, acknowledged
from worker.broker.subscription import KEPT_BYTES, Delivery, Subscription
from worker.names import Names

_log: Final = structlog.get_logger(__name__)

#: How long a partition that was given back is left to others, in seconds.
_AWAY_SECONDS: Final = 1.0


class Inbox:
    """The partitions of one worker on one connection.

    Args:
        connection: A connection that only consumes.
        names: The installation's names.
        worker: This worker's name; consumer tags start with it.
        prefetch: Unacknowledged deliveries per partition.
        patience_seconds: How long a standby that gets deliveries lets them come before it hands
            over to an owner that still seems to live. An owner that has just died seems to live
            until its heartbeat lapses.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        *,
        worker: str,
        prefetch: int,
        patience_seconds: float,
    ) -> None:
        self._connection = connection
        self._names = names
        self._worker = worker
        self._prefetch = prefetch
        self._patience = patience_seconds
        self._subscriptions: dict[int, Subscription] = {}
        self._moves: dict[int, asyncio.Task[None]] = {}
        self._consumers = count(1)
        self._arrived: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._leaves = 0
        self._pressed = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def partitions(self) -> int:
        """The number of partitions subscribed to, as owner or standby."""
        return len(self._subscriptions)

    @property
    def active(self) -> int:
        """The number of partitions that it ranks first for, or gets the deliveries of."""
        return sum(
            subscription.owner == self._worker or subscription.active_since is not None
            for subscription in self._subscriptions.values()
        )

    @property
    def unsettled_seconds(self) -> float:
        """How long ago the oldest delivery came that is not acknowledged."""
        since = [each.unsettled_since for each in self._subscriptions.values()]
        known = [at for at in since if at is not None]
        return time.monotonic() - min(known) if known else 0.0

    def owned(self) -> list[Subscription]:
        """Return the subscriptions to the partitions that this worker ranks first for."""
        return [
            subscription
            for subscription in self._subscriptions.values()
            if subscription.owner == self._worker and not subscription.leaving
        ]

    def follow(self, rankings: Mapping[int, tuple[str, ...]]) -> None:
        """Start what the rankings of the partitions ask for; what is under way is let finish.

        Cheap when there is nothing to do, so it is called with every heartbeat.
        """
        for partition, workers in rankings.items():
            if partition not in self._moves and self._out_of_place(partition, workers):
                self._start(partition, self._move(partition, workers))

    def resubscribe(self, partition: int) -> None:
        """Leave a partition that this worker owns, and subscribe to it again."""
        if partition not in self._moves:
            self._start(partition, self._move(partition, (self._worker,)))

    def _start(self, partition: int, move: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(move)
        self._moves[partition] = task
        task.add_done_callback(partial(self._moved, partition))

    def _out_of_place(self, partition: int, workers: tuple[str, ...]) -> bool:
        subscription = self._subscriptions.get(partition)
        if subscription is None:
            return self._worker in workers
        if self._worker == workers[0]:
            subscription.owner = self._worker
            subscription.active_since = None
            return False
        if self._worker not in workers or subscription.owner != workers[0]:
            return True
        since = subscription.active_since
        return since is not None and asyncio.get_running_loop().time() - since > self._patience

    async def _move(self, partition: int, workers: tuple[str, ...]) -> None:
        """Leave the partition, and subscribe again if ranked for it.

        A standby whose owner has changed steps back to the end of the broker's line, so that
        after a change the owner is the first in it, whoever was active before.
        """
        subscription = self._subscriptions.get(partition)
        if subscription is not None:
            await self._leave(subscription)
        if self._worker in workers:
            await self._subscribe(partition, workers[0])

    def _moved(self, partition: int, task: asyncio.Task[None]) -> None:
        del self._moves[partition]
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def in_place(self) -> None:
        """Wait until nothing is under way.

        Raises:
            BrokerUnavailable: A subscription failed.
        """
        while self._moves:
            await asyncio.wait(self._moves.values())
        if self._failed.done():
            await self._failed

    async def failure(self) -> None:
        """Wait for a failure to subscribe or to leave.

        Raises:
            BrokerUnavailable: That failure.
        """
        await asyncio.shield(self._failed)

    async def _subscribe(self, partition: int, owner: str) -> None:
        channel = await open_channel(self._connection, number=partition + 1)
        consumer_tag = f"{self._worker}.{partition:02d}-{next(self._consumers)}"
        subscription = Subscription(partition, channel, owner, consumer_tag)
        channel.closing.add_done_callback(lambda _: self._lost(subscription))
        self._subscriptions[partition] = subscription

        deliveries = Contents(DELIVER, KEPT_BYTES, partial(self._enqueue, subscription))
        self._connection.frames.hand(channel, deliveries.take)
        async with broker_errors(f"subscribing to partition {partition}"):
            await channel.basic_qos(prefetch_count=self._prefetch)
            await channel.rpc(
                Basic.Consume(queue=self._names.partition(partition), consumer_tag=consumer_tag)
            )

    def _enqueue(
        self, subscription: Subscription, arguments: bytes, encoded: bytes, body: bytes
    ) -> None:
        if subscription.leaving or not subscription.means(arguments):
            return
        if subscription.active_since is None and subscription.owner != self._worker:
            subscription.active_since = asyncio.get_running_loop().time()
        delivery = Delivery.of(subscription, arguments, encoded, body)
        subscription.arrived(delivery)
        if 2 * subscription.in_hand >= self._prefetch:
            self._pressed.set()
        self._arrived.append(delivery)
        self._wake.set()

    def _lost(self, subscription: Subscription) -> None:
        subscription.leaving = True
        if self._subscriptions.get(subscription.partition) is subscription:
            del self._subscriptions[subscription.partition]
            _log.warning("partition lost", partition=subscription.partition)

    async def take(self, limit: int) -> list[Delivery]:
        """Wait for deliveries, and return all that have arrived, up to a limit, in their order."""
        while True:
            batch: list[Delivery] = []
            while self._arrived and len(batch) < limit:
                delivery = self._arrived.popleft()
                if not delivery.subscription.leaving:
                    delivery.subscription.taken()
                    batch.append(delivery)
            if batch:
                return batch
            self._wake.clear()
            await self._wake.wait()

    async def settle(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge deliveries, and with them all that came before them on their channels."""
        last: dict[Subscription, tuple[int, int]] = {}
        for delivery in deliveries:
            _, number = last.get(delivery.subscription, (0, 0))
            last[delivery.subscription] = (delivery.tag, number + 1)
        frames, acks = self._connection.frames, []
        for subscription, (tag, number) in last.items():
            if frames.is_open(subscription.channel):
                if not subscription.abandoned:
                    acks.append(acknowledged(subscription.channel.number, tag))
            else:
                # The commands come back; their records answer them.
                _log.info("acknowledgement lost", partition=subscription.partition)
            subscription.settled(number)
        if not self._leaves:
            self._pressed.clear()
        with suppress(ConnectionError):
            frames.write(b"".join(acks))

    def held(self, deliveries: Iterable[Delivery]) -> Iterator[Delivery]:
        """Go through deliveries that were taken, but for those given back with one before them.

        To process these would let them overtake it.
        """
        for delivery in deliveries:
            if delivery.subscription.abandoned:
                delivery.subscription.settled(1)
            else:
                yield delivery

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """Let go of the partitions of deliveries that cannot be processed here.

        Another worker has them by now. All that is unacknowledged goes back to the broker.
        """
        for delivery in deliveries:
            subscription = delivery.subscription
            subscription.leaving = subscription.abandoned = True
            subscription.settled(1)
            current = self._subscriptions.get(subscription.partition)
            if current is subscription and subscription.partition not in self._moves:
                _log.warning("partition given back", partition=subscription.partition)
                self._start(subscription.partition, self._stay_away(subscription))

    async def _stay_away(self, subscription: Subscription) -> None:
        """Leave, and do not subscribe again before somebody else has had a chance."""
        await self._leave(subscription)
        await asyncio.sleep(_AWAY_SECONDS)

    async def pressed(self) -> None:
        """Wait until somebody waits for acknowledgements.

        A partition is to be left, or it has half of the deliveries in hand that it may have.
        """
        await self._pressed.wait()

    async def _leave(self, subscription: Subscription) -> None:
        subscription.leaving = True
        self._leaves += 1
        self._pressed.set()
        try:
            await subscription.all_settled()
        finally:
            self._leaves -= 1
        if self._subscriptions.get(subscription.partition) is subscription:
            del self._subscriptions[subscription.partition]
        async with broker_errors(f"leaving partition {subscription.partition}"):
            await subscription.channel.close()

    async def close(self) -> None:
        """Leave every partition once what was taken from it is settled.

        Raises:
            BrokerUnavailable: The connection is gone, and the partitions with it.
        """
        while self._moves:
            await asyncio.wait(self._moves.values())
        await asyncio.gather(*map(self._leave, list(self._subscriptions.values())))

    def abort(self) -> None:
        """Drop everything: the connection is gone, or is about to be."""
        for subscription in self._subscriptions.values():
            subscription.leaving = subscription.abandoned = True
        for move in self._moves.values():
            move.cancel()
