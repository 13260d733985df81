"""The guard against a Redis that has lost calls: what it notices, and what it does not mind."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.local import Services
from tests.integration.test_store import cluster_node
from worker.core.call import Call, State
from worker.errors import StoreRegressed, Unavailable
from worker.store import CallStore, Change, RedisClient, StoredCall, close, connect
from worker.store import epoch as epochs
from worker.store.epoch import Epoch, Guard, read_epoch, write_epoch
from worker.store.restoring import Restoration, Written, restore

KEPT_SECONDS = 3600
NOW_MS = 4_000_000_000_000
CONNECTED = Call("1", state=State.CONNECTED, origin="tel:+1", destination="tel:+2", sequence=3)


@pytest.fixture
async def redis(services: Services) -> AsyncIterator[RedisClient]:
    """A client as the worker makes it."""
    client = connect(services.redis_url)
    yield client
    await close(client)


@pytest.fixture
async def guard(redis: RedisClient) -> Guard:
    """A guard whose first epoch has begun."""
    return await begun(redis)


async def begun(redis: RedisClient, remember_seconds: float = 60) -> Guard:
    """Return a guard of a namespace of its own, in its first epoch."""
    made = Guard(f"test-{secrets.token_hex(6)}.epoch", remember_seconds=remember_seconds)
    assert await made.begin(redis) is None
    await made.found(redis)
    assert await made.begin(redis) is not None
    return made


def store_of(redis: RedisClient, guard: Guard, *, watched: bool = True) -> CallStore:
    """Return the calls that a guard watches over; or not, as another worker has them."""
    return CallStore(
        redis,
        prefix=f"{guard.key}:",
        ended_retention_seconds=KEPT_SECONDS,
        idle_expiry_seconds=KEPT_SECONDS,
        guard=guard if watched else None,
    )


async def check_that_a_loss_is_noticed_and_mended(redis: RedisClient) -> None:
    """Commit, lose, notice, restore, go on: on every kind of Redis."""
    guard = await begun(redis)
    store = store_of(redis, guard)
    calls = [Call(f"call-{n}", state=State.CONNECTED, sequence=2) for n in range(20)]
    assert all(await store.commit([Change(call, 0) for call in calls]))
    for call in calls:
        await redis.delete(store.key(call.request_id))
    with pytest.raises(StoreRegressed, match="in an earlier state"):
        await store.load({call.request_id: () for call in calls})
    with pytest.raises(StoreRegressed):
        await guard.look(redis)
    with pytest.raises(StoreRegressed):
        await guard.begin(redis)

    restorations = [Restoration(call, NOW_MS, records={"#m1": (2, "value")}) for call in calls]
    assert (
        await restore(redis, store, restorations, 1000) == [Written(changed=True, records=1)] * 20
    )
    await write_epoch(redis, guard.key, 7)
    assert await guard.begin(redis) == await read_epoch(redis, guard.key)
    loaded = await store.load({call.request_id: ["m1"] for call in calls})
    for call in calls:
        assert loaded[call.request_id] == StoredCall(call, 1000, {"m1": b"value"})


async def test_a_loss_is_noticed_in_a_single_server(redis: RedisClient) -> None:
    """``redis://``."""
    await check_that_a_loss_is_noticed_and_mended(redis)


async def test_a_loss_is_noticed_in_a_cluster() -> None:
    """``redis+cluster://``: the epoch is a key on one node, the calls are on all."""
    async with cluster_node() as cluster:
        await check_that_a_loss_is_noticed_and_mended(cluster)


async def test_an_epoch_that_is_missing_is_a_loss_only_to_who_knew_it(
    redis: RedisClient, guard: Guard
) -> None:
    """A new worker cannot tell, and asks the journal."""
    await redis.delete(guard.key)
    with pytest.raises(StoreRegressed, match="emptied or replaced"):
        await guard.look(redis)
    with pytest.raises(StoreRegressed, match="emptied or replaced"):
        await guard.begin(redis)
    assert await Guard(guard.key, remember_seconds=60).begin(redis) is None


@pytest.mark.parametrize("value", [b"", b"nonsense", b"-1 x", b"1 x y", b"\xff"])
async def test_a_foreign_value_is_no_epoch(redis: RedisClient, guard: Guard, value: bytes) -> None:
    """Whoever wrote it, Redis cannot be trusted."""
    await redis.set(guard.key, value)
    with pytest.raises(StoreRegressed):
        await guard.look(redis)
    with pytest.raises(StoreRegressed):
        await guard.begin(redis)


async def test_two_workers_found_one_epoch(redis: RedisClient, guard: Guard) -> None:
    """The first one's; the second takes it up."""
    epoch = await read_epoch(redis, guard.key)
    other = Guard(guard.key, remember_seconds=60)
    await other.found(redis)
    assert await other.begin(redis) == epoch
    await guard.look(redis)


async def test_a_new_epoch_ends_the_session_and_is_no_loss(
    redis: RedisClient, guard: Guard
) -> None:
    """Somebody has mended Redis; what was remembered of it counts no more."""
    store = store_of(redis, guard)
    assert await store.commit([Change(CONNECTED, 0)]) == [True]
    await redis.delete(store.key("1"))
    await write_epoch(redis, guard.key, 0)
    with pytest.raises(Unavailable) as caught:
        await guard.look(redis)
    assert not isinstance(caught.value, StoreRegressed)
    await guard.begin(redis)
    loaded = await store.load({"1": ()})
    assert loaded["1"] == StoredCall(Call("1"), 0, {})


@pytest.mark.parametrize("offset", [0, 100])
async def test_an_earlier_epoch_is_a_loss_to_all(
    redis: RedisClient, guard: Guard, offset: int
) -> None:
    """Somebody has restored a backup from before the last rebuild."""
    backup = await redis.get(guard.key)
    assert backup is not None
    await write_epoch(redis, guard.key, offset)
    await guard.begin(redis)
    await redis.set(guard.key, backup)
    with pytest.raises(StoreRegressed):
        await guard.look(redis)
    with pytest.raises(StoreRegressed, match="earlier epoch"):
        await guard.begin(redis)
    with pytest.raises(StoreRegressed):
        await Guard(guard.key, remember_seconds=60).begin(redis)


@pytest.mark.parametrize("before", [b"100 cafe", b"100 cafe 1", b"100 cafe 4000000000000"])
async def test_an_epoch_of_a_journal_that_was_made_anew_is_the_later_one(
    redis: RedisClient, before: bytes
) -> None:
    """Its offsets begin at 0 again; nor does it matter whether a clock was set back meanwhile."""
    guard = Guard(f"test-{secrets.token_hex(6)}.epoch", remember_seconds=60)
    await redis.set(guard.key, before)
    await guard.begin(redis)
    await guard.condemn(redis)
    await write_epoch(redis, guard.key, 3)
    with pytest.raises(Unavailable, match="has been rebuilt"):
        await guard.look(redis)
    epoch = await guard.begin(redis)
    assert epoch is not None
    assert epoch.offset == 3


def test_versions_read_each_others_epochs() -> None:
    """The one before takes all that stands behind the offset for the token."""
    assert Epoch.decode(b"7 cafe") == Epoch(7, "cafe")
    assert Epoch(7, "cafe").encode() == b"7 cafe"
    assert Epoch(7, "cafe", 9).encode() == b"7 cafe 9"


async def test_what_has_been_mended_is_not_condemned_for_what_was_before(
    redis: RedisClient, guard: Guard
) -> None:
    """A worker that notices late must not undo the operator's word."""
    await write_epoch(redis, guard.key, 5)
    mended = await read_epoch(redis, guard.key)
    assert mended is not None
    await guard.condemn(redis)
    assert await read_epoch(redis, guard.key) == mended


async def test_a_call_is_remembered_for_a_while_only(redis: RedisClient) -> None:
    """Another worker may have ended it, and then it has expired."""
    guard = await begun(redis, remember_seconds=0)
    store = store_of(redis, guard)
    assert await store.commit([Change(CONNECTED, 0)]) == [True]
    await redis.delete(store.key("1"))
    assert (await store.load({"1": ()}))["1"] == StoredCall(Call("1"), 0, {})


@pytest.mark.parametrize("state", [State.ENDED, State.ABSENT])
async def test_a_call_that_is_over_may_be_gone(
    redis: RedisClient, guard: Guard, state: State
) -> None:
    """It has expired, however long this worker would have kept it; but it cannot go back."""
    store = store_of(redis, guard)
    over = Call("1", state=state, sequence=3)
    assert await store.commit([Change(over, 0)]) == [True]
    await redis.delete(store.key("1"))
    assert (await store.load({"1": ()}))["1"] == StoredCall(Call("1"), 0, {})
    earlier = Call("1", state=State.CONNECTED, sequence=2)
    assert await store_of(redis, guard, watched=False).commit([Change(earlier, 0)]) == [True]
    with pytest.raises(StoreRegressed, match="in an earlier state"):
        await store.load({"1": ()})


async def test_a_call_that_is_not_over_may_not_be_gone(redis: RedisClient, guard: Guard) -> None:
    """Nor one that has begun anew since it was over."""
    store = store_of(redis, guard)
    assert await store.commit([Change(Call("1", state=State.ABSENT, sequence=1), 0)]) == [True]
    assert await store.commit([Change(CONNECTED, 1)]) == [True]
    await redis.delete(store.key("1"))
    with pytest.raises(StoreRegressed, match="in an earlier state"):
        await store.load({"1": ()})


async def test_a_call_that_cannot_be_read_is_forgotten(redis: RedisClient, guard: Guard) -> None:
    """Its key will be deleted, which is no loss."""
    store = store_of(redis, guard)
    assert await store.commit([Change(CONNECTED, 0)]) == [True]
    await redis.hset(store.key("1"), "state", "flying")
    await store.load({"1": ()})
    await redis.delete(store.key("1"))
    assert (await store.load({"1": ()}))["1"] == StoredCall(Call("1"), 0, {})


@pytest.mark.parametrize("value", [None, "lost 0 abc", "9 other 9"])
async def test_nothing_is_committed_in_another_epoch(
    redis: RedisClient, guard: Guard, value: str | None
) -> None:
    """Of a call that is not loaded before, nothing else would show that Redis is another one."""
    store = store_of(redis, guard)
    client: Any = redis
    await (client.delete(guard.key) if value is None else client.set(guard.key, value))
    with pytest.raises(Unavailable):
        await store.commit([Change(CONNECTED, 0)])
    assert await client.exists(store.key("1")) == 0


async def test_only_of_calls_that_this_worker_does_not_know_is_presumed_that_they_are_new(
    redis: RedisClient, guard: Guard
) -> None:
    """One that it knows and that is gone has been lost, which a load finds out."""
    store = store_of(redis, guard)
    assert store.presumed("1") == StoredCall(Call("1"), 0, {})
    assert await store.commit([Change(CONNECTED, 0)]) == [True]
    assert store.presumed("1") is None
    assert store.presumed("2") is not None


async def test_a_commit_that_failed_is_not_remembered(redis: RedisClient, guard: Guard) -> None:
    """Whoever was faster may have left the call at a lower sequence."""
    store = store_of(redis, guard)
    assert await store.commit([Change(CONNECTED, 5)]) == [False]
    await store.load({"1": ()})


async def test_only_the_latest_calls_are_remembered(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's memory does not grow with the calls it has seen."""
    monkeypatch.setattr(epochs, "_MOST_REMEMBERED", 2)
    for request_id in ("first", "second", "first", "third"):
        guard.committed(request_id, 5, over=False)
    assert not guard.set_back("second", 1)
    assert guard.set_back("first", 4)
    assert guard.set_back("third", 4)
    assert not guard.set_back("third", 5)
    assert not guard.set_back("never heard of", 0)


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
