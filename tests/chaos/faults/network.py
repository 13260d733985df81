"""RabbitMQ and Redis out of the workers' reach, both at once."""

from collections.abc import AsyncIterator
from typing import Final

from tests.chaos.target import Target, fault

_COMPONENT: Final = "network"


@fault(_COMPONENT, "both cut for 3 s", lasting=3)
async def cut(target: Target) -> AsyncIterator[None]:
    """Connections end, new ones are refused."""
    async with target.amqp_proxy.cut(), target.redis_proxy.cut():
        yield


@fault(_COMPONENT, "both dripping for 4 s", lasting=4)
async def dripping(target: Target) -> AsyncIterator[None]:
    """A few bytes at a time."""
    async with target.amqp_proxy.dripping(64, 0.01), target.redis_proxy.dripping(64, 0.01):
        yield
