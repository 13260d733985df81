"""An installation whose users are those that ``deploy/`` carries."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aio_pika.abc import AbstractConnection
from yarl import URL

from deploy.local import Services
from tests.harness import ROOT, Installation, installation
from worker.broker import connection as broker
from worker.names import Names

DEFINITIONS = ROOT / "deploy" / "rabbitmq" / "definitions.json"

PASSWORD = secrets.token_hex(8)

#: The definition of how long a subscriber's queue may grow.
LONGEST = '"max-length": 100000'


@dataclass
class Management:
    """RabbitMQ's HTTP API."""

    url: str

    async def __call__(self, method: str, path: str, body: object = None) -> Any:
        """Ask for something; return the answer."""
        url = URL(f"{self.url}/api/{path}", encoded=True)
        async with aiohttp.ClientSession() as http, http.request(method, url, json=body) as answer:
            text = await answer.text()
            assert answer.ok, f"{method} {path}: {answer.status} {text}"
            return json.loads(text) if text else None


@dataclass
class Guarded:
    """An installation whose users are those of ``deploy/rabbitmq/definitions.json``."""

    calls: Installation
    management: Management

    @property
    def names(self) -> Names:
        """Its names."""
        return self.calls.names

    def user(self, role: str) -> str:
        """Return a user's name."""
        return f"{self.names.base}.{role}"

    def url(self, role: str) -> str:
        """Return RabbitMQ's URL for a user."""
        url = URL(self.calls.services.amqp_url)
        return str(url.with_user(self.user(role)).with_password(PASSWORD))

    @asynccontextmanager
    async def acting_as(self, role: str) -> AsyncIterator[AbstractConnection]:
        """Yield a connection of a user."""
        connection = await broker.connect(self.url(role), role)
        try:
            yield connection
        finally:
            await broker.close(connection)


@asynccontextmanager
async def guarded_installation(
    services: Services, longest: str = LONGEST
) -> AsyncIterator[Guarded]:
    """Import the definitions for a namespace of its own; remove its users afterwards."""
    assert services.management_url is not None, "definitions are imported by the HTTP API"
    management = Management(services.management_url)
    async with installation(services) as calls:
        guarded = Guarded(calls, management)
        text = DEFINITIONS.read_text()
        assert LONGEST in text
        # As deploy/rabbitmq/README.md tells people to make them for a namespace.
        text = text.replace("call_control", calls.names.base).replace(LONGEST, longest)
        definitions = json.loads(text)
        await management("POST", "definitions", definitions)
        try:
            yield guarded
        finally:
            for user in definitions["users"]:
                await management("DELETE", f"users/{user['name']}")
            for policy in definitions["policies"]:
                await management("DELETE", f"policies/%2F/{policy['name']}")


async def set_passwords(guarded: Guarded) -> None:
    """Let the users in."""
    for role in ("topology", "producer", "worker", "subscriber", "gateway", "operator"):
        body = {"password": PASSWORD, "tags": ""}
        await guarded.management("PUT", f"users/{guarded.user(role)}", body)
