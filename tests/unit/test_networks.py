"""Calls whose network is a gateway: who is asked, and what is done about what comes too late."""

from typing import Final

import pytest

from schemas.contract import ActionName
from tests.unit.builders import CALL_ID, after, asked, command, only, report, told
from worker.core.call import Call, State
from worker.core.messages import Action
from worker.core.transitions import asked_again, decide

ABSENT: Final = Call(CALL_ID)
DIALING: Final = asked(command("call", "m1"))

#: Calls that nobody waits for any more.
OVER: Final = {"absent": ABSENT, "ended": after(command("call"), command("disconnect"))}


@pytest.mark.parametrize("state", OVER)
@pytest.mark.parametrize("name", ["ringing", "answered"])
def test_a_call_that_goes_on_in_the_network_after_its_end_is_hung_up(state: str, name: str) -> None:
    """Its command was answered before the network was heard of: it must not ring or talk on."""
    late = report(name, "m0", gateway="pbx-2")
    decision = decide(OVER[state], late)
    assert (decision.call, decision.events) == (OVER[state], ())
    assert decision.actions == (Action(ActionName.HANG_UP, "r1", CALL_ID, gateway="pbx-2"),)
    assert decide(OVER[state], report("done", "r1")).actions == ()


@pytest.mark.parametrize("said", ["failed", "answered"])
def test_a_call_whose_disconnect_failed_does_not_ring_on_for_ever(said: str) -> None:
    """Its command was answered with 487: what comes of it now ends it."""
    given_up = asked(
        command("call", "m1"),
        report("ringing", "m1"),
        command("disconnect", "m2"),
        report("failed", "m2", status=503),
    )
    assert (given_up.state, given_up.pending) == (State.RINGING, None)
    decision = decide(given_up, report(said, "m1", status=486 if said == "failed" else 200))
    if said == "failed":
        assert told(decision) == [("call_terminated", 486)]
        assert only(decision).terminal
    else:
        assert [action.name for action in decision.actions] == [ActionName.HANG_UP]
        late = decide(decision.call, report("failed", "m1", status=504))
        assert told(late) == [("call_terminated", 504)]


def test_the_ringing_of_another_attempt_is_not_this_ones() -> None:
    """The call before this one, of the same name, was given up and rings on."""
    decision = decide(DIALING, report("ringing", "m0"))
    assert (decision.call, decision.events, decision.actions) == (DIALING, (), ())
    assert told(decide(DIALING, report("ringing", "m1"))) == [("call_ringing", 180)]


def test_what_is_asked_of_a_call_is_asked_of_the_gateway_that_has_it() -> None:
    """The one that was heard of it; and of none in particular before that."""
    (first,) = decide(ABSENT, command("call", "m1")).actions
    ringing = asked(command("call", "m1"), report("ringing", "m1", gateway="pbx-2"))
    (hang_up,) = decide(ringing, command("disconnect", "m2")).actions
    offered = after(report("offered", gateway="pbx-3"))
    (answer,) = decide(offered, command("accept", "m3")).actions
    connected = asked(command("call", "m1"), report("answered", "m1", gateway="pbx-4"))
    (hold,) = decide(connected, command("hold", "m4")).actions
    of = [action.gateway for action in (first, hang_up, answer, hold)]
    assert of == [None, "pbx-2", "pbx-3", "pbx-4"]
    assert asked(command("call", "m1"), report("failed", "m1", status=486)).gateway is None


def test_a_report_without_a_name_leaves_the_call_where_it_is() -> None:
    """A gateway that is the only one need not have one."""
    connected = asked(command("call", "m1"), report("ringing", "m1", gateway="pbx-2"))
    assert after(report("offered")).gateway is None
    assert decide(connected, report("answered", "m1")).call.gateway == "pbx-2"


def test_nothing_but_the_command_that_waits_asks_again() -> None:
    """Not one that was refused meanwhile, nor one that was overtaken, nor a report."""
    refused = decide(DIALING, command("hold", "m2")).call
    assert asked_again(refused, command("hold", "m2")) == ()
    overtaken = decide(DIALING, command("disconnect", "m2")).call
    assert asked_again(overtaken, command("call", "m1")) == ()
    assert asked_again(DIALING, report("ringing", message_id="m1")) == ()


def test_a_call_never_goes_back_in_its_progress() -> None:
    """By it the later of two states is known, also where nothing was published in between."""
    call, seen = ABSENT, [ABSENT.progress]
    messages = [
        command("call", "m1"),
        command("hold", "m2"),
        report("ringing", "m1"),
        report("answered", "m1"),
        command("hold", "m3"),
        command("disconnect", "m4"),
        report("done", "m4"),
    ]
    for message in messages:
        call = decide(call, message).call
        seen.append(call.progress)
    assert seen == sorted(set(seen))
