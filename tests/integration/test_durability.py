"""What each durability gives when Redis loses what it has confirmed."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from deploy.local import Services, redis_server
from deploy.local.redis import RedisProcess
from tests.harness import Installation, eventually, installation
from tests.integration.test_rebuild import until_noticed

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


@asynccontextmanager
async def with_redis(
    services: Services, server: RedisProcess, durability: str
) -> AsyncIterator[Installation]:
    """An installation on a Redis of its own, with one worker and a connected call."""
    async with installation(replace(services, redis_url=server.url, redis=server)) as calls:
        if durability == "aof":
            await skip_without_waitaof(calls)
        await calls.start(durability=durability)
        await calls.subscribe()
        await calls.ask("123XYZ", "call", **CALL)
        yield calls


async def state(url: str, calls: Installation) -> str:
    """Return the state of the call that a server has stored."""
    async with Redis.from_url(url, decode_responses=True) as redis:
        found = await redis.hget(calls.names.call_prefix + "123XYZ", "state")
    return str(found)


def lose_unsynced(server: RedisProcess, synced_bytes: int) -> None:
    """Crash a server as a power cut would: what was not on disk is gone."""
    server.kill()
    (log,) = (server.directory / "appendonlydir").glob("*.incr.aof")
    os.truncate(log, synced_bytes)
    server.start()


async def knows_waitaof(redis: Redis) -> bool:
    """Tell whether a server can be asked to wait for its disk."""
    version = (await redis.info("server"))["redis_version"]
    return tuple(map(int, version.split(".")[:2])) >= (7, 2)


async def skip_without_waitaof(calls: Installation) -> None:
    """Skip what an older server cannot do."""
    if not await knows_waitaof(calls.redis):
        pytest.skip("WAITAOF came with Redis 7.2")


async def synced_bytes(redis: Redis, server: RedisProcess) -> int:
    """Have Redis sync its log once, and from now on never again; return how long it is."""
    await redis.config_set("appendfsync", "always")
    await redis.set("synced", "yes")
    await redis.config_set("appendfsync", "no")
    (log,) = (server.directory / "appendonlydir").glob("*.incr.aof")
    return log.stat().st_size


async def test_server_publishes_what_a_power_cut_of_redis_can_still_lose(
    services: Services,
) -> None:
    """The event is out, and the call does not know of it."""
    with redis_server("--appendfsync", "everysec") as server:
        async with with_redis(services, server, "server") as calls:
            synced = await synced_bytes(calls.redis, server)
            event = await calls.ask("123XYZ", "hold")
            assert event.content["status"] == 200
            await asyncio.to_thread(lose_unsynced, server, synced)
            assert await state(server.url, calls) == "connected"


async def test_aof_publishes_nothing_that_a_power_cut_of_redis_can_lose(
    services: Services,
) -> None:
    """The command waits for the disk, survives the cut in its partition, and is done afterwards."""
    with redis_server("--appendfsync", "everysec") as server:
        async with with_redis(services, server, "aof") as calls:
            synced = await synced_bytes(calls.redis, server)
            hold = await calls.command("123XYZ", "hold")
            (worker,) = calls.workers
            await eventually(lambda: worker.logged("holding commands"), "the command is held")
            assert await state(server.url, calls) == "connected held"
            assert not calls.answers(hold.message_id)

            await asyncio.to_thread(lose_unsynced, server, synced)
            assert (await calls.answer(hold)).content["status"] == 200
            assert await state(server.url, calls) == "connected held"
            assert len(calls.answers(hold.message_id)) == 1


@pytest.mark.parametrize("durability", ["server", "replica"])
async def test_only_replica_keeps_what_it_published_when_the_primary_is_lost(
    services: Services, durability: str
) -> None:
    """The replica lags behind; then the primary dies, and the replica takes its place."""
    with (
        redis_server() as primary,
        redis_server("--replicaof", "127.0.0.1", str(primary.port)) as replica,
    ):
        await replicating(replica)
        async with with_redis(services, primary, durability) as calls:
            replica.pause()
            await calls.redis.client_kill_filter(_type="replica")
            hold = await calls.command("123XYZ", "hold")
            if durability == "replica":
                (worker,) = calls.workers
                await eventually(lambda: worker.logged("holding commands"), "it is held")
                assert not calls.answers(hold.message_id)
                replica.resume()
            assert (await calls.answer(hold)).content["status"] == 200

            await asyncio.to_thread(primary.kill)
            replica.resume()
            kept = await state(replica.url, calls) == "connected held"
            assert kept == (durability == "replica")
            await asyncio.to_thread(primary.start)


async def test_a_primary_that_forgets_what_its_replica_knows_makes_it_forget_that_too(
    services: Services,
) -> None:
    """It comes back by itself, from a disk that lacks its last second: the worker notices."""
    with (
        redis_server("--appendfsync", "everysec") as primary,
        redis_server("--replicaof", "127.0.0.1", str(primary.port)) as replica,
    ):
        await replicating(replica)
        async with with_redis(services, primary, "replica") as calls:
            synced = await synced_bytes(calls.redis, primary)
            assert (await calls.ask("123XYZ", "hold")).content["status"] == 200
            assert await state(replica.url, calls) == "connected held"
            await asyncio.to_thread(lose_unsynced, primary, synced)
            await until_noticed(*calls.workers)
            assert await state(primary.url, calls) == "connected"


async def replicating(replica: RedisProcess) -> None:
    """Wait until a replica has its primary's data."""
    async with Redis.from_url(replica.url) as redis:
        for _ in range(200):
            if (await redis.info("replication"))["master_link_status"] == "up":
                return
            await asyncio.sleep(0.1)
    raise AssertionError("the replica does not follow its primary")


async def test_a_record_found_again_waits_for_the_disk_as_its_commit_did(
    services: Services,
) -> None:
    """Whoever committed it may have died before it was safe."""
    with redis_server("--appendfsync", "everysec") as server:
        async with with_redis(services, server, "aof") as calls:
            body = {"call_control": "hold", "request_id": "123XYZ"}
            first = await calls.publish("123XYZ", body, message_id="again")
            await calls.answer(first)
            await synced_bytes(calls.redis, server)
            await calls.publish("123XYZ", body, message_id="again")
            (worker,) = calls.workers
            await eventually(lambda: worker.logged("holding commands"), "the copy is held")
            assert len(calls.answers("again")) == 1
            await calls.redis.config_set("appendfsync", "always")
            await eventually(lambda: len(calls.answers("again")) == 2, "the copy is answered")


async def test_a_worker_does_not_join_while_redis_cannot_give_its_durability(
    services: Services,
) -> None:
    """It says what is missing, takes nothing meanwhile, and joins when it is there."""
    with redis_server("--appendonly", "no") as server:
        own = replace(services, redis_url=server.url, redis=server)
        async with installation(own) as calls:
            worker = await calls.spawn(durability="aof")
            await eventually(lambda: worker.logged("cannot join"), "it says so")
            missing = "Redis 7.2 with appendonly yes"
            assert any(missing in line.get("why", "") for line in worker.lines())
            await skip_without_waitaof(calls)
            await calls.redis.config_set("appendonly", "yes")
            await worker.joined()
