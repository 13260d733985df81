"""What ``callctl doctor`` finds at Redis, each really made so at one of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.local import redis_server
from deploy.local.redis import RedisProcess
from worker.doctor import Level
from worker.doctor.findings import Report
from worker.doctor.redis import examine_redis
from worker.names import Names
from worker.settings import Settings
from worker.store.epoch import write_epoch

NAMES = Names()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    """A Redis to make things wrong with."""
    with redis_server() as made:
        yield made


@pytest.fixture
async def redis(server: RedisProcess) -> AsyncIterator[Any]:
    """A client; what a test configures and keeps is undone afterwards."""
    client: Any = Redis.from_url(server.url, decode_responses=True)
    names = (*CONFIGURED, "maxmemory", "min-replicas-to-write")
    before = await client.config_get(*names)
    yield client
    for name, value in before.items():
        await client.config_set(name, value)
    await client.flushall()
    await client.aclose()


async def examined(server: RedisProcess, **settings: str) -> dict[str, tuple[str, str]]:
    """How bad each thing is, and what is said of it."""
    given = {"redis_url": server.url, **settings}
    environment = {f"CALL_CONTROL_{name.upper()}": value for name, value in given.items()}
    report = Report("Redis", [])
    await examine_redis(Settings.from_environment(environment), report)
    for each in report.findings:
        assert each.remedy or each.level is Level.OK, "somebody has to know what to do"
    return {each.check: (each.level, each.found) for each in report.findings}


async def test_nothing_is_wrong_with_a_redis_as_it_is_shipped(server: RedisProcess) -> None:
    """As ``deploy/redis/redis.conf`` configures it."""
    assert {level for level, _ in (await examined(server)).values()} == {Level.OK}


CONFIGURED = ("maxmemory-policy", "appendonly", "appendfsync", "hash-max-listpack-value")


@pytest.mark.parametrize(
    ("option", "value", "durability", "expected"),
    [
        ("maxmemory-policy", "allkeys-lru", "server", ("eviction", Level.BAD, "calls are lost")),
        ("appendonly", "no", "server", ("persistence", Level.BAD, "a restart loses")),
        ("appendonly", "no", "aof", ("persistence", Level.BAD, "a restart loses")),
        ("appendonly", "no", "replica", ("persistence", Level.WARNING, "a restart loses")),
        ("appendfsync", "everysec", "server", ("persistence", Level.WARNING, "the last second")),
        ("appendfsync", "everysec", "aof", ("persistence", Level.WARNING, "waits up to a second")),
        ("appendfsync", "no", "server", ("persistence", Level.WARNING, "not written yet")),
        ("hash-max-listpack-value", "64", "server", (CONFIGURED[-1], Level.WARNING, "memory")),
    ],
)
async def test_a_setting_that_costs_calls_or_time_is_found(  # noqa: PLR0917 - what pytest passes
    server: RedisProcess,
    redis: Any,
    option: str,
    value: str,
    durability: str,
    expected: tuple[str, Level, str],
) -> None:
    """And nothing else is, but for what the durability asks for besides: replicas, a version."""
    check, level, told = expected
    await redis.config_set(option, value)
    found = await examined(server, durability=durability)
    assert found[check][0] is level
    assert told in found[check][1]
    for besides in {"replicas", "version"} - {check}:
        found.pop(besides)
    assert [name for name, (each, _) in found.items() if each is not Level.OK] == [check]


@pytest.mark.parametrize(("share", "level"), [(0.99, Level.BAD), (0.85, Level.WARNING)])
async def test_memory_that_runs_out_is_found(
    server: RedisProcess, redis: Any, share: float, level: Level
) -> None:
    """Before it has."""
    # More than a connection more or less; made there, or it would be in a buffer too for a while.
    await redis.setrange("ballast", 30_000_000, "x")
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used / share))
    assert (await examined(server))["memory"][0] is level


async def test_another_partition_count_is_bad(server: RedisProcess, redis: Any) -> None:
    """A worker would not start."""
    await write_epoch(redis, NAMES.epoch, 0)
    await redis.set(NAMES.partition_count, 64)
    assert (await examined(server))["partitions"] == (Level.OK, "64, as recorded")
    found = await examined(server, partitions="8")
    assert found["partitions"] == (Level.BAD, "8 are set, 64 are in force")


async def test_lost_calls_are_bad(server: RedisProcess, redis: Any) -> None:
    """Whether a worker has noticed, or the epoch is gone; before the first has joined it may be."""
    await redis.set(NAMES.partition_count, 64)
    level, told = (await examined(server))["calls lost"]
    assert (level, "the first worker is starting" in told) == (Level.WARNING, True)
    await redis.zadd(NAMES.workers, {"one": time.time() * 1000})
    level, told = (await examined(server))["calls lost"]
    assert (level, "the epoch is missing" in told) == (Level.BAD, True)
    await write_epoch(redis, NAMES.epoch, 0)
    assert (await examined(server))["calls lost"][0] is Level.OK
    await redis.set(NAMES.epoch, f"lost {await redis.get(NAMES.epoch)}")
    level, told = (await examined(server))["calls lost"]
    assert (level, "an earlier state" in told) == (Level.BAD, True)


async def test_a_clock_that_is_off_is_a_warning(
    server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever it is."""
    now = time.time
    for shift, word in ((-5, "ahead of"), (5, "behind")):
        monkeypatch.setattr(time, "time", lambda shift=shift: now() + shift)
        level, told = (await examined(server))["clock"]
        assert (level, told) == (Level.WARNING, f"Redis' is 5.0 s {word} this machine's")


async def test_replicas_are_counted_where_commits_wait_for_them(
    server: RedisProcess, redis: Any
) -> None:
    """None, one, and whether the primary stops when it is cut off; a replica is none itself."""
    found = await examined(server, durability="replica")
    assert found["replicas"] == (Level.BAD, "none, and CALL_CONTROL_DURABILITY=replica")
    with redis_server("--replicaof", "127.0.0.1", str(server.port)) as replica:
        for _ in range(300):
            if (await redis.info("replication"))["connected_slaves"]:
                break
            await asyncio.sleep(0.1)
        found = await examined(server, durability="replica")
        assert found["replicas"][0] is Level.WARNING
        assert found["min-replicas-to-write"][0] is Level.WARNING
        await redis.config_set("min-replicas-to-write", 1)
        assert (await examined(server))["min-replicas-to-write"] == (Level.OK, "1")
        assert (await examined(replica))["role"][0] is Level.BAD


async def test_each_primary_of_a_cluster_is_examined() -> None:
    """By its name."""
    options = ("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
    with redis_server(*options, "--maxmemory-policy", "allkeys-lru") as node:
        admin: Any = Redis.from_url(node.url)
        await admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        states: list[bytes] = []
        for _ in range(300):
            states.append(await admin.execute_command("CLUSTER", "INFO"))
            if b"cluster_state:ok" in states[-1]:
                break
            await asyncio.sleep(0.1)
        await admin.aclose()
        url = f"redis+cluster://127.0.0.1:{node.port}"
        report = Report("Redis", [])
        await examine_redis(Settings.from_environment({"CALL_CONTROL_REDIS_URL": url}), report)
    bad = [(each.service, each.check) for each in report.findings if each.level is not Level.OK]
    assert bad == [(f"Redis 127.0.0.1:{node.port}", "eviction")]
