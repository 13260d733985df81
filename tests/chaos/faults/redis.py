"""Redis restarted, killed, paused, slow, full or read-only; replies that do not arrive."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from tests.chaos.target import Target, fault
from tests.harness import eventually

_COMPONENT: Final = "Redis"


@fault(_COMPONENT, "restarted")
async def restarted(target: Target) -> AsyncIterator[None]:
    """Stopped cleanly and started, with its append-only file."""
    await asyncio.to_thread(target.redis.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(target.redis.start)


@fault(_COMPONENT, "killed")
async def killed(target: Target) -> AsyncIterator[None]:
    """SIGKILL, and started, with its append-only file."""
    await asyncio.to_thread(target.redis.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(target.redis.start)


@fault(_COMPONENT, "paused for 10 s", lasting=10)
async def paused(target: Target) -> AsyncIterator[None]:
    """SIGSTOP: connections stay, nothing answers."""
    await asyncio.to_thread(target.redis.pause)
    try:
        yield
    finally:
        await asyncio.to_thread(target.redis.resume)


@fault(_COMPONENT, "200 ms away for 5 s", lasting=5)
async def slow(target: Target) -> AsyncIterator[None]:
    """Half of it each way."""
    async with target.redis_proxy.delayed(0.1):
        yield


@fault(_COMPONENT, "replies to commits dropped for 3 s", lasting=3)
async def replies_dropped(target: Target) -> AsyncIterator[None]:
    """The script ran, and its worker cannot know: the connection ends before the reply."""
    prefix = target.installation.names.call_prefix.encode()

    def commits(request: bytes) -> bool:
        # Some get through, or nothing would for three seconds.
        return b"EVAL" in request and prefix in request and target.random.random() < 0.2

    proxy, dropped = target.redis_proxy, target.redis_proxy.replies_dropped
    async with proxy.dropping_replies(commits):
        yield
        # Another fault may have kept commands from coming.
        await eventually(lambda: proxy.replies_dropped > dropped, "a reply is dropped")


@fault(_COMPONENT, "script cache flushed", times=3)
async def scripts_flushed(target: Target) -> AsyncIterator[None]:
    """SCRIPT FLUSH."""
    await target.admin.script_flush()
    yield


@fault(_COMPONENT, "out of memory for 4 s", lasting=4)
async def out_of_memory(target: Target) -> AsyncIterator[None]:
    """Every write is refused."""
    await target.admin.config_set("maxmemory", 1)
    try:
        yield
    finally:
        await target.admin.config_set("maxmemory", 0)


@fault(_COMPONENT, "read-only for 4 s", lasting=4)
async def read_only(target: Target) -> AsyncIterator[None]:
    """A replica of a server that is not there: its data stay, writes answer READONLY."""
    await target.admin.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        await target.admin.replicaof("NO", "ONE")


@fault(_COMPONENT, "dripping for 4 s", lasting=4)
async def dripping(target: Target) -> AsyncIterator[None]:
    """A few bytes at a time."""
    async with target.redis_proxy.dripping(64, 0.01):
        yield
