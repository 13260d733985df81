"""What the faults act on, and what a fault is."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal

from redis.asyncio import Redis

from deploy.local import Broker, Server
from tests.chaos.fleet import Fleet
from tests.chaos.load import Load
from tests.chaos.proxy import Proxy
from tests.harness import Installation


@dataclass(frozen=True)
class Target:
    """An installation under load, with a hand on all its parts.

    Attributes:
        installation: The installation.
        fleet: Its workers.
        load: Its producers.
        rabbitmq: Its broker.
        redis: Its Redis.
        admin: A client of that Redis, by no proxy.
        amqp_proxy: Stands between the workers and RabbitMQ.
        redis_proxy: Stands between the workers and Redis.
        random: Where all that is random comes from.
    """

    installation: Installation
    fleet: Fleet
    load: Load
    rabbitmq: Broker
    redis: Server
    admin: Redis
    amqp_proxy: Proxy
    redis_proxy: Proxy
    random: Random


Injection = Callable[[Target], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        component: What it happens to.
        name: What happens.
        injected: Is injected when entered, and healed when left.
        lasting: Seconds from the injection to the healing.
        times: How often it is injected when its turn comes.
        felt_from: Whence its recovery is counted: from its healing (which of one that needs none is
            the fault itself), or from the fault, where others are to take over meanwhile.
        mixes: Whether it may come together with others.
    """

    component: str
    name: str
    injected: Injection
    lasting: float = 0.0
    times: int = 1
    felt_from: Literal["fault", "healing"] = "healing"
    mixes: bool = True

    def __str__(self) -> str:
        return f"{self.component}: {self.name}"


def fault(
    component: str,
    name: str,
    *,
    lasting: float = 0.0,
    times: int = 1,
    felt_from: Literal["fault", "healing"] = "healing",
    mixes: bool = True,
) -> Callable[[Callable[[Target], AsyncIterator[None]]], Fault]:
    """Make a fault of a generator: it injects, yields, heals. For the rest see ``Fault``."""

    def made(injection: Callable[[Target], AsyncIterator[None]]) -> Fault:
        return Fault(
            component, name, asynccontextmanager(injection), lasting, times, felt_from, mixes
        )

    return made
