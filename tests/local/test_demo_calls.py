"""The demo on telephones plays the documented conversation, and notices what is not as it says."""

from dataclasses import replace
from typing import Any

import pytest

from deploy.demo_calls.checking import TONES, comes_in, hearing, misheard, named, unexpected, wanted
from deploy.demo_calls.handset import label
from deploy.demo_calls.scenario import ADDRESSES, MUSIC, SCENES
from deploy.local import asterisk
from tests.local.test_sip_messages import INVITE, RINGING, message
from worker.cli.demonstration import CONVERSATION, Step
from worker.client import Event

ACTS = [act for scene in SCENES for act in scene.acts]
HOLD = next(step for step in CONVERSATION if step.event == "call_held")


def event(step: Step, **changed: Any) -> Event:
    """Return the event that a step has to bring back, or another one."""
    content = {
        "event": step.event,
        "request_id": step.call,
        "status": step.status,
        "reason": step.reason,
        **step.more,
        **changed,
    }
    return Event(
        kind=step.event,
        request_id=step.call,
        sequence=1,
        status=step.status,
        reason=step.reason,
        state="connected",
        terminal=False,
        correlation_id="asked",
        body={"content": content} if step.content else content,
    )


def test_every_step_of_the_documented_conversation_is_played_in_its_order() -> None:
    """As it stands there, with incoming calls between, which telephones make."""
    for call in {step.call for step in CONVERSATION}:
        documented = [step for step in CONVERSATION if step.call == call]
        played = [act.step for act in ACTS if act.step in documented]
        assert played == documented


def test_what_is_expected_of_telephones_can_be_observed() -> None:
    """Of those that are there, in the tones that they have."""
    assert set(ADDRESSES) == set(TONES)
    for act in ACTS:
        assert {who for who, _ in act.sip} <= set(TONES)
        assert set(act.hears) <= set(TONES)
        assert set(act.hears.values()) <= {*TONES, MUSIC, ""}
        assert not comes_in(act.step) or act.step.body["origin"] in ADDRESSES.values()
    tones = frozenset({asterisk.MUSIC, *TONES.values()})
    assert named(tones) == {*TONES, MUSIC}


def test_the_expected_events_are_no_problem() -> None:
    """In their order, and the last one as the answer to the command."""
    assert unexpected([HOLD], [event(HOLD)], "asked") == []


@pytest.mark.parametrize(
    "events",
    [
        [],
        [event(HOLD, event="call_muted")],
        [event(HOLD, status=409)],
        [event(HOLD), event(HOLD)],
        [event(replace(HOLD, call="another"))],
    ],
)
def test_any_other_events_are_a_problem(events: list[Event]) -> None:
    """None, another one, one of another call, one more."""
    assert len(unexpected([HOLD], events, "asked")) == 1


def test_an_event_that_answers_another_command_is_a_problem() -> None:
    """Whatever stands in it."""
    assert len(unexpected([HOLD], [event(HOLD)], "another")) == 1


def test_what_is_heard_is_said_and_held_against_what_should_be() -> None:
    """Whoever is not spoken of has to hear nothing."""
    hears = {"A": "", "B": MUSIC}
    assert hearing(hears, wanted(hears)) == "A hears nothing, B hears music"
    assert misheard(hears, wanted(hears)) == []
    heard = {"A": frozenset({"B"}), "B": frozenset({MUSIC}), "C": frozenset({"A", "B"})}
    assert hearing(hears, heard) == "A hears B, B hears music, C hears A and B"
    assert misheard(hears, heard) == ["A should hear nothing", "C should hear nothing"]
    assert hearing({}, wanted({})) == "nobody hears anything"


def test_messages_are_shown_as_what_they_are() -> None:
    """A request by its method, an answer by its status, and by what it answers if that is told."""
    again = INVITE.replace("To: <sip:+1555@127.0.0.1>", "To: <sip:+1555@127.0.0.1>;tag=b")
    assert label(message(INVITE)) == "INVITE"
    assert label(message(again)) == "re-INVITE"
    assert label(message(RINGING)) == "180 Ringing"
    ended = RINGING.replace("180 Ringing", "200 OK").replace("17 INVITE", "18 BYE")
    assert label(message(ended)) == "200 OK (BYE)"
