"""RabbitMQ's management: its HTTP API, which shows what AMQP does not."""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import aiohttp
from yarl import URL

from worker.errors import BrokerUnavailable, ConfigurationError
from worker.settings import Settings

#: Seconds that an answer may take.
_ANSWER_SECONDS: Final = 30.0


def vhost_of(settings: Settings) -> str:
    """Return the virtual host that the settings name."""
    return unquote(urlsplit(settings.amqp_url.get_secret_value()).path[1:]) or "/"


class Management:
    """The HTTP API, as one user sees one virtual host.

    Args:
        session: The session, which knows the user.
        url: Where it is.
        vhost: The virtual host.
    """

    def __init__(self, session: aiohttp.ClientSession, url: URL, vhost: str) -> None:
        self._session = session
        self._url = str(url).rstrip("/")
        self._where = f"the management at {url.host}:{url.port}"
        self._vhost = quote(vhost, safe="")

    async def greet(self) -> None:
        """Make sure that it is there, and takes this user.

        Raises:
            BrokerUnavailable: It does not answer, or refuses, or is something else.
        """
        if await self._get("whoami") is None:
            raise BrokerUnavailable(f"RabbitMQ: {self._where} is no management of RabbitMQ")

    async def bindings_from(self, exchange: str) -> list[dict[str, Any]]:
        """Return the bindings of an exchange; none where there is no such exchange.

        Raises:
            BrokerUnavailable: It does not answer, or refuses.
        """
        path = f"exchanges/{self._vhost}/{quote(exchange, safe='')}/bindings/source"
        found: list[dict[str, Any]] = await self._get(path) or []
        return found

    async def queues(self) -> list[dict[str, Any]]:
        """Return the names, types, arguments and policies in force of all queues.

        Raises:
            BrokerUnavailable: It does not answer, or refuses.
        """
        columns = "name,type,arguments,effective_policy_definition"
        found: list[dict[str, Any]] = await self._get(f"queues/{self._vhost}?columns={columns}")
        return found or []

    async def _get(self, path: str) -> Any:
        # What is percent-encoded stays so: the virtual host may be a slash.
        url = URL(f"{self._url}/api/{path}", encoded=True)
        try:
            async with self._session.get(url) as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    return None
                if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                    raise BrokerUnavailable(
                        f"RabbitMQ: {self._where} refuses this user, or its password; who"
                        " may use it has the tag management"
                    )
                answer.raise_for_status()
                return await answer.json()
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            why = f"status {error.status}" if isinstance(error, aiohttp.ClientResponseError) else ""
            text = why or f"{type(error).__name__} {getattr(error, 'strerror', None) or ''}"
            raise BrokerUnavailable(f"RabbitMQ: {self._where}: {text.strip()}") from None


@asynccontextmanager
async def open_management(address: str, settings: Settings) -> AsyncIterator[Management]:
    """Open the management at an address.

    Args:
        address: As ``http://host:15672``, with a user and a password, or else those of
            ``CALL_CONTROL_AMQP_URL``.
        settings: The installation's settings.

    Raises:
        ConfigurationError: The address is no URL of HTTP.
        BrokerUnavailable: It does not answer, or refuses, or is something else.
    """
    try:
        url, amqp = URL(address), urlsplit(settings.amqp_url.get_secret_value())
    except ValueError:
        # What it says may hold the password.
        raise ConfigurationError("--management: not a URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError("--management: expected http:// or https:// and a host")
    user, _, password = amqp.netloc.rpartition("@")[0].partition(":")
    credentials = ":".join(
        (url.user or unquote(user) or "guest", url.password or unquote(password) or "guest")
    )
    basic = base64.b64encode(credentials.encode()).decode()
    verified = ssl.create_default_context(cafile=settings.ca_file)
    bare = url.origin().join(URL(url.path.rstrip("/")))
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Basic {basic}"},
        connector=aiohttp.TCPConnector(ssl=verified),
        timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
    ) as session:
        management = Management(session, bare, vhost_of(settings))
        await management.greet()
        yield management
