"""The ids of what is made on Asterisk, and the notes on it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from schemas.contract import ActionName
from schemas.fields import RequestId
from worker.gateways.asterisk.names import (
    Ids,
    Made,
    Role,
    action_key,
    call_key,
    incoming_request_id,
)
from worker.gateways.asterisk.notes import Note, bridge_name, read_bridge_name

IDS = Ids("call-control")
ANY = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=128)


@given(ANY, st.text(min_size=1, max_size=255))
def test_an_id_says_what_it_is_for(request_id: str, action_id: str) -> None:
    """And nothing of what a producer wrote gets into it, or makes it too long."""
    bridge = IDS.bridge(request_id, action_id)
    leg = IDS.leg(request_id, action_id, Role.TARGET)
    assert bridge != leg
    for made in (bridge, leg):
        assert re.fullmatch(r"[A-Za-z0-9.\-]{1,100}", made)
    assert IDS.read(bridge) == Made(call_key(request_id), action_key(action_id))
    assert IDS.read(leg) == Made(call_key(request_id), action_key(action_id), Role.TARGET)


def test_the_same_action_always_has_the_same_ids() -> None:
    """That is what tells a copy from an action."""
    assert IDS.bridge("call", "action") == Ids("call-control").bridge("call", "action")
    assert IDS.bridge("call", "action") != IDS.bridge("call", "other")


@pytest.mark.parametrize(
    "other", ["", "1795755260.12", "cc-x", Ids("another").bridge("a", "b"), "a.b.c.a"]
)
def test_what_others_have_made_is_not_taken_for_our_own(other: str) -> None:
    """Whatever is, and has no call, is hung up."""
    assert IDS.read(other) is None


@given(st.text(max_size=160))
def test_whatever_a_channel_is_called_its_call_has_a_good_name(channel_id: str) -> None:
    """One that breaks the rules would never be offered."""
    TypeAdapter(RequestId).validate_python(incoming_request_id("g" * 64, channel_id))


def test_an_incoming_call_can_be_found_on_asterisk_by_its_name() -> None:
    """Where Asterisk's own id allows that."""
    assert incoming_request_id("west", "1795755260.12") == "west-1795755260-12"
    assert incoming_request_id("west", "1795755260-12") != "west-1795755260-12"


@given(ANY, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_a_note_is_read_as_it_was_written(request_id: str, action_id: str) -> None:
    """In ASCII: Asterisk keeps variables in no particular encoding."""
    note = Note(
        request_id=request_id,
        action_id=action_id,
        action=ActionName.TRANSFER,
        target="tel:+18164388687",
        until=1795755260.5,
    )
    assert note.write().isascii()
    assert Note.read(note.write()) == note
    name = bridge_name(request_id, action_id)
    assert name.isascii()
    assert read_bridge_name(name) == (request_id, action_id)


@pytest.mark.parametrize("written", [None, "", "{}", "[]", '{"request_id": "x"}', "no JSON"])
def test_what_is_no_note_is_none(written: str | None) -> None:
    """A variable of that name may be somebody else's."""
    assert Note.read(written) is None


@pytest.mark.parametrize("name", ["", "x", "[]", '["a"]', '["a", 1]', '{"a": "b"}'])
def test_what_names_no_claim_is_none(name: str) -> None:
    """Bridges of others have names, too."""
    assert read_bridge_name(name) is None
