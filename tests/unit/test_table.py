"""The transition table: contract.md's, and the code's own, cell by cell."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from schemas.contract import OUTCOMES, CommandName, EventName
from tests.unit.builders import ALICE, BOB, CALL_ID, CAROL, after, asked, command, report, told
from worker.core.call import Call, Pending, State
from worker.core.messages import Decision
from worker.core.table import ACTIONS, EFFECTS, REDIRECTING, TABLE, Cell, Column, Rule, column_of
from worker.core.transitions import decide
from worker.gateways.loopback import decide_and_grant

DAVE: Final = "tel:+18165550199"

#: contract.md, "The life of a call", in its own terms.
HEAD: Final = (
    "no such call",
    "offered",
    "dialing, ringing",
    "connected",
    "connected + held",
    "ended",
)
ROWS: Final[dict[str, tuple[str, ...]]] = {
    "call": ("→ dialing → connected", "409", "409", "409", "409", "409"),
    "accept": (
        "taken as an offer from `endpoint`, then accepted",
        "→ connected",
        "409",
        "200 unchanged if it came in, else 409",
        "409",
        "481",
    ),
    "reject": (
        "taken as an offer from `endpoint`, then rejected",
        "→ ended",
        "409",
        "409",
        "409",
        "481",
    ),
    "transfer": (
        "481",
        "redirect: → connected to `endpoint`",
        "409",
        "destination = `endpoint`",
        "the same, not held",
        "481",
    ),
    "redirect": ("481", "as above", "409", "409", "409", "481"),
    "hold": ("481", "409", "409", "held", "200, unchanged", "481"),
    "retrieve": ("481", "409", "409", "200, unchanged", "not held", "481"),
    "mute": ("481", "409", "409", "toggles", "toggles", "481"),
    "un_mute": ("481", "409", "409", "toggles", "toggles", "481"),
    "dial": ("481", "409", "409", "digits sent", "409", "481"),
    "disconnect": (
        "481",
        "→ ended",
        "→ ended (the `call` gets 487)",
        "→ ended",
        "→ ended",
        "200",
    ),
}

#: contract.md, "Commands": fields, documented event and canonical event.
COMMANDS: Final = {
    ("call", "call_connected"): (["origin", "destination"], "call-connected"),
    ("disconnect", "call_terminated"): ([], "call_terminated"),
    ("transfer", "call_transferred"): (["endpoint"], "call_transferred"),
    ("transfer", "call_redirected"): (["endpoint"], "call_transferred"),
    ("redirect", "call_redirected"): (["endpoint"], "call_transferred"),
    ("hold", "call_held"): ([], "call_held"),
    ("retrieve", "call_retrieved"): ([], "call_retrieved"),
    ("dial", "digits_dialed"): (["digits"], "call_retrieved"),
    ("mute", "call_muted"): ([], "call_muted"),
    ("un_mute", "call_un_muted"): ([], "call_un_muted"),
    ("accept", "call_accepted"): (["endpoint"], "call_accepted"),
    ("reject", "call_rejected"): (["endpoint"], "call_rejected"),
}

ABSENT: Final = Call(CALL_ID)
OFFERED: Final = after(report("offered"))
OUTGOING: Final = after(command("call"))
INCOMING: Final = after(report("offered"), command("accept"))
#: Reached when the network refuses to hang up: the call is not answered yet, and nobody waits.
DIALING_ALONE: Final = asked(
    command("call"), command("disconnect", "m2"), report("failed", "m2", status=500)
)


def held(call: Call) -> Call:
    """Return a call on hold."""
    return decide_and_grant(call, command("hold")).call


def muted(call: Call) -> Call:
    """Return a muted call."""
    return decide_and_grant(call, command("mute")).call


def ended(call: Call) -> Call:
    """Return a call that is over."""
    return decide_and_grant(call, command("disconnect")).call


#: Every way for a call to be in a column.
CALLS: Final[dict[str, dict[str, Call]]] = {
    "no such call": {"unknown": ABSENT, "refused before": ABSENT._replace(sequence=3)},
    "offered": {"offered": OFFERED},
    "dialing, ringing": {
        "dialing": asked(command("call")),
        "ringing": asked(command("call"), report("ringing")),
        "dialing alone": DIALING_ALONE,
        "ringing alone": decide(DIALING_ALONE, report("ringing")).call,
    },
    "connected": {
        "outgoing": OUTGOING,
        "incoming": INCOMING,
        "redirected": after(report("offered"), command("redirect")),
        "outgoing, muted": muted(OUTGOING),
        "incoming, muted": muted(INCOMING),
    },
    "connected + held": {
        "outgoing": held(OUTGOING),
        "incoming": held(INCOMING),
        "muted": muted(held(OUTGOING)),
    },
    "ended": {
        "outgoing": ended(OUTGOING),
        "incoming": ended(INCOMING),
        "held and muted": ended(held(muted(OUTGOING))),
        "rejected": after(report("offered"), command("reject")),
        "by the network": after(command("call"), report("ended", status=480)),
    },
}

Expectation = Callable[[str, Call], tuple[int, dict[str, Any]]]


def refused(status: int) -> Expectation:
    """Expect a refusal that changes nothing."""
    return lambda _name, _call: (status, {})


def becomes(state: str, **more: Any) -> Expectation:
    """Expect a success that leaves the call in a state."""
    over = {"held": False, "muted": False} if state == "ended" else {}
    return lambda _name, _call: (200, {"state": State(state), **over, **more})


def accepted_again(_name: str, call: Call) -> tuple[int, dict[str, Any]]:
    """Expect 200 for a call that came in."""
    return (200 if call.incoming else 409), {}


def toggled(name: str, _call: Call) -> tuple[int, dict[str, Any]]:
    """Expect the flag to be as the command's name says."""
    return 200, {"muted": name == "mute"}


#: What each term of contract.md's table means: the status, and what is different afterwards.
TERMS: Final[dict[str, Expectation]] = {
    "409": refused(409),
    "481": refused(481),
    "200": lambda _name, _call: (200, {}),
    "200, unchanged": lambda _name, _call: (200, {}),
    "200 unchanged if it came in, else 409": accepted_again,
    "→ connected": becomes("connected"),
    "→ dialing → connected": becomes("connected", origin=ALICE, destination=BOB),
    "→ ended": becomes("ended"),
    "→ ended (the `call` gets 487)": becomes("ended", pending=None),
    "taken as an offer from `endpoint`, then accepted": becomes(
        "connected", incoming=True, origin=ALICE
    ),
    "taken as an offer from `endpoint`, then rejected": becomes(
        "ended", incoming=True, origin=ALICE
    ),
    "redirect: → connected to `endpoint`": becomes("connected", destination=CAROL),
    "as above": becomes("connected", destination=CAROL),
    "destination = `endpoint`": lambda _name, _call: (200, {"destination": CAROL}),
    "the same, not held": lambda _name, _call: (200, {"destination": CAROL, "held": False}),
    "held": lambda _name, _call: (200, {"held": True}),
    "not held": lambda _name, _call: (200, {"held": False}),
    "toggles": toggled,
    "digits sent": lambda _name, _call: (200, {}),
}

#: The canonical events of success, where a command has but one.
EVENTS: Final = {name: event for name, event in COMMANDS if name != "transfer"}


def success_event(name: str, column: str) -> str:
    """Return the canonical event of a command's success in a state."""
    if name == "transfer":
        return "call_redirected" if column == "offered" else "call_transferred"
    return EVENTS[name]


def cells() -> list[Any]:
    """Return every cell of contract.md's table, once for each way to be in its column."""
    return [
        pytest.param(name, column, call, term, id=f"{name}-{column}-{way}")
        for name, row in ROWS.items()
        for column, term in zip(HEAD, row, strict=True)
        for way, call in CALLS[column].items()
    ]


@pytest.mark.parametrize(("name", "column", "call", "term"), cells())
def test_a_command_does_what_contract_md_says(
    name: str, column: str, call: Call, term: str
) -> None:
    """One outcome, the status, and exactly the changes the cell speaks of."""
    status, changes = TERMS[term](name, call)
    decision = decide_and_grant(call, command(name, "m9"))
    event = decision.events[-1]
    interrupted = call.pending is not None and name == "disconnect"
    expected = success_event(name, column) if status == 200 else "call_control_failed"
    before = [("call_control_failed", 487)] if interrupted else []
    assert told(decision) == [*before, (expected, status)]
    assert [each.ordinal for each in decision.events] == list(range(len(decision.events)))
    assert decision.call == call._replace(sequence=call.sequence + len(decision.events), **changes)
    assert event.call_state == decision.call.state
    assert event.terminal is (decision.call.state is State.ENDED and call.state is not State.ENDED)
    assert event.answers == command(name, "m9").request
    if status == 200:
        assert event.reason == "OK"


def test_contract_mds_table_has_a_row_for_every_command() -> None:
    """No command is left out of the tests above."""
    assert ROWS.keys() == {name.value for name in CommandName}
    assert {cell for row in ROWS.values() for cell in row} == TERMS.keys()


def test_the_documented_names_are_contract_mds() -> None:
    """The code's table of commands is contract.md's, row by row."""
    rows = {
        (row.command.value, row.event.value): (list(row.fields), row.documented) for row in OUTCOMES
    }
    assert rows == COMMANDS
    assert len(OUTCOMES) == len(COMMANDS)


def test_every_success_in_the_table_is_an_outcome_of_its_command() -> None:
    """The transition table and the table of names speak of the same events, all of them."""
    found = {
        (name.value, cell.event.value)
        for name, row in TABLE.items()
        for cell in row.values()
        if cell.event is not None
    }
    assert found == COMMANDS.keys()
    assert ACTIONS.keys() == EFFECTS.keys() == {EventName(event) for _, event in COMMANDS}


def own_cells() -> list[Any]:
    """Return every cell of the code's table, once for each way to be in its column."""
    ways = [(way, call) for calls in CALLS.values() for way, call in calls.items()]
    return [
        pytest.param(name, cell, call, id=f"{name}-{column}-{way}")
        for name, row in TABLE.items()
        for column, cell in row.items()
        for way, call in ways
        if column_of(call) is column
    ]


def test_every_state_stands_in_a_column() -> None:
    """The calls of these tests reach every column, and ringing counts as dialing."""
    columns = {
        title: {column_of(call) for call in calls.values()} for title, calls in CALLS.items()
    }
    assert columns == {title: {column} for title, column in zip(HEAD, Column, strict=True)}


@pytest.mark.parametrize(("name", "cell", "call"), own_cells())
def test_a_cell_of_the_table_is_obeyed(name: CommandName, cell: Cell, call: Call) -> None:
    """What the table says is what is decided, before the network has had its say."""
    message = command(name, "m9")
    # Nothing but the cell is to be seen here; what waits is the business of test_pending.
    call = call._replace(pending=None)
    decision = decide(call, message)
    same = call._replace(sequence=call.sequence + 1)
    if cell.rule in (Rule.CONFLICT, Rule.NO_SUCH_CALL) or (cell.from_offerer and not call.incoming):
        status = 481 if cell.rule is Rule.NO_SUCH_CALL else 409
        assert decision == Decision(same, decision.events)
        assert told(decision) == [("call_control_failed", status)]
        return
    assert cell.event is not None
    changes = EFFECTS[cell.event]
    moved = {"destination": CAROL} if cell.event in REDIRECTING else {}
    already = all(getattr(call, flag) == value for flag, value in changes.items())
    if cell.rule is Rule.UNCHANGED or (cell.rule is Rule.TOGGLE and already):
        assert decision == Decision(same, decision.events)
        assert told(decision) == [(cell.event, 200)]
        return
    assert decision.events == ()
    (action,) = decision.actions
    assert (action.name, action.id, action.request_id) == (ACTIONS[cell.event], "m9", CALL_ID)
    began = call.state is State.ABSENT
    assert decision.call.pending == Pending(
        message.request, name, cell.event, getattr(message.body, "endpoint", None), began
    )
    granted = decide_and_grant(call, message).call
    for attribute, value in {**changes, **moved, "pending": None}.items():
        assert getattr(granted, attribute) == value
