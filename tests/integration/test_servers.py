"""A Redis that was started again, or another one, is compared with the journal."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.local import Services, redis_cluster, redis_server
from deploy.local.redis import RedisProcess, asked
from tests.chaos.proxy import Proxy
from tests.harness import Worker, eventually, installation
from tests.integration.test_durability import lose_unsynced, replicating, synced_bytes
from tests.integration.test_rebuild import CALL, restored, until_noticed
from worker import rebuild as rebuilding
from worker.core.call import Call
from worker.errors import StoreUnavailable, Unavailable
from worker.membership import ranking
from worker.rebuild import rebuild
from worker.store import CallStore, Change, RedisClient, close, connect, reconnect
from worker.store.epoch import Guard
from worker.store.errors import translated_errors


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    """A Redis that a test may restart."""
    with redis_server("--appendfsync", "everysec") as made:
        yield made


@asynccontextmanager
async def session(url: str) -> AsyncIterator[tuple[RedisClient, Guard]]:
    """Begin the first session with a Redis."""
    guard = Guard("epoch", remember_seconds=60)
    redis = connect(url, guard.servers)
    try:
        await reconnect(redis)
        await guard.found(redis)
        await guard.begin(redis)
        yield redis, guard
    finally:
        await close(redis)


async def looked(redis: RedisClient, guard: Guard, key: str = "epoch") -> type[Exception] | None:
    """Read a key as soon as its server answers; return what a look at Redis raises then."""
    client: Any = redis
    for _ in range(100):
        try:
            with translated_errors():
                await client.get(key)
            await guard.look(redis)
        except StoreUnavailable:
            await asyncio.sleep(0.1)
        except Unavailable as error:
            return type(error)
        else:
            return None
    raise AssertionError("Redis does not come back")


async def test_a_server_that_was_started_again_is_another_one(server: RedisProcess) -> None:
    """It ends the session that does not know it, and no other; further connections do not."""
    async with session(server.url) as (redis, guard):
        await asyncio.gather(*(guard.look(redis) for _ in range(8)))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert await looked(redis, guard) is Unavailable
        assert await looked(redis, guard) is Unavailable
        await reconnect(redis)
        await guard.begin(redis)
        await asyncio.gather(*(guard.look(redis) for _ in range(8)))


async def test_nothing_is_committed_to_a_server_that_was_started_again(
    server: RedisProcess,
) -> None:
    """It may lack the call that is presumed to be new: the session that does not know it ends."""
    async with session(server.url) as (redis, guard):
        store = CallStore(
            redis, prefix="x:", ended_retention_seconds=60, idle_expiry_seconds=60, guard=guard
        )
        assert await store.commit([Change(Call("1"), 0)]) == [True]
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        with pytest.raises(Unavailable, match="restarted"):
            await until_answered(lambda: store.commit([Change(Call("2"), 0)]))
        assert asked(server.port, "EXISTS", "x:2") == 0


async def until_answered(step: Callable[[], Awaitable[object]]) -> None:
    """Repeat a step until Redis answers."""
    for _ in range(100):
        try:
            await step()
        except StoreUnavailable:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("Redis does not come back")


async def test_in_a_cluster_each_primary_counts() -> None:
    """One that was started again, and a replica that takes over; not one that stays a replica."""
    with redis_cluster() as shards:
        async with session(shards.url) as (redis, guard):
            primary, replica = shards.nodes[1], shards.nodes[4]
            key = next(key for key in map(str, range(999)) if shards.primary_of(key) is primary)
            await asyncio.to_thread(replica.kill)
            await asyncio.to_thread(replica.start)
            assert await looked(redis, guard, key) is None

            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(primary.start)
            assert await looked(redis, guard, key) is Unavailable
            await guard.begin(redis)
            assert await looked(redis, guard, key) is None

            await asyncio.to_thread(shards.wait_whole)
            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(shards.wait_taken_over, primary, shards.slot(key))
            assert await looked(redis, guard, key) is Unavailable
            await guard.begin(redis)
            assert await looked(redis, guard, key) is None


async def test_a_key_on_its_way_to_a_node_that_the_client_does_not_know_is_waited_for() -> None:
    """A node without slots is in no map; redis-py fails when it is sent on to it."""
    options = ("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
    with redis_server(*options) as node, redis_server(*options) as empty:
        asked(node.port, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        asked(node.port, "CLUSTER", "MEET", "127.0.0.1", empty.port)
        await eventually(lambda: all(map(serves_with_another, (node, empty))), "they meet")
        redis: Any = connect(f"redis+cluster://127.0.0.1:{node.port}")
        await redis.get("epoch")
        slot = asked(node.port, "CLUSTER", "KEYSLOT", "epoch")
        asked(empty.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", name_of(node))
        asked(node.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", name_of(empty))
        with pytest.raises(StoreUnavailable, match="not known yet"), translated_errors():
            await redis.get("epoch")
        await close(redis)


def serves_with_another(node: RedisProcess) -> bool:
    """Tell whether a node is in a cluster of two that serves."""
    state = asked(node.port, "CLUSTER", "INFO")
    return b"cluster_state:ok" in state and b"cluster_known_nodes:2" in state


def name_of(node: RedisProcess) -> str:
    """Return what a node is called in its cluster."""
    return str(asked(node.port, "CLUSTER", "MYID").decode())


async def test_a_server_that_has_become_a_replica_confirms_nothing(server: RedisProcess) -> None:
    """It keeps its connections, and may lack what its primary was told since."""
    async with session(server.url) as (redis, guard):
        asked(server.port, "REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailable, match="read only"):
            await guard.look(redis)


async def test_a_server_that_does_not_say_who_it_is_is_not_used(server: RedisProcess) -> None:
    """The error names the permission that is missing."""
    asked(server.port, "ACL", "SETUSER", "default", "-info")
    guard = Guard("epoch", remember_seconds=60)
    redis = connect(server.url, guard.servers)
    with pytest.raises(StoreUnavailable, match="'info'"):
        await guard.look(redis)
    await close(redis)


@pytest.mark.parametrize(
    ("hold_seconds", "until"),
    [(1, "cannot join"), (90, "holding commands")],
    ids=["let go", "held"],
)
async def test_workers_find_the_successor_of_a_server_that_goes_on_as_a_replica(
    services: Services, server: RedisProcess, hold_seconds: float, until: str
) -> None:
    """Its name leads elsewhere after a while; until then it is up, and refuses to write.

    Commands that are held meanwhile do not wait for the end of their time.
    """
    with redis_server("--replicaof", "127.0.0.1", str(server.port)) as successor:
        await replicating(successor)
        name = Proxy("127.0.0.1", server.port)
        await name.start()
        url = f"redis://127.0.0.1:{name.port}"
        own = replace(services, redis_url=url, redis=server)
        async with installation(own, hold_seconds=hold_seconds) as calls:
            (worker,) = await calls.start()
            await calls.subscribe()
            await calls.ask("123XYZ", "call", **CALL)
            asked(successor.port, "REPLICAOF", "NO", "ONE")
            asked(server.port, "REPLICAOF", "127.0.0.1", successor.port)
            hold = await calls.command("123XYZ", "hold")
            await eventually(lambda: worker.logged(until), until)
            name.leads_to("127.0.0.1", successor.port)
            answer = await calls.answer(hold)
            assert (answer.sequence, answer.content["status"]) == (2, 200)
        await name.close()


async def test_a_rebuild_begins_again_where_redis_has_lost_what_was_restored(
    services: Services, server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are not told to go on before all of it is there."""
    own = replace(services, redis_url=server.url, redis=server)
    async with installation(own) as calls:
        await calls.start()
        await calls.subscribe()
        for number in range(12):
            await calls.ask(f"call-{number}", "call", **CALL)
        await calls.redis.flushall()
        synced = await synced_bytes(calls.redis, server)
        monkeypatch.setattr(rebuilding, "_CHUNK", 5)
        lost: list[int] = []

        def lose(read: int, _: int) -> None:
            if not lost and read > 5:
                lost.append(read)
                lose_unsynced(server, synced)

        report = await rebuild(calls.settings, lose)
        assert lost
        assert report.new_epoch
        async with Redis.from_url(server.url) as redis:
            assert len(await redis.keys(f"{calls.names.call_prefix}*")) == 12


def knows_both(worker: Worker) -> bool:
    """Tell whether a worker has seen that there are two."""
    return any(line.get("workers") == 2 for line in worker.lines())


async def test_a_worker_that_takes_over_a_call_does_not_go_on_from_a_state_that_it_had_before(
    services: Services, server: RedisProcess
) -> None:
    """Redis lost the latest one by a power cut, and the worker that knew it has died too."""
    own = replace(services, redis_url=server.url, redis=server)
    async with installation(own, partitions=1) as calls:
        workers = {worker.name: worker for worker in await calls.start(2)}
        owner, standby = (workers[name] for name in ranking(workers, 0, depth=2))
        await calls.subscribe()
        await eventually(lambda: all(knows_both(worker) for worker in calls.workers), "they meet")
        await calls.ask("123XYZ", "call", **CALL)
        synced = await synced_bytes(calls.redis, server)
        held = await calls.ask("123XYZ", "hold")

        await owner.kill()
        await asyncio.to_thread(lose_unsynced, server, synced)
        waiting = await calls.command("123XYZ", "retrieve")
        await until_noticed(standby)
        assert not calls.answers(waiting.message_id)
        report = await restored(calls)
        assert (report.calls, report.records, report.new_epoch) == (1, 1, True)
        assert (await calls.answer(waiting)).sequence == held.sequence + 1
