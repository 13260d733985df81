"""A command's way through the worker, in seven steps; nothing else knows their order.

1. take what has arrived, from all partitions, and read it;
2. load the calls it is for, and the records of what has been answered before;
3. decide, folding the commands of one call in order;
4. commit state and records, one compare-and-set per call;
5. wait until Redis has that on disk, or on a replica, if so much is asked for (in the same round
   trip, and a shortfall holds the batch);
6. publish the events, and wait for their confirms;
7. acknowledge the commands, unless Redis has lost anything meanwhile.

A crash before 7 brings the commands back; after 4 their records answer them, with the same events.
So the unacknowledged command is the outbox, and there is no other.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Final, TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from schemas.contract import EventNames
from worker.batch import Decide, Outcome, fold, unanswerable, wanted_records
from worker.broker.inbox import Inbox
from worker.broker.outbox import Outbox, Outgoing
from worker.broker.subscription import Delivery
from worker.core.call import Call
from worker.core.messages import Decision, Message
from worker.errors import StoreUnavailable
from worker.names import Names
from worker.observer import Observer
from worker.outgoing import build
from worker.reading import Item, by_call, read_delivery
from worker.store import CallStore, StoredCall, Suspects

_log: Final = structlog.get_logger(__name__)
_T = TypeVar("_T")

#: How often a call that somebody else keeps changing is decided again before its partition counts
#: as lost.
_MOST_CONFLICTS: Final = 5

#: How often a command has come back when it is processed alone from then on. Few do: a worker that
#: dies, loses a service or hands a partition over returns each command once.
_SUSPICIOUS_RETURNS: Final = 8

#: How many workers may die while they process a command alone, before it counts as the cause.
_MOST_CRASHES: Final = 3


class WorkersCrashed(Exception):
    """Raised in place of a decision on which workers crash."""


def _is_suspicious(delivery: Delivery) -> bool:
    return delivery.returns >= _SUSPICIOUS_RETURNS


def _crash(call: Call, message: Message) -> Decision:
    del call, message
    raise WorkersCrashed


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The seven steps over one inbox, store and outbox.

    Two batches are under way at a time: while the events of one are being confirmed, the next is
    decided. Both halves go through the batches in order, so a call's events do too.

    Args:
        inbox: Where commands come from.
        store: Where calls are.
        outbox: Where events go.
        suspects: The commands on which workers may have crashed.
        observer: Told of what becomes of commands.
        decide: The pure decision.
        names: The installation's names.
        event_names: Which name stands in an event's body.
        batch_size: Most commands in one batch; a batch is never waited for.
        hold_seconds: How long a batch is held while Redis is away.
    """

    inbox: Inbox
    store: CallStore
    outbox: Outbox
    suspects: Suspects
    observer: Observer
    decide: Decide
    names: Names
    event_names: EventNames
    batch_size: int
    hold_seconds: float

    async def run(self) -> None:
        """Process commands until cancelled.

        Raises:
            StoreUnavailable: Redis has been away for longer than a batch is held.
            StoreRegressed: Redis has lost calls.
            Unavailable: Redis was restored, or is another server: a new session is to begin.
            BrokerUnavailable: The connection is gone; what was taken will be delivered again.
        """
        committed: asyncio.Queue[list[Outcome]] = asyncio.Queue(maxsize=1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take_and_commit(committed))
            tasks.create_task(self._publish_and_acknowledge(committed))

    async def _take_and_commit(self, committed: asyncio.Queue[list[Outcome]]) -> None:
        while True:
            deliveries = await self.inbox.take(self.batch_size)
            self.observer.taken(deliveries)
            for suspicious, some in groupby(deliveries, _is_suspicious):
                if suspicious:
                    for delivery in some:
                        await self._process_alone(delivery, committed)
                else:
                    await committed.put(await self.commit(self._read(some), self.decide))

    async def _process_alone(
        self, delivery: Delivery, committed: asyncio.Queue[list[Outcome]]
    ) -> None:
        """Process a delivery while nothing else is under way, so that a crash is its own doing."""
        partition = delivery.subscription.partition
        await committed.join()
        died = await self._patiently("suspects", partial(self.suspects.begin, partition))
        try:
            guilty = died >= _MOST_CRASHES
            items = self._read([delivery])
            if guilty:
                _log.error("workers crash on a command", **items[0].identity, workers=died)
                self.observer.metrics.poisoned.inc()
            await committed.put(await self.commit(items, _crash if guilty else self.decide))
            await committed.join()
        except BaseException:
            with suppress(StoreUnavailable):
                await self.suspects.withdraw()
            raise
        await self._patiently("suspects", partial(self.suspects.finish, partition))

    def _read(self, deliveries: Iterable[Delivery]) -> list[Item]:
        return self.observer.begun([read_delivery(delivery) for delivery in deliveries])

    async def commit(self, items: Sequence[Item], decide: Decide) -> list[Outcome]:
        """Load, decide and commit; return the outcomes in the order of the items."""
        at = time.time_ns() // 1_000_000
        outcomes = {id(item): unanswerable(item, at) for item in items if item.request_id is None}
        calls = by_call(items)
        since: dict[str, int] = {}
        for _ in range(_MOST_CONFLICTS):
            if not calls:
                break
            wanted = {call: wanted_records(items, call in since) for call, items in calls.items()}
            stored = await self._patiently("load", partial(self.store.load, wanted))
            folded = {
                call: fold(
                    stored[call], of_call, decide, at, since=since.get(call), anew=self.store.waits
                )
                for call, of_call in calls.items()
            }
            for call, loaded in stored.items():
                if isinstance(loaded, StoredCall):
                    since.setdefault(call, loaded.call.sequence)
            changes = [change for change, _ in folded.values() if change is not None]
            done = []
            if changes:
                done = await self._patiently("commit", partial(self.store.commit, changes))
            beaten = {
                change.call.request_id
                for change, committed in zip(changes, done, strict=True)
                if not committed
            }
            self.observer.metrics.conflicts.inc(len(beaten))
            for call, (_, of_call) in folded.items():
                if call not in beaten:
                    for outcome in of_call:
                        outcome.close()
                        outcomes[id(outcome.item)] = outcome
                    del calls[call]
        self.inbox.give_back(item.delivery for of_call in calls.values() for item in of_call)
        return [outcomes[id(item)] for item in items if id(item) in outcomes]

    async def _publish_and_acknowledge(self, committed: asyncio.Queue[list[Outcome]]) -> None:
        while True:
            outcomes = await committed.get()
            messages, replies = self._messages(outcomes)
            with self.observer.metrics.confirm.time():
                await self.outbox.publish(messages)
            self.observer.confirmed(outcomes)
            await self.outbox.reply(replies)
            # What is acknowledged does not come back, so it must be in a journal that is read
            # after Redis has lost it, or in Redis.
            await self._patiently("look", self.store.look)
            await self.inbox.settle(outcome.item.delivery for outcome in outcomes)
            committed.task_done()

    def _messages(self, outcomes: Sequence[Outcome]) -> tuple[list[Outgoing], list[Outgoing]]:
        messages: list[Outgoing] = []
        replies: list[Outgoing] = []
        for outcome in outcomes:
            of_outcome, copies = build(outcome, self.names, self.event_names)
            messages += of_outcome
            replies += copies
        return messages, replies

    async def _patiently(self, name: str, step: Callable[[], Awaitable[_T]]) -> _T:
        """Hold the batch and try again while Redis is away; every step may be repeated."""
        seconds = self.observer.metrics.redis.labels(name)

        async def attempt() -> _T:
            try:
                with seconds.time():
                    return await step()
            except StoreUnavailable:
                await self.store.reconnect()
                raise

        try:
            return await attempt()
        except StoreUnavailable:
            # Not before: it takes longer than what else a step takes that goes well.
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(StoreUnavailable),
                wait=wait_random_exponential(multiplier=0.1, max=1.0),
                stop=stop_after_delay(self.hold_seconds),
                before_sleep=_log_hold,
                reraise=True,
            )
            return await retrying(attempt)


def _log_hold(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.warning("holding commands", why=str(error), attempt=state.attempt_number)
