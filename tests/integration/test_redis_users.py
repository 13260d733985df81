"""The users in ``deploy/redis/users.acl``: the worker's can do its work, and nothing else."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from yarl import URL

from deploy.local import Services, redis_server
from deploy.local.redis import RedisProcess
from tests.harness import ROOT, eventually, installation
from tests.integration.test_cli import callctl
from tests.integration.test_durability import knows_waitaof
from tests.integration.test_store import check_that_calls_are_kept
from worker.membership import Heartbeat, claim_partition_count
from worker.names import Names
from worker.store import CallStore, close, connect
from worker.store.suspects import Suspects

USERS = (ROOT / "deploy" / "redis" / "users.acl").read_text()
PASSWORD = secrets.token_hex(8)
WORKER = "call_control.worker"


def users() -> str:
    """Return the users with a password each, as deploy/redis/README.md tells people to set it."""
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    return USERS.replace(" on ", f" on #{digest} ")


def url_of(server: RedisProcess, user: str) -> str:
    """Return the URL for a user."""
    return str(URL(server.url).with_user(user).with_password(PASSWORD))


async def until_there(redis: Redis, key: str) -> bool:
    """Wait for a key; tell whether it came."""
    for _ in range(100):
        if await redis.exists(key):
            return True
        await asyncio.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    """A Redis that knows the users."""
    with redis_server("--aclfile", "users.acl", files={"users.acl": users()}) as made:
        yield made


@pytest.fixture
async def worker(server: RedisProcess) -> AsyncIterator[Any]:
    """A client of the worker's user."""
    client = Redis.from_url(url_of(server, WORKER))
    yield client
    await client.aclose()


async def test_a_worker_can_do_all_its_work(services: Services, server: RedisProcess) -> None:
    """Share partitions, answer, wait for the disk, be shown, drain, restore calls from the journal.

    In a namespace of its own.
    """
    url = url_of(server, "call_control.admin")
    async with installation(replace(services, redis_url=url, redis=None)) as calls:
        # As deploy/redis/README.md tells people to make them for a namespace.
        admin: Any = calls.redis
        for line in users().replace("call_control", calls.names.base).splitlines():
            await admin.execute_command("ACL", "SETUSER", *line.split()[1:])
        calls.environment["CALL_CONTROL_REDIS_URL"] = url_of(server, f"{calls.names.base}.worker")
        waits = await knows_waitaof(admin)
        workers = await calls.start(2, durability="aof" if waits else "server")
        for each in workers:
            # What callctl top shows, which nothing else waits for.
            assert await until_there(calls.redis, calls.names.worker(each.name))
        await calls.subscribe()
        body = {"call_control": "accept", "request_id": "1", "endpoint": "tel:+18166623395"}
        for copies in (1, 2):
            await calls.publish("1", body, message_id="once")
            await calls.until_seen(copies)
        assert {event.message_id for event in calls.events} == {calls.events[0].message_id}
        assert calls.events[0].body["status"] == 200
        code, output, errors = await callctl(calls, "show", "1")
        assert (code, errors) == (0, "")
        assert "connected incoming" in output
        assert [await each.terminate() for each in workers] == [0, 0]
        assert await calls.redis.zcard(calls.names.workers) == 0
        for each in workers:
            assert [line for line in each.lines() if line["level"] != "info"] == []
        await calls.redis.delete(f"{calls.names.call_prefix}1")
        code, output, errors = await callctl(calls, "rebuild")
        assert code == 0, output + errors
        assert await calls.redis.exists(f"{calls.names.call_prefix}1")


async def test_an_operator_can_look_at_calls_and_change_nothing(
    services: Services, server: RedisProcess
) -> None:
    """As ``callctl`` does it."""
    own = replace(services, redis_url=url_of(server, "call_control.admin"), redis=None)
    async with installation(own) as calls:
        admin: Any = calls.redis
        for line in users().replace("call_control", calls.names.base).splitlines():
            await admin.execute_command("ACL", "SETUSER", *line.split()[1:])
        await calls.start()
        await calls.subscribe()
        await calls.ask("1", "accept", endpoint="tel:+18166623395")
        operator = url_of(server, f"{calls.names.base}.operator")
        calls.environment["CALL_CONTROL_REDIS_URL"] = operator
        for arguments in (("show", "1"), ("calls",)):
            code, output, errors = await callctl(calls, *arguments)
            assert (code, errors) == (0, "")
            assert "connected incoming" in output
        code, output, errors = await callctl(calls, "doctor", "--json")
        assert (code, errors) == (0, "")
        findings = [each for each in json.loads(output)["findings"] if each["service"] == "Redis"]
        # What only CONFIG GET tells.
        unseen = {each["check"] for each in findings if each["level"] != "ok"}
        assert unseen == {"persistence", "hash-max-listpack-value"}
        client: Any = Redis.from_url(operator)
        key = f"{calls.names.call_prefix}1"
        for command in (
            f"DEL {key}",
            f"HSET {key} state ended",
            f"PEXPIRE {key} 1",
            f"SET {calls.names.partition_count} 1",
            f"EVAL return(1) 1 {key}",
            "GET other",
            "CONFIG GET requirepass",
            "ACL LIST",
            "KEYS *",
            "FLUSHALL",
        ):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command.split())
        await client.aclose()
        worker = url_of(server, f"{calls.names.base}.worker")
        calls.environment["CALL_CONTROL_REDIS_URL"] = worker
        code, _, errors = await callctl(calls, "calls")
        assert (code, errors.count("\n"), "scan" in errors) == (3, 1, True)


async def test_a_worker_can_wait_for_a_replica(services: Services, server: RedisProcess) -> None:
    """Before it publishes: it does not even join while there is none."""
    own = replace(services, redis_url=url_of(server, "call_control.admin"), redis=None)
    async with installation(own) as calls:
        admin: Any = calls.redis
        for line in users().replace("call_control", calls.names.base).splitlines():
            await admin.execute_command("ACL", "SETUSER", *line.split()[1:])
        calls.environment["CALL_CONTROL_REDIS_URL"] = url_of(server, f"{calls.names.base}.worker")
        worker = await calls.spawn(durability="replica")
        await eventually(lambda: worker.logged("cannot join"), "it says so")
        assert any("needs a replica" in line.get("why", "") for line in worker.lines())
        follow = ("--replicaof", "127.0.0.1", str(server.port))
        with redis_server(
            *follow, *("--masteruser", "call_control.admin"), *("--masterauth", PASSWORD)
        ):
            await worker.joined()
            await calls.subscribe()
            event = await calls.ask("1", "accept", endpoint="tel:+18166623395")
            assert event.content["status"] == 200
            assert await worker.terminate() == 0
        assert [line for line in worker.lines() if "NOPERM" in line.get("why", "")] == []


async def test_a_worker_can_note_suspects_and_forget_them(worker: Redis) -> None:
    """Their keys are the only ones it may delete."""
    suspects = Suspects(worker, prefix=Names().suspect_prefix, worker="a")
    assert await suspects.begin(0) == 0
    await suspects.withdraw()
    assert await suspects.begin(0) == 0
    await suspects.finish(0)


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG GET requirepass",
        "CONFIG SET appendfsync no",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "DBSIZE",
        "GET other",
        "SET other 1",
        "GET call_controlled",
        "HGET green.call_control:1 state",
        "HSET other a b",
        "EVAL return(redis.call('GET','other')) 0",
        "EVAL return(redis.call('DEL',KEYS[1])) 1 call_control:1",
        "DEL call_control:1",
        "DEL call_control.workers",
        "UNLINK call_control:1",
        "EXPIRE other 1",
        "RENAME call_control:1 call_control:2",
        "SCRIPT FLUSH",
        "ACL LIST",
        "ACL SETUSER call_control.worker +@all",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "CLIENT PAUSE 1000",
        "SUBSCRIBE events",
        "PUBLISH events x",
        "MONITOR",
        "SLOWLOG GET",
        "REPLICAOF NO ONE",
        "SAVE",
        "SHUTDOWN NOSAVE",
        "CLUSTER RESET",
    ],
)
async def test_a_worker_can_do_nothing_else(worker: Any, command: str) -> None:
    """Nor to the keys of others with what it may do to its own."""
    refused = r"permission|ACL|executing the script"
    with pytest.raises((NoPermissionError, ResponseError), match=refused):
        await worker.execute_command(*command.split())


async def test_nobody_gets_in_without_a_password(server: RedisProcess) -> None:
    """Neither without a name, nor as a user of the file before it has a password."""
    with redis_server("--aclfile", "users.acl", files={"users.acl": USERS}) as fresh:
        for target, user in ((server, None), (fresh, None), (fresh, WORKER)):
            client = Redis.from_url(target.url, username=user, password=user and PASSWORD)
            with pytest.raises(AuthenticationError):
                await client.ping()
            await client.aclose()


async def test_a_worker_can_do_its_work_in_a_cluster() -> None:
    """There it also asks which node has what."""
    options = ("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
    files = {"users.acl": users()}
    with redis_server(*options, "--aclfile", "users.acl", files=files) as node:
        admin: Any = Redis.from_url(url_of(node, "call_control.admin"))
        await admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        for _ in range(100):
            if b"cluster_state:ok" in await admin.execute_command("CLUSTER", "INFO"):
                break
            await asyncio.sleep(0.1)
        await admin.aclose()
        url = URL(url_of(node, WORKER)).with_path("")
        cluster = connect(str(url).replace("redis://", "redis+cluster://"))
        names = Names()
        store = CallStore(
            cluster,
            prefix=names.call_prefix,
            ended_retention_seconds=60,
            idle_expiry_seconds=60,
        )
        await check_that_calls_are_kept(store)
        await claim_partition_count(cluster, names.partition_count, 8)
        heartbeat = Heartbeat(cluster, key=names.workers, worker="a", lapse_seconds=30)
        assert await heartbeat.beat() == {"a"}
        await heartbeat.leave()
        await close(cluster)
