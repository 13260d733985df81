"""Reading is liberal: the source document is not consistent with itself."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import same_endpoint
from schemas.commands import COMMAND_MODELS, Call, Dial, Hold, Transfer, command_fields
from schemas.contract import CommandName, ReportName
from schemas.events import Envelope
from schemas.reports import REPORT_MODELS, Offered, Ringing
from schemas.wire import MAX_BODY_BYTES, Malformed, Reading, read
from tests.unit.builders import ALICE, BOB, CALL_ID, CAROL, DIGITS, FIELDS

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=12,
)

#: Objects with the contract's own keys and values in the wrong places.
ALMOST_COMMANDS = st.dictionaries(
    st.sampled_from(
        (
            *("call_control", "call-control", "network_report", "request_id", "content"),
            *("origin", "destination", "endpoint", "digits", "status", "reason", "action_id"),
        )
    ),
    st.sampled_from([*CommandName, *ReportName, CALL_ID, ALICE, DIGITS, 200]) | JSON_VALUES,
)


def read_object(document: object) -> Reading:
    """Read an object from JSON."""
    return read(json.dumps(document).encode())


def spoken(name: str) -> dict[str, Any]:
    """Return a command's documented body."""
    return {"call_control": name, "request_id": CALL_ID, **FIELDS[name]}


@pytest.mark.parametrize("name", CommandName)
@pytest.mark.parametrize("envelope", Envelope)
def test_every_command_is_read_in_either_envelope(name: CommandName, envelope: Envelope) -> None:
    """A bare object and one inside ``content`` say the same, and the envelope is remembered."""
    body = spoken(name)
    reading = read_object({"content": body} if envelope is Envelope.CONTENT else body)
    assert reading.envelope is envelope
    assert type(reading.body) is COMMAND_MODELS[name]
    assert command_fields(reading.body) == body


@pytest.mark.parametrize("key", ["call_control", "call-control"])
@pytest.mark.parametrize("value", ["un_mute", "un-mute", "unmute"])
def test_un_mute_is_read_in_all_its_spellings(key: str, value: str) -> None:
    """The key and the value stand with a hyphen or an underscore, and ``unmute`` with neither."""
    reading = read_object({key: value, "request_id": CALL_ID})
    assert getattr(reading.body, "call_control", None) is CommandName.UN_MUTE


@pytest.mark.parametrize("name", CommandName)
def test_every_command_is_read_under_the_key_with_a_hyphen(name: CommandName) -> None:
    """``call-control`` is as good a key as ``call_control``, for every command."""
    reading = read_object({"call-control": name, "request_id": CALL_ID, **FIELDS[name]})
    assert type(reading.body) is COMMAND_MODELS[name]


def test_unknown_extra_fields_are_ignored() -> None:
    """A field that the command does not have changes nothing, whatever is in it."""
    extra = {"priority": [1, {"a": None}], "digits": 7, "endpoint": "nonsense"}
    assert read_object({**spoken("hold"), **extra}) == read_object(spoken("hold"))


def test_extra_fields_beside_the_content_are_ignored() -> None:
    """What stands beside ``content`` is not part of the command."""
    reading = read_object({"content": spoken("hold"), "trace": 1, "request_id": "other"})
    assert reading == Reading(Envelope.CONTENT, Hold(request_id=CALL_ID))


def test_a_bare_command_may_have_an_extra_field_named_content() -> None:
    """An object that names a command itself is bare, even with a ``content`` in it."""
    reading = read_object({**spoken("hold"), "content": spoken("mute")})
    assert reading.envelope is Envelope.BARE
    assert getattr(reading.body, "call_control", None) is CommandName.HOLD


def test_only_one_envelope_is_opened() -> None:
    """``content`` inside ``content`` is not the document's envelope."""
    reading = read_object({"content": {"content": spoken("hold")}})
    assert reading == Reading(Envelope.CONTENT, Malformed("call_control", "missing"))


def test_of_duplicate_keys_the_last_counts() -> None:
    """As in every common JSON reader, so that nobody is told two different things."""
    body = b'{"call_control":"mute","call_control":"hold","request_id":"a","request_id":"b"}'
    assert read(body).body == Hold(request_id="b")


def test_white_space_around_the_object_is_allowed() -> None:
    """JSON allows it."""
    assert read(b'\r\n\t {"call_control": "hold",\n"request_id": "b"} \n').body == (
        Hold(request_id="b")
    )


def test_a_body_may_be_as_long_as_the_contract_says() -> None:
    """64 KiB are read, to the last byte."""
    body = json.dumps(spoken("hold")).encode()
    padded = body + b" " * (MAX_BODY_BYTES - len(body))
    assert MAX_BODY_BYTES == 64 * 1024
    assert read(padded) == read(body)
    assert isinstance(read(padded + b" ").body, Malformed)


@pytest.mark.parametrize(
    "address",
    [
        "tel:+18164388687",
        "TEL:+1-816-438-8687",
        "tel:+1(816)438.8687",
        "tel:+18164388687;ext=12;isub=3",
        "tel:+0",
        "sip:alice@example.com",
        "sips:alice@example.com:5061;transport=tls?subject=x",
        "SIP:10.0.0.1",
        "sip:[2001:db8::1]:5060",
        "sip:+18164388687@gw.example.com;user=phone",
        "sip:alice%20b;day=tue?x@example.com.",
        "sip:alice@" + "a" * 1014,
    ],
)
def test_addresses_of_every_kind_are_read(address: str) -> None:
    """``tel:`` with a global number and separators, ``sip:`` and ``sips:``, scheme in any case."""
    body = read_object({**spoken("call"), "origin": address, "destination": address}).body
    assert isinstance(body, Call)
    assert (body.origin, body.destination) == (address, address)


@pytest.mark.parametrize("digits", ["0", "0123456789ABCD*#wW", "1" * 64])
def test_digits_of_every_kind_are_read(digits: str) -> None:
    """All DTMF digits, both pauses, and up to 64 of them."""
    body = read_object({**spoken("dial"), "digits": digits}).body
    assert isinstance(body, Dial)
    assert body.digits.get_secret_value() == digits


@given(digits=st.text("0123456789", min_size=8, max_size=64))
def test_digits_do_not_show_in_what_was_read(digits: str) -> None:
    """Neither a repr nor a dump of a command gives the digits away."""
    reading = read_object({**spoken("dial"), "digits": digits})
    assert isinstance(reading.body, Dial)
    assert digits not in f"{reading!r}{reading.body}{reading.body.model_dump_json()}"


@pytest.mark.parametrize(
    "request_id",
    ["x", "a" * 128, "a b.c*d#e%f~!", '"\\/', "." * 78],
)
def test_request_ids_of_every_kind_are_read(request_id: str) -> None:
    """1 to 128 printable ASCII characters, as long as their encoding fits a routing key."""
    body = read_object({**spoken("transfer"), "request_id": request_id}).body
    assert isinstance(body, Transfer)
    assert body.request_id == request_id


@pytest.mark.parametrize("name", ReportName)
@pytest.mark.parametrize("envelope", Envelope)
def test_every_report_is_read(name: ReportName, envelope: Envelope) -> None:
    """The network's reports come through the same door as commands."""
    said = {"network_report": name, "request_id": CALL_ID, "status": 486, "reason": "Busy Here"}
    body = {**said, "action_id": "m1", "gateway": "pbx-1", "origin": ALICE, "destination": BOB}
    reading = read_object({"content": body} if envelope is Envelope.CONTENT else body)
    assert type(reading.body) is REPORT_MODELS[name]
    assert reading.envelope is envelope
    known = reading.body.model_dump()
    assert {key: body[key] for key in known} == known
    assert known.keys() >= {"request_id", "action_id", "status", "reason"}


def test_a_report_has_the_usual_status_where_it_names_none() -> None:
    """Only what the network adds to the usual has to be said."""
    ringing = read_object({"network_report": "ringing", "request_id": CALL_ID}).body
    assert ringing == Ringing(request_id=CALL_ID, action_id=None, status=180, reason=None)
    offer = {"network_report": "offered", "request_id": CALL_ID, "origin": ALICE}
    offered = read_object({**offer, "destination": BOB}).body
    assert offered == Offered(request_id=CALL_ID, origin=ALICE, destination=BOB, status=200)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("tel:+18166623395", "tel:+1-816-662-3395", True),
        ("TEL:+1(816)662.3395", "tel:+18166623395", True),
        ("tel:+18166623395;ext=A", "tel:+1816662-3395;EXT=a", True),
        ("tel:+18166623395", "tel:+18166623396", False),
        ("tel:+18166623395;ext=1", "tel:+18166623395", False),
        ("sip:alice@Example.COM", "SIP:alice@example.com", True),
        ("sip:Alice@example.com", "sip:alice@example.com", False),
        ("sip:alice@example.com", "sips:alice@example.com", False),
        ("sip:+18166623395@example.com", "tel:+18166623395", False),
        ("sip:a.b@example.com", "sip:ab@example.com", False),
    ],
)
def test_endpoints_compare_as_their_standards_say(one: str, other: str, *, same: bool) -> None:
    """Telephone numbers without separators; a SIP user exactly, the rest without case."""
    assert same_endpoint(one, other) is same
    assert same_endpoint(other, one) is same
    assert same_endpoint(one, CAROL) is same_endpoint(CAROL, one)


@given(body=st.binary(max_size=200))
def test_whatever_the_bytes_are_there_is_a_reading(body: bytes) -> None:
    """No bytes can take a worker down."""
    assert isinstance(read(body), Reading)


@given(document=JSON_VALUES | ALMOST_COMMANDS | ALMOST_COMMANDS.map(lambda o: {"content": o}))
def test_whatever_the_json_is_there_is_a_reading(document: object) -> None:
    """No JSON can take a worker down, and what is no command says which field is at fault."""
    reading = read_object(document)
    assert isinstance(reading, Reading)
    if isinstance(reading.body, Malformed):
        assert reading.body.reason == f"Bad Request: {reading.body.field}: {reading.body.problem}"
        assert reading.body.field
        assert reading.body.problem
