"""The images are built, and what compose brings up serves calls, whatever is killed in it."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from redis.asyncio import Redis

from deploy.local import Services, docker, telephones
from deploy.local.asterisk import Configured
from deploy.local.errors import CommandFailedError
from deploy.local.process import free_port, run
from deploy.local.provide import FORCE
from tests.harness import PATIENCE_SECONDS, Installation, eventually
from tests.integration.test_order import all_answered, check, publish_calls
from worker.broker import connection as broker
from worker.names import Names
from worker.settings import PREFIX, Settings

pytestmark = [
    # In a run of its own: `make test-docker` starts the engine that it needs.
    pytest.mark.skipif(os.environ.get(FORCE) != "docker", reason="make test-docker runs these"),
    # The first of them builds the image, and downloads what is in it.
    pytest.mark.timeout(600),
]

#: Seconds for what compose does: to build, to start, or to stop and wait for the drain.
COMPOSE_SECONDS = 500.0

KUBERNETES = docker.DEPLOY / "kubernetes"

#: The user that the image runs as.
UID = "10001"


@dataclass(frozen=True)
class Stack:
    """What compose brought up."""

    command: tuple[str, ...]
    project: str
    environment: dict[str, str]

    def __call__(self, *arguments: str) -> str:
        """Call compose."""
        return run([*self.command, *arguments], timeout=COMPOSE_SECONDS, env=self.environment)

    def workers(self) -> list[str]:
        """Return the containers of the workers that run."""
        return self("ps", "-q", "worker").split()

    @property
    def services(self) -> Services:
        """Where its services listen."""
        amqp, redis = (self.environment[f"{name}_PORT"] for name in ("AMQP", "REDIS"))
        return Services(
            "compose", f"amqp://guest:guest@127.0.0.1:{amqp}/", f"redis://127.0.0.1:{redis}/0"
        )


def state(container: str) -> dict[str, Any]:
    """Return what the engine says of a container's state."""
    said = run(["docker", "inspect", "--format", "{{json .State}}", container], timeout=30)
    found: dict[str, Any] = json.loads(said)
    return found


def inside(container: str, *command: str) -> str:
    """Run a command in a container, and return what it prints."""
    return run(["docker", "exec", container, *command], timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def compose() -> Iterator[Stack]:
    """Everything in compose.yaml, built from this very source and brought up."""
    command = docker.compose_command()
    assert command is not None, "compose is not installed"
    project = f"call-control-test-{os.getpid()}"
    ports = {f"{name}_PORT": str(free_port()) for name in ("AMQP", "MANAGEMENT", "REDIS")}
    file = str(docker.DEPLOY / "compose.yaml")
    stack = Stack((*command, "-f", file, "-p", project), project, dict(os.environ) | ports)
    try:
        stack("up", "-d", "--build")
        yield stack
    finally:
        stack("down", "-v", "-t", "1")


@pytest.fixture
async def calls(compose: Stack, tmp_path: Path) -> AsyncIterator[Installation]:
    """The installation in the containers, with both workers and a subscriber to its events."""
    # Whatever the test before has killed.
    await asyncio.to_thread(compose, "up", "-d", "--no-build")
    services = compose.services
    names = Names()
    redis = Redis.from_url(services.redis_url)
    for _ in range(int(PATIENCE_SECONDS * 10)):
        if await redis.zcard(names.workers) == 2:
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail(f"two workers join: {compose('logs', 'worker')[-3000:]}")
    connection = await broker.connect(services.amqp_url, "tests")
    made = Installation(
        services=services,
        names=names,
        environment={f"{PREFIX}PARTITIONS": str(Settings.from_environment({}).partitions)},
        connection=connection,
        producer=await connection.channel(publisher_confirms=True, on_return_raises=True),
        redis=redis,
        directory=tmp_path,
    )
    await made.subscribe()
    yield made
    await connection.close()
    await redis.aclose()


async def test_a_conversation_through_containers_survives_the_kill_of_a_worker(
    compose: Stack, calls: Installation
) -> None:
    """200 interleaved calls from outside: each command has one outcome, in order."""
    published = asyncio.create_task(publish_calls(calls, 200))
    await eventually(lambda: len(calls.events) > 100, "the conversations are under way")
    killed, left = compose.workers()
    run(["docker", "kill", killed], timeout=30)
    assert not published.done()
    answered = len(calls.events)
    commands = await published
    await all_answered(calls, commands)
    check(calls, commands)
    assert len(calls.events) > answered
    assert state(left)["Running"]


async def test_workers_in_containers_are_healthy_not_root_and_write_nothing(
    compose: Stack, calls: Installation
) -> None:
    """The image's own check asks the worker; the root file system is read-only."""
    assert calls.events == []
    for container in compose.workers():
        assert inside(container, "id", "-u").strip() == UID
        # A directory that anybody may write to, were its file system not read-only.
        writable = "import os; print(os.access('/tmp', os.W_OK))"
        assert inside(container, "python", "-c", writable).strip() == "False"
        await eventually(
            lambda found=container: state(found)["Health"]["Status"] == "healthy",  # type: ignore[misc]  # bound at once
            "the container is healthy",
        )


async def test_callctl_in_a_container_uses_what_its_worker_uses(
    compose: Stack, calls: Installation
) -> None:
    """As compose.yaml tells people to send a command by hand."""
    ends = ("--origin", "tel:+18164388687", "--destination", "tel:+18165057120")
    said = inside(compose.workers()[0], "callctl", "send", "call", "by-hand", *ends, "--wait")
    assert json.loads(said)["event"] == "call-connected"
    await eventually(lambda: len(calls.events) == 1, "the event is there for others, too")


async def test_a_container_that_is_stopped_drains_and_exits_with_zero(
    compose: Stack, calls: Installation
) -> None:
    """Under traffic; the signal reaches the worker itself, and nothing is answered twice."""
    published = asyncio.create_task(publish_calls(calls, 100))
    await eventually(lambda: len(calls.events) > 100, "the conversations are under way")
    stopped, _ = compose.workers()
    await asyncio.to_thread(run, ["docker", "stop", "-t", "30", stopped], timeout=60)
    assert state(stopped)["ExitCode"] == 0
    commands = await published
    await all_answered(calls, commands)
    check(calls, commands)
    assert len(calls.events) == sum(map(len, commands.values()))


@pytest.mark.parametrize(
    ("manifest", "leads_to"),
    [("components/topology/job.yaml", "done"), ("base/deployment.yaml", "a third worker")],
    ids=["job", "deployment"],
)
async def test_the_image_runs_as_the_manifests_have_it_run(
    compose: Stack, calls: Installation, tmp_path: Path, manifest: str, leads_to: str
) -> None:
    """Settings, URLs in files, arguments, user and memory are those of Kubernetes' pods."""
    spec = yaml.safe_load((KUBERNETES / manifest).read_text())["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (mount,) = container["volumeMounts"]
    urls = tmp_path / "urls"
    urls.mkdir()
    (urls / "amqp").write_text("amqp://guest:guest@rabbitmq:5672/\n")
    (urls / "redis").write_text("redis://redis:6379/0\n")
    user = spec["securityContext"]
    name = f"{compose.project}-manifest"
    command = [
        *("docker", "run", "--name", name, "--rm", "--network", f"{compose.project}_default"),
        *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--user", f"{user['runAsUser']}:{user['runAsGroup']}"),
        *("--memory", container["resources"]["limits"]["memory"].removesuffix("i")),
        *("--volume", f"{urls}:{mount['mountPath']}:ro"),
        *("--env-file", str(KUBERNETES / "base" / "settings.env")),
        *(f"--env={each['name']}={each['value']}" for each in container["env"]),
        *(container["image"], *container["args"]),
    ]
    running = asyncio.create_task(asyncio.to_thread(run, command, timeout=PATIENCE_SECONDS * 2))
    try:
        if leads_to == "a third worker":
            for _ in range(int(PATIENCE_SECONDS * 10)):
                if running.done() or await calls.redis.zcard(calls.names.workers) == 3:
                    break
                await asyncio.sleep(0.1)
            assert not running.done()
            assert await calls.redis.zcard(calls.names.workers) == 3
            grace = str(spec["terminationGracePeriodSeconds"])
            run(["docker", "stop", "-t", grace, name], timeout=60)
        # Another exit code than 0 raises.
        await running
    finally:
        with contextlib.suppress(CommandFailedError):
            run(["docker", "rm", "-f", name], timeout=30)


@pytest.fixture(scope="module")
def calling(compose: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same with compose.calls.yaml: workers ask a gateway, which is before an Asterisk."""
    directory = tmp_path_factory.mktemp("calls")
    asterisk = Configured(directory / "asterisk")
    password = directory / "password"
    password.write_text(f"{asterisk.ari_password}\n")
    environment = compose.environment | {
        "ASTERISK_CONF": str(directory / "asterisk" / "etc"),
        "ASTERISK_PASSWORD_FILE": str(password),
        "ARI_PORT": asterisk.ari_url.rpartition(":")[2],
        "GATEWAY_PORT": str(free_port()),
        # Any telephone may be called; there is no trunk.
        "SIP_ENDPOINT": "PJSIP/trunk/{uri}",
    }
    command = (*compose.command, "-f", str(docker.DEPLOY / "compose.calls.yaml"))
    stack = replace(compose, command=command, environment=environment)
    try:
        stack("up", "-d", "--build")
        yield stack
    finally:
        stack("rm", "-s", "-f", "gateway", "asterisk")


async def gateway_ready(stack: Stack) -> None:
    """Wait until the gateway takes actions."""
    url = f"http://127.0.0.1:{stack.environment['GATEWAY_PORT']}/ready"
    async with aiohttp.ClientSession() as session:
        for _ in range(int(PATIENCE_SECONDS * 10)):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.ok:
                        return
            await asyncio.sleep(0.1)
    pytest.fail(f"the gateway is ready: {stack('logs', 'gateway', 'asterisk')[-3000:]}")


async def send(stack: Stack, *arguments: str) -> str:
    """Send a command from a worker's container; return its event's name."""
    command = ("callctl", "send", *arguments, "--wait")
    said = await asyncio.to_thread(inside, stack.workers()[0], *command)
    event: str = json.loads(said)["event"]
    return event


async def test_a_call_through_containers_connects_two_telephones(calling: Stack) -> None:
    """Worker, gateway and Asterisk are in containers, the telephones outside."""
    await gateway_ready(calling)
    wait = asyncio.to_thread
    with telephones() as box:
        alice, bob = box.answering(tone=400), box.answering(tone=500)
        ends = ("--origin", alice.uri, "--destination", bob.uri)
        assert await send(calling, "call", "by-phone", *ends) == "call-connected"
        await wait(alice.wait_tones, 500)
        await wait(bob.wait_tones, 400)
        # Without any music there is silence.
        assert await send(calling, "hold", "by-phone") == "call_held"
        await wait(bob.wait_tones)
        assert await send(calling, "disconnect", "by-phone") == "call_terminated"
        for phone in (alice, bob):
            await wait(phone.wait_for, "BYE")


async def test_calls_of_an_asterisk_in_a_container_end_with_it(calling: Stack) -> None:
    """And the next one is an ordinary one: nobody has to do anything."""
    await gateway_ready(calling)
    with telephones() as box:
        alice, bob = box.answering(), box.answering()
        ends = ("--origin", alice.uri, "--destination", bob.uri)
        assert await send(calling, "call", "to-be-lost", *ends) == "call-connected"
        # A crash: the container is there still, and is started again.
        await asyncio.to_thread(calling, "kill", "asterisk")
        await asyncio.to_thread(calling, "up", "-d", "--no-build", "asterisk")
        watch = ("callctl", "watch", "--call", "to-be-lost", "--since", "10m", "--limit", "2")
        seen = await asyncio.to_thread(inside, calling.workers()[0], *watch)
        last = seen.splitlines()[-1].split()
        assert last[3:6] == ["call_terminated", "ended", "503"], last
        await gateway_ready(calling)
        assert await send(calling, "call", "afterwards", *ends) == "call-connected"
        assert await send(calling, "disconnect", "afterwards") == "call_terminated"


async def test_gateway_and_asterisk_are_confined_and_keep_the_password_to_themselves(
    calling: Stack,
) -> None:
    """Not root, nothing to write to, healthy; the password is in no log and no environment."""
    file = Path(calling.environment["ASTERISK_PASSWORD_FILE"])
    password = (await asyncio.to_thread(file.read_text)).strip()
    for service, uid in (("gateway", UID), ("asterisk", "10002")):
        (container,) = calling("ps", "-q", service).split()
        assert inside(container, "id", "-u").strip() == uid
        with pytest.raises(CommandFailedError, match="Read-only file system"):
            inside(container, "sh", "-c", "touch /etc/new")
        await eventually(
            lambda found=container: state(found)["Health"]["Status"] == "healthy",  # type: ignore[misc]  # bound at once
            "the container is healthy",
        )
        assert password not in run(["docker", "inspect", container], timeout=30)
        assert password not in calling("logs", service)
    assert inside(container, "asterisk", "-rx", "core waitfullybooted").strip()
    assert password in inside(container, "cat", "/run/asterisk/etc/ari.conf")
