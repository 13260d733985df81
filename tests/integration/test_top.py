"""``callctl top``: what it shows of a live installation."""

import asyncio
import json
import os
import pty
import secrets
import signal
import sys
from typing import Any, cast

from redis.asyncio import Redis
from yarl import URL

from tests.harness import PATIENCE_SECONDS, Installation, eventually
from tests.integration.test_cli import callctl, start_callctl
from worker.cli.exit_codes import ExitCode
from worker.status import Status

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}
ADDRESS = "tel:+18166623395"


async def shown(calls: Installation) -> dict[str, Any]:
    """Return one look at an installation, as JSON."""
    code, output, errors = await callctl(calls, "top", "--once", "--json")
    assert (code, errors) == (0, "")
    look: dict[str, Any] = json.loads(output)
    return look


async def told(redis: Redis, key: str, commands: int) -> Status:
    """Wait until a worker has told that it answered so many commands."""
    for _ in range(int(PATIENCE_SECONDS * 10)):
        found = await redis.get(key)
        if found is not None:
            status = Status.model_validate_json(found)
            if status.commands >= commands and not status.problems:
                return status
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: {commands} commands; {found!r}")


async def test_it_shows_each_worker_and_its_partitions(empty: Installation) -> None:
    """Each with what it has answered, and together they have them all."""
    workers = await empty.start(2)
    await empty.subscribe()
    await empty.ask("1", "call", **CALL)
    await empty.ask("1", "hold")
    await empty.ask("2", "accept", endpoint=ADDRESS)
    await empty.ask("2", "transfer")
    look: dict[str, Any] = {}
    for _ in range(20):
        look = await shown(empty)
        rows = [row["status"] for row in look["workers"]]
        active = [row["active"] for row in rows]
        if sum(active) == 8 and all(active) and sum(row["commands"] for row in rows) == 4:
            break
    assert {row["worker"] for row in rows} == {worker.name for worker in workers}
    assert {row["pid"] for row in rows} == {worker.pid for worker in workers}
    assert {row["http_port"] for row in rows} == {worker.http_port for worker in workers}
    assert sum(row["active"] for row in rows) == 8
    assert sum(row["standby"] for row in rows) == 8
    assert sum(row["commands"] for row in rows) == 4
    assert sum(row["dead_letters"] for row in rows) == 1
    assert all(row["problems"] == [] for row in rows)
    assert look["queues"] == {
        "waiting": {},
        "unconsumed": [],
        "dead_letters": 1,
        "asked": 8,
        "backlog": 0,
    }
    assert look["calls"] == {
        "states": {"connected": 2},
        "counted": 2,
        "complete": True,
        "why": None,
    }
    assert look["problems"] == []


async def test_rates_are_those_of_the_time_between_two_looks(calls: Installation) -> None:
    """By the workers' own clocks, however late a look comes."""
    top = await start_callctl(calls, "top", "--json", "--interval", "0.5")
    assert top.stdout is not None
    busy = asyncio.create_task(traffic(calls))
    try:
        for _ in range(60):
            line = await asyncio.wait_for(top.stdout.readline(), PATIENCE_SECONDS)
            look = json.loads(line)
            if look["commands_per_second"] > 0 and look["events_per_second"] > 0:
                break
        assert look["commands_per_second"] > 0
        assert look["events_per_second"] > 0
    finally:
        busy.cancel()
        top.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(top.wait(), PATIENCE_SECONDS) == 130


async def traffic(calls: Installation) -> None:
    """Have commands answered until cancelled."""
    for number in range(10_000):
        await calls.ask(str(number % 7), "hold")


async def test_it_shows_what_waits_and_that_nobody_takes_it(idle: Installation) -> None:
    """The partitions in which most waits, and that there is no worker."""
    for number in range(3):
        await idle.command("1", "hold" if number else "mute")
    look = await shown(idle)
    assert look["workers"] == []
    assert look["queues"]["backlog"] == 3
    assert list(look["queues"]["waiting"].values()) == [3]
    assert look["queues"]["unconsumed"] == list(range(8))
    code, output, _ = await callctl(idle, "top", "--once")
    assert code == 0
    assert "0 workers" in output
    assert "3 waiting" in output
    assert "8 partitions without a consumer" in output
    assert "longest partitions" in output


async def test_without_a_terminal_it_prints_a_line_for_each_look(calls: Installation) -> None:
    """So that it can be kept."""
    top = await start_callctl(calls, "top", "--interval", "0.2")
    assert top.stdout is not None
    for _ in range(2):
        line = (await asyncio.wait_for(top.stdout.readline(), PATIENCE_SECONDS)).decode()
        assert "1 workers" in line
        assert "0 waiting" in line
        assert "0 dead letters" in line
    top.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(top.wait(), PATIENCE_SECONDS) == 130


async def test_on_a_terminal_it_stays_in_one_place(calls: Installation) -> None:
    """And leaves the terminal as it was."""
    (worker,) = calls.workers
    await told(calls.redis, calls.names.worker(worker.name), 0)
    mine, its = pty.openpty()
    screen = bytearray()
    asyncio.get_running_loop().add_reader(mine, lambda: screen.extend(os.read(mine, 65536)))
    environment = {**os.environ, **calls.environment, "TERM": "xterm", "COLUMNS": "200"}
    top = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", "top", stdin=its, stdout=its, stderr=its, env=environment
    )
    try:
        await eventually(lambda: worker.name.encode() in screen, "the worker is shown")
        top.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(top.wait(), PATIENCE_SECONDS) == 130
        await eventually(lambda: b"\x1b[?1049l" in screen, "the terminal is given back")
    finally:
        asyncio.get_running_loop().remove_reader(mine)
        os.close(mine)
        os.close(its)


async def test_it_says_what_it_cannot_ask(calls: Installation) -> None:
    """And shows the rest."""
    calls.environment["CALL_CONTROL_REDIS_URL"] = "redis://127.0.0.1:1/0"
    code, output, _ = await callctl(calls, "top", "--once", "--json")
    look = json.loads(output)
    assert code == 1
    assert "Redis" in look["problems"][0]
    assert look["queues"]["dead_letters"] == 0
    assert "Redis" in look["calls"]["why"]


async def test_a_worker_that_is_gone_is_no_longer_shown(calls: Installation) -> None:
    """At once if it stopped, and soon if it was killed; its status goes by itself."""
    (worker,) = calls.workers
    key = calls.names.worker(worker.name)
    await told(calls.redis, key, 0)
    assert 0 < await calls.redis.pttl(key) <= 5000
    await worker.terminate()
    assert (await shown(calls))["workers"] == []


async def test_a_status_that_cannot_be_written_disturbs_nobody(empty: Installation) -> None:
    """The worker joins and answers as ever, and says so at debug level."""
    names, redis = empty.names, cast("Any", empty.redis)
    keys = [
        f"~{names.call_prefix}*",
        f"~{names.suspect_prefix}*",
        *(f"~{key}" for key in names.keys),
    ]
    user, password = names.base, secrets.token_hex(8)
    await redis.execute_command("ACL", "SETUSER", user, "on", f">{password}", "+@all", *keys)
    try:
        url = URL(empty.services.redis_url).with_user(user).with_password(password)
        (worker,) = await empty.start(redis_url=str(url), log_level="debug")
        await eventually(lambda: worker.logged("status not written"), "it tries")
        await empty.subscribe()
        await empty.ask("1", "hold")
        assert not await redis.exists(names.worker(worker.name))
        assert worker.complaints() == []
        assert (await shown(empty))["workers"] == []
    finally:
        await redis.execute_command("ACL", "DELUSER", user)


async def test_an_installation_that_is_not_there_is_an_error_that_says_so(
    empty: Installation,
) -> None:
    """A mistaken namespace would otherwise look like a quiet night."""
    code, _, errors = await callctl(empty, "top", "--once")
    assert code == ExitCode.USAGE
    assert f"there is no queue {empty.names.dead_letters}" in errors
