"""Calls in a real Redis: compare-and-set, records, retention."""

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deploy.local import redis_server
from schemas.contract import EventName
from schemas.events import Event, Request
from tests.unit.builders import CALL_ID, command
from worker.core.call import Call, State
from worker.errors import ConfigurationError, CorruptCall, PartitionMismatch, StoreUnavailable
from worker.gateways.loopback import decide_and_grant
from worker.membership import Heartbeat, claim_partition_count
from worker.store import CallStore, Change, Record, RedisClient, StoredCall, close, connect
from worker.store.codec import decode_record, encode_record

RETENTION_SECONDS = 60
EXPIRY_SECONDS = 3600

CONNECTED = Call("1", state=State.CONNECTED, origin="tel:+1", destination="tel:+2", sequence=1)
REQUEST = Request("command-1", call_control="call")
EVENT = Event(
    name=EventName.CALL_CONNECTED,
    request_id="1",
    sequence=1,
    status=200,
    reason="OK",
    call_state="connected",
    terminal=False,
    cause="command-1",
    ordinal=0,
    answers=REQUEST,
)
RECORD = Record(1_700_000_000_000, "call", CONNECTED, (EVENT,))


@pytest.fixture
def store(redis: RedisClient) -> CallStore:
    """The calls of a namespace of its own."""
    return store_in(redis)


def store_in(redis: RedisClient) -> CallStore:
    """The calls of a namespace of its own."""
    return CallStore(
        redis,
        prefix=f"test-{secrets.token_hex(6)}:",
        ended_retention_seconds=RETENTION_SECONDS,
        idle_expiry_seconds=EXPIRY_SECONDS,
    )


async def loaded(store: CallStore, request_id: str, *ids: str) -> StoredCall:
    """Load one call that can be read."""
    stored = (await store.load({request_id: ids}))[request_id]
    assert isinstance(stored, StoredCall)
    return stored


async def check_that_calls_are_kept(store: CallStore) -> None:
    """Commit, load, and lose a race: what every kind of Redis has to be able to do."""
    # More than one script takes.
    calls = [Call(f"call-{n}", state=State.CONNECTED, sequence=1) for n in range(150)]
    assert await store.commit([Change(call, 0) for call in calls]) == [True] * len(calls)
    stored = await store.load({call.request_id: ["x"] for call in calls})
    for call in calls:
        assert stored[call.request_id] == StoredCall(call, 1, {})
    assert await store.commit([Change(call, 0) for call in calls]) == [False] * len(calls)


async def test_a_call_nobody_knows_loads_as_absent(store: CallStore) -> None:
    """At version 0, against which the first commit compares."""
    assert await loaded(store, "nobody", "x") == StoredCall(Call("nobody"), 0, {})


async def test_a_committed_call_loads_with_the_records_that_are_asked_for(store: CallStore) -> None:
    """And with no others, however many there are."""
    value = encode_record(RECORD, REQUEST)
    change = Change(CONNECTED, 0, {"command-1": value, "command-2": b"another"})
    assert await store.commit([change]) == [True]
    stored = await loaded(store, "1", "command-1", "unheard-of")
    assert stored == StoredCall(CONNECTED, 1, {"command-1": value})
    assert decode_record(stored.records["command-1"], "1", REQUEST) == RECORD


async def test_any_text_is_kept_as_it_is(store: CallStore) -> None:
    """On its way it is quoted, for JSON and for Lua."""
    text = "\x00\x1f\x7f\"'\\/{}[]\u2028é\U0001f600%s\r\n"
    call = Call(text, state=State.CONNECTED, origin=text, destination=text, sequence=1)
    records = {text: json.dumps(text, ensure_ascii=False).encode()}
    assert await store.commit([Change(call, 0, records)]) == [True]
    assert await loaded(store, text, text) == StoredCall(call, 1, records)


async def test_of_two_commits_against_one_version_the_second_changes_nothing(
    store: CallStore,
) -> None:
    """Neither its state nor its records: that is the fence against a former owner."""
    first, second = CONNECTED, Call("1", state=State.ENDED, sequence=9)
    assert await store.commit([Change(first, 0, {"a": b"1"})]) == [True]
    assert await store.commit([Change(second, 0, {"b": b"2"})]) == [False]
    assert await loaded(store, "1", "a", "b") == StoredCall(first, 1, {"a": b"1"})


async def test_a_commit_with_a_record_that_is_there_changes_nothing(store: CallStore) -> None:
    """Whoever has not looked for a message's record finds out that it has been answered."""
    ended = Call("1", state=State.ENDED, sequence=2)
    assert await store.commit([Change(CONNECTED, 0, {"a": b"1"})]) == [True]
    assert await store.commit([Change(ended, 1, {"b": b"2", "a": b"2"})]) == [False]
    assert await loaded(store, "1", "a", "b") == StoredCall(CONNECTED, 1, {"a": b"1"})
    assert await store.commit([Change(ended, 1, {"b": b"2"})]) == [True]


async def test_a_batch_commits_the_calls_it_can_and_names_those_it_cannot(store: CallStore) -> None:
    """One call's conflict is not its neighbours'."""
    assert await store.commit([Change(CONNECTED, 0)]) == [True]
    other = Call("2", state=State.CONNECTED)
    assert await store.commit([Change(CONNECTED, 0), Change(other, 0)]) == [False, True]


@pytest.mark.parametrize("longest", ["256", "64"], ids=["as shipped", "as Redis has it"])
async def test_a_finished_call_takes_at_most_a_kibibyte(longest: str) -> None:
    """Eight commands, with ids as long as a UUID, and their records."""
    said = ("call", "hold", "retrieve", "mute", "un_mute", "transfer", "dial", "disconnect")
    with redis_server("--hash-max-listpack-value", longest) as server:
        client = connect(server.url)
        store = CallStore(
            client, prefix="call_control:", ended_retention_seconds=60, idle_expiry_seconds=60
        )
        call = Call(CALL_ID)
        for version, name in enumerate(said):
            message = command(name, message_id=str(uuid.uuid4()))
            decision = decide_and_grant(call, message)
            call = decision.call
            record = Record(time.time_ns() // 1_000_000, name, call, decision.events)
            records = {message.request.id: encode_record(record, message.request)}
            assert await store.commit([Change(call, version, records)]) == [True]
        assert call.state is State.ENDED
        used = await client.memory_usage(store.key(CALL_ID), samples=0)
        assert used is not None
        assert used <= 1024
        await close(client)


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        (State.CONNECTED, EXPIRY_SECONDS),
        (State.OFFERED, EXPIRY_SECONDS),
        (State.ENDED, RETENTION_SECONDS),
        (State.ABSENT, RETENTION_SECONDS),
    ],
)
async def test_an_ended_call_is_kept_for_its_retention_and_a_live_one_until_it_idles(
    redis: RedisClient, store: CallStore, state: State, seconds: int
) -> None:
    """A call that never was is kept like an ended one: its refusals are outcomes too."""
    await store.commit([Change(Call("1", state=state), 0)])
    assert seconds - 5 < await redis.ttl(store.key("1")) <= seconds


@pytest.mark.parametrize("ids", [[], None], ids=["some records", "all"])
async def test_a_key_that_holds_something_else_is_one_call_s_trouble(
    redis: RedisClient, store: CallStore, ids: list[str] | None
) -> None:
    """The other calls of the batch load as ever."""
    await redis.set(store.key("strange"), "not a hash")
    await redis.hset(store.key("odd"), mapping={"version": "1", "state": "flying"})
    stored = await store.load({"strange": ids, "fine": ids, "odd": ids})
    assert isinstance(stored["strange"], CorruptCall)
    assert isinstance(stored["odd"], CorruptCall)
    assert stored["fine"] == StoredCall(Call("fine"), 0, {})


async def test_what_cannot_be_committed_keeps_nothing_else_from_being_committed(
    redis: RedisClient, store: CallStore
) -> None:
    """Somebody has put something else there, or it was never looked at: it is to be loaded."""
    await redis.set(store.key("strange"), "not a hash")
    fine = [Call(name, state=State.CONNECTED, sequence=1) for name in ("first", "last")]
    changes = [Change(call, 0) for call in (fine[0], Call("strange"), fine[1])]
    assert await store.commit(changes) == [True, False, True]
    for call in fine:
        assert await loaded(store, call.request_id) == StoredCall(call, 1, {})


async def test_a_server_that_cannot_be_reached_is_unavailable_and_is_not_tried_again_inside() -> (
    None
):
    """Retrying belongs to the pipeline, which knows what may be repeated."""
    client = connect("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable):
        await store_in(client).load({"1": []})
    await client.aclose()


async def test_a_script_cache_that_was_flushed_costs_nothing(
    redis: RedisClient, store: CallStore
) -> None:
    """A server that does not know a script is told it."""
    await store.commit([Change(CONNECTED, 0)])
    await redis.script_flush()
    assert await store.commit([Change(CONNECTED, 1)]) == [True]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "redis+sentinel://127.0.0.1", "redis+magic://127.0.0.1", "redis"]
)
def test_a_url_that_is_none_of_redis_is_a_configuration_error(url: str) -> None:
    """It names the variable."""
    with pytest.raises(ConfigurationError, match="CALL_CONTROL_REDIS_URL"):
        connect(url)


async def test_calls_are_kept_in_a_single_server(store: CallStore) -> None:
    """``redis://``."""
    await check_that_calls_are_kept(store)


@asynccontextmanager
async def cluster_node() -> AsyncIterator[RedisClient]:
    """Yield a client of a cluster of one node."""
    options = ("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
    with redis_server(*options) as node:
        single = connect(node.url)
        await single.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        for _ in range(100):
            if b"cluster_state:ok" in await single.execute_command("CLUSTER", "INFO"):
                break
            await asyncio.sleep(0.1)
        await single.aclose()
        cluster = connect(f"redis+cluster://127.0.0.1:{node.port}")
        yield cluster
        await close(cluster)


async def test_calls_are_kept_in_a_cluster() -> None:
    """``redis+cluster://``: the pipelines of a batch go to the nodes that have its calls."""
    async with cluster_node() as cluster:
        await check_that_calls_are_kept(store_in(cluster))
        await check_that_workers_are_seen(cluster)


async def test_calls_are_kept_behind_sentinel() -> None:
    """``redis+sentinel://``: Sentinel says who the primary is."""
    with redis_server() as primary, redis_server("--sentinel") as sentinel:
        client = connect(sentinel.url)
        await client.execute_command(
            "SENTINEL", "MONITOR", "calls", "127.0.0.1", str(primary.port), "1"
        )
        await client.aclose()
        found = connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/calls/3")
        await check_that_calls_are_kept(store_in(found))
        await check_that_workers_are_seen(found)
        await close(found)


async def check_that_workers_are_seen(redis: RedisClient) -> None:
    """Beat, be seen, leave: what membership needs of every kind of Redis."""
    key = f"test-{secrets.token_hex(6)}.workers"
    one, other = (Heartbeat(redis, key=key, worker=name, lapse_seconds=30) for name in "ab")
    assert await one.beat() == {"a"}
    assert await other.others() == {"a"}
    assert await other.beat() == {"a", "b"}
    await one.leave()
    assert await other.others() == {"b"}


async def test_a_heartbeat_counts_until_it_lapses(redis: RedisClient) -> None:
    """By Redis' clock; a worker that does not beat is gone after its lapse."""
    key = f"test-{secrets.token_hex(6)}.workers"
    await check_that_workers_are_seen(redis)
    one = Heartbeat(redis, key=key, worker="a", lapse_seconds=0.2)
    other = Heartbeat(redis, key=key, worker="b", lapse_seconds=0.2)
    assert await one.beat() == {"a"}
    await asyncio.sleep(0.3)
    assert await other.beat() == {"b"}


async def test_the_number_of_partitions_is_agreed_on_by_the_first_and_kept(
    redis: RedisClient,
) -> None:
    """A worker with another number would leave commands in queues that nobody consumes."""
    key = f"test-{secrets.token_hex(6)}.partitions"
    await claim_partition_count(redis, key, 64)
    await claim_partition_count(redis, key, 64)
    with pytest.raises(PartitionMismatch, match="8 is set, but 64 is in force"):
        await claim_partition_count(redis, key, 8)
    await redis.delete(key)
