"""Asterisk's REST interface (ARI): requests, and events over a websocket.

Parameters go in the body, never in the URL: errors, logs and whoever stands between quote URLs,
and digits are among the parameters. So is the password, which goes in a header. No error shows more
of a request than what it was for.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Self

import aiohttp

from worker.errors import AsteriskRefused, AsteriskUnavailable
from worker.gateways.asterisk.events import (
    KINDS,
    Bridge,
    Channel,
    Event,
    Replaced,
    read_bridge,
    read_channel,
    read_event,
)

#: Requests at a time; Asterisk has a thread for each connection.
_CONNECTIONS: Final = 64

#: Seconds between the signs of life of the websocket: what is not answered within half of it is
#: taken for lost.
_HEARTBEAT_SECONDS: Final = 5.0

#: The longest event, in bytes.
_LONGEST_EVENT: Final = 1024 * 1024

_GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})

#: What is said by a bridge that is there already, and by one that does not have a channel.
_THERE_ALREADY: Final = frozenset({HTTPStatus.CONFLICT})
_NOT_IN_IT: Final = frozenset({HTTPStatus.UNPROCESSABLE_ENTITY})


class Ari:
    """A client of one Asterisk, as one Stasis application.

    What changes something may be repeated unless it says otherwise.

    Args:
        url: Asterisk's HTTP server.
        user: The user of ``ari.conf``.
        password: Its password.
        application: The application's name.
        request_seconds: How long Asterisk may take to answer.
    """

    def __init__(
        self, url: str, user: str, password: str, application: str, request_seconds: float
    ) -> None:
        self.application = application
        self._url = f"{url}/ari"
        self._seconds = request_seconds
        credentials = b64encode(f"{user}:{password}".encode()).decode()
        self._authorization = {"Authorization": f"Basic {credentials}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._authorization,
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            # No proxy from the environment, and no redirection: both would get the password.
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def started_at(self) -> str:
        """Return when Asterisk was started, as it says it.

        Raises:
            AsteriskRefused: It is starting, and does not know yet what it is asked.
            AsteriskUnavailable: It does not answer, or not to this user.
        """
        information = await self._ask("looking", "GET", "asterisk/info")
        return str((information.get("status") or {}).get("startup_time"))

    async def channels(self) -> list[Channel]:
        """Return all channels, other applications' included."""
        return [read_channel(each) for each in await self._ask("listing", "GET", "channels")]

    async def bridges(self) -> list[Bridge]:
        """Return all bridges, other applications' included."""
        return [read_bridge(each) for each in await self._ask("listing", "GET", "bridges")]

    async def make_bridge(self, bridge: str, name: str) -> bool:
        """Make a mixing bridge; return whether it was not there yet."""
        body = {"type": "mixing", "name": name}
        return await self._do("making a bridge", "POST", f"bridges/{bridge}", body, _THERE_ALREADY)

    async def remove_bridge(self, bridge: str) -> None:
        """Remove a bridge, if it is there."""
        await self._do("removing a bridge", "DELETE", f"bridges/{bridge}", None, _GONE)

    async def make_leg(
        self, leg: str, endpoint: str, originator: str | None, variables: Mapping[str, str]
    ) -> bool:
        """Make a channel that calls nobody yet; return whether it was not there yet.

        One that is made and then dialled belongs to the application from the beginning. So it stays
        when it answers while no client is connected; one made by *originate* is hung up.
        """
        body: dict[str, Any] = {
            "endpoint": endpoint,
            "app": self.application,
            "appArgs": "leg",
            "channelId": leg,
            "variables": dict(variables),
        }
        if originator is not None:
            body["originator"] = originator
        return await self._do("making a leg", "POST", "channels/create", body, _THERE_ALREADY)

    async def dial(self, leg: str, caller: str | None, ring_seconds: int) -> None:
        """Call the endpoint of a leg. Not to be repeated: a second time hangs up."""
        body: dict[str, Any] = {"timeout": ring_seconds}
        if caller is not None:
            body["caller"] = caller
        await self._do("dialling", "POST", f"channels/{leg}/dial", body)

    async def ring(self, channel: str) -> None:
        """Let a caller hear that it rings."""
        await self._do("ringing", "POST", f"channels/{channel}/ring")

    async def answer(self, channel: str) -> None:
        """Answer a caller."""
        await self._do("answering", "POST", f"channels/{channel}/answer")

    async def hang_up(self, channel: str, reason: str | None = None) -> bool:
        """Hang up; return whether it was there."""
        body = {"reason": reason} if reason is not None else None
        return await self._do("hanging up", "DELETE", f"channels/{channel}", body, _GONE)

    async def add(self, bridge: str, channel: str) -> None:
        """Put a channel into a bridge; it leaves the one it is in."""
        await self._do("bridging", "POST", f"bridges/{bridge}/addChannel", {"channel": channel})

    async def take_out(self, bridge: str, channel: str) -> bool:
        """Take a channel out of a bridge; return whether it was in it."""
        return await self._do(
            "leaving a bridge",
            "POST",
            f"bridges/{bridge}/removeChannel",
            {"channel": channel},
            _NOT_IN_IT,
        )

    async def start_music(self, channel: str, music: str) -> None:
        """Let a channel hear music."""
        body = {"mohClass": music} if music else None
        await self._do("starting music", "POST", f"channels/{channel}/moh", body)

    async def stop_music(self, channel: str) -> None:
        """Let a channel hear no more music."""
        await self._do("stopping music", "DELETE", f"channels/{channel}/moh")

    async def mute(self, channel: str) -> None:
        """Let nobody hear a channel."""
        await self._do("muting", "POST", f"channels/{channel}/mute", {"direction": "in"})

    async def un_mute(self, channel: str) -> None:
        """Undo ``mute``."""
        await self._do("unmuting", "DELETE", f"channels/{channel}/mute", {"direction": "in"})

    async def send_digits(self, channel: str, digits: str) -> None:
        """Send DTMF digits. Not to be repeated: they would be sent twice."""
        await self._do("sending digits", "POST", f"channels/{channel}/dtmf", {"dtmf": digits})

    async def variable(self, channel: str, name: str) -> str | None:
        """Return a variable of a channel; None without it, or without the channel."""
        try:
            found = await self._ask(
                "reading a variable", "GET", f"channels/{channel}/variable", {"variable": name}
            )
        except AsteriskRefused as refused:
            if refused.status in _GONE:
                return None
            raise
        value = found.get("value")
        return value if isinstance(value, str) and value else None

    async def subscribe(self, channel: str) -> bool:
        """Have the events of a channel until its end; return whether it is there."""
        return await self._do(
            "subscribing",
            "POST",
            f"applications/{self.application}/subscription",
            {"eventSource": f"channel:{channel}"},
            _GONE | {HTTPStatus.UNPROCESSABLE_ENTITY},
        )

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        """Connect as the application, and yield its events.

        Who was connected before is cut off. The events end with the connection.

        Raises:
            AsteriskUnavailable: It cannot be reached, or refuses.
        """
        async with _errors("connecting", self._seconds):
            websocket = await self._open.ws_connect(
                f"{self._url}/events",
                params={"app": self.application},
                heartbeat=_HEARTBEAT_SECONDS,
                max_msg_size=_LONGEST_EVENT,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        try:
            await self._ask(
                "choosing events",
                "PUT",
                f"applications/{self.application}/eventFilter",
                body={"allowed": [{"type": kind} for kind in KINDS]},
            )
            yield _read(websocket)
        finally:
            await websocket.close()

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise AsteriskUnavailable("Asterisk: not connected")
        return self._session

    async def _do(
        self,
        doing: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        otherwise: Collection[int] = (),
    ) -> bool:
        """Have something done; return False for an answer that says that there was no need.

        Raises:
            AsteriskRefused: It will not.
            AsteriskUnavailable: It did not answer, so nobody knows.
        """
        try:
            await self._ask(doing, method, path, body=body)
        except AsteriskRefused as refused:
            if refused.status in otherwise:
                return False
            raise
        return True

    async def _ask(
        self,
        doing: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        async with (
            _errors(doing, self._seconds),
            self._open.request(
                method, f"{self._url}/{path}", params=query, json=body, allow_redirects=False
            ) as response,
        ):
            if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise AsteriskUnavailable(
                    "Asterisk: user or password are not those of its ari.conf, or read_only is set"
                )
            if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise AsteriskUnavailable("Asterisk: it is starting")
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise AsteriskRefused(doing, response.status)
            if response.status == HTTPStatus.NO_CONTENT:
                return None
            return await response.json()


async def _read(websocket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Event]:
    async for message in websocket:
        if message.type is not aiohttp.WSMsgType.TEXT:
            continue
        try:
            document = message.json()
        except ValueError:
            continue
        event = read_event(document) if isinstance(document, dict) else None
        if event is not None:
            yield event
        if isinstance(event, Replaced):
            return


@asynccontextmanager
async def _errors(doing: str, seconds: float) -> AsyncIterator[None]:
    try:
        yield
    except TimeoutError:
        raise AsteriskUnavailable(f"Asterisk: no answer in {seconds:g} s ({doing})") from None
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
        # Their texts quote URLs and headers.
        why = getattr(error, "strerror", None) or type(error).__name__
        raise AsteriskUnavailable(f"Asterisk: {why} ({doing})") from None
