"""Calls that are written back into a real Redis, beside what is there."""

import pytest

from deploy.local import redis_server
from tests.epochs import CONNECTED, KEPT_SECONDS, NOW_MS, store_of
from worker.core.call import Call, State
from worker.errors import Unavailable
from worker.store import Change, RedisClient, StoredCall, close, connect
from worker.store.epoch import Guard
from worker.store.restoring import Restoration, Written, restore


async def test_a_restored_call_is_never_older_than_what_is_there(
    redis: RedisClient, guard: Guard
) -> None:
    """A newer state stays with its records, and gets those it lacks; its version rises."""
    store = store_of(redis, guard)
    assert await store.commit([Change(CONNECTED, 0, {"m3": b"3"})]) == [True]
    older = Call("1", state=State.DIALING, sequence=2)
    restoration = Restoration(older, NOW_MS, records={"#m2": (2, "2"), "#m3": (2, "older")})
    assert await restore(redis, store, [restoration], 1000) == [Written(changed=True, records=1)]
    stored = (await store.load({"1": ["m2", "m3"]}))["1"]
    assert stored == StoredCall(CONNECTED, 1000, {"m2": b"2", "m3": b"3"})
    assert await restore(redis, store, [restoration], 1000) == [Written(changed=False, records=0)]
    assert (await store.load({"1": ()}))["1"] == StoredCall(CONNECTED, 1000, {})


async def test_a_restored_call_replaces_what_is_older_whatever_its_version(
    redis: RedisClient, guard: Guard
) -> None:
    """Records that share an id included: the latest of them is the one."""
    store = store_of(redis, guard)
    old = Call("1", state=State.DIALING, origin="tel:+9", sequence=1)
    assert await store.commit([Change(old, 0, {"~same": b"1"})]) == [True]
    await redis.hset(store.key("1"), "version", 5000)
    restoration = Restoration(CONNECTED, NOW_MS, records={"#~same": (3, "3")})
    assert await restore(redis, store, [restoration], 1000) == [Written(changed=False, records=0)]
    stored = (await store.load({"1": ["~same"]}))["1"]
    assert stored == StoredCall(CONNECTED, 5001, {"~same": b"3"})


@pytest.mark.parametrize("younger_is", ["there", "in the journal"])
async def test_a_call_is_not_mixed_up_with_an_older_one_of_its_name(
    redis: RedisClient, guard: Guard, younger_is: str
) -> None:
    """The older one came further, and had expired when the younger one began."""
    store = store_of(redis, guard)
    older = Call("1", state=State.ENDED, sequence=9)
    younger = Call("1", state=State.CONNECTED, sequence=2)
    then, now = NOW_MS, NOW_MS + KEPT_SECONDS * 1000
    of_older = Restoration(older, then, then - 5, then, {"#a": (1, f'[{then},"call"]')})
    of_younger = Restoration(younger, now, now - 5, now, {"#b": (1, f'[{now},"call"]')})
    order = (of_younger, of_older) if younger_is == "there" else (of_older, of_younger)
    for each in order:
        await restore(redis, store, [each], 1000)
    stored = (await store.load({"1": ["a", "b"]}))["1"]
    assert isinstance(stored, StoredCall)
    assert (stored.call, set(stored.records)) == (younger, {"b"})


async def test_a_copy_of_a_beginning_does_not_replace_what_came_after_it(
    redis: RedisClient, guard: Guard
) -> None:
    """Its worker's clock was ahead, and what was told between them is restored with it."""
    store = store_of(redis, guard)
    ahead = NOW_MS + 5000
    first = Call("1", state=State.CONNECTED, sequence=1)
    records = {"#m1": (1, f'[{ahead},"call"]')}
    second = Call("1", state=State.CONNECTED, held=True, sequence=2)
    await restore(redis, store, [Restoration(first, ahead, ahead, ahead, dict(records))], 1000)
    written = await restore(
        redis,
        store,
        [
            Restoration(second, NOW_MS, None, NOW_MS, {"#m2": (2, f'[{NOW_MS},"hold"]')}),
            Restoration(first, ahead, ahead, ahead, dict(records)),
        ],
        1000,
    )
    assert written == [Written(changed=False, records=1), Written(changed=False, records=0)]
    stored = (await store.load({"1": ["m1", "m2"]}))["1"]
    assert isinstance(stored, StoredCall)
    assert (stored.call, set(stored.records)) == (second, {"m1", "m2"})


async def test_a_call_whose_time_is_over_is_not_restored(redis: RedisClient, guard: Guard) -> None:
    """And what is there of it in an earlier state goes."""
    store = store_of(redis, guard)
    assert await store.commit([Change(Call("1", state=State.CONNECTED, sequence=1), 0)]) == [True]
    await restore(redis, store, [Restoration(CONNECTED, 1_000)], 1000)
    assert await redis.exists(store.key("1")) == 0


async def test_a_redis_that_refuses_to_write_is_waited_for() -> None:
    """It goes on where it was."""
    with redis_server("--maxmemory", "100kb") as full:
        client = connect(full.url)
        guard = Guard("epoch", remember_seconds=60)
        store = store_of(client, guard)
        with pytest.raises(Unavailable, match="maxmemory"):
            await restore(client, store, [Restoration(CONNECTED, NOW_MS)], 1000)
        await close(client)
