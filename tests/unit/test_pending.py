"""A network that takes its time: actions asked, reports awaited, commands waiting in between."""

from typing import Any, Final

import pytest

from schemas.commands import Dial
from schemas.contract import ActionName, CommandName
from schemas.events import Envelope, Request
from tests.unit.builders import (
    ALICE,
    BOB,
    CALL_ID,
    CAROL,
    DIGITS,
    after,
    asked,
    command,
    only,
    report,
    told,
)
from worker.core.call import Call, State
from worker.core.messages import Action, Message
from worker.core.transitions import asked_again, decide

ABSENT: Final = Call(CALL_ID)
OFFERED: Final = after(report("offered"))
CONNECTED: Final = after(command("call"))
HELD: Final = after(command("call"), command("hold"))
MUTED: Final = after(command("call"), command("mute"))
DIALING: Final = asked(command("call", "m1"))
RINGING: Final = asked(command("call", "m1"), report("ringing"))

#: Where a command is to be taken up by the network, what that is asked to do, and what follows.
TAKEN: Final = {
    "call": (ABSENT, "originate", {"origin": ALICE, "destination": BOB}, "call_connected"),
    "accept": (OFFERED, "answer", {"endpoint": ALICE, "destination": BOB}, "call_accepted"),
    "accept, unheard of": (ABSENT, "answer", {"endpoint": ALICE}, "call_accepted"),
    "reject": (OFFERED, "reject", {"endpoint": ALICE}, "call_rejected"),
    "reject, unheard of": (ABSENT, "reject", {"endpoint": ALICE}, "call_rejected"),
    "redirect": (OFFERED, "redirect", {"endpoint": CAROL}, "call_redirected"),
    "transfer, offered": (OFFERED, "redirect", {"endpoint": CAROL}, "call_redirected"),
    "transfer": (CONNECTED, "transfer", {"endpoint": CAROL}, "call_transferred"),
    "transfer, held": (HELD, "transfer", {"endpoint": CAROL}, "call_transferred"),
    "hold": (CONNECTED, "hold", {}, "call_held"),
    "retrieve": (HELD, "retrieve", {}, "call_retrieved"),
    "mute": (CONNECTED, "mute", {}, "call_muted"),
    "un_mute": (MUTED, "un_mute", {}, "call_un_muted"),
    "dial": (CONNECTED, "send_digits", {}, "digits_dialed"),
    "disconnect": (CONNECTED, "hang_up", {}, "call_terminated"),
    "disconnect, offered": (OFFERED, "hang_up", {}, "call_terminated"),
    "disconnect, held": (HELD, "hang_up", {}, "call_terminated"),
}


@pytest.fixture(params=TAKEN)
def taken(request: pytest.FixtureRequest) -> tuple[Call, Message, str, dict[str, str], str]:
    """Every way for a command to be taken up by the network."""
    call, action, arguments, event = TAKEN[request.param]
    return call, command(request.param.split(",")[0], "m9"), action, arguments, event


Taken = tuple[Call, Message, str, dict[str, Any], str]


def test_a_command_asks_the_network_and_says_nothing_yet(taken: Taken) -> None:
    """One action, named after the command's id, with what the network has to know."""
    call, message, name, arguments, _ = taken
    decision = decide(call, message)
    digits = message.body.digits if isinstance(message.body, Dial) else None
    action = Action(ActionName(name), "m9", CALL_ID, **arguments, digits=digits)
    assert decision.actions == (action,)
    assert decision.events == ()
    assert decision.call.sequence == call.sequence
    assert DIGITS not in repr(decision)


def test_the_digits_reach_the_network_and_nothing_else() -> None:
    """They are in the action, and only for whoever asks for them."""
    decision = decide(CONNECTED, command("dial", digits="98#"))
    (action,) = decision.actions
    assert action.digits is not None
    assert action.digits.get_secret_value() == "98#"
    assert "98#" not in repr(decision.call)


@pytest.mark.parametrize("granted", ["done", "answered"])
def test_the_networks_consent_completes_the_command(taken: Taken, granted: str) -> None:
    """One event answers the command; its cause is the report."""
    call, message, _, _, name = taken
    decision = decide(decide(call, message).call, report(granted, "m9"))
    event = only(decision)
    assert (event.name.value, event.status, event.reason) == (name, 200, "OK")
    assert event.answers == message.request
    assert (event.cause, event.ordinal, event.sequence) == ("r1", 0, call.sequence + 1)
    assert decision.call.pending is None
    assert decision.actions == ()


def test_the_networks_refusal_restores_what_was(taken: Taken) -> None:
    """The command is answered with the network's status and reason; the call is as before."""
    call, message, _, _, _ = taken
    failed = report("failed", "m9", status=603, reason="Decline it")
    decision = decide(decide(call, message).call, failed)
    event = only(decision)
    assert (event.name, event.status, event.reason) == ("call_control_failed", 603, "Decline it")
    assert event.answers == message.request
    assert event.terminal is False
    assert event.call_state == call.state
    assert decision.call == call._replace(sequence=call.sequence + 1)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(486, "Busy Here"), (404, "Not Found"), (481, "Call Does Not Exist"), (504, "Timeout")],
)
def test_a_refusal_without_a_reason_gets_the_usual_one(status: int, reason: str) -> None:
    """The SIP reason phrase."""
    assert only(decide(RINGING, report("failed", "m1", status=status))).reason == reason


def test_a_call_that_failed_may_be_placed_again() -> None:
    """It is as if it had never been, but its events go on counting."""
    busy = decide(RINGING, report("failed", "m1", status=486)).call
    assert busy == Call(CALL_ID, sequence=2)
    assert decide(busy, command("call", "m2")).actions != ()


def test_a_dialed_call_is_dialing() -> None:
    """The command is under way, and the call knows its parties."""
    assert (DIALING.state, DIALING.origin, DIALING.destination) == (State.DIALING, ALICE, BOB)


def test_ringing_is_told_once() -> None:
    """With the network's status, answering no command; a repeat changes nothing."""
    decision = decide(DIALING, report("ringing"))
    event = only(decision)
    assert (event.name, event.status, event.reason) == ("call_ringing", 180, "Ringing")
    assert (event.call_state, event.answers, event.terminal) == ("ringing", None, False)
    assert decision.call.pending == DIALING.pending
    again = decide(decision.call, report("ringing", message_id="r2"))
    assert (again.call, again.events) == (decision.call, ())


def test_an_offer_is_told_with_its_parties() -> None:
    """Whoever subscribes has to learn who calls whom."""
    decision = decide(ABSENT, report("offered"))
    event = only(decision)
    assert (event.name, event.status, event.call_state) == ("call_offered", 200, "offered")
    assert (event.origin, event.destination, event.answers) == (ALICE, BOB, None)
    assert (decision.call.incoming, decision.call.origin) == (True, ALICE)


LIVE: Final = {
    "offered": OFFERED,
    "dialing": asked(
        command("call"), command("disconnect", "m2"), report("failed", "m2", status=500)
    ),
    "connected": CONNECTED,
    "held": HELD,
}


@pytest.mark.parametrize("state", LIVE)
def test_the_network_may_end_a_call_at_any_time(state: str) -> None:
    """One terminal event, with the network's status, answering no command."""
    decision = decide(LIVE[state], report("ended", status=480, reason="Gone"))
    event = only(decision)
    assert (event.name, event.status, event.reason) == ("call_terminated", 480, "Gone")
    assert (event.call_state, event.terminal, event.answers) == ("ended", True, None)
    assert (decision.call.state, decision.call.held) == (State.ENDED, False)


@pytest.mark.parametrize("kind", [kind for kind in TAKEN if not kind.startswith("disconnect")])
def test_a_call_that_ends_takes_the_waiting_command_with_it(kind: str) -> None:
    """It is refused first: after the terminal event nothing but refusals would be too late."""
    message = command(kind.split(",", maxsplit=1)[0], "m9")
    decision = decide(decide(TAKEN[kind][0], message).call, report("ended", status=480))
    assert told(decision) == [("call_control_failed", 487), ("call_terminated", 480)]
    refusal, end = decision.events
    assert (refusal.answers, end.answers) == (message.request, None)
    assert (refusal.terminal, end.terminal) == (False, True)
    assert (refusal.ordinal, end.ordinal) == (0, 1)
    assert (end.sequence, decision.call.sequence) == (refusal.sequence + 1, end.sequence)
    assert (decision.call.state, decision.call.pending) == (State.ENDED, None)


@pytest.mark.parametrize("kind", [kind for kind in TAKEN if kind.startswith("disconnect")])
def test_a_call_that_ends_while_it_is_hung_up_answers_the_disconnect(kind: str) -> None:
    """What was asked for has happened, whoever did it; the hang-up's own report is then late."""
    message = command("disconnect", "m9")
    decision = decide(decide(TAKEN[kind][0], message).call, report("ended", status=480))
    event = only(decision)
    assert (event.name, event.status, event.terminal) == ("call_terminated", 200, True)
    assert event.answers == message.request
    late = decide(decision.call, report("done", "m9", "r2"))
    assert (late.call, late.events) == (decision.call, ())


@pytest.mark.parametrize("name", [name for name in CommandName if name != "disconnect"])
def test_a_command_waits_for_no_other(taken: Taken, name: str) -> None:
    """While one is pending, another is refused, and the pending one is none the worse."""
    waiting = decide(taken[0], taken[1]).call
    decision = decide(waiting, command(name, "m10"))
    assert told(decision) == [("call_control_failed", 409)]
    assert only(decision).reason.startswith("Conflict")
    assert decision.actions == ()
    assert decision.call == waiting._replace(sequence=waiting.sequence + 1)


@pytest.mark.parametrize("kind", [kind for kind in TAKEN if not kind.startswith("disconnect")])
def test_disconnect_always_wins(kind: str) -> None:
    """The waiting command gets 487 at once; the network is asked to hang up."""
    message = command(kind.split(",", maxsplit=1)[0], "m9")
    waiting = decide(TAKEN[kind][0], message).call
    decision = decide(waiting, command("disconnect", "m10"))
    assert told(decision) == [("call_control_failed", 487)]
    refusal = only(decision)
    assert (refusal.answers, refusal.cause, refusal.reason) == (
        message.request,
        "m10",
        "Request Terminated",
    )
    (action,) = decision.actions
    assert (action.name, action.id) == (ActionName.HANG_UP, "m10")
    done = decide(decision.call, report("done", "m10"))
    assert told(done) == [("call_terminated", 200)]
    assert only(done).answers == command("disconnect", "m10").request


@pytest.mark.parametrize("name", ["answered", "done", "failed"])
def test_what_the_network_says_of_an_interrupted_command_is_late(name: str) -> None:
    """It has been answered with 487, and is answered once."""
    hanging_up = decide(RINGING, command("disconnect", "m2")).call
    late = decide(hanging_up, report(name, "m1", status=487))
    assert (late.call, late.events, late.actions) == (hanging_up, (), ())


def test_a_second_disconnect_while_one_is_pending_is_refused() -> None:
    """The first is on its way, and has its own answer to come."""
    waiting = decide(CONNECTED, command("disconnect", "m2")).call
    assert told(decide(waiting, command("disconnect", "m3"))) == [("call_control_failed", 409)]


CALLS: Final = {
    **LIVE,
    "absent": ABSENT,
    "dialing, waiting": DIALING,
    "ringing, waiting": RINGING,
    "holding": decide(CONNECTED, command("hold", "m1")).call,
    "hanging up": decide(CONNECTED, command("disconnect", "m1")).call,
    "ended": after(command("call"), command("disconnect")),
}


#: What a call is in that nobody waits for any more.
OVER: Final = ("absent", "ended")


#: A dialing call that waits for nothing has lost its command: whatever is said of it ends it.
AWAITED: Final = [state for state in CALLS if state != "dialing"]


@pytest.mark.parametrize("state", AWAITED)
@pytest.mark.parametrize("name", ["answered", "done", "failed"])
@pytest.mark.parametrize("action_id", [None, "m0", "r1"])
def test_an_answer_to_nothing_changes_nothing(state: str, name: str, action_id: str | None) -> None:
    """A report of an action that nobody waits for: late, repeated, or invented."""
    call = CALLS[state]
    decision = decide(call, report(name, action_id, status=480 if name == "failed" else 200))
    assert (decision.call, decision.events) == (call, ())
    assert not decision.actions or (name == "answered" and state in OVER)


def test_a_command_that_comes_back_asks_again_while_it_waits(taken: Taken) -> None:
    """The same again, digits included; whoever took it first may have died before it asked."""
    call, message, _, _, _ = taken
    decision = decide(call, message)
    (action,) = decision.actions
    assert asked_again(decision.call, message) == (action._replace(again=True),)
    done = decide(decision.call, report("done", "m9"))
    assert asked_again(done.call, message) == ()


@pytest.mark.parametrize(
    ("state", "name"),
    [
        *((state, "offered") for state in CALLS if state != "absent"),
        *(
            (state, "ringing")
            for state in CALLS
            if state not in OVER and not state.startswith("dialing")
        ),
        ("absent", "ended"),
        ("ended", "ended"),
    ],
)
def test_a_report_that_does_not_fit_the_call_changes_nothing(state: str, name: str) -> None:
    """The network may repeat itself; the call's subscribers are not told twice."""
    call = CALLS[state]
    decision = decide(call, report(name))
    assert (decision.call, decision.events, decision.actions) == (call, (), ())


def test_a_hang_up_that_fails_does_not_undo_the_ringing_in_between() -> None:
    """What the network has reported meanwhile stays true."""
    ringing = asked(command("call"), command("disconnect", "m2"), report("ringing"))
    assert ringing.state is State.RINGING
    decision = decide(ringing, report("failed", "m2", status=500))
    assert only(decision).call_state == "ringing"
    assert decision.call.state is State.RINGING


def test_nothing_but_refusals_follows_the_end() -> None:
    """Or the 200 of a repeated disconnect, which is no second end."""
    over = after(command("call"), report("ended", status=480))
    for name in CommandName:
        event = only(decide(over, command(name, f"m-{name}")))
        assert event.terminal is False
        assert (event.name, event.status) in {
            ("call_control_failed", 409),
            ("call_control_failed", 481),
            ("call_terminated", 200),
        }
        assert (event.status == 200) is (name == "disconnect")
    for said in ("offered", "ringing", "answered", "done", "failed", "ended"):
        assert decide(over, report(said, "m1", status=480)).events == ()


@pytest.mark.parametrize("answer", ["done", "failed", "ended"])
def test_an_answer_carries_what_its_command_asked_for(answer: str) -> None:
    """The command's envelope, correlation id, reply queue and trace, not the report's."""
    request = Request(
        "m9",
        call_control="hold",
        envelope=Envelope.CONTENT,
        correlation_id="c-1",
        reply_to="amq.rabbitmq.reply-to.x",
        traceparent=f"00-{'1' * 32}-{'2' * 16}-01",
    )
    waiting = decide(CONNECTED, Message(request, command("hold").body)).call
    said = report(answer, "m9", status=480)
    said = said._replace(request=Request("r1", correlation_id="the network's"))
    assert decide(waiting, said).events[0].answers == request
