"""The suite: one check for each cell of the table, and what a network has to bring for it."""

import secrets
from collections.abc import Iterable
from typing import Final, Protocol

from schemas.contract import CommandName, EventName
from tests.harness import Installation
from worker.core.call import State
from worker.core.table import EFFECTS, REDIRECTING, TABLE, Cell, Column, Rule

#: The digits that are dialed.
DIGITS: Final = "42#"

_STATUS: Final = {Rule.CONFLICT: 409, Rule.NO_SUCH_CALL: 481}
_OF_AN_OFFER: Final = frozenset({CommandName.ACCEPT, CommandName.REJECT})

#: The state in which a call stands in each column.
_STATES: Final = {
    Column.ABSENT: {State.ABSENT},
    Column.OFFERED: {State.OFFERED},
    Column.DIALING: {State.DIALING, State.RINGING},
    Column.CONNECTED: {State.CONNECTED},
    Column.HELD: {State.CONNECTED},
    Column.ENDED: {State.ENDED},
}


class Network(Protocol):
    """A telephone network, with an installation before it.

    Attributes:
        calls: The installation.
        origin: An address that answers.
        destination: Another one.
        endpoint: One more, to transfer to.
        unanswered: An address that rings and does not answer; None where there is none.
        knows_its_calls: Whether it refuses to accept or reject a call that it has not offered.
    """

    calls: Installation
    origin: str
    destination: str
    endpoint: str
    unanswered: str | None
    knows_its_calls: bool

    async def offer(self) -> tuple[str, str]:
        """Have somebody offer a call; return its ``request_id`` and who offers it."""


def cells(columns: Iterable[Column] = Column) -> list[tuple[CommandName, Column]]:
    """Return every cell of some columns."""
    return [(command, column) for column in columns for command in TABLE]


async def check(network: Network, command: CommandName, column: Column) -> None:
    """Bring a call into a column, give it the command, and compare what comes with the cell."""
    calls, cell = network.calls, TABLE[command][column]
    request_id, offerer = await _reach(network, column)
    event = await calls.ask(request_id, command.value, **_fields(network, command, offerer))
    status, name = _expected(network, command, column, cell)
    assert event.content["status"] == status, event.content
    assert event.kind == name
    assert event is calls.events[-1]
    sequences = [each.sequence for each in calls.events if each.request_id == request_id]
    assert sequences == list(range(1, len(sequences) + 1))
    if status == 200 and cell.event is not None:
        state = EFFECTS[cell.event].get("state", State.CONNECTED)
        assert event.state == state
        over = state is State.ENDED and column is not Column.ENDED
        assert event.headers["terminal"] is over
    else:
        assert event.state in _STATES[column]
        assert event.headers["terminal"] is False
    await _follow_up(network, request_id, cell, event.state)


def _expected(
    network: Network, command: CommandName, column: Column, cell: Cell
) -> tuple[int, EventName]:
    failed = EventName.CALL_CONTROL_FAILED
    if cell.rule in _STATUS or cell.event is None:
        return _STATUS[cell.rule], failed
    if column is Column.ABSENT and command in _OF_AN_OFFER and network.knows_its_calls:
        return 481, failed
    if column is Column.CONNECTED and cell.from_offerer:
        # The suite's connected calls did not come in.
        return 409, failed
    return 200, cell.event


async def _reach(network: Network, column: Column) -> tuple[str, str]:
    """Bring a call into a column; return its ``request_id``, and who offers it or might."""
    calls = network.calls
    if column is Column.OFFERED:
        return await network.offer()
    request_id = f"{column}-{secrets.token_hex(4)}"
    if column is Column.DIALING:
        assert network.unanswered is not None
        seen = len(calls.events)
        parties = {"origin": network.origin, "destination": network.unanswered}
        await calls.command(request_id, "call", **parties)
        await calls.until_seen(seen + 1)
        assert calls.events[-1].kind == EventName.CALL_RINGING
    elif column is not Column.ABSENT:
        parties = {"origin": network.origin, "destination": network.destination}
        event = await calls.ask(request_id, "call", **parties)
        assert event.content["status"] == 200, event.content
    if column is Column.HELD:
        assert (await calls.ask(request_id, "hold")).content["status"] == 200
    elif column is Column.ENDED:
        assert (await calls.ask(request_id, "disconnect")).content["status"] == 200
    return request_id, network.origin


def _fields(network: Network, command: CommandName, offerer: str) -> dict[str, str]:
    """Return what a command says, of this network."""
    match command:
        case CommandName.CALL:
            return {"origin": network.origin, "destination": network.destination}
        case CommandName.ACCEPT | CommandName.REJECT:
            return {"endpoint": offerer}
        case CommandName.TRANSFER | CommandName.REDIRECT:
            return {"endpoint": network.endpoint}
        case CommandName.DIAL:
            return {"digits": DIGITS}
        case _:
            return {}


async def _follow_up(network: Network, request_id: str, cell: Cell, state: str) -> None:
    """See that the call goes on from where it is said to be, and end it."""
    calls = network.calls
    if state == State.CONNECTED:
        assert (await calls.ask(request_id, "mute")).content["status"] == 200
        if cell.event in REDIRECTING or cell.event is EventName.CALL_RETRIEVED:
            # Not held any more.
            assert (await calls.ask(request_id, "hold")).content["status"] == 200
    if state != State.ABSENT:
        ended = await calls.ask(request_id, "disconnect")
        assert (ended.kind, ended.content["status"]) == (EventName.CALL_TERMINATED, 200)
        assert (await calls.ask(request_id, "hold")).content["status"] == 481
