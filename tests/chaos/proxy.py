"""A TCP proxy that does to connections what networks do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

_CHUNK_BYTES: Final = 64 * 1024


@dataclass(eq=False)
class Link:
    """One client's connection, and the proxy's own to the server on its behalf.

    Attributes:
        open: Cleared while nothing passes, not even the end of the connection.
        doomed: Whether it ends with the next bytes from the server, which do not arrive.
    """

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    open: asyncio.Event = field(default_factory=asyncio.Event)
    doomed: bool = False

    def abort(self) -> None:
        """End both sides at once."""
        self.open.set()
        for side in (self.client, self.server):
            side.transport.abort()


class Proxy:
    """Passes everything on until told otherwise. One disturbance at a time; others wait for it.

    Args:
        host: The server's host.
        port: The server's port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._disturbed = asyncio.Lock()
        self._refusing = False
        self._delay_seconds = 0.0
        self._drip: tuple[int, float] | None = None
        self._dooms: Callable[[bytes], bool] | None = None
        self._filter: Callable[[bytes], bytes] | None = None
        #: How many replies have been dropped, each with its connection.
        self.replies_dropped = 0

    @property
    def port(self) -> int:
        """The port it listens on, on 127.0.0.1."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def links(self) -> list[Link]:
        """The connections there are."""
        return list(self._links)

    def leads_to(self, host: str, port: int) -> None:
        """Take new connections to another server; those that there are stay where they are."""
        self._upstream = (host, port)

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        """Stop listening, and end what there is."""
        if self._server is not None:
            self._server.close()
        self._abort_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @asynccontextmanager
    async def cut(self) -> AsyncIterator[None]:
        """End all connections, and take no new ones."""
        async with self._disturbed:
            self._refusing = True
            self._abort_all()
            try:
                yield
            finally:
                self._refusing = False

    @asynccontextmanager
    async def delayed(self, seconds: float) -> AsyncIterator[None]:
        """Let everything take so much longer, each way."""
        async with self._disturbed:
            self._delay_seconds = seconds
            try:
                yield
            finally:
                self._delay_seconds = 0.0

    @asynccontextmanager
    async def dripping(self, size: int, every_seconds: float) -> AsyncIterator[None]:
        """Let so many bytes pass at a time, on each connection and each way."""
        async with self._disturbed:
            self._drip = (size, every_seconds)
            try:
                yield
            finally:
                self._drip = None

    @asynccontextmanager
    async def half_open(self, link: Link) -> AsyncIterator[None]:
        """Let nothing pass on a connection, without telling either side, then drop it."""
        async with self._disturbed:
            link.open.clear()
            try:
                yield
            finally:
                link.abort()

    @asynccontextmanager
    async def dropping_replies(self, to: Callable[[bytes], bool]) -> AsyncIterator[None]:
        """Pass requests on, but end the connection instead of bringing the reply.

        Args:
            to: Tells of which bytes on their way to the server the reply is dropped.
        """
        async with self._disturbed:
            self._dooms = to
            try:
                yield
            finally:
                self._dooms = None

    @asynccontextmanager
    async def filtering_replies(self, kept: Callable[[bytes], bytes]) -> AsyncIterator[None]:
        """Pass on only part of what the server says.

        Args:
            kept: Returns what is passed on of some bytes from the server.
        """
        async with self._disturbed:
            self._filter = kept
            try:
                yield
            finally:
                self._filter = None

    def _abort_all(self) -> None:
        for link in self.links:
            link.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, upstream)
        link.open.set()
        self._links.add(link)
        to_server = self._begin(self._carry(link, reader, upstream, to_server=True))
        to_client = self._begin(self._carry(link, upstream_reader, writer, to_server=False))
        to_server.add_done_callback(lambda _: to_client.cancel())
        to_client.add_done_callback(lambda _: to_server.cancel())
        to_client.add_done_callback(lambda _: self._end(link))

    def _begin(self, carrying: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(carrying)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _end(self, link: Link) -> None:
        self._links.discard(link)
        for side in (link.client, link.server):
            side.close()

    async def _carry(
        self,
        link: Link,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        *,
        to_server: bool,
    ) -> None:
        with suppress(OSError):
            while chunk := await source.read(_CHUNK_BYTES):
                if to_server and self._dooms and self._dooms(chunk):
                    link.doomed = True
                elif link.doomed and not to_server:
                    self.replies_dropped += 1
                    link.abort()
                    return
                if self._filter and not to_server:
                    chunk = self._filter(chunk)
                await asyncio.sleep(self._delay_seconds)
                await self._pass_on(link, chunk, sink)
            await link.open.wait()

    async def _pass_on(self, link: Link, chunk: bytes, sink: asyncio.StreamWriter) -> None:
        while chunk:
            size = len(chunk)
            if self._drip is not None:
                size, seconds = self._drip
                await asyncio.sleep(seconds)
            await link.open.wait()
            sink.write(chunk[:size])
            chunk = chunk[size:]
        await sink.drain()
