"""What the record of a command holds, and what versions before wrote."""

from typing import Final

import pytest
from pydantic_core import to_json

from schemas.contract import CommandName, EventName
from schemas.events import Request
from tests.unit.builders import CALL_ID, after, command
from tests.unit.test_codec import AT, value_of
from worker.core.call import Call, Pending, State
from worker.store.codec import decode_record


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("tel:+18165057120", b"18165057120"),
        ("tel:+1-816-505-7120", b'"tel:+1-816-505-7120"'),
        ("tel:+08165057120", b'"tel:+08165057120"'),
        ("tel:+1816505712099999", b'"tel:+1816505712099999"'),
        ("TEL:+18165057120", b'"TEL:+18165057120"'),
        ("tel:+18165057120;ext=5", b'"tel:+18165057120;ext=5"'),
        ("sip:18165057120@example.org", b'"sip:18165057120@example.org"'),
    ],
)
def test_a_telephone_number_is_kept_as_a_number_if_it_comes_back_as_it_was(
    address: str, kept: bytes
) -> None:
    """To the character: the addresses of an event are those that its producer wrote."""
    hold = command("hold")
    call = after(command("call"))._replace(destination=address)
    value = value_of(hold, call)
    assert value.endswith(b"," + kept + b"]")
    assert decode_record(value, CALL_ID, hold.request).call.destination == address


@pytest.mark.parametrize(
    ("name", "ways", "value"),
    [
        ("hold", ["call"], b'"hold",2,18164388687,18165057120]'),
        ("mute", ["call", "hold"], b'"mute",3,18164388687,18165057120,"held"]'),
        ("disconnect", ["call", "mute"], b'"disconnect",3,18164388687,18165057120]'),
    ],
)
def test_a_record_holds_no_more_than_the_table_leaves_open(
    name: str, ways: list[str], value: bytes
) -> None:
    """Of a command that was granted, neither its event nor the state that this leaves."""
    assert value_of(command(name), after(*map(command, ways))).endswith(value)


#: A command that waits for the network, as version 0.1.0 wrote it.
WAITING: Final = to_json(
    {
        "request": {
            "id": "m0",
            "call_control": "call",
            "envelope": "bare",
            "correlation_id": None,
            "reply_to": None,
            "traceparent": None,
        },
        "command": "call",
        "event": "call_connected",
        "endpoint": None,
        "began": True,
    }
)

#: Records as version 0.1.0 wrote them, and what they tell of the call.
EARLIER: Final = [
    (
        b'[1760000000000,"hold",["connected held muted","tel:+1","tel:+2"],[7,"call_held",200]]',
        Call(
            CALL_ID, State.CONNECTED, held=True, muted=True, origin="tel:+1", destination="tel:+2"
        ),
    ),
    (
        b'[1760000000000,"hold",["dialing",null,null,%b],[7,"call_control_failed",409]]' % WAITING,
        Call(
            CALL_ID,
            State.DIALING,
            pending=Pending(
                Request("m0", "call"), CommandName.CALL, EventName.CALL_CONNECTED, None, began=True
            ),
        ),
    ),
]


@pytest.mark.parametrize(("value", "call"), EARLIER, ids=["granted", "refused"])
def test_a_record_of_an_earlier_version_is_read(value: bytes, call: Call) -> None:
    """Calls that were up when the workers were upgraded have them, and so has the journal."""
    record = decode_record(value, CALL_ID, Request("m1", "hold"))
    assert record.call == call._replace(sequence=7)
    assert (record.at, record.message, record.events[0].sequence) == (AT, "hold", 7)
