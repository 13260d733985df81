"""RabbitMQ and Redis as containers: testcontainers for tests, compose for a run. And Asterisk.

All take the files in deploy/rabbitmq, redis and asterisk that local processes read too.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploy.local.asterisk import Options
from deploy.local.asterisk_container import AsteriskContainer
from deploy.local.containers import BrokerContainer, Container
from deploy.local.errors import CommandFailedError
from deploy.local.probes import docker_answers
from deploy.local.process import LOG_TAIL, free_port, run
from deploy.local.running import running
from deploy.local.services import Progress, Purpose, Services
from deploy.local.session import LABEL, session, uninterrupted

DEPLOY = Path(__file__).parent.parent

RABBITMQ_IMAGE = "rabbitmq:4-management"
REDIS_IMAGE = "redis:8"

#: What deploy/Dockerfile builds on.
PYTHON_IMAGE = "python:3.13-slim"

#: What deploy/asterisk/Dockerfile builds on.
DEBIAN_IMAGE = "debian:forky-slim"

#: What deploy/asterisk/Dockerfile makes.
ASTERISK_IMAGE = "call-control-asterisk"

#: Seconds an engine gets to answer; one that is there takes milliseconds.
_ENGINE_TIMEOUT = 5

#: Seconds for compose to pull two images and start them.
_PULL_TIMEOUT = 900.0

#: Seconds for the engine to pull Debian's image, and to install Asterisk in it.
_BUILD_TIMEOUT = 900

#: Seconds for the engine to answer a request about a container; it may have to stop it first.
_CONTAINER_TIMEOUT = 60

#: Seconds for compose to answer a question or to remove its containers.
_COMPOSE_TIMEOUT = 120.0

#: Name of the file in a session's directory that names its compose project.
_PROJECT = "compose-project"

_RABBITMQ_FILES = {
    "rabbitmq/rabbitmq.conf": "/etc/rabbitmq/rabbitmq.conf",
    "rabbitmq/demo.conf": "/etc/rabbitmq/conf.d/90-demo.conf",
    "rabbitmq/enabled_plugins": "/etc/rabbitmq/enabled_plugins",
}
_REDIS_FILES = {"redis/redis.conf": "/usr/local/etc/redis/redis.conf"}


def missing() -> str | None:
    """Return why there is no engine to use, or None when one answers."""
    named = _engine_address()
    address = urlsplit(named)
    here = address.scheme == "unix" or address.hostname in ("127.0.0.1", "localhost", "::1")
    if not here:
        return f"the engine at {named} is elsewhere: its ports are not on 127.0.0.1"
    if docker_answers(address.path if address.scheme == "unix" else address.port or 0):
        return None
    return f"no engine answers at {named}"


def _engine_address() -> str:
    """Return where docker's own client would look, contexts included."""
    with contextlib.suppress(CommandFailedError):
        ask = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        return run(ask, timeout=_ENGINE_TIMEOUT).strip()
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def servers(purpose: Purpose, progress: Progress) -> AbstractContextManager[Services]:
    """Return the containers for a purpose, ready to be entered."""
    if purpose == "tests":
        return _testcontainers(progress)
    command = compose_command()
    if command:
        return _compose(command, progress)
    progress("a Docker engine answers, but compose is not installed: using testcontainers")
    return _testcontainers(progress)


def compose_command() -> list[str] | None:
    """Return how compose is called here: docker's plugin, the older program, or None."""
    with contextlib.suppress(CommandFailedError):
        run(["docker", "compose", "version"], timeout=_COMPOSE_TIMEOUT)
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def stop_session(directory: Path) -> None:
    """Remove the containers of a session; does nothing when no engine answers."""
    if missing():
        return
    project = directory / _PROJECT
    command = compose_command()
    if command and project.exists():
        with contextlib.suppress(CommandFailedError):
            _down(command, project.read_text())
    client = _client()
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}={directory}"}):
        container.remove(force=True, v=True)
    client.close()


@contextlib.contextmanager
def asterisk(options: Options) -> Iterator[AsteriskContainer]:
    """Yield an Asterisk in a container, of the image that ``make_asterisk`` has made.

    Raises:
        ServerFailedError: it did not start; carries the end of its log.
    """
    client = _client(_CONTAINER_TIMEOUT)
    try:
        with running(
            lambda directory: AsteriskContainer(client, ASTERISK_IMAGE, directory, **options)
        ) as started:
            yield started
    finally:
        client.close()


def make_asterisk(progress: Progress) -> None:
    """Make the image of Asterisk, as far as it is not there yet.

    Raises:
        CommandFailedError: it cannot be made; carries the end of what was said.
    """
    from docker.errors import (  # type: ignore[import-untyped] # noqa: PLC0415 - a dev dependency
        BuildError,
        DockerException,
    )

    progress(f"making the image {ASTERISK_IMAGE} (the first time pulls what it is made of)")
    client = _client(_BUILD_TIMEOUT)
    try:
        # Not by docker's own program: the newer builder is a plugin that may be missing.
        client.images.build(path=str(DEPLOY / "asterisk"), tag=ASTERISK_IMAGE, rm=True)
    except BuildError as error:
        said = "".join(str(line.get("stream", "")) for line in error.build_log)
        raise CommandFailedError(f"{ASTERISK_IMAGE}: {error}\n{said[-LOG_TAIL:]}") from error
    except DockerException as error:
        raise CommandFailedError(f"{ASTERISK_IMAGE}: {error}") from error
    finally:
        client.close()


def _client(timeout: int = _ENGINE_TIMEOUT) -> Any:
    # Knows Docker's contexts too, unlike the SDK by itself.
    from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415 - a dev dependency

    return DockerClient(timeout=timeout).client


@contextlib.contextmanager
def _testcontainers(progress: Progress) -> Iterator[Services]:
    progress("starting RabbitMQ and Redis in containers")
    with session() as directory, contextlib.ExitStack() as cleaning:
        amqp, management, redis_port = (free_port() for _ in range(3))
        redis = _create(
            cleaning,
            directory,
            REDIS_IMAGE,
            ports={6379: redis_port},
            files=_REDIS_FILES,
            # Without users, protected mode would refuse who comes through the published port.
            command=["redis-server", *_REDIS_FILES.values(), "--protected-mode", "no"],
        )
        rabbitmq = _create(
            cleaning,
            directory,
            RABBITMQ_IMAGE,
            ports={5672: amqp, 15672: management},
            files=_RABBITMQ_FILES,
            # The node's name, and with it the place of its data, contains the host's name.
            hostname="rabbitmq",
        )
        yield _ready(rabbitmq, redis, (amqp, management, redis_port))


def _create(
    cleaning: contextlib.ExitStack,
    directory: Path,
    image: str,
    *,
    ports: Mapping[int, int],
    files: Mapping[str, str],
    **options: Any,
) -> Any:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - a dev dependency

    container = DockerContainer(image, labels={LABEL: str(directory)}, **options)
    for inside, outside in ports.items():
        container.ports[str(inside)] = ("127.0.0.1", outside)  # type: ignore[assignment] # the SDK takes it
    for source, target in files.items():
        container.with_volume_mapping(str(DEPLOY / source), target, "ro")
    cleaning.callback(_remove, container)
    container.start()
    return container.get_wrapped_container()


def _remove(container: Any) -> None:
    with uninterrupted():
        container.stop()


@contextlib.contextmanager
def _compose(command: list[str], progress: Progress) -> Iterator[Services]:
    progress("starting RabbitMQ and Redis with compose (the first time pulls their images)")
    with session() as directory, contextlib.ExitStack() as cleaning:
        ports = amqp, management, redis_port = (free_port(), free_port(), free_port())
        project = f"call-control-{uuid.uuid4().hex[:8]}"
        (directory / _PROJECT).write_text(project)
        env = dict(os.environ) | {
            "AMQP_PORT": str(amqp),
            "MANAGEMENT_PORT": str(management),
            "REDIS_PORT": str(redis_port),
        }
        call = [*command, *_arguments(project)]
        cleaning.callback(_down, command, project)
        run([*call, "up", "-d", "rabbitmq", "redis"], timeout=_PULL_TIMEOUT, env=env)
        client = _client()
        cleaning.callback(client.close)
        rabbitmq, redis = (
            client.containers.get(run([*call, "ps", "-q", each], timeout=_COMPOSE_TIMEOUT).strip())
            for each in ("rabbitmq", "redis")
        )
        yield _ready(rabbitmq, redis, ports)


def _arguments(project: str) -> list[str]:
    return ["-f", str(DEPLOY / "compose.yaml"), "-p", project]


def _down(command: list[str], project: str) -> None:
    with uninterrupted():
        run([*command, *_arguments(project), "down", "-v", "-t", "1"], timeout=_COMPOSE_TIMEOUT)


def _ready(rabbitmq: Any, redis: Any, ports: tuple[int, int, int]) -> Services:
    amqp, management, redis_port = ports
    broker = BrokerContainer(rabbitmq, "rabbitmq", amqp)
    server = Container(redis, "redis", redis_port)
    server.wait()
    broker.wait()
    return Services(
        provider="docker",
        amqp_url=f"amqp://guest:guest@127.0.0.1:{amqp}/",
        redis_url=f"redis://127.0.0.1:{redis_port}/0",
        management_url=f"http://guest:guest@127.0.0.1:{management}",
        rabbitmq=broker,
        redis=server,
    )
