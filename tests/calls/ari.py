"""Asterisk's REST interface, bare: requests as they are, and events as they come."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from deploy.local import Asterisk
from deploy.local.phones import Phone

APP = "call-control"

#: Seconds for an event that has to come; calls to nobody take six.
EVENT_SECONDS = 20.0

_numbers = itertools.count(1)


class Ari:
    """One application, connected."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = f"{url}/ari"
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Condition()

    async def __call__(self, method: str, path: str, **query: str | int) -> Any:
        """Return the answer to a request, which has to be granted."""
        async with self._session.request(method, self._url + path, params=query) as answer:
            text = await answer.text()
            assert answer.ok, f"{method} {path}: {answer.status} {text}"
            return await answer.json() if text else None

    async def follow(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        """Keep events, until the connection ends."""
        async for message in websocket:
            async with self._news:
                self.events.append(message.json())
                self._news.notify_all()

    async def event(self, kind: str, channel: str | None = None) -> dict[str, Any]:
        """Return the first event of a kind, of one channel or of any, once it has come."""

        def found() -> list[dict[str, Any]]:
            return [
                each
                for each in self.events
                if each["type"] == kind and channel in (None, each.get("channel", {}).get("id"))
            ]

        async with asyncio.timeout(EVENT_SECONDS), self._news:
            await self._news.wait_for(found)
        return found()[0]

    async def originate(self, phone: Phone, number: str = "+15550001", seconds: int = 20) -> str:
        """Have Asterisk call a telephone; return the channel's id."""
        return await self.dial(phone.endpoint(number), seconds)

    async def dial(self, endpoint: str, seconds: int = 20) -> str:
        """Have Asterisk call an endpoint; return the channel's id."""
        channel = f"test.{next(_numbers)}"
        await self(
            *("POST", "/channels"),
            endpoint=endpoint,
            app=APP,
            appArgs="dialled",
            channelId=channel,
            timeout=seconds,
        )
        return channel

    async def connected(self, *phones: Phone) -> "Conversation":
        """Call telephones and bring them together, once all have answered."""
        channels = [await self.originate(each) for each in phones]
        for channel in channels:
            await self.event("StasisStart", channel)
        return await self.bridged(*channels)

    async def bridged(self, *channels: str) -> "Conversation":
        """Bring channels together."""
        bridge = f"bridge.{next(_numbers)}"
        await self("POST", f"/bridges/{bridge}", type="mixing")
        await self("POST", f"/bridges/{bridge}/addChannel", channel=",".join(channels))
        for channel in channels:
            await self.event("ChannelEnteredBridge", channel)
        return Conversation(bridge, channels)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A bridge, and the channels in it in the order of the telephones."""

    bridge: str
    channels: list[str] | tuple[str, ...]


@contextlib.asynccontextmanager
async def connected_to(asterisk: Asterisk) -> AsyncIterator[Ari]:
    """Yield an application of an Asterisk; what it has on the line is hung up afterwards."""
    credentials = aiohttp.encode_basic_auth(asterisk.ari_user, asterisk.ari_password)
    headers = {"Authorization": credentials}
    async with aiohttp.ClientSession(headers=headers) as session:
        ari = Ari(session, asterisk.ari_url)
        websocket = await session.ws_connect(f"{asterisk.ari_url}/ari/events?app={APP}")
        following = asyncio.create_task(ari.follow(websocket))
        try:
            yield ari
            if asterisk.running:
                for channel in await ari("GET", "/channels"):
                    with contextlib.suppress(AssertionError):
                        await ari("DELETE", f"/channels/{channel['id']}")
                for bridge in await ari("GET", "/bridges"):
                    await ari("DELETE", f"/bridges/{bridge['id']}")
        finally:
            await websocket.close()
            await following
