"""Writing is strict: exactly the documented fields, in the envelope that was asked in."""

import json
from datetime import UTC, datetime, timedelta
from string import ascii_letters, digits, punctuation
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contract import EventName, EventNames
from schemas.events import Envelope, Event, Request
from schemas.fields import SHORT_STRING_BYTES
from schemas.wire import event_headers, read, routing_key, write_body
from tests.unit.builders import ALICE, BOB, CALL_ID

AT = 1_760_000_000_007
SOURCE = "blue.call_control"

HELD = Event(
    name=EventName.CALL_HELD,
    request_id=CALL_ID,
    sequence=2,
    status=200,
    reason="OK",
    call_state="connected",
    terminal=False,
    cause="m2",
    ordinal=0,
    answers=Request("m2", call_control="hold"),
)

#: contract.md: the canonical event, and what the source document writes for it.
DOCUMENTED = {
    "call_connected": "call-connected",
    "call_terminated": "call_terminated",
    "call_transferred": "call_transferred",
    "call_redirected": "call_transferred",
    "call_held": "call_held",
    "call_retrieved": "call_retrieved",
    "digits_dialed": "call_retrieved",
    "call_muted": "call_muted",
    "call_un_muted": "call_un_muted",
    "call_accepted": "call_accepted",
    "call_rejected": "call_rejected",
}

#: contract.md: what happens to a call without a command, and what a refusal is called.
UNDOCUMENTED = ["call_offered", "call_ringing", "call_control_failed"]


def answering(event: Event, envelope: Envelope, **more: str) -> Event:
    """Return the event as the answer to a request in an envelope."""
    answers = Request("m2", call_control="hold", envelope=envelope, **more)
    return event._replace(answers=answers)


def test_a_success_is_written_to_the_byte() -> None:
    """Four fields in the document's order, and nothing else."""
    expected = b'{"event":"call_held","request_id":"123XYZ","status":200,"reason":"OK"}'
    assert write_body(HELD, EventNames.DOCUMENTED) == expected


def test_an_answer_keeps_the_envelope_of_its_command() -> None:
    """Bare is answered bare, and ``content`` in ``content``."""
    expected = b'{"content":{"event":"call_held","request_id":"123XYZ","status":200,"reason":"OK"}}'
    assert write_body(answering(HELD, Envelope.CONTENT), EventNames.DOCUMENTED) == expected
    bare = write_body(answering(HELD, Envelope.BARE), EventNames.DOCUMENTED)
    assert json.loads(expected) == {"content": json.loads(bare)}


@pytest.mark.parametrize("envelope", Envelope)
def test_a_failure_names_its_command_and_is_no_success(envelope: Envelope) -> None:
    """Its own event name, so that who never looks at ``status`` is not misled."""
    failed = HELD._replace(
        name=EventName.CALL_CONTROL_FAILED, status=481, reason="Call Does Not Exist"
    )
    body = (
        b'{"event":"call_control_failed","request_id":"123XYZ","status":481,'
        b'"reason":"Call Does Not Exist","call_control":"hold"}'
    )
    expected = b'{"content":' + body + b"}" if envelope is Envelope.CONTENT else body
    for names in EventNames:
        assert write_body(answering(failed, envelope), names) == expected


def test_an_offered_call_tells_its_parties() -> None:
    """Nobody asked, so the envelope is bare; the subscriber has to learn who calls."""
    offered = HELD._replace(
        name=EventName.CALL_OFFERED, answers=None, origin=ALICE, destination=BOB
    )
    expected = {"event": "call_offered", "request_id": CALL_ID, "status": 200, "reason": "OK"}
    body = json.loads(write_body(offered, EventNames.DOCUMENTED))
    assert body == {**expected, "origin": ALICE, "destination": BOB}


@pytest.mark.parametrize("name", ["call_ringing", "call_terminated"])
def test_what_the_network_did_by_itself_is_written_bare(name: str) -> None:
    """With the network's status and reason."""
    event = HELD._replace(name=EventName(name), answers=None, status=486, reason="Busy Here")
    body = json.loads(write_body(event, EventNames.DOCUMENTED))
    assert body == {"event": name, "request_id": CALL_ID, "status": 486, "reason": "Busy Here"}


def test_the_names_of_all_events_are_the_contracts() -> None:
    """No event is missing here, and none is left over."""
    assert {name.value for name in EventName} == {*DOCUMENTED, *UNDOCUMENTED}


@pytest.mark.parametrize("name", EventName)
def test_the_body_names_the_event_as_it_is_set(name: EventName) -> None:
    """Documented names by default, canonical ones where a subscriber prefers sense."""
    event = HELD._replace(name=name)
    documented = json.loads(write_body(event, EventNames.DOCUMENTED))["event"]
    canonical = json.loads(write_body(event, EventNames.CANONICAL))["event"]
    assert documented == DOCUMENTED.get(name.value, name.value)
    assert canonical == name.value


@pytest.mark.parametrize("name", EventName)
def test_the_routing_key_is_always_canonical(name: EventName) -> None:
    """So that a subscriber can tell ``dial`` from ``retrieve`` whatever is set."""
    assert routing_key(HELD._replace(name=name)) == f"{name.value}.123XYZ"


@pytest.mark.parametrize(
    ("request_id", "word"),
    [
        ("123XYZ", "123XYZ"),
        ("a.b", "a%2Eb"),
        ("*", "%2A"),
        ("#", "%23"),
        ("100%", "100%25"),
        ("a b", "a%20b"),
        ("%2E", "%252E"),
        ("a/b:c@d?e=f&g", "a/b:c@d?e=f&g"),
        ("." * 78, "%2E" * 78),
    ],
)
def test_a_request_id_is_one_word_of_the_routing_key(request_id: str, word: str) -> None:
    """``call_held.*`` must match every call, and no call must look like a pattern."""
    assert routing_key(HELD._replace(request_id=request_id)) == f"call_held.{word}"


@given(request_id=st.text(ascii_letters + digits + punctuation + " ", min_size=1, max_size=128))
def test_every_readable_request_id_makes_a_routing_key(request_id: str) -> None:
    """It fits, it is one word, and it says which call it is."""
    reading = read(json.dumps({"call_control": "hold", "request_id": request_id}).encode())
    if reading.body.request_id is None:
        assert len(request_id) + 2 * sum(map(request_id.count, ".*#% ")) > 235
        return
    for name in EventName:
        key = routing_key(HELD._replace(name=name, request_id=request_id))
        head, _, word = key.partition(".")
        assert len(key.encode()) <= SHORT_STRING_BYTES
        assert head == name.value
        assert not set(word) & set(".*# ")
        assert unquote(word) == request_id


@given(reason=st.text(max_size=100))
def test_a_body_is_json_in_utf_8_whatever_the_network_says(reason: str) -> None:
    """A reason in any language comes out as it came in."""
    body = write_body(HELD._replace(reason=reason), EventNames.DOCUMENTED)
    assert json.loads(body.decode())["reason"] == reason


def test_headers_say_what_the_body_does_not() -> None:
    """All of the contract's headers, for an answer to a command that was traced."""
    traced = answering(HELD, Envelope.BARE, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    assert event_headers(traced, AT, SOURCE) == {
        "request_id": "123XYZ",
        "sequence": 2,
        "call_control": "hold",
        "call_state": "connected",
        "terminal": False,
        "schema_version": 1,
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": HELD.message_id,
        "cloudEvents_source": "blue.call_control",
        "cloudEvents_type": "call_control.call_held",
        "cloudEvents_subject": "123XYZ",
        "cloudEvents_time": "2025-10-09T08:53:20.007+00:00",
    }


def test_headers_of_what_nobody_asked_for_name_no_command() -> None:
    """The network's own doing answers nothing and continues no trace."""
    headers = event_headers(HELD._replace(answers=None, terminal=True), AT, SOURCE)
    assert headers.keys() == event_headers(HELD, AT, SOURCE).keys() - {"call_control"}
    assert headers["terminal"] is True


@given(at=st.integers(0, 4_000_000_000_000))
def test_the_time_of_an_event_is_told_to_the_millisecond(at: int) -> None:
    """Copies carry the recorded one, so nothing may get lost on the way."""
    told = datetime.fromisoformat(str(event_headers(HELD, at, SOURCE)["cloudEvents_time"]))
    assert told == datetime.fromtimestamp(0, tz=UTC) + timedelta(milliseconds=at)


def test_headers_hold_what_a_call_is_restored_from() -> None:
    """As it is stored, behind the id under which it is; no record, no header."""
    headers = event_headers(HELD, AT, SOURCE, ("m2", b'[1,"hold"]'))
    assert headers == {**event_headers(HELD, AT, SOURCE), "record_id": "m2", "record": '[1,"hold"]'}


def test_a_message_id_depends_on_call_cause_and_index_alone() -> None:
    """The same after every crash and replay; another for every other event."""
    assert HELD._replace(sequence=9, reason="x", answers=None).message_id == HELD.message_id
    others = {
        HELD._replace(request_id="other").message_id,
        HELD._replace(cause="m3").message_id,
        HELD._replace(ordinal=1).message_id,
        # The parts must not run into each other.
        HELD._replace(request_id=f"{CALL_ID}m", cause="2").message_id,
    }
    assert len(others | {HELD.message_id}) == 5
