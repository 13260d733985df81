"""Redis loses calls: workers notice and wait, the journal gives them back, and it all goes on."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from deploy.local import Services
from tests.harness import Installation, Worker, eventually, installation
from tests.integration.test_cli import callctl
from tests.integration.test_order import all_answered, check, publish_calls
from tests.messages import Seen
from worker import rebuild as rebuilding
from worker.broker.outbox import Outbox, Outgoing
from worker.rebuild import Report, rebuild
from worker.service import Service
from worker.store import CallStore, Change, StoredCall, close, connect

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}
ALICE = CALL["origin"]

Stored = dict[bytes, dict[bytes, bytes]]


async def empty_redis(calls: Installation) -> None:
    """Lose everything."""
    assert calls.services.redis is not None, "Redis has to be one that the tests may empty"
    await calls.redis.flushall()


async def contents(calls: Installation) -> Stored:
    """Return all calls, without their versions, which a rebuild raises."""
    found: Stored = {}
    async for key in calls.redis.scan_iter(f"{calls.names.call_prefix}*", count=1000):
        fields: Any = await calls.redis.hgetall(key)
        del fields[b"version"]
        found[key] = fields
    return found


async def restored(calls: Installation, *, accept_loss: bool = False) -> Report:
    """Rebuild, and return what was done."""
    return await rebuild(calls.settings, lambda *_: None, accept_loss=accept_loss)


def noticed(worker: Worker) -> bool:
    """Tell whether a worker has said, at error level, that Redis has lost calls."""
    return any(
        line["level"] == "error" and "callctl rebuild" in line.get("why", "")
        for line in worker.lines()
    )


async def until_noticed(*workers: Worker) -> None:
    """Wait until all of some workers have noticed."""
    for worker in workers:
        await eventually(lambda worker=worker: noticed(worker), "the worker notices")  # type: ignore[misc]  # mypy has no type for a lambda's default


async def say_everything(calls: Installation) -> None:
    """Have an event of every kind, with and without a message_id, refusals and reports too."""
    for name, fields in (
        ("hold", {}),
        ("call", CALL),
        ("hold", {}),
        ("mute", {}),
        ("transfer", {"endpoint": "tel:+18166623395"}),
        ("dial", {"digits": "5551"}),
    ):
        await calls.ask("said", name, **fields)
    await calls.ask("said", "transfer", endpoint="Bob")
    anonymous = json.dumps({"call_control": "un_mute", "request_id": "said"}).encode()
    for _ in range(3):
        await calls.publish_bytes("said", anonymous, message_id=None)
    offer = {"network_report": "offered", "request_id": "came", **CALL}
    await calls.publish("came", {**offer, "origin": ALICE})
    await calls.ask("came", "accept", endpoint=ALICE)
    await calls.publish("came", {"network_report": "ended", "request_id": "came", "status": 486})
    await calls.ask("rejected", "reject", endpoint=ALICE)
    await calls.until_seen(14)


async def test_an_emptied_redis_is_restored_to_what_it_was(calls: Installation) -> None:
    """Every field of every call, records included; a second run finds nothing to do."""
    await say_everything(calls)
    before = await contents(calls)
    assert len(before) == 3
    await empty_redis(calls)
    await until_noticed(*calls.workers)

    report = await restored(calls)
    assert await contents(calls) == before
    assert (report.calls, report.records, report.unreadable) == (3, 14, 0)
    assert report.new_epoch

    again = await restored(calls)
    assert (again.calls, again.records, again.new_epoch) == (0, 0, False)


async def test_a_rebuild_of_a_healthy_redis_changes_nothing(calls: Installation) -> None:
    """Neither calls nor the epoch; workers do not notice."""
    await say_everything(calls)
    keys = [key async for key in calls.redis.scan_iter(f"{calls.names.call_prefix}*")]
    redis: Any = calls.redis
    before = {key: await redis.hgetall(key) for key in keys}
    epoch = await calls.redis.get(calls.names.epoch)
    report = await restored(calls)
    assert (report.calls, report.records, report.new_epoch) == (0, 0, False)
    assert {key: await redis.hgetall(key) for key in keys} == before
    assert await calls.redis.get(calls.names.epoch) == epoch
    assert (await calls.ask("said", "retrieve")).content["status"] == 200
    assert not any(noticed(worker) for worker in calls.workers)


async def test_redis_wiped_in_mid_run_costs_no_command_and_no_order(services: Services) -> None:
    """Two workers notice and wait; restored, they go on, and every command has one outcome."""
    async with installation(services) as calls:
        await calls.start(2)
        await calls.subscribe()
        over = asyncio.Event()
        publishing = asyncio.create_task(publish_calls(calls, 60, over))
        for wipes in range(1, 3):
            await eventually(lambda: len(calls.events) >= 200 * wipes, "events flow")  # noqa: B023 - called in this turn
            await empty_redis(calls)
            await until_noticed(*calls.workers)
            report = await restored(calls)
            assert report.calls > 0
            assert report.new_epoch
            for worker in calls.workers:
                await worker.rejoined(1 + wipes)
        over.set()
        published = await publishing
        await all_answered(calls, published)
        check(calls, published)


async def test_calls_set_back_to_an_earlier_state_are_noticed_and_mended(
    calls: Installation,
) -> None:
    """As by a failover to a replica that lags behind: the epoch is there, the calls are old."""
    await calls.ask("123XYZ", "call", **CALL)
    key = calls.names.call_prefix + "123XYZ"
    old = await calls.redis.dump(key)
    held = await calls.ask("123XYZ", "hold")
    assert old is not None
    await calls.redis.restore(key, 0, old, replace=True)

    waiting = await calls.command("123XYZ", "retrieve")
    await until_noticed(*calls.workers)
    other = await calls.command("another call", "call", **CALL)
    report = await restored(calls)
    assert (report.calls, report.records, report.new_epoch) == (1, 1, True)
    assert (await calls.answer(waiting)).sequence == held.sequence + 1
    assert (await calls.answer(other)).sequence == 1
    assert len(calls.answers(waiting.message_id)) == 1


def outcome(event: Seen) -> tuple[object, ...]:
    """Return everything of an event that a subscriber gets."""
    raw = event.raw
    return (raw.body, raw.headers, raw.message_id, raw.correlation_id, raw.timestamp, raw.type)


async def test_after_a_rebuild_a_repeated_command_is_answered_with_the_same_event(
    calls: Installation,
) -> None:
    """To the byte, a refusal that would succeed now included."""
    hold = {"content": {"call_control": "hold", "request_id": "123XYZ"}}
    mute = {"call_control": "mute", "request_id": "123XYZ"}
    refused = await calls.answer(await calls.publish("123XYZ", hold, message_id="too-early"))
    await calls.ask("123XYZ", "call", **CALL)
    muted = await calls.answer(await calls.publish("123XYZ", mute, message_id="once"))
    await calls.ask("123XYZ", "transfer", endpoint=ALICE)
    # Else commands come back, and their events a third time.
    await calls.workers[0].settled()
    await empty_redis(calls)
    await restored(calls)

    await calls.publish("123XYZ", hold, message_id="too-early")
    await calls.publish("123XYZ", mute, message_id="once")
    for first in (refused, muted):
        answered = first.correlation_id or ""
        await eventually(lambda: len(calls.answers(answered)) == 2, "the copy arrives")  # noqa: B023 - called in this turn
        assert outcome(calls.answers(answered)[1]) == outcome(first)


async def test_a_worker_that_loaded_a_call_before_the_loss_cannot_commit_it(
    calls: Installation,
) -> None:
    """Neither at the version that it knows, nor as a call that is not there."""
    await calls.ask("123XYZ", "call", **CALL)
    redis = connect(calls.services.redis_url)
    store = CallStore.of(redis, calls.settings)
    stored = (await store.load({"123XYZ": ()}))["123XYZ"]
    assert isinstance(stored, StoredCall)
    await empty_redis(calls)
    await restored(calls)
    assert await store.commit([Change(stored.call, stored.version)]) == [False]
    assert await store.commit([Change(stored.call, 0)]) == [False]
    await close(redis)


async def test_what_was_published_while_redis_was_lost_comes_back(
    empty: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not acknowledged: a rebuild may have read the journal before it was published."""
    publish = Outbox.publish
    lost = asyncio.Event()

    async def publish_and_lose(outbox: Outbox, messages: Sequence[Outgoing]) -> None:
        await publish(outbox, messages)
        if messages and not lost.is_set():
            lost.set()
            await empty_redis(empty)

    monkeypatch.setattr(Outbox, "publish", publish_and_lose)
    service = Service(empty.settings)
    running = asyncio.create_task(service.run())
    await eventually(lambda: not service.problems(), "the worker joins")
    await empty.subscribe()
    command = await empty.command("123XYZ", "call", **CALL)
    await eventually(lambda: "callctl rebuild" in str(service.problems()), "the worker notices")
    assert lost.is_set()
    await restored(empty)
    await eventually(lambda: len(empty.answers(command.message_id)) == 2, "the copy arrives")
    first, copy = empty.answers(command.message_id)
    assert outcome(copy) == outcome(first)
    assert (await empty.ask("123XYZ", "hold")).sequence == 2
    service.stop()
    await running


async def test_a_key_that_holds_something_else_does_not_stop_a_rebuild(
    calls: Installation,
) -> None:
    """It is counted, left as it is, and the others are restored."""
    await calls.ask("strange", "call", **CALL)
    await calls.ask("fine", "call", **CALL)
    await empty_redis(calls)
    await calls.redis.set(calls.names.call_prefix + "strange", "not a hash")
    report = await restored(calls)
    assert (report.calls, report.unreadable) == (1, 1)


async def test_what_is_not_kept_any_more_is_not_restored(services: Services) -> None:
    """An ended call, and one that has idled; others with what is left of their time."""
    async with installation(services, ended_retention_seconds=3, idle_expiry_seconds=600) as calls:
        await calls.start()
        await calls.subscribe()
        await calls.ask("over", "call", **CALL)
        await calls.ask("over", "disconnect")
        await calls.ask("live", "call", **CALL)
        over, live = (calls.names.call_prefix + name for name in ("over", "live"))
        await asyncio.sleep(3 + 0.1)
        assert await calls.redis.exists(over) == 0
        await empty_redis(calls)
        report = await restored(calls)
        # Where the journal's answer is cut, what begins a call may be restored before its end is
        # read, and goes again then.
        assert (report.calls, report.expired) in {(1, 2), (2, 1)}
        assert await calls.redis.exists(over) == 0
        assert 500 < await calls.redis.ttl(live) < 598


async def test_a_rebuild_that_loses_its_connection_goes_on_where_it_was(
    calls: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left out, and nothing is counted twice."""
    rabbitmq = calls.services.rabbitmq
    assert rabbitmq is not None, "connections are closed by rabbitmqctl"
    for number in range(12):
        await calls.ask(f"call-{number}", "call", **CALL)
    before = await contents(calls)
    await empty_redis(calls)
    monkeypatch.setattr(rebuilding, "_CHUNK", 5)
    seen: list[int] = []

    def cut(read: int, _: int) -> None:
        seen.append(read)
        if len(seen) == 1:
            rabbitmq.ctl("close_all_user_connections", "guest", "a test")

    report = await rebuild(calls.settings, cut)
    assert await contents(calls) == before
    assert (report.events, report.calls, report.records) == (12, 12, 12)
    assert seen[-1] == 12


async def test_callctl_rebuild_says_what_it_restored(calls: Installation) -> None:
    """For people, or as JSON; without a journal it says that too."""
    await calls.ask("123XYZ", "call", **CALL)
    await empty_redis(calls)
    code, output, errors = await callctl(calls, "rebuild")
    assert (code, errors) == (0, "")
    assert "restored  1 calls, 1 records" in output
    assert "go on with what Redis holds now" in output
    assert "+1816" not in output
    code, output, _ = await callctl(calls, "rebuild", "--json")
    report = json.loads(output)
    assert (code, report["calls"], report["new_epoch"]) == (0, 0, False)
    # Two where the command was not acknowledged yet when Redis was emptied.
    assert report["events"] in {1, 2}
    code, output, _ = await callctl(calls, "rebuild", "--accept-loss", "--json")
    assert json.loads(output)["new_epoch"] is True
    calls.environment["CALL_CONTROL_NAMESPACE"] = "nobody-s"
    code, _, errors = await callctl(calls, "rebuild")
    assert code == 2
    assert errors.startswith("callctl: there is no journal nobody-s.call_control.events.journal")
    calls.environment["CALL_CONTROL_NAMESPACE"] = calls.names.base.partition(".")[0]
