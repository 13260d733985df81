"""RabbitMQ and Redis are found or started, can be disturbed, and are gone afterwards."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import pytest
import redis

from deploy.local import Services, docker, provide
from deploy.local.cleaning import sweep
from deploy.local.process import Identity, descendants, wait_until
from deploy.local.provide import ADDRESSES, FORCE
from deploy.local.session import owner, sessions

NO_ENGINE = "unix:///nonexistent/docker.sock"

# Says where its servers are, then waits to be told to end; 7 tells its own exit from others'.
CHILD = """
import os, sys
print(os.environ["CALL_CONTROL_AMQP_URL"], os.environ["CALL_CONTROL_REDIS_URL"], flush=True)
sys.stdin.read()
sys.exit(7)
"""


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """Servers of these tests' own."""
    addresses = {name: os.environ.pop(name, None) for name in ADDRESSES["tests"]}
    try:
        with provide("tests") as provided:
            yield provided
    finally:
        os.environ.update({name: url for name, url in addresses.items() if url})


def environment(**changes: str | None) -> dict[str, str]:
    """Return this environment without named servers, and with changes; None removes."""
    named = dict.fromkeys(ADDRESSES["run"])
    return {
        name: value
        for name, value in (dict(os.environ) | named | changes).items()
        if value is not None
    }


def deploy_local(*arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run ``python -m deploy.local`` to its end."""
    return subprocess.run(  # noqa: S603 - what these tests run
        [sys.executable, "-m", "deploy.local", *arguments],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def listens(url: str) -> bool:
    """Return whether something accepts connections at a URL."""
    address = urlsplit(url)
    with socket.socket() as client:
        return client.connect_ex((address.hostname or "", address.port or 0)) == 0


def owned_by(directory: Path, pid: int) -> bool:
    """Return whether a process made a session's directory."""
    known = owner(directory)
    return known is not None and known.pid == pid


def test_named_servers_are_used_and_left_alone(services: Services) -> None:
    """Addresses in the environment win, and their servers outlive the command."""
    amqp, redis_name = ADDRESSES["run"]
    done = deploy_local(
        *("run", "--", sys.executable, "-c", CHILD),
        **{amqp: services.amqp_url, redis_name: services.redis_url, FORCE: None},
    )
    assert done.returncode == 7
    # The virtual host / by its name: some clients take a trailing slash for the one without any.
    amqp_url = services.amqp_url.removesuffix("%2F") + "%2F"
    assert done.stdout.split() == [amqp_url, services.redis_url]
    assert listens(services.amqp_url)
    assert listens(services.redis_url)


def test_one_address_without_the_other_is_an_error() -> None:
    """Half a configuration is a mistake, not a wish for a private server."""
    done = deploy_local(
        "run", "true", **{FORCE: None, "CALL_CONTROL_REDIS_URL": "redis://127.0.0.1:1/0"}
    )
    assert done.returncode == 1
    assert "CALL_CONTROL_AMQP_URL is not" in done.stderr


def test_an_unknown_provider_is_an_error() -> None:
    """A misspelt name never falls back to another provider."""
    done = deploy_local("run", "true", **{FORCE: "podman"})
    assert done.returncode == 1
    assert "docker, path, debian" in done.stderr


def test_a_command_that_does_not_exist_starts_no_servers() -> None:
    """The mistake is reported at once."""
    done = deploy_local("run", "/nonexistent/command")
    assert done.returncode == 1
    assert "no such command" in done.stderr
    assert "starting" not in done.stderr


@pytest.mark.skipif(
    any(Path(sbin, "rabbitmq-server").exists() for sbin in ("/usr/sbin", "/usr/local/sbin")),
    reason="RabbitMQ is installed on this machine",
)
def test_without_any_provider_the_message_says_what_to_install(tmp_path: Path) -> None:
    """Each provider is named in the order it is tried, with what keeps it from working."""
    # An empty PATH has neither servers nor apt-get.
    done = deploy_local(
        *("run", sys.executable),
        **{FORCE: None, "PATH": str(tmp_path), "DOCKER_HOST": NO_ENGINE},
    )
    assert done.returncode == 1
    names = [line.split()[0] for line in done.stderr.splitlines() if line.startswith("  ")]
    assert names == ["docker", "path", "debian"]
    assert "no engine answers" in done.stderr
    assert "rabbitmq-server is not on PATH" in done.stderr
    assert "CALL_CONTROL_AMQP_URL and CALL_CONTROL_REDIS_URL" in done.stderr


def test_an_engine_that_answers_comes_first(services: Services) -> None:
    """Docker is preferred to programs of this machine; an engine has to answer to count."""
    expected = (os.environ.get(FORCE),) if FORCE in os.environ else ("path", "debian")
    if FORCE not in os.environ and docker.missing() is None:
        expected = ("docker",)
    assert services.provider in expected


@pytest.mark.parametrize(
    ("ending", "code"),
    [(None, 7), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, None)],
    ids=["the_command_ends", "ctrl_c", "sigterm", "sigkill_and_the_next_use"],
)
def test_nothing_is_left_when(
    services: Services, ending: signal.Signals | None, code: int | None
) -> None:
    """However a use ends, its processes and ports are gone, and other uses go on."""
    command = [sys.executable, "-m", "deploy.local", "run", "--", sys.executable, "-c", CHILD]
    with subprocess.Popen(  # noqa: S603 - what these tests run
        command,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Without a terminal, so that a signal reaches the command only if it is passed on.
        start_new_session=True,
    ) as run:
        assert run.stdout
        assert run.stdin
        urls = run.stdout.readline().split()
        started = descendants(run.pid)
        (directory,) = (each for each in sessions() if owned_by(each, run.pid))
        assert len(urls) == 2
        assert all(map(listens, urls))
        if ending:
            run.send_signal(ending)
        else:
            run.stdin.close()
        run.wait(timeout=60)
        if ending is signal.SIGKILL:
            assert any(map(listens, urls))
            run.stdin.close()
            sweep()
        else:
            assert run.returncode == code
    assert wait_until(lambda: not any(each.alive for each in started), timeout=5)
    assert not any(map(listens, urls))
    assert not directory.exists()
    assert listens(services.amqp_url)
    assert listens(services.redis_url)


async def test_a_crash_keeps_port_and_confirmed_messages(services: Services) -> None:
    """RabbitMQ comes back after SIGKILL at the same address with what it has confirmed."""
    assert services.rabbitmq
    connection = await aio_pika.connect(services.amqp_url)
    channel = await connection.channel()
    queue = await channel.declare_queue("crash", durable=True, arguments={"x-queue-type": "quorum"})
    message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, queue.name)
    # RabbitMQ saves the name of a new quorum queue every half second; killed before that it
    # comes back with an empty queue that never elects a leader (seen with 4.0.5).
    await asyncio.sleep(1.5)
    await asyncio.to_thread(services.rabbitmq.kill)
    assert not services.rabbitmq.running
    await connection.close()
    await asyncio.to_thread(services.rabbitmq.start)
    async with await aio_pika.connect(services.amqp_url) as again:
        kept = await (await again.channel()).get_queue(queue.name)
        received = await kept.get(timeout=10)
        assert received
        assert received.body == b"kept"
        await received.ack()


def test_the_broker_runs_the_plugins_and_rabbitmqctl_reaches_it(services: Services) -> None:
    """Consistent hashing is there, and the node answers its command line."""
    assert services.rabbitmq
    listed = services.rabbitmq.ctl("eval", "rabbit_plugins:active().")
    assert "rabbitmq_consistent_hash_exchange" in listed
    assert "rabbitmq_management" in listed


def test_a_restart_keeps_port_and_data_of_redis(services: Services) -> None:
    """A write that Redis has confirmed survives a clean restart and a crash."""
    assert services.redis
    with redis.Redis.from_url(services.redis_url) as client:
        client.set("first", "kept")
        services.redis.restart()
        assert client.get("first") == b"kept"
        client.set("second", "kept")
        services.redis.kill()
        services.redis.start()
        assert client.get("second") == b"kept"
        settings = client.config_get("appendfsync", "maxmemory-policy", "hash-max-listpack-value")
    assert settings == {
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "hash-max-listpack-value": "256",
    }


def test_a_paused_server_keeps_silent_until_it_is_resumed(services: Services) -> None:
    """Pausing freezes a server without closing its connections."""
    assert services.redis
    with redis.Redis.from_url(services.redis_url, socket_timeout=0.3, retry=None) as client:
        client.ping()
        services.redis.pause()
        try:
            with pytest.raises(redis.TimeoutError):
                client.ping()
        finally:
            services.redis.resume()
        assert client.ping()


def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    """Nothing is signalled on the strength of a pid alone."""
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleep) as sleeper:  # noqa: S603 - what these tests run
        identity = Identity.of(sleeper.pid)
        assert identity
        impostor = Identity(identity.pid, identity.started - 1, identity.boot)
        impostor.send(signal.SIGKILL)
        assert sleeper.poll() is None
        identity.send(signal.SIGKILL)
        sleeper.wait(timeout=5)
    assert not identity.alive
