"""Chooses a provider: named servers, Docker, this machine's programs, Debian's packages."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from deploy.local import docker, path, rootfs
from deploy.local.cleaning import sweep
from deploy.local.errors import NoProviderError, ServicesError
from deploy.local.private import private_servers
from deploy.local.runtime import ChrootRuntime, HostRuntime
from deploy.local.services import Progress, Purpose, Services, silent
from deploy.local.session import termination_unwinds

#: Forces one provider, by its name.
FORCE = "CALL_CONTROL_SERVICES"

#: Where each purpose looks for the addresses of servers that run already.
ADDRESSES: Mapping[Purpose, tuple[str, str]] = {
    "run": ("CALL_CONTROL_AMQP_URL", "CALL_CONTROL_REDIS_URL"),
    "tests": ("CALL_CONTROL_TEST_AMQP_URL", "CALL_CONTROL_TEST_REDIS_URL"),
}


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to get both servers; ``missing`` returns what keeps it from working, or None."""

    name: str
    missing: Callable[[], str | None]
    servers: Callable[[Purpose, Progress], AbstractContextManager[Services]]


def _from_path(purpose: Purpose, progress: Progress) -> AbstractContextManager[Services]:
    del purpose
    return private_servers("path", HostRuntime(), progress)


@contextlib.contextmanager
def _from_tree(name: str, purpose: Purpose, progress: Progress) -> Iterator[Services]:
    del purpose
    root = rootfs.ensure(progress, rootfs.TREES[name])
    with private_servers(name, ChrootRuntime(root), progress) as services:
        yield services


_TREES = {name: Provider(name, rootfs.missing, partial(_from_tree, name)) for name in rootfs.TREES}

#: In the order in which they are tried; the other trees are only used when forced.
PROVIDERS = (
    Provider("docker", docker.missing, docker.servers),
    Provider("path", path.missing, _from_path),
    _TREES[rootfs.DEFAULT],
)


@contextlib.contextmanager
def provide(purpose: Purpose, progress: Progress = silent) -> Iterator[Services]:
    """Yield running servers and stop what was started here when the block is left.

    Raises:
        NoProviderError: nothing on this machine provides them; says what to install.
        ServicesError: only one address is named, or a provider failed.
    """
    forced = os.environ.get(FORCE)
    named = None if forced else _named(purpose)
    if named:
        yield named
        return
    provider = _choose(forced, purpose)
    with termination_unwinds():
        sweep()
        with provider.servers(purpose, progress) as services:
            yield services


def _named(purpose: Purpose) -> Services | None:
    variables = ADDRESSES[purpose]
    amqp_url, redis_url = (os.environ.get(name, "") for name in variables)
    if amqp_url and redis_url:
        return Services("environment", amqp_url, redis_url)
    if amqp_url or redis_url:
        present, absent = sorted(variables, key=lambda name: not os.environ.get(name))
        raise ServicesError(f"{present} is set and {absent} is not: set both or neither")
    return None


def _choose(forced: str | None, purpose: Purpose) -> Provider:
    named = {each.name: each for each in PROVIDERS} | _TREES
    if forced and forced not in named:
        raise ServicesError(f"{FORCE}={forced}: has to be one of {', '.join(named)}")
    reasons = []
    for provider in [named[forced]] if forced else PROVIDERS:
        reason = provider.missing()
        if reason is None:
            return provider
        reasons.append(f"  {provider.name:<7} {reason}")
    raise NoProviderError(
        "nothing here can provide RabbitMQ and Redis:\n"
        + "\n".join(reasons)
        + f"\nInstall one of these, or name running servers in {' and '.join(ADDRESSES[purpose])}."
    )
