"""Partitions that stand still: commands wait, this worker subscribes, and nothing is delivered.

However that comes about (a queue deleted and declared anew, a consumer that died unnoticed, a
paused worker that RabbitMQ still counts on), it is seen within seconds, said, and mended as far as
it can be from here: by subscribing again.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from worker.broker.connection import Channel, broker_errors, open_channel
from worker.broker.inbox import Inbox
from worker.broker.subscription import Subscription
from worker.errors import BrokerUnavailable
from worker.names import Names

_log: Final = structlog.get_logger(__name__)

#: Looks at each partition within the time after which it counts as stalled.
_LOOKS: Final = 4

#: How often the time between two attempts at a stalled partition doubles.
_MOST_DOUBLINGS: Final = 4


class Watchdog:
    """Looks after the partitions that this worker owns.

    Args:
        connection: The connection that consumes; the one that publishes may be blocked.
        inbox: The partitions.
        names: The installation's names.
        channel_number: A channel number that no partition has.
        stall_seconds: How long a partition may have commands and no deliveries. More than a
            handing over takes: a standby that lets go does so within seconds.
        report: Told which partitions are stalled, after every look.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        inbox: Inbox,
        names: Names,
        *,
        channel_number: int,
        stall_seconds: float,
        report: Callable[[frozenset[int]], None],
    ) -> None:
        self._connection = connection
        self._inbox = inbox
        self._names = names
        self._channel_number = channel_number
        self._stall_seconds = stall_seconds
        self._report = report
        self._seen: dict[int, tuple[Subscription, int]] = {}
        self._quiet_since: dict[int, float] = {}
        self._resubscribed: dict[int, int] = {}
        self._stalled: set[int] = set()

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            BrokerUnavailable: A partition's queue is gone; a new session declares it.
        """
        while True:
            try:
                channel = await open_channel(self._connection, number=self._channel_number)
                while True:
                    await asyncio.sleep(self._stall_seconds / _LOOKS)
                    await self._look_at_all(channel)
            except BrokerUnavailable as error:
                if isinstance(error.__cause__, ChannelNotFoundEntity):
                    raise
                # A broker that is slow to answer costs a look; of a connection that is lost,
                # others tell the session.
                _log.warning("cannot look after partitions", why=str(error))
                await asyncio.sleep(self._stall_seconds)

    async def _look_at_all(self, channel: Channel) -> None:
        owned = {each.partition: each for each in self._inbox.owned()}
        for partition in self._quiet_since.keys() - owned.keys():
            self._moves(partition)
        for subscription in owned.values():
            await self._look(channel, subscription)
        self._report(frozenset(self._stalled))

    async def _look(self, channel: Channel, subscription: Subscription) -> None:
        partition = subscription.partition
        before, now = self._seen.get(partition), (subscription, subscription.delivered)
        self._seen[partition] = now
        delivers = subscription.delivered > 0 and now != before
        if delivers or not subscription.idle or not await self._commands_wait(channel, partition):
            self._moves(partition)
        else:
            self._stands_still(partition)

    async def _commands_wait(self, channel: Channel, partition: int) -> bool:
        async with broker_errors(f"looking after partition {partition}"):
            queue = await channel.queue_declare(self._names.partition(partition), passive=True)
        return bool(queue.message_count)

    def _moves(self, partition: int) -> None:
        self._quiet_since.pop(partition, None)
        self._resubscribed.pop(partition, None)
        if partition in self._stalled:
            self._stalled.discard(partition)
            _log.info("partition no longer stalled", partition=partition)

    def _stands_still(self, partition: int) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._quiet_since.setdefault(partition, now) < self._stall_seconds:
            return
        # Whoever subscribes stands at the end of the broker's line, so it is done ever less often.
        times = self._resubscribed.get(partition, 0)
        self._resubscribed[partition] = times + 1
        factor = 2 ** min(times, _MOST_DOUBLINGS)
        self._quiet_since[partition] = now + self._stall_seconds * (factor - 1)
        _log.error("partition stalled", partition=partition, seconds=self._stall_seconds)
        self._stalled.add(partition)
        self._inbox.resubscribe(partition)
