"""The guard against a Redis that has lost calls: what it notices, and what it does not mind."""

import secrets
from typing import Any

import pytest

from tests.epochs import CONNECTED, NOW_MS, begun, store_of
from tests.integration.test_store import cluster_node
from worker.core.call import Call, State
from worker.errors import StoreRegressed, Unavailable
from worker.store import Change, RedisClient, StoredCall
from worker.store import epoch as epochs
from worker.store.epoch import Epoch, Guard, read_epoch, write_epoch
from worker.store.restoring import Restoration, Written, restore


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
