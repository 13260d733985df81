"""Redis has lost calls while nobody looked: the next worker notices, and waits for a word."""

import asyncio
import json
import time
from urllib.request import urlopen

import pytest

from deploy.local import Services
from tests.clients import connected_to
from tests.harness import Installation, installation
from tests.integration.test_rebuild import (
    CALL,
    empty_redis,
    noticed,
    restored,
    until_noticed,
)
from tests.listening import journal
from worker.broker import connection as broker
from worker.broker.declaring import establish
from worker.broker.topology import MARK, topology
from worker.errors import StoreRegressed
from worker.regression import Watch
from worker.store import CallStore, close, connect
from worker.store.epoch import Guard


async def test_a_redis_emptied_while_nobody_worked_is_noticed_at_the_start(
    calls: Installation,
) -> None:
    """The worker says so in its log and to whoever asks whether it is ready."""
    await calls.ask("123XYZ", "call", **CALL)
    assert await calls.workers[0].terminate() == 0
    await empty_redis(calls)
    worker = await calls.spawn()
    waiting = await calls.command("123XYZ", "hold")
    await until_noticed(worker)
    assert not worker.logged("worker joined")
    body = await asyncio.to_thread(problems, worker.http_port)
    assert "callctl rebuild" in body
    await restored(calls)
    assert (await calls.answer(waiting)).sequence == 2
    assert await asyncio.to_thread(problems, worker.http_port) == ""


async def begin(calls: Installation) -> None:
    """Make sure, as a worker that starts, that Redis has lost nothing."""
    connection = await broker.connect(calls.services.amqp_url, "a worker that starts")
    redis = connect(calls.services.redis_url)
    guard = Guard(calls.names.epoch, remember_seconds=60)
    store = CallStore.of(redis, calls.settings, guard)
    try:
        await Watch(connection, calls.names.journal, redis, store, guard).begin(
            journal_is_new=False
        )
    finally:
        await broker.close(connection)
        await close(redis)


def problems(port: int) -> str:
    """Return what a worker says that keeps it from being ready."""
    request = f"http://127.0.0.1:{port}/ready"
    try:
        with urlopen(request, timeout=5) as answer:
            body = json.load(answer)
    except OSError as error:
        body = json.loads(error.read().decode())  # type: ignore[attr-defined]  # an HTTPError
    return "; ".join(body["problems"])


async def test_an_old_backup_restored_while_nobody_worked_is_noticed_at_the_start(
    calls: Installation,
) -> None:
    """The epoch is in it, but the journal's last events are newer than its calls."""
    await calls.ask("123XYZ", "call", **CALL)
    key = calls.names.call_prefix + "123XYZ"
    backup = await calls.redis.dump(key)
    assert backup is not None
    await calls.ask("123XYZ", "hold")
    await calls.ask("younger than the backup", "call", **CALL)
    assert await calls.workers[0].terminate() == 0
    await calls.redis.restore(key, 0, backup, replace=True)
    await calls.redis.delete(calls.names.call_prefix + "younger than the backup")

    worker = await calls.spawn()
    await until_noticed(worker)
    assert not worker.logged("worker joined")
    assert (await restored(calls)).calls == 2
    await worker.joined()
    assert (await calls.ask("123XYZ", "hold")).sequence == 3


async def test_a_loss_can_be_accepted(calls: Installation) -> None:
    """Workers go on with what is there, now and in their next session."""
    await calls.ask("123XYZ", "call", **CALL)
    # Else the command comes back, and begins the call anew.
    await calls.workers[0].settled()
    await empty_redis(calls)
    await until_noticed(*calls.workers)
    report = await restored(calls, accept_loss=True)
    assert (report.calls, report.new_epoch) == (0, True)
    assert (await calls.ask("123XYZ", "hold")).content["status"] == 481
    assert await calls.workers[0].terminate() == 0
    await calls.start()
    assert (await calls.ask("123XYZ", "hold")).sequence == 2


async def test_a_rebuild_from_a_journal_that_was_made_anew_is_believed(calls: Installation) -> None:
    """Though its offsets are lower than the one at which the epoch before began."""
    for number in range(3):
        await calls.ask(f"call-{number}", "call", **CALL)
    await restored(calls, accept_loss=True)
    await calls.workers[0].rejoined()
    channel = await calls.connection.channel()
    await channel.queue_delete(calls.names.journal)
    await establish(calls.connection, topology(calls.names, calls.settings.partitions))
    await calls.ask("later", "call", **CALL)
    await empty_redis(calls)
    await until_noticed(*calls.workers)
    report = await restored(calls)
    assert (report.calls, report.new_epoch) == (1, True)
    await calls.workers[0].rejoined(3)
    assert (await calls.ask("later", "hold")).sequence == 2


async def test_a_journal_without_events_is_no_loss(calls: Installation) -> None:
    """As after an installation whose first worker died before it could begin."""
    assert await calls.workers[0].terminate() == 0
    await empty_redis(calls)
    await calls.start(2)
    assert (await calls.ask("123XYZ", "call", **CALL)).sequence == 1


async def test_a_worker_that_finds_the_journal_empty_leaves_a_mark_that_is_no_event(
    idle: Installation,
) -> None:
    """As after `callctl topology apply`: it need not wait, and whoever reads events sees none."""
    await idle.start()
    await idle.ask("123XYZ", "call", **CALL)
    mark, event = await journal(idle, until=idle.events[0].message_id)
    assert (mark.type, mark.body, event.type) == (MARK, b"{}", "call_connected")
    async with connected_to(idle) as client:
        replayed = [each async for each in client.events(since="first", follow=False)]
    assert [each.message_id for each in replayed] == [event.message_id]
    await empty_redis(idle)
    report = await restored(idle)
    assert (report.events, report.unreadable) == (1, 0)
    assert (await idle.ask("123XYZ", "hold")).sequence == 2


async def test_a_call_that_cannot_be_read_may_be_deleted_and_restored(calls: Installation) -> None:
    """The worker that has met it does not take its deletion for a loss; a rebuild has it back."""
    await calls.ask("123XYZ", "call", **CALL)
    key = calls.names.call_prefix + "123XYZ"
    await calls.redis.hset(key, "state", "flying")
    await calls.redis.hincrby(key, "version", 1)
    assert (await calls.ask("123XYZ", "hold")).content["status"] == 500
    await calls.redis.delete(key)
    report = await restored(calls)
    assert (report.calls, report.records) == (1, 1)
    assert (await calls.ask("123XYZ", "hold")).content["status"] == 200
    assert not any(noticed(worker) for worker in calls.workers)


@pytest.mark.parametrize("said", [("call", "disconnect"), ("hold",)])
async def test_a_call_that_was_over_and_has_expired_is_no_loss(
    services: Services, said: tuple[str, ...]
) -> None:
    """Though this worker would have kept it for longer than the one that it was over for."""
    async with installation(services, ended_retention_seconds=1) as calls:
        (first,) = await calls.start()
        await calls.subscribe()
        for name in said:
            await calls.ask("123XYZ", name, **(CALL if name == "call" else {}))
        await asyncio.sleep(1.1)
        assert await calls.redis.exists(f"{calls.names.call_prefix}123XYZ") == 0
        assert await first.terminate() == 0
        (second,) = await calls.start(ended_retention_seconds=3600)
        assert not noticed(second)


async def test_a_call_that_was_over_and_is_set_back_is_a_loss(calls: Installation) -> None:
    """It expires, but it does not go back."""
    await calls.ask("123XYZ", "call", **CALL)
    key = calls.names.call_prefix + "123XYZ"
    backup = await calls.redis.dump(key)
    assert backup is not None
    await calls.ask("123XYZ", "disconnect")
    assert await calls.workers[0].terminate() == 0
    await calls.redis.restore(key, 0, backup, replace=True)
    await until_noticed(await calls.spawn())


async def test_a_workers_clock_hides_no_loss(
    calls: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is ahead makes all events look old; Redis' clock is the one that counts."""
    await calls.ask("123XYZ", "call", **CALL)
    assert await calls.workers[0].terminate() == 0
    await calls.redis.delete(f"{calls.names.call_prefix}123XYZ")
    set_clock(monkeypatch, hours=2)
    with pytest.raises(StoreRegressed, match="123XYZ"):
        await begin(calls)


async def test_a_workers_clock_makes_no_loss(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is behind makes all events look young, those of expired calls too."""
    async with installation(services, ended_retention_seconds=3600, idle_expiry_seconds=1) as calls:
        (worker,) = await calls.start()
        await calls.subscribe()
        await calls.ask("123XYZ", "call", **CALL)
        await asyncio.sleep(1.1)
        assert await calls.redis.exists(f"{calls.names.call_prefix}123XYZ") == 0
        assert await worker.terminate() == 0
        set_clock(monkeypatch, hours=-2)
        await begin(calls)


def set_clock(monkeypatch: pytest.MonkeyPatch, *, hours: int) -> None:
    """Have a clock that is wrong."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
