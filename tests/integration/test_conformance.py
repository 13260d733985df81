"""The conformance suite on the loopback, and through a gateway whose network grants everything."""

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from deploy.local import Services
from schemas.actions import Action, Originate
from schemas.contract import CommandName
from schemas.reports import Report, Ringing
from tests.conformance.suite import Network, cells, check
from tests.harness import Installation, installation
from tests.network import granting, network
from worker.core.table import Column

#: To this address the network behind the gateway says that it rings, and no more.
NOBODY: Final = "tel:+18160000000"

#: The loopback has answered before anybody can look.
_INSTANT: Final = [column for column in Column if column is not Column.DIALING]


@dataclass
class Simulated:
    """A network that the suite's own process plays."""

    calls: Installation
    unanswered: str | None
    origin: str = "tel:+18164388687"
    destination: str = "tel:+18165057120"
    endpoint: str = "tel:+18166623395"
    knows_its_calls: bool = False

    async def offer(self) -> tuple[str, str]:
        """Offer a call under a name of its own."""
        request_id, seen = f"in-{secrets.token_hex(4)}", len(self.calls.events)
        report = {"network_report": "offered", "request_id": request_id}
        parties = {"origin": self.origin, "destination": self.destination}
        await self.calls.publish(request_id, {**report, **parties})
        await self.calls.until_seen(seen + 1)
        return request_id, self.origin


@pytest.fixture(scope="module")
async def loopback(services: Services) -> AsyncIterator[Network]:
    """The network that is a function in the worker."""
    async with _worker(services, "loopback") as calls:
        yield Simulated(calls, unanswered=None)


@pytest.fixture(scope="module")
async def external(services: Services) -> AsyncIterator[Network]:
    """A network behind RabbitMQ."""

    def behaviour(action: Action) -> Iterable[Report]:
        if isinstance(action, Originate) and action.destination == NOBODY:
            return [Ringing(request_id=action.request_id, action_id=action.action_id)]
        return granting(action)

    async with _worker(services, "external") as calls, network(calls, behaviour):
        yield Simulated(calls, unanswered=NOBODY)


@asynccontextmanager
async def _worker(services: Services, gateway: str) -> AsyncIterator[Installation]:
    async with installation(services, gateway=gateway) as calls:
        await calls.start()
        await calls.subscribe()
        yield calls


@pytest.mark.parametrize(("command", "column"), cells(_INSTANT))
async def test_the_loopback_keeps_to_the_table(
    loopback: Network, command: CommandName, column: Column
) -> None:
    """Every command in every state that it can be in."""
    await check(loopback, command, column)


@pytest.mark.parametrize(("command", "column"), cells())
async def test_a_network_behind_a_gateway_keeps_to_the_table(
    external: Network, command: CommandName, column: Column
) -> None:
    """Every command in every state."""
    await check(external, command, column)
