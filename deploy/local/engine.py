"""A private Docker engine for a machine that has none: Debian's, with images made locally.

The images carry the official names and behave like the official ones, so that testcontainers
and compose run for real where nothing can be pulled. What the engine changes outside its own
directory (the bridge, the packet filter, forwarding) is put back when it stops.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.local import docker, network, rootfs
from deploy.local.cleaning import sweep
from deploy.local.errors import CommandFailedError, NoProviderError
from deploy.local.probes import docker_answers
from deploy.local.process import Process, run
from deploy.local.services import Progress
from deploy.local.session import CACHE, session, termination_unwinds, uninterrupted

IMAGES = Path(__file__).parent / "images"

#: The Debian tree as an image, on which the others are made. With Asterisk it is used as it is:
#: there deploy/asterisk/Dockerfile finds installed what it installs.
_BASE = "call-control/debian:13"

#: Seconds until the engine answers.
_START_TIMEOUT = 60.0

#: Seconds for the engine to end its containers and itself.
_STOP_TIMEOUT = 60.0

#: Seconds to make one image.
_BUILD_TIMEOUT = 300.0

#: Bytes of a directory's path that leave room for the engine's Unix sockets below it: the
#: kernel's limit is 107.
_DIRECTORY_MAX = 60

_POLICY = Path("/usr/sbin/policy-rc.d")

#: Certificates of authorities that this machine trusts besides Debian's (update-ca-certificates).
_AUTHORITIES = Path("/usr/local/share/ca-certificates")


@contextlib.contextmanager
def engine(progress: Progress) -> Iterator[dict[str, str]]:
    """Yield the variables with which docker clients find an engine.

    Raises:
        NoProviderError: none answers, and none can be started on this machine.
        ServicesError: the private engine or its images failed.
    """
    reason = docker.missing()
    if reason is None:
        yield {}
        return
    impossible = rootfs.missing()
    if impossible:
        raise NoProviderError(f"{reason}; starting one here {impossible}")
    with termination_unwinds():
        sweep()
        trees = {
            _BASE: rootfs.ensure(progress),
            docker.DEBIAN_IMAGE: rootfs.ensure(progress, rootfs.ASTERISK),
        }
        _install(progress)
        with _private_engine(trees, progress) as variables:
            yield variables


@contextlib.contextmanager
def _private_engine(trees: Mapping[str, Path], progress: Progress) -> Iterator[dict[str, str]]:
    with (
        rootfs.locked(CACHE / "engine.lock"),
        session() as directory,
        _network_put_back(directory),
        _daemon(directory, progress) as address,
    ):
        variables = {"DOCKER_HOST": address, "TESTCONTAINERS_RYUK_DISABLED": "true"}
        _make_images(trees, dict(os.environ) | variables, progress)
        yield variables


def _install(progress: Progress) -> None:
    packages = [] if shutil.which("dockerd") and shutil.which("docker") else ["docker.io"]
    if docker.compose_command() is None:
        packages.append("docker-compose")
    if packages:
        progress(f"installing {' and '.join(packages)}")
        with _services_stay_down():
            rootfs.apt_install(*packages)


@contextlib.contextmanager
def _services_stay_down() -> Iterator[None]:
    """Keep a package from starting its service: Debian asks policy-rc.d, 101 is no."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


@contextlib.contextmanager
def _daemon(directory: Path, progress: Progress) -> Iterator[str]:
    progress("starting a private Docker engine")
    with contextlib.ExitStack() as cleaning:
        place = directory
        if len(os.fsencode(directory)) > _DIRECTORY_MAX:
            short = tempfile.TemporaryDirectory(prefix="call-control-")
            place = Path(cleaning.enter_context(short))
        address = f"unix://{place}/docker.sock"
        command = [
            # The containers' mounts live and die with the engine.
            *("unshare", "--mount", "dockerd", "--host", address),
            *("--data-root", str(CACHE / "docker")),
            *("--exec-root", str(place / "exec")),
            *("--pidfile", str(directory / "dockerd.number")),
        ]
        daemon = Process("dockerd", command, os.environ, directory)
        daemon.spawn()
        try:
            daemon.wait_ready(lambda: docker_answers(f"{place}/docker.sock"), _START_TIMEOUT)
            yield address
        finally:
            with uninterrupted():
                _remove_containers(address)
                daemon.stop(_STOP_TIMEOUT)


def _remove_containers(address: str) -> None:
    client = ["docker", "--host", address]
    with contextlib.suppress(CommandFailedError):
        containers = run([*client, "ps", "-aq"], timeout=30).split()
        if containers:
            run([*client, "rm", "-fv", *containers], timeout=_STOP_TIMEOUT)


def _make_images(trees: Mapping[str, Path], env: dict[str, str], progress: Progress) -> None:
    images = docker.RABBITMQ_IMAGE, docker.REDIS_IMAGE, docker.PYTHON_IMAGE
    progress(f"making the images {', '.join((*images, docker.DEBIAN_IMAGE))} of Debian's packages")
    for image, root in trees.items():
        if not run(["docker", "images", "-q", image], timeout=30, env=env).strip():
            _import(image, root, env)
    for image in images:
        with tempfile.TemporaryDirectory(dir=CACHE) as context:
            shutil.copytree(IMAGES / image.partition(":")[0], context, dirs_exist_ok=True)
            _copy_authorities(Path(context, "authorities"))
            command = ["docker", "build", "-q", "-t", image, "--build-arg", f"BASE={_BASE}"]
            # The newer builder is a plugin of its own, which the server's package lacks.
            run([*command, context], timeout=_BUILD_TIMEOUT, env=env | {"DOCKER_BUILDKIT": "0"})


def _copy_authorities(directory: Path) -> None:
    # An image that downloads has to trust whom this machine trusts.
    directory.mkdir()
    for certificate in _AUTHORITIES.rglob("*.crt"):
        shutil.copy(certificate, directory)


def _import(image: str, root: Path, env: dict[str, str]) -> None:
    excluded = [f"--exclude=./{each}/*" for each in ("proc", "dev", "sys", "mnt", "var/cache/apt")]
    with tempfile.NamedTemporaryFile(dir=CACHE, suffix=".tar") as archive:
        tar = ["tar", "-C", str(root), "--numeric-owner", *excluded, "-cf", archive.name, "."]
        run(tar, timeout=_BUILD_TIMEOUT)
        run(["docker", "import", archive.name, image], timeout=_BUILD_TIMEOUT, env=env)


@contextlib.contextmanager
def _network_put_back(directory: Path) -> Iterator[None]:
    network.remember(directory)
    try:
        yield
    finally:
        with uninterrupted():
            network.put_back(directory)
