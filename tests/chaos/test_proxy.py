"""The proxy does what its faults claim: a fault that does nothing would prove nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.chaos.proxy import Proxy
from tests.harness import eventually


class Echo:
    """A server that sends back what it gets, and a client of it through a proxy."""

    def __init__(self) -> None:
        self.received = b""
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(OSError):
            while chunk := await reader.read(1000):
                self.received += chunk
                writer.write(chunk)
                await writer.drain()
        self.closed.set()
        writer.close()

    async def start(self) -> None:
        """Listen, and connect through the proxy."""
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.proxy = Proxy("127.0.0.1", self.server.sockets[0].getsockname()[1])
        await self.proxy.start()
        await self.connect()

    async def connect(self) -> None:
        """Connect through the proxy."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)

    async def say(self, text: bytes) -> bytes:
        """Send something, and return what comes back; nothing when the connection ends."""
        self.writer.write(text)
        try:
            return await self.reader.readexactly(len(text))
        except (OSError, asyncio.IncompleteReadError):
            return b""

    async def silent(self, seconds: float) -> bool:
        """Tell whether nothing arrives for a while, not even the end."""
        try:
            await asyncio.wait_for(self.reader.read(1), seconds)
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    """An echo behind a proxy."""
    made = Echo()
    await made.start()
    assert await made.say(b"hello") == b"hello"
    yield made
    made.writer.close()
    await made.proxy.close()
    made.server.close()


async def test_a_cut_ends_connections_and_refuses_new_ones_until_it_is_healed(echo: Echo) -> None:
    """Afterwards everything passes again."""
    async with echo.proxy.cut():
        assert await echo.say(b"hello") == b""
        await echo.connect()
        assert await echo.say(b"hello") == b""
    await echo.connect()
    assert await echo.say(b"hello") == b"hello"


async def test_a_delay_is_one_each_way(echo: Echo) -> None:
    """A round trip takes twice as long."""
    before = time.monotonic()
    async with echo.proxy.delayed(0.1):
        assert await echo.say(b"hello") == b"hello"
    assert time.monotonic() - before >= 0.2


async def test_a_drip_lets_a_few_bytes_pass_at_a_time(echo: Echo) -> None:
    """Twenty bytes at two a turn take ten turns each way."""
    before = time.monotonic()
    async with echo.proxy.dripping(2, 0.02):
        assert await echo.say(b"x" * 20) == b"x" * 20
    assert time.monotonic() - before >= 0.2


async def test_a_half_open_connection_carries_nothing_and_ends_for_nobody(echo: Echo) -> None:
    """Neither bytes nor the end of the client's side reach the server before it is dropped."""
    (link,) = echo.proxy.links
    async with echo.proxy.half_open(link):
        echo.writer.write(b"hello?")
        assert await echo.silent(0.2)
        echo.writer.close()
        await asyncio.sleep(0.2)
        assert echo.received == b"hello"
        assert not echo.closed.is_set()
    await eventually(echo.closed.is_set, "the server notices")


async def test_a_dropped_reply_was_asked_for_and_done(echo: Echo) -> None:
    """The server got the request; the client gets the end of its connection."""
    async with echo.proxy.dropping_replies(lambda request: b"commit" in request):
        assert await echo.say(b"load") == b"load"
        assert await echo.say(b"commit") == b""
    assert echo.received.endswith(b"commit")
    assert echo.proxy.replies_dropped == 1
