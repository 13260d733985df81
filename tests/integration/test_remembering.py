"""What a worker remembers of a call spares it a round trip, and never costs anybody an outcome."""

from tests.harness import Installation, Worker
from tests.scraping import scrape, series

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


async def loads(worker: Worker) -> int:
    """Return how often a worker has loaded calls."""
    page = await scrape(worker)
    return int(page.get(series("call_control_redis_seconds_count", step="load"), 0))


async def test_neither_a_new_call_nor_a_remembered_one_is_loaded(calls: Installation) -> None:
    """Of the one it is presumed that nobody knows it; the other is as this worker left it."""
    (worker,) = calls.workers
    await calls.ask("123XYZ", "call", **CALL)
    await calls.ask("123XYZ", "hold")
    assert (await calls.ask("123XYZ", "retrieve")).sequence == 3
    assert await loads(worker) == 0


async def test_a_command_that_comes_again_is_found_although_its_call_is_remembered(
    calls: Installation,
) -> None:
    """Its record stands in Redis, where the commit finds it."""
    (worker,) = calls.workers
    call = {"call_control": "call", "request_id": "123XYZ", **CALL}
    first = await calls.answer(await calls.publish("123XYZ", call, message_id="again"))
    await calls.ask("123XYZ", "hold")
    await calls.publish("123XYZ", call, message_id="again")
    assert (await calls.ask("123XYZ", "retrieve")).sequence == 3
    assert [each.body for each in calls.answers("again")] == [first.body] * 2
    assert await loads(worker) > 0
    assert await worker.metric("call_control_commit_conflicts_total") == 0


async def test_a_call_that_only_redis_knows_does_not_begin_again(empty: Installation) -> None:
    """What the presumption costs where it is wrong is a round trip."""
    (first,) = await empty.start()
    await empty.subscribe()
    await empty.ask("123XYZ", "call", **CALL)
    assert await first.terminate() == 0
    (second,) = await empty.start()
    again = await empty.ask("123XYZ", "call", **CALL)
    assert (again.content["status"], again.sequence) == (409, 2)
    assert await loads(second) == 1


async def test_a_call_that_somebody_has_changed_meanwhile_is_loaded(calls: Installation) -> None:
    """Whoever changes one raises its version."""
    await calls.ask("123XYZ", "call", **CALL)
    key = f"{calls.names.call_prefix}123XYZ"
    await calls.redis.hset(key, "state", "connected held")
    await calls.redis.hincrby(key, "version", 1)
    assert (await calls.ask("123XYZ", "dial", digits="1")).content["status"] == 409


async def test_commands_without_an_id_are_answered_one_by_one(calls: Installation) -> None:
    """Nothing but their place tells two of the same content apart, so their records are needed."""
    (worker,) = calls.workers
    hold = b'{"call_control": "hold", "request_id": "123XYZ"}'
    await calls.ask("123XYZ", "call", **CALL)
    for _ in range(2):
        await calls.publish_bytes("123XYZ", hold, message_id=None)
    last = await calls.ask("123XYZ", "retrieve")
    assert last.sequence == 4
    assert await loads(worker) > 0
