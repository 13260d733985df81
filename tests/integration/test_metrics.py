"""What a worker counts, as Prometheus takes it from ``/metrics``."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from tests.harness import Installation, eventually
from tests.prometheus import promtool
from tests.scraping import counted, scrape, scraped, series, shared

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


async def test_commands_are_counted_by_kind_and_status(calls: Installation) -> None:
    """Refusals and malformed ones among them, and their events by kind."""
    (worker,) = calls.workers
    await calls.ask("1", "call", **CALL)
    await calls.ask("1", "hold")
    await calls.ask("1", "hold")
    await calls.ask("1", "dial", digits="12")
    await calls.ask("1", "transfer")
    found = await counted(worker, 5)
    total = "call_control_commands_total"
    assert found[series(total, command="call", status="200")] == 1
    assert found[series(total, command="hold", status="200")] == 2
    assert found[series(total, command="dial", status="409")] == 1
    assert found[series(total, command="transfer", status="400")] == 1
    assert found[series("call_control_events_total", event="call_held")] == 2
    assert found[series("call_control_events_total", event="call_control_failed")] == 2
    assert found[series("call_control_dead_letters_total", status="400")] == 1
    assert found[series("call_control_command_latency_seconds_count")] == 0


async def test_no_label_has_what_a_producer_writes(calls: Installation) -> None:
    """A label with a value for each command would fill Prometheus' memory."""
    (worker,) = calls.workers
    for name in ("explode", "implode"):
        await calls.answer(await calls.publish("1", {"call_control": name, "request_id": "1"}))
    await calls.publish("1", {"call_control": "hold"})
    await calls.until_dead(3)
    found = await counted(worker, 3)
    kinds = {labels for name, labels in found if name == "call_control_commands_total"}
    assert kinds == {(("command", "unknown"), ("status", "400"))}


async def test_a_command_delivered_twice_counts_as_a_duplicate(calls: Installation) -> None:
    """It is answered again from its record, and its age says nothing about how fast that was."""
    (worker,) = calls.workers
    body = {"call_control": "hold", "request_id": "1"}
    long_ago = datetime.fromtimestamp(int(time.time()) - 3600, tz=UTC)
    for copies in (1, 2):
        await calls.publish("1", body, message_id="once", timestamp=long_ago)
        await calls.until_seen(copies)
    found = await counted(worker, 2)
    assert found[series("call_control_duplicates_total")] == 1
    assert found[series("call_control_command_latency_seconds_count")] == 1
    assert found[series("call_control_command_latency_seconds_sum")] >= 3600


async def test_latency_is_counted_from_the_producer_s_time_in_milliseconds(
    calls: Installation,
) -> None:
    """RabbitMQ's interceptor sets the header, and so does our own client."""
    (worker,) = calls.workers
    sent = {"timestamp_in_ms": time.time_ns() // 1_000_000 - 1_500_000}
    body = {"call_control": "hold", "request_id": "1"}
    await calls.answer(await calls.publish("1", body, headers=sent))
    await calls.ask("2", "hold")
    found = await counted(worker, 2)
    assert found[series("call_control_command_latency_seconds_count")] == 1
    assert 1500 <= found[series("call_control_command_latency_seconds_sum")] < 1600


async def test_what_a_dead_worker_had_is_counted_as_redelivered_by_the_next(
    empty: Installation,
) -> None:
    """Whoever had it first."""
    redis = empty.services.redis
    assert redis is not None, "Redis has to be one that the tests may pause"
    (first,) = await empty.start()
    await empty.subscribe()
    await asyncio.to_thread(redis.pause)
    try:
        command = await empty.command("1", "hold")
        await eventually(lambda: first.logged("holding commands"), "the command is held")
        await first.kill()
    finally:
        await asyncio.to_thread(redis.resume)
    (second,) = await empty.start()
    await empty.answer(command)
    assert (await counted(second, 1))[series("call_control_redelivered_total")] == 1


async def test_workers_count_the_partitions_they_consume_from(empty: Installation) -> None:
    """Together they have each partition once."""
    workers = await empty.start(2)
    await shared(workers, empty.settings.partitions)
    owned = series("call_control_owned_partitions")
    counts = [(await scrape(worker))[owned] for worker in workers]
    assert sum(counts) == empty.settings.partitions


async def test_the_age_of_what_is_not_acknowledged_grows_until_it_is(calls: Installation) -> None:
    """It is reckoned when it is asked for, so it grows while nothing happens."""
    (worker,) = calls.workers
    age = "call_control_unsettled_age_seconds"
    assert await worker.metric(age) == 0
    redis = calls.services.redis
    assert redis is not None, "Redis has to be one that the tests may pause"
    await asyncio.to_thread(redis.pause)
    try:
        command = await calls.command("1", "hold")
        await eventually(lambda: worker.logged("holding commands"), "the command is held")
        before = await worker.metric(age)
        assert before > 0
        assert await worker.metric(age) > before
    finally:
        await asyncio.to_thread(redis.resume)
    await calls.answer(command)
    await scraped(worker, lambda page: page[series(age)] == 0, "it is acknowledged")


async def test_what_a_command_waits_for_is_timed(calls: Installation) -> None:
    """Each round trip to Redis by its step, confirms, and the event loop."""
    (worker,) = calls.workers
    await calls.ask("1", "hold")
    lag = series("call_control_event_loop_lag_seconds_count")
    looked = series("call_control_redis_seconds_count", step="look")
    found = await scraped(worker, lambda page: page[lag] * page.get(looked, 0) > 0, "all is timed")
    for step in ("load", "commit", "look"):
        assert found[series("call_control_redis_seconds_count", step=step)] == 1
    assert found[series("call_control_confirm_seconds_count")] == 1
    assert found[series("call_control_batch_size_sum")] == 1
    assert found[series("call_control_sessions_total")] == 1


@pytest.mark.timeout(400)
async def test_prometheus_finds_nothing_to_object_to(calls: Installation) -> None:
    """Names, units, types and help are as it wants them."""
    (worker,) = calls.workers
    await calls.ask("1", "hold")
    await calls.ask("1", "transfer")
    await counted(worker, 2)
    _, page = await worker.get("/metrics")
    assert await asyncio.to_thread(promtool, "check", "metrics", page=page) == ""
