"""A journal that answers late, as that of a busy RabbitMQ does, or one on a slow disk."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from aiormq.abc import DeliveredMessage

from tests.harness import Installation
from tests.integration.test_rebuild import CALL, contents, empty_redis, restored, until_noticed
from tests.integration.test_regression import begin
from worker import rebuild as rebuilding
from worker import regression
from worker.broker import connection as broker
from worker.broker.journal import Entry, leave_mark, read_last_chunk
from worker.broker.reader import Reader
from worker.errors import BrokerUnavailable, StoreRegressed

#: What stands before any offset: the first answer is late.
FIRST: Final = -1


@dataclass
class _Pause:
    """What one reader has not got yet."""

    held: list[DeliveredMessage] = field(default_factory=list)
    began: bool = False
    over: bool = False


def slow_down(monkeypatch: pytest.MonkeyPatch, seconds: float, offset: int = FIRST) -> None:
    """Have each reader get what stands at an offset, and behind it, so many seconds later."""
    on_message = Reader.on_message
    pauses: dict[Reader[Any], _Pause] = defaultdict(_Pause)

    async def go_on(reader: Reader[Any], pause: _Pause) -> None:
        await asyncio.sleep(seconds)
        pause.over = True
        for message in pause.held:
            await on_message(reader, message)

    async def arrive(reader: Reader[Any], message: DeliveredMessage) -> None:
        pause = pauses[reader]
        headers = message.header.properties.headers or {}
        if pause.over or (not pause.began and headers["x-stream-offset"] < offset):  # type: ignore[operator]  # an int
            await on_message(reader, message)
            return
        pause.held.append(message)
        if not pause.began:
            pause.began = True
            going = asyncio.ensure_future(go_on(reader, pause))
            _tasks.add(going)
            going.add_done_callback(_tasks.discard)

    monkeypatch.setattr(Reader, "on_message", arrive)


#: The event loop does not keep what nobody refers to.
_tasks: set[asyncio.Task[None]] = set()


async def test_a_slow_journal_is_waited_for(
    calls: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its first answer, and before its newest events: all of it is restored."""
    for number in range(4):
        await calls.ask(f"call-{number}", "call", **CALL)
    before = await contents(calls)
    for offset in (FIRST, 3):
        await empty_redis(calls)
        with monkeypatch.context() as slow:
            slow_down(slow, 2.5, offset)
            report = await restored(calls)
        assert (report.events, report.calls, report.new_epoch) == (4, 4, True)
        assert await contents(calls) == before


async def test_a_journal_that_says_nothing_opens_no_traffic(
    calls: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell whether it is empty; a loss that is accepted is one."""
    await calls.ask("123XYZ", "call", **CALL)
    await empty_redis(calls)
    await until_noticed(*calls.workers)
    with monkeypatch.context() as slow:
        slow_down(slow, 60)
        slow.setattr(rebuilding, "_PATIENCE_SECONDS", 0.5)
        with pytest.raises(BrokerUnavailable, match=r"repeat .*--accept-loss"):
            await restored(calls)
    assert await calls.redis.get(calls.names.epoch) is None
    assert (await restored(calls)).calls == 1
    assert (await calls.ask("123XYZ", "hold")).sequence == 2


@pytest.mark.parametrize("marks", [0, 2])
async def test_a_journal_without_events_leaves_a_lost_redis_to_the_operator(
    calls: Installation, monkeypatch: pytest.MonkeyPatch, marks: int
) -> None:
    """As after both were lost: that the loss is accepted has to be said."""
    monkeypatch.setattr(rebuilding, "_PATIENCE_SECONDS", 1.0)
    connection = await broker.connect(calls.services.amqp_url, "a worker that starts")
    for _ in range(marks):
        await leave_mark(connection, calls.names.journal)
    await broker.close(connection)
    await empty_redis(calls)
    await until_noticed(*calls.workers)
    with pytest.raises(BrokerUnavailable, match="--accept-loss"):
        await restored(calls)
    assert (await restored(calls, accept_loss=True)).new_epoch
    assert (await calls.ask("123XYZ", "call", **CALL)).sequence == 1


async def test_a_journal_that_stands_still_before_its_end_opens_no_traffic(
    calls: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could be read is restored; the rest is, when the rebuild is repeated."""
    for number in range(4):
        await calls.ask(f"call-{number}", "call", **CALL)
    await empty_redis(calls)
    await until_noticed(*calls.workers)
    with monkeypatch.context() as slow:
        find_end = rebuilding._Rebuilding._find_end  # noqa: SLF001 - the journal slows down behind it

        async def find_end_and_slow_down(self: Any, connection: Any) -> None:
            await find_end(self, connection)
            slow_down(slow, 60, 2)

        slow.setattr(rebuilding._Rebuilding, "_find_end", find_end_and_slow_down)  # noqa: SLF001 - as above
        slow.setattr(rebuilding, "_PATIENCE_SECONDS", 1.5)
        slow.setattr(rebuilding, "_ATTEMPTS", 2)
        with pytest.raises(BrokerUnavailable, match=r"repeat .*--accept-loss"):
            await restored(calls)
    assert len(await contents(calls)) == 2
    assert await calls.redis.get(calls.names.epoch) is None
    report = await restored(calls)
    assert (report.calls, report.new_epoch) == (2, True)
    assert len(await contents(calls)) == 4


@pytest.mark.parametrize(("seconds", "offset"), [(0.35, FIRST), (1.5, FIRST), (0.15, 5), (1.5, 5)])
async def test_a_call_set_back_is_noticed_at_the_start_however_slow_the_journal(
    calls: Installation, monkeypatch: pytest.MonkeyPatch, seconds: float, offset: int
) -> None:
    """The newest event tells; a pause before it does not hide it."""
    for number in range(5):
        await calls.ask(f"call-{number}", "call", **CALL)
    await calls.ask("newest", "call", **CALL)
    await calls.redis.delete(f"{calls.names.call_prefix}newest")
    slow_down(monkeypatch, seconds, offset)
    with pytest.raises(StoreRegressed, match="newest"):
        await begin(calls)


async def test_a_session_does_not_begin_before_the_journals_end_has_been_compared(
    calls: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins anew instead, when RabbitMQ is itself again."""
    for number in range(3):
        await calls.ask(f"call-{number}", "call", **CALL)
    monkeypatch.setattr(regression, "_TAIL_SECONDS", 0.5)

    async def read_last_chunk_and_slow_down(*args: Any, **limits: Any) -> list[Entry]:
        entries = await read_last_chunk(*args, **limits)
        slow_down(monkeypatch, 60, 2)
        return entries

    with monkeypatch.context() as slow:
        slow.setattr(regression, "read_last_chunk", read_last_chunk_and_slow_down)
        with pytest.raises(BrokerUnavailable, match="stands still"):
            await begin(calls)


@pytest.mark.parametrize("has_epoch", [True, False])
async def test_a_journal_that_keeps_silent_is_not_taken_for_an_empty_one(
    calls: Installation, monkeypatch: pytest.MonkeyPatch, *, has_epoch: bool
) -> None:
    """A mark that does not come back tells that more may be missing than the mark."""
    await calls.ask("123XYZ", "call", **CALL)
    assert await calls.workers[0].terminate() == 0
    epoch = await calls.redis.get(calls.names.epoch)
    await empty_redis(calls)
    if has_epoch:
        await calls.redis.set(calls.names.epoch, epoch or b"")
    monkeypatch.setattr(regression, "_MARK_SECONDS", 1.0)
    with monkeypatch.context() as slow:
        slow_down(slow, 60)
        with pytest.raises(BrokerUnavailable, match="whether it is empty"):
            await begin(calls)
    with pytest.raises(StoreRegressed):
        await begin(calls)


async def test_a_journal_that_answers_late_is_not_taken_for_a_new_one(
    calls: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its installation's epoch is lost, and none is founded in its place."""
    await calls.ask("123XYZ", "call", **CALL)
    assert await calls.workers[0].terminate() == 0
    await empty_redis(calls)
    slow_down(monkeypatch, 3.5)
    with pytest.raises(StoreRegressed, match="emptied"):
        await begin(calls)
    assert await calls.redis.get(calls.names.epoch) is None
