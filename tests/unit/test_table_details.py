"""What contract.md says around its table: flags, repeats, endpoints, and reasons of refusals."""

import pytest

from schemas.contract import CommandName
from tests.unit.builders import ALICE, BOB, CAROL, after, asked, command, only, report, told
from worker.core.call import Call
from worker.core.transitions import decide
from worker.gateways.loopback import decide_and_grant

OFFERED = after(report("offered"))
CONNECTED = after(command("call"))
INCOMING = after(report("offered"), command("accept"))


def flags(*names: str) -> tuple[bool, bool]:
    """Return ``held`` and ``muted`` of a call after commands."""
    call = after(command("call"), *(command(name, f"m-{name}") for name in names))
    return call.held, call.muted


@pytest.mark.parametrize(
    ("names", "held", "muted"),
    [
        (["mute", "hold"], True, True),
        (["mute", "hold", "retrieve"], False, True),
        (["hold", "mute", "retrieve"], False, True),
        (["hold", "mute", "un_mute"], True, False),
        (["hold", "transfer"], False, False),
        (["mute", "hold", "transfer"], False, True),
        (["hold", "retrieve", "hold"], True, False),
    ],
)
def test_held_and_muted_are_independent(names: list[str], *, held: bool, muted: bool) -> None:
    """Mute survives hold, retrieve and transfer; a transfer clears ``held``."""
    assert flags(*names) == (held, muted)


@pytest.mark.parametrize(
    ("reached", "name", "event"),
    [
        (["call", "hold"], "hold", "call_held"),
        (["call"], "retrieve", "call_retrieved"),
        (["call", "mute"], "mute", "call_muted"),
        (["call"], "un_mute", "call_un_muted"),
        (["call", "hold", "mute"], "mute", "call_muted"),
        (["call", "disconnect"], "disconnect", "call_terminated"),
        (["accept"], "accept", "call_accepted"),
    ],
)
def test_what_is_already_so_is_done_without_the_network(
    reached: list[str], name: str, event: str
) -> None:
    """A repeated command is a success, and asks nothing of anybody."""
    call = after(*(command(each, f"m-{each}") for each in reached))
    decision = decide(call, command(name, "again"))
    assert told(decision) == [(event, 200)]
    assert decision.actions == ()
    assert decision.call == call._replace(sequence=call.sequence + 1)


def test_the_end_of_an_ended_call_is_not_told_as_an_end_again() -> None:
    """A call has at most one terminal event."""
    call = after(command("call"), command("disconnect"))
    assert only(decide_and_grant(call, command("disconnect", "again"))).terminal is False


STATES = {
    "offered": OFFERED,
    "dialing": asked(
        command("call"), command("disconnect", "m2"), report("failed", "m2", status=500)
    ),
    "connected": CONNECTED,
    "connected and held": after(command("call"), command("hold")),
    "ended": after(command("call"), command("disconnect")),
}

#: What the contract's table allows in each of these states.
ALLOWED = {
    "offered": {"disconnect", "transfer", "redirect", "accept", "reject"},
    "dialing": {"disconnect"},
    "connected": {"disconnect", "transfer", "hold", "retrieve", "dial", "mute", "un_mute"},
    "connected and held": {"disconnect", "transfer", "hold", "retrieve", "mute", "un_mute"},
    "ended": {"disconnect"},
}


def says(reason: str, state: str) -> bool:
    """Tell whether a reason names the state, and all that is allowed in it and no more."""
    head, _, allowed = reason.partition("; allowed: ")
    return head == f"Conflict: the call is {state}" and set(allowed.split(", ")) == ALLOWED[state]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", [name for name in CommandName if name != "accept"])
def test_a_409_names_the_state_and_what_is_allowed(state: str, name: str) -> None:
    """So that whoever reads it knows what to send instead."""
    event = decide_and_grant(STATES[state], command(name)).events[-1]
    if name in ALLOWED[state]:
        assert event.status == 200
    elif event.status != 481:
        assert event.status == 409
        assert says(event.reason, state)


def test_accept_counts_as_allowed_where_the_call_came_in() -> None:
    """A connected call that came in may be accepted again; one that was placed may not."""
    reason = only(decide_and_grant(INCOMING, command("redirect"))).reason
    assert set(reason.partition("; allowed: ")[2].split(", ")) == ALLOWED["connected"] | {"accept"}


def test_a_409_to_accept_of_a_placed_call_names_the_state_and_what_is_allowed() -> None:
    """The reason of every 409 does, also where the direction of the call is the obstacle."""
    event = only(decide_and_grant(CONNECTED, command("accept")))
    assert event.status == 409
    assert "connected" in event.reason
    assert "hold" in event.reason


def test_a_409_while_the_call_is_dialed_names_the_state_and_what_is_allowed() -> None:
    """``disconnect`` is the one thing to do about a call that nobody has answered."""
    event = only(decide_and_grant(asked(command("call")), command("hold", "m2")))
    assert event.status == 409
    assert event.reason.startswith("Conflict")
    assert "dialing" in event.reason
    assert "disconnect" in event.reason


@pytest.mark.parametrize("name", [n for n in CommandName if n not in ("call", "accept", "reject")])
def test_an_unknown_call_does_not_exist(name: str) -> None:
    """481, in the words of SIP."""
    event = only(decide_and_grant(Call("123XYZ"), command(name)))
    assert (event.status, event.reason) == (481, "Call Does Not Exist")
    assert (event.call_state, event.sequence, event.terminal) == ("absent", 1, False)


@pytest.mark.parametrize("name", [n for n in CommandName if n not in ("call", "disconnect")])
def test_an_ended_call_has_ended(name: str) -> None:
    """481 too, but it says that there was such a call."""
    event = only(decide_and_grant(STATES["ended"], command(name)))
    assert (event.status, event.reason) == (481, "Call Has Ended")
    assert (event.call_state, event.terminal) == ("ended", False)


@pytest.mark.parametrize("name", ["accept", "reject"])
def test_an_offer_is_answered_only_to_the_endpoint_that_offered_it(name: str) -> None:
    """``endpoint`` names the offering endpoint; another one is a 409, and nothing changes."""
    for endpoint in (BOB, CAROL, "sip:+18164388687@example.com"):
        decision = decide_and_grant(OFFERED, command(name, endpoint=endpoint))
        assert told(decision) == [("call_control_failed", 409)]
        assert only(decision).reason.startswith("Conflict")
        assert decision.call == OFFERED._replace(sequence=OFFERED.sequence + 1)


@pytest.mark.parametrize("name", ["accept", "reject"])
@pytest.mark.parametrize("endpoint", ["tel:+1-816-438-8687", "TEL:+1(816)438.8687"])
def test_visual_separators_do_not_make_another_endpoint(name: str, endpoint: str) -> None:
    """A number is the same however it is written; the call keeps it as it was offered."""
    decision = decide_and_grant(OFFERED, command(name, endpoint=endpoint))
    assert only(decision).status == 200
    assert decision.call.origin == ALICE


def test_an_accepted_call_is_accepted_again_only_from_its_endpoint() -> None:
    """A repeat is a repeat only if it means the same call."""
    assert only(decide_and_grant(INCOMING, command("accept"))).status == 200
    assert only(decide_and_grant(INCOMING, command("accept", endpoint=BOB))).status == 409


def test_a_transferred_call_keeps_its_origin() -> None:
    """Only the destination moves."""
    call = after(command("call"), command("transfer", endpoint=CAROL))
    assert (call.origin, call.destination) == (ALICE, CAROL)


@pytest.mark.parametrize("name", ["transfer", "redirect"])
def test_transfer_of_an_offered_call_is_told_as_a_redirect(name: str) -> None:
    """The two commands of the document mean the same there."""
    event = only(decide_and_grant(OFFERED, command(name)))
    assert (event.name, event.call_state) == ("call_redirected", "connected")


def test_a_call_that_was_accepted_unheard_of_is_like_any_other() -> None:
    """The document accepts calls that nothing has announced."""
    call = after(command("accept", endpoint=CAROL), command("hold", "m2"))
    assert (call.incoming, call.origin, call.held, call.sequence) == (True, CAROL, True, 2)
