"""The conformance suite on real calls: every cell of the transition table, through Asterisk."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from deploy.local import Services
from deploy.local.phones import Phones
from deploy.local.services import Asterisk
from schemas.contract import CommandName
from tests.calls.exchange import Exchange, address_of, calling, exchange, off_loop
from tests.conformance.suite import cells, check
from tests.harness import Installation
from worker.core.table import Column


@dataclass
class Telephony:
    """A network of telephones around an Asterisk."""

    line: Exchange
    calls: Installation
    origin: str
    destination: str
    endpoint: str
    unanswered: str | None
    knows_its_calls: bool = True

    async def offer(self) -> tuple[str, str]:
        """Have somebody call; return the call's name and who offers it."""
        caller = await off_loop(calling, self.line)
        offered = await self.line.offer(caller)
        return offered.request_id, offered.content["origin"]


@pytest.fixture(scope="module")
async def telephony(
    services: Services, switched: tuple[Asterisk, Phones]
) -> AsyncIterator[Telephony]:
    """Telephones that answer, and one that does not."""
    async with exchange(services, *switched) as line:
        await line.start_ready_gateway()
        phones = line.phones
        alice, bob, carol = [await off_loop(phones.answering, ring_ms=50) for _ in range(3)]
        nobody = await off_loop(phones.ringing)
        yield Telephony(
            line,
            line.calls,
            origin=address_of(alice, "+1"),
            destination=address_of(bob, "+2"),
            endpoint=address_of(carol, "+3"),
            unanswered=address_of(nobody, "+4"),
        )


@pytest.mark.parametrize(("command", "column"), cells())
async def test_asterisk_keeps_to_the_table(
    telephony: Telephony, command: CommandName, column: Column
) -> None:
    """Every command in every state, as on the loopback."""
    await check(telephony, command, column)
