"""Calls and records as fields of a hash: nothing is lost, no digits are kept, little is used."""

import re
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contract import CommandName, EventName
from schemas.events import Envelope, Event, Request
from schemas.fields import GATEWAY_PATTERN
from tests.unit.builders import CALL_ID, after, command, loaded, report, stored
from worker.core.call import Call, Pending, State
from worker.core.messages import Message
from worker.core.transitions import decide
from worker.gateways.loopback import decide_and_grant
from worker.store.codec import (
    CALL_FIELDS,
    RECORD_PREFIX,
    Record,
    decode_call,
    decode_history,
    decode_record,
    encode_call,
    encode_record,
    record_field,
)

#: Now, in milliseconds, as a record holds it.
AT: Final = 1_760_000_000_000

REDIS_CONF: Final = Path(__file__).parents[2] / "deploy" / "redis" / "redis.conf"

#: The longest value of a hash that stays small, with the Redis configuration that is shipped.
LISTPACK_VALUE: Final = int(
    re.findall(r"^hash-max-listpack-value (\d+)$", REDIS_CONF.read_text(), re.MULTILINE)[0]
)

WORDS = st.text(min_size=1, max_size=20)
MAYBE = st.none() | WORDS
#: Telephone numbers too, and what only looks like one.
ADDRESSES = MAYBE | st.from_regex(r"tel:\+[0-9]{1,17}", fullmatch=True)
REQUESTS = st.builds(
    Request,
    id=WORDS,
    call_control=st.none() | st.sampled_from([name.value for name in CommandName]),
    envelope=st.sampled_from(Envelope),
    correlation_id=MAYBE,
    reply_to=MAYBE,
    traceparent=MAYBE,
)
PENDING = st.builds(
    Pending,
    request=REQUESTS,
    command=st.sampled_from(CommandName),
    event=st.sampled_from(EventName),
    endpoint=MAYBE,
    began=st.booleans(),
)
CALLS = st.builds(
    Call,
    request_id=st.just(CALL_ID),
    state=st.sampled_from(State),
    held=st.booleans(),
    muted=st.booleans(),
    incoming=st.booleans(),
    origin=ADDRESSES,
    destination=ADDRESSES,
    sequence=st.integers(0, 10**9),
    pending=st.none() | PENDING,
    gateway=st.none() | st.from_regex(GATEWAY_PATTERN, fullmatch=True),
)


@st.composite
def records(draw: st.DrawFn) -> tuple[Record, Request]:
    """Draw a record as messages leave it, and what is known of its message."""
    request = draw(REQUESTS)
    call = draw(CALLS)
    others = st.none() | st.just(request) | REQUESTS
    count = draw(st.integers(0, 3))
    first = draw(st.integers(1, 10**6))
    events = []
    for ordinal in range(count):
        parties = draw(st.none() | st.tuples(WORDS, WORDS))
        events.append(
            Event(
                name=draw(st.sampled_from(EventName)),
                request_id=CALL_ID,
                sequence=first + ordinal,
                status=draw(st.sampled_from([180, 200, 299, 409, 481, 603, 699])),
                reason=draw(st.sampled_from(["OK", "Call Has Ended", ""]) | WORDS),
                call_state=draw(st.sampled_from([state.value for state in State])),
                terminal=draw(st.booleans()),
                cause=request.id,
                ordinal=ordinal,
                answers=draw(others),
                origin=parties[0] if parties else None,
                destination=parties[1] if parties else None,
                gateway=call.gateway,
            )
        )
    if events:
        call = call._replace(sequence=events[-1].sequence)
    elif call.pending is None and call.gateway is None:
        # One without events knows the call's sequence only where the network is another's.
        call = call._replace(sequence=0)
    return Record(draw(st.integers(0, 2**53)), draw(WORDS), call, tuple(events)), request


@given(call=CALLS, version=st.integers(1, 10**9))
def test_a_call_comes_back_as_it_went(call: Call, version: int) -> None:
    """Every attribute, whatever waits, and the version."""
    assert decode_call(CALL_ID, stored(call, version)) == (call, version)


@given(before=CALLS, call=CALLS)
def test_what_has_changed_makes_the_call_of_what_was_there(before: Call, call: Call) -> None:
    """Nothing else is written, and nothing is missing then."""
    written = encode_call(call, 2, before)
    there = encode_call(before, 1)
    assert decode_call(CALL_ID, loaded({**there, **written})) == (call, 2)
    assert all(there.get(name, "") != value for name, value in written.items())


@given(pair=records())
def test_a_record_comes_back_as_it_went(pair: tuple[Record, Request]) -> None:
    """So that the same events can be published again, with the same ids."""
    record, request = pair
    assert decode_record(encode_record(record, request), CALL_ID, request) == record


@given(pairs=st.lists(records(), max_size=5, unique_by=lambda pair: pair[1].id))
def test_a_history_tells_the_records_in_order(pairs: list[tuple[Record, Request]]) -> None:
    """Records only, the oldest first, each under the id of its message."""
    fields = {name.encode(): b"no record" for name in CALL_FIELDS}
    for record, request in pairs:
        fields[record_field(request.id).encode()] = encode_record(record, request)
    history = decode_history(CALL_ID, fields)
    assert sorted(id_ for id_, _ in history) == sorted(request.id for _, request in pairs)
    firsts = [r.events[0].sequence for _, r in history if r.events]
    assert firsts == sorted(firsts)


def test_a_command_that_waits_stands_in_a_history_where_it_was_asked() -> None:
    """Behind the events that there were, and before those that came afterwards."""
    call, fields = Call(CALL_ID), {}
    messages = [
        command("hold", "m1"),
        command("call", "m2"),
        command("hold", "m3"),
        report("answered", "m2", message_id="r1"),
    ]
    for message in messages:
        decision = decide(call, message)
        call = decision.call
        record = Record(AT, message.kind, call, decision.events)
        fields[record_field(message.request.id).encode()] = encode_record(record, message.request)
    history = decode_history(CALL_ID, dict(reversed(fields.items())))
    assert [id_ for id_, _ in history] == ["m1", "m2", "m3", "r1"]


def test_what_is_not_stored_is_a_call_that_never_was() -> None:
    """Version 0 is the version of nothing."""
    assert decode_call(CALL_ID, [None] * len(CALL_FIELDS)) == (Call(CALL_ID), 0)


def test_every_field_of_a_call_is_loaded() -> None:
    """What is written under a name that nobody asks for would be lost."""
    assert tuple(encode_call(Call(CALL_ID, gateway="pbx-1"), 1)) == CALL_FIELDS


@given(digits=st.text("0123456789", min_size=16, max_size=64))
def test_digits_are_in_no_stored_value(digits: str) -> None:
    """Neither while the network sends them, nor when it has."""
    dial = command("dial", "m2", digits=digits)
    for decider in (decide, decide_and_grant):
        decision = decider(after(command("call")), dial)
        record = encode_record(Record(AT, "dial", decision.call, decision.events), dial.request)
        assert digits.encode() not in b"".join(filter(None, stored(decision.call)))
        assert digits.encode() not in record
    assert decide(after(command("call")), dial).actions[0].digits is not None


def value_of(message: Message, call: Call) -> bytes:
    """Return the record of a message that the network grants."""
    decision = decide_and_grant(call, message)
    assert decision.events[-1].status == 200
    name = message.request.call_control or ""
    return encode_record(Record(AT, name, decision.call, decision.events), message.request)


#: The shortest way to a state in which the network is asked for each of these.
SHORT_WAYS: Final = {
    "call": [],
    "hold": [command("call")],
    "retrieve": [command("call"), command("hold")],
    "mute": [command("call")],
    "un_mute": [command("call"), command("mute")],
    "dial": [command("call")],
    "disconnect": [command("call")],
    "accept": [report("offered")],
    "reject": [report("offered")],
}


@pytest.mark.parametrize("name", SHORT_WAYS)
def test_an_ordinary_record_fits_a_small_hash(name: str) -> None:
    """A value too long would cost every call with it several times the memory."""
    value = value_of(command(name), after(*SHORT_WAYS[name]))
    assert len(value) <= LISTPACK_VALUE, value


def test_the_fields_of_a_call_fit_a_small_hash_while_nothing_waits() -> None:
    """Their names too."""
    call = after(report("offered"), command("accept"))._replace(held=True, muted=True)
    assert all(len(value or b"") <= LISTPACK_VALUE for value in stored(call, 10**6))


def test_a_record_stands_under_its_messages_id() -> None:
    """Apart from the call's own fields, even for a message that is named like one."""
    assert record_field("m1") == "#m1"
    assert record_field("state") not in CALL_FIELDS
    assert record_field("x" * 128) == "#" + "x" * 128


def test_a_long_id_is_kept_as_a_digest() -> None:
    """No producer can make a call's hash expensive; two long ids stay two."""
    one, other = record_field("x" * 255), record_field("x" * 254 + "y")
    assert len(one) == len(other) == len(RECORD_PREFIX) + 32
    assert one != other
