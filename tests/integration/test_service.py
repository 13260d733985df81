"""A worker as the operator sees it: start, health, drain, refusals to start."""

import asyncio
import os
import signal
import time

import pytest

from tests.harness import Installation, eventually
from worker.broker.inbox import Inbox
from worker.broker.subscription import Delivery
from worker.cli.exit_codes import ExitCode
from worker.service import Service

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


async def test_a_worker_that_has_joined_is_live_and_ready(calls: Installation) -> None:
    """Both probes answer 200."""
    (worker,) = calls.workers
    assert await worker.get("/live") == (200, '{"live": true}')
    assert await worker.get("/ready") == (200, '{"ready": true, "problems": []}')


async def test_nothing_is_taken_before_every_partition_is_subscribed_to(
    idle: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backlog would keep the other subscriptions waiting for seconds, and the worker unready."""
    subscribed: list[int] = []
    take = Inbox.take

    async def counted(inbox: Inbox, limit: int) -> list[Delivery]:
        subscribed.append(inbox.partitions)
        return await take(inbox, limit)

    monkeypatch.setattr(Inbox, "take", counted)
    service = Service(idle.settings)
    running = asyncio.create_task(service.run())
    await idle.ask("123XYZ", "hold")
    service.stop()
    await running
    assert subscribed[0] == idle.settings.partitions


async def test_a_worker_that_cannot_reach_redis_is_live_but_not_ready(
    calls: Installation,
) -> None:
    """And says why; it is ready again by itself."""
    redis = calls.services.redis
    assert redis is not None, "Redis has to be one that the tests may pause"
    (worker,) = calls.workers

    await asyncio.to_thread(redis.pause)
    try:
        assert "Redis" in str(await worker.until_ready(ready=False))
        assert (await worker.get("/live"))[0] == 200
    finally:
        await asyncio.to_thread(redis.resume)
    await worker.until_ready(ready=True)


async def test_sigterm_drains_under_traffic_and_exits_with_zero(calls: Installation) -> None:
    """What was taken is answered and acknowledged; what was not goes to the next worker."""
    (worker,) = calls.workers
    published = [await calls.command(f"call-{n}", "hold") for n in range(300)]
    started = time.monotonic()
    assert await worker.terminate() == 0
    assert time.monotonic() - started < calls.settings.grace_seconds
    assert worker.logged("worker stopped")
    await calls.start()
    for command in published:
        await calls.answer(command)
    assert len({event.message_id for event in calls.events}) == len(published)
    # A clean stop acknowledges what it answered, so that nothing is answered twice.
    assert len(calls.events) == len(published)


async def test_a_stopped_worker_leaves_the_heartbeats_at_once(calls: Installation) -> None:
    """The others need not wait for its heartbeat to lapse."""
    (worker,) = calls.workers
    assert await calls.redis.zcard(calls.names.workers) == 1
    await worker.terminate()
    assert await calls.redis.zcard(calls.names.workers) == 0


async def test_a_second_sigterm_exits_at_once(empty: Installation) -> None:
    """Even while the first waits for a command that cannot be finished."""
    redis = empty.services.redis
    assert redis is not None, "Redis has to be one that the tests may pause"
    (worker,) = await empty.start()
    await asyncio.to_thread(redis.pause)
    try:
        await empty.command("123XYZ", "hold")
        await eventually(lambda: worker.logged("holding commands"), "the command is held")
        os.kill(worker.pid, signal.SIGTERM)
        await eventually(lambda: worker.logged("draining"), "it drains")
        assert worker.process.returncode is None
        os.kill(worker.pid, signal.SIGTERM)
        assert await asyncio.wait_for(worker.process.wait(), 2) == 128 + signal.SIGTERM
    finally:
        await asyncio.to_thread(redis.resume)


async def test_a_worker_with_another_number_of_partitions_refuses_to_start(
    calls: Installation,
) -> None:
    """It would leave commands in queues that nobody consumes."""
    worker = await calls.spawn(partitions=16)
    assert await asyncio.wait_for(worker.process.wait(), 20) == ExitCode.USAGE
    assert "CALL_CONTROL_PARTITIONS: 16 is set, but 8 is in force" in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()


async def test_a_setting_that_does_not_exist_is_an_error_that_names_it(
    empty: Installation,
) -> None:
    """A misspelt variable would otherwise be a setting that silently does nothing."""
    worker = await empty.spawn(prefetsch=7)
    assert await asyncio.wait_for(worker.process.wait(), 20) == ExitCode.USAGE
    assert "CALL_CONTROL_PREFETSCH: no such setting" in worker.log.read_text()


async def test_a_worker_connects_to_whichever_of_its_hosts_is_there(empty: Installation) -> None:
    """A cluster's URL names its nodes, and one of them may be down."""
    url = empty.environment["CALL_CONTROL_AMQP_URL"].replace("@", "@127.0.0.1:1,")
    await empty.start(amqp_url=url)
    await empty.subscribe()
    assert (await empty.ask("123XYZ", "call", **CALL)).content["status"] == 200


async def test_credentials_are_in_no_log_line(empty: Installation) -> None:
    """Not when a worker starts, and not when it fails to connect."""
    worker = await empty.spawn(
        amqp_url="amqp://guest:s3cret-broker@127.0.0.1:1/",
        redis_url=empty.services.redis_url,
        log_level="debug",
    )
    await eventually(lambda: worker.logged("cannot join"), "it fails to connect")
    assert "s3cret" not in worker.log.read_text()
