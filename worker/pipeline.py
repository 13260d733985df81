"""A command's way through the worker, in seven steps; nothing else knows their order.

1. take what has arrived, from all partitions, and read it;
2. load the calls it is for, and the records of what has been answered before; not where this
   worker remembers how it left a call, or it begins: the commit finds out if that is wrong;
3. decide, folding the commands of one call in order;
4. commit state and records, one compare-and-set per call;
5. wait until Redis has that on disk, or on a replica, if so much is asked for (in the same round
   trip, and a shortfall holds the batch);
6. publish the events, and what is asked of the telephone network, and wait for the confirms, while
   the next are on their way;
7. acknowledge the commands, unless Redis has lost anything meanwhile.

A crash before 7 brings the commands back; after 4 their records answer them, with the same events.
So the unacknowledged command is the outbox, and there is no other.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Final, NamedTuple, TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from schemas.contract import CommandName
from worker.batch import Decide, Outcome, fold, unanswerable, wanted_records
from worker.broker.inbox import Inbox
from worker.broker.outbox import Batch, Outbox, Outgoing
from worker.broker.subscription import Delivery
from worker.core.call import Call
from worker.core.messages import Decision, Message
from worker.errors import CorruptCall, StoreUnavailable
from worker.observer import Observer
from worker.outgoing import Writer
from worker.reading import Item, by_call, read_delivery
from worker.store import CallStore, Change, Memory, StoredCall, Suspects

_log: Final = structlog.get_logger(__name__)
_T = TypeVar("_T")

#: How often a call that somebody else keeps changing is decided again before its partition counts
#: as lost.
_MOST_CONFLICTS: Final = 5

#: How often a command has come back when it is processed alone from then on. Few do: a worker that
#: dies, loses a service or hands a partition over returns each command once.
_SUSPICIOUS_RETURNS: Final = 8

#: From how many messages on a batch is large. It shares what others have for themselves: a confirm,
#: an acknowledgement.
_MANY: Final = 32

#: Batches that may be on their way to RabbitMQ unconfirmed, besides the one that is looked at.
_MOST_UNCONFIRMED: Final = 8

#: How long small batches are collected that can be acknowledged together, in seconds, unless
#: somebody waits for that. To look at Redis, to write to the disk and to wake up takes as long for
#: one acknowledgement as for many, on cores that commands wait for.
_COLLECTING_SECONDS: Final = 0.05

#: How many workers may die while they process a command alone, before it counts as the cause.
_MOST_CRASHES: Final = 3


class WorkersCrashed(Exception):
    """Raised in place of a decision on which workers crash."""


def _is_suspicious(delivery: Delivery) -> bool:
    return delivery.returns >= _SUSPICIOUS_RETURNS


def _crash(call: Call, message: Message) -> Decision:
    del call, message
    raise WorkersCrashed


class _Published(NamedTuple):
    outcomes: list[Outcome]
    batch: Batch
    replies: list[Outgoing]
    at: float


class _Way:
    """The batches between the steps.

    Attributes:
        committed: Those to publish; joined when all that was put there has been acknowledged.
        published: Those to be confirmed.
        confirmed: Those to acknowledge.
    """

    def __init__(self) -> None:
        self.committed: asyncio.Queue[list[Outcome]] = asyncio.Queue(maxsize=1)
        self.published: asyncio.Queue[_Published] = asyncio.Queue(maxsize=_MOST_UNCONFIRMED)
        self.confirmed: asyncio.Queue[list[Outcome]] = asyncio.Queue()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The seven steps over one inbox, store and outbox.

    Several batches are under way at a time: while the events of one are being confirmed, those of
    the next are published, and the one behind it is decided. Each step goes through the batches in
    order, so a call's events do too.

    Args:
        inbox: Where commands come from.
        store: Where calls are.
        outbox: Where events go.
        suspects: The commands on which workers may have crashed.
        observer: Told of what becomes of commands.
        decide: The pure decision.
        writer: Builds what is published.
        batch_size: Most commands in one batch; a batch is never waited for.
        hold_seconds: How long a batch is held while Redis is away.
        memory: What is known of calls without loading them.
    """

    inbox: Inbox
    store: CallStore
    outbox: Outbox
    suspects: Suspects
    observer: Observer
    decide: Decide
    writer: Writer
    batch_size: int
    hold_seconds: float
    memory: Memory = field(default_factory=Memory)

    async def run(self) -> None:
        """Process commands until cancelled.

        Raises:
            StoreUnavailable: Redis has been away for longer than a batch is held.
            StoreRegressed: Redis has lost calls.
            Unavailable: Redis was restored, or is another server: a new session is to begin.
            BrokerUnavailable: The connection is gone; what was taken will be delivered again.
        """
        way = _Way()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take_and_commit(way))
            tasks.create_task(self._publish(way))
            tasks.create_task(self._confirm(way))
            tasks.create_task(self._acknowledge(way))

    async def _take_and_commit(self, way: _Way) -> None:
        while True:
            deliveries = await self.inbox.take(self.batch_size)
            self.observer.taken(deliveries)
            for suspicious, some in groupby(deliveries, _is_suspicious):
                held = self.inbox.held(some)
                if suspicious:
                    for delivery in held:
                        await self._process_alone(delivery, way)
                else:
                    await way.committed.put(await self.commit(self._read(held), self.decide))

    async def _process_alone(self, delivery: Delivery, way: _Way) -> None:
        """Process a delivery while nothing else is under way, so that a crash is its own doing."""
        partition = delivery.subscription.partition
        await way.committed.join()
        died = await self._patiently("suspects", partial(self.suspects.begin, partition))
        try:
            guilty = died >= _MOST_CRASHES
            items = self._read([delivery])
            if guilty:
                _log.error("workers crash on a command", **items[0].identity, workers=died)
                self.observer.metrics.poisoned.inc()
            await way.committed.put(await self.commit(items, _crash if guilty else self.decide))
            await way.committed.join()
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
        stored = self._recalled(calls, at)
        known = set(stored)
        for _ in range(_MOST_CONFLICTS):
            if not calls:
                break
            wanted = {
                call: wanted_records(of_call, call in since)
                for call, of_call in calls.items()
                if call not in stored
            }
            if wanted:
                stored |= await self._patiently("load", partial(self.store.load, wanted))
            folded = {
                call: fold(
                    stored[call], of_call, decide, at, since=since.get(call), anew=self.store.waits
                )
                for call, of_call in calls.items()
            }
            for call, found in stored.items():
                if isinstance(found, StoredCall):
                    since.setdefault(call, found.call.accounted)
            changes = [change for change, _ in folded.values() if change is not None]
            beaten = await self._write(changes, calls, at)
            self.observer.metrics.conflicts.inc(len(beaten - known))
            for call, (_, of_call) in folded.items():
                if call not in beaten:
                    for outcome in of_call:
                        outcome.close()
                        outcomes[id(outcome.item)] = outcome
                    del calls[call]
            stored, known = {}, set()
        self.inbox.give_back(item.delivery for of_call in calls.values() for item in of_call)
        return [outcomes[id(item)] for item in items if id(item) in outcomes]

    async def _write(
        self, changes: Sequence[Change], calls: Mapping[str, Sequence[Item]], at: int
    ) -> set[str]:
        """Commit changes, and remember them; return the calls that have moved on meanwhile."""
        if not changes:
            return set()
        beaten = set()
        until = at + self.store.clock_tolerance_ms
        done = await self._patiently("commit", partial(self.store.commit, changes))
        for change, committed in zip(changes, done, strict=True):
            call = change.call.request_id
            if committed:
                owner = calls[call][0].delivery.subscription
                self.memory.remember(change.call, change.version + 1, owner, until)
            else:
                self.memory.forget(call)
                beaten.add(call)
        return beaten

    def _recalled(
        self, calls: Mapping[str, Sequence[Item]], at: int
    ) -> dict[str, StoredCall | CorruptCall]:
        """Return what is known of calls; of one that begins, that nobody has heard of it.

        Messages that have come back, or have no id, need the records.
        """
        known: dict[str, StoredCall | CorruptCall] = {}
        for call, items in calls.items():
            if any(item.delivery.redelivered or item.anonymous for item in items):
                continue
            stored = self.memory.recall(call, items[0].delivery.subscription, at)
            if stored is None and items[0].message.kind == CommandName.CALL:
                stored = self.store.presumed(call)
            if stored is not None:
                known[call] = stored
        return known

    async def _publish(self, way: _Way) -> None:
        while True:
            outcomes = await way.committed.get()
            messages, replies = self._messages(outcomes)
            if len(messages) >= _MANY:
                # More than this RabbitMQ takes no sooner: it piles them up, and that slows it down.
                await way.published.join()
            at = time.perf_counter()
            batch = await self.outbox.publish(messages)
            await way.published.put(_Published(outcomes, batch, replies, at))
            await self.outbox.drain()

    async def _confirm(self, way: _Way) -> None:
        while True:
            published = await way.published.get()
            await self.outbox.confirmed(published.batch)
            way.published.task_done()
            self.observer.metrics.confirm.observe(time.perf_counter() - published.at)
            self.observer.confirmed(published.outcomes)
            await self.outbox.reply(published.replies)
            way.confirmed.put_nowait(published.outcomes)

    async def _acknowledge(self, way: _Way) -> None:
        while True:
            batches = [await way.confirmed.get()]
            alone = any(_is_suspicious(outcome.item.delivery) for outcome in batches[0])
            if len(batches[0]) < _MANY and not alone:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_COLLECTING_SECONDS):
                        await self.inbox.pressed()
            while not way.confirmed.empty():
                batches.append(way.confirmed.get_nowait())
            # What is acknowledged does not come back, so it must be in a journal that is read
            # after Redis has lost it, or in Redis.
            await self._patiently("look", self.store.look)
            await self.inbox.settle(
                outcome.item.delivery for outcomes in batches for outcome in outcomes
            )
            for _ in batches:
                way.committed.task_done()

    def _messages(self, outcomes: Sequence[Outcome]) -> tuple[list[Outgoing], list[Outgoing]]:
        messages: list[Outgoing] = []
        replies: list[Outgoing] = []
        for outcome in outcomes:
            of_outcome, copies = self.writer.build(outcome)
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
