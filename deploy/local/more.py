"""More servers than ``provide`` gives: one more of either kind, and clusters.

They are processes of this machine even where a Docker engine provides the rest.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from deploy.local import path, rootfs
from deploy.local.errors import NoProviderError
from deploy.local.provide import FORCE
from deploy.local.rabbitmq import RabbitMQProcess
from deploy.local.rabbitmq_cluster import RabbitMQCluster
from deploy.local.redis import RedisProcess
from deploy.local.redis_cluster import RedisCluster
from deploy.local.redis_sentinel import RedisSentinel
from deploy.local.running import Discardable, running
from deploy.local.runtime import ChrootRuntime, HostRuntime, Runtime
from deploy.local.services import Progress, silent
from deploy.local.session import termination_unwinds

_NO_FILES: Mapping[str, str] = MappingProxyType({})

_Servers = TypeVar("_Servers", bound=Discardable)


def redis_server(
    *options: str,
    tls: bool = False,
    files: Mapping[str, str] = _NO_FILES,
    progress: Progress = silent,
) -> AbstractContextManager[RedisProcess]:
    """Return one more redis-server, to be entered; it stops when the block is left.

    Args:
        options: redis-server's own, such as ``--maxmemory``, ``10mb``.
        tls: Whether it speaks nothing but TLS; ``files`` are its certificates then.
        files: What to put into its directory, where its options find it by name alone.
        progress: Called with a line when something takes long.

    Raises:
        NoProviderError: neither PATH nor a Debian tree has it.
        ServerFailedError: it did not start; carries the end of its log.
    """
    return _started(
        lambda runtime, directory: RedisProcess(runtime, directory, *options, tls=tls, files=files),
        progress,
    )


def rabbitmq_server(
    config: str = "",
    *,
    tls: bool = False,
    files: Mapping[str, str] = _NO_FILES,
    progress: Progress = silent,
) -> AbstractContextManager[RabbitMQProcess]:
    """Return one more RabbitMQ node, to be entered.

    Args:
        config: Lines to add to rabbitmq.conf.
        tls: Whether it speaks nothing but TLS; ``files`` are its certificates then.
        files: What to put into its directory, by name.
        progress: Called with a line when something takes long.

    Raises:
        NoProviderError: neither PATH nor a Debian tree has it.
        ServerFailedError: it did not start; carries the end of its log.
    """
    return _started(
        lambda runtime, directory: RabbitMQProcess(
            runtime, directory, config=config, tls=tls, files=files
        ),
        progress,
    )


def rabbitmq_cluster(
    size: int = 3, *, progress: Progress = silent
) -> AbstractContextManager[RabbitMQCluster]:
    """Return RabbitMQ nodes that form a cluster, to be entered.

    Raises:
        NoProviderError: neither PATH nor a Debian tree has RabbitMQ.
        ServerFailedError: it did not form; carries the end of a node's log.
    """
    return _started(lambda runtime, directory: RabbitMQCluster(runtime, directory, size), progress)


def redis_sentinel(
    replicas: int = 2, *, password: str = "", progress: Progress = silent
) -> AbstractContextManager[RedisSentinel]:
    """Return a primary with replicas, watched by three Sentinels, to be entered.

    Args:
        replicas: The number of replicas.
        password: What the Sentinels ask for; the servers ask for none.
        progress: Called with a line when something takes long.

    Raises:
        NoProviderError: neither PATH nor a Debian tree has Redis.
        ServerFailedError: they did not find each other; carries the end of a log.
    """
    return _started(
        lambda runtime, directory: RedisSentinel(runtime, directory, replicas, password), progress
    )


def redis_cluster(*, progress: Progress = silent) -> AbstractContextManager[RedisCluster]:
    """Return a Redis Cluster of three primaries with a replica each, to be entered.

    Raises:
        NoProviderError: neither PATH nor a Debian tree has Redis.
        ServerFailedError: it did not form; carries the end of a log.
    """
    return _started(RedisCluster, progress)


@contextlib.contextmanager
def _started(make: Callable[[Runtime, Path], _Servers], progress: Progress) -> Iterator[_Servers]:
    with termination_unwinds():
        runtime = _runtime(progress)
        with running(lambda directory: make(runtime, directory)) as servers:
            yield servers


def _runtime(progress: Progress) -> Runtime:
    forced = os.environ.get(FORCE, "")
    if forced not in rootfs.TREES and path.missing() is None:
        return HostRuntime()
    reason = rootfs.missing()
    if reason is not None:
        raise NoProviderError(f"no servers to start here: {path.missing()}; {reason}")
    tree = rootfs.TREES.get(forced, rootfs.TREES[rootfs.DEFAULT])
    return ChrootRuntime(rootfs.ensure(progress, tree))
