"""Redis has lost calls while nobody looked: the next worker notices, and waits for a word."""

import asyncio
import json
from urllib.request import urlopen

from tests.harness import Installation
from tests.integration.test_rebuild import CALL, empty_redis, noticed, restored, until_noticed


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
    await empty_redis(calls)
    await until_noticed(*calls.workers)
    report = await restored(calls, accept_loss=True)
    assert (report.calls, report.new_epoch) == (0, True)
    assert (await calls.ask("123XYZ", "hold")).content["status"] == 481
    assert await calls.workers[0].terminate() == 0
    await calls.start()
    assert (await calls.ask("123XYZ", "hold")).sequence == 2


async def test_a_journal_without_events_is_no_loss(calls: Installation) -> None:
    """As after an installation whose first worker died before it could begin."""
    assert await calls.workers[0].terminate() == 0
    await empty_redis(calls)
    await calls.start(2)
    assert (await calls.ask("123XYZ", "call", **CALL)).sequence == 1


async def test_a_call_that_cannot_be_read_may_be_deleted_and_restored(calls: Installation) -> None:
    """The worker that has met it does not take its deletion for a loss; a rebuild has it back."""
    await calls.ask("123XYZ", "call", **CALL)
    key = calls.names.call_prefix + "123XYZ"
    await calls.redis.hset(key, "state", "flying")
    assert (await calls.ask("123XYZ", "hold")).content["status"] == 500
    await calls.redis.delete(key)
    report = await restored(calls)
    assert (report.calls, report.records) == (1, 1)
    assert (await calls.ask("123XYZ", "hold")).content["status"] == 200
    assert not any(noticed(worker) for worker in calls.workers)
