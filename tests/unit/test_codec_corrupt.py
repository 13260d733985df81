"""What was not written by the codec is read as such, or not at all."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Request
from tests.unit.builders import CALL_ID, asked, command, stored
from worker.errors import CorruptCall
from worker.store.codec import (
    CALL_FIELDS,
    Record,
    decode_call,
    decode_record,
)

WORDS = st.text(min_size=1, max_size=20)

#: What ``encode_call`` never wrote, by field.
FOREIGN_FIELDS: Final[list[tuple[str, bytes]]] = [
    ("version", b"one"),
    ("version", b""),
    ("state", b""),
    ("state", b"parked"),
    ("state", b"connected parked"),
    ("state", b"connected sequence"),
    ("state", b"connected "),
    ("state", b"\xff"),
    ("sequence", b"1.5"),
    ("origin", b"\xff\xfe"),
    ("destination", b"\xff"),
    ("pending", b"{"),
    ("pending", b"[]"),
    ("pending", b"5"),
    ("pending", b'"text"'),
    ("pending", b"{}"),
]


@pytest.mark.parametrize(("name", "value"), FOREIGN_FIELDS)
def test_a_foreign_field_is_a_corrupt_call(name: str, value: bytes) -> None:
    """The commands of this call are dead-lettered; the worker and all other calls go on."""
    values = stored(asked(command("call")))
    values[CALL_FIELDS.index(name)] = value
    with pytest.raises(CorruptCall, match=CALL_ID):
        decode_call(CALL_ID, values)


def foreign(path: list[str], value: Any) -> bytes:
    """Return a waiting command with something else at a path in it."""
    pending = stored(asked(command("call")))[CALL_FIELDS.index("pending")]
    document = json.loads(pending or b"")
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["command"], "park"),
        (["event"], None),
        (["request"], None),
        (["request"], []),
        (["request"], "text"),
        (["request", "envelope"], "letter"),
        (["request", "more"], 1),
    ],
)
def test_a_foreign_waiting_command_is_a_corrupt_call(path: list[str], value: Any) -> None:
    """Even if only one thing in it is not ours."""
    values = stored(asked(command("call")))
    values[CALL_FIELDS.index("pending")] = foreign(path, value)
    with pytest.raises(CorruptCall):
        decode_call(CALL_ID, values)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"{}",
        b"5",
        b"null",
        b"[]",
        b"[1]",
        b'["now", "hold"]',
        b'[Infinity, "hold"]',
        b'[NaN, "hold"]',
        b'[1, "hold", 5]',
        b'[1, "hold", []]',
        b'[1, "hold", ["connected"]]',
        b'[1, "hold", "connected"]',
        b'[1, "hold", ["parked", null, null]]',
        b'[1, "hold", ["connected parked", null, null]]',
        b'[1, "hold", ["connected sequence", null, null]]',
        b'[1, "hold", [5, null, null]]',
        b'[1, "hold", ["connected", null, null, "text"]]',
        b'[1, "hold", ["connected", null, null, {"command": "hold"}]]',
        b'[1, "hold", ["connected", null, null, null, 5]]',
        b'[1, "hold", ["connected", null, null], 5]',
        b'[1, "hold", ["connected", null, null], []]',
        b'[1, "hold", ["connected", null, null], [1, "call_held"]]',
        b'[1, "hold", ["connected", null, null], [1, "call_parked", 200]]',
        b'[1, "hold", ["connected", null, null], [null, "call_held", 200]]',
        b'[1, "hold", ["connected", null, null], [1, "call_held", "OK"]]',
        b'[1, "hold", ["connected", null, null], [1, "call_held", []]]',
        b'[1, "hold", ["connected", null, null], [1, "call_held", 200, 5]]',
        b'[1, "hold", ["connected", null, null], [1, "call_held", 200, "text"]]',
        b'[1, "hold", ["connected", null, null], [1, "call_held", 200, ["list"]]]',
        b'[1, "hold", ["connected", null, null], [1, "call_held", 200, {"answers": 5}]]',
        b'[1, "hold", ["connected", null, null], [1, "call_held", 200, {"answers": {"x": 1}}]]',
        b'[1, "hold", 1, null]',
        b'[1, "park", 1, null, null]',
        b"[1, [], 1, null, null]",
        b'[1, "hold", null, null, null]',
        b'[1, "hold", "first", null, null]',
        b'[1, "hold", 1, null, null, "parked"]',
        b'[1, "hold", 1, null, null, 5]',
    ],
)
def test_a_foreign_record_is_a_corrupt_call(value: bytes) -> None:
    """Whatever somebody has written there, it is named as what it is."""
    with pytest.raises(CorruptCall, match=CALL_ID):
        decode_record(value, CALL_ID, Request("m1"))


@given(
    value=st.binary(max_size=40)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(WORDS, inner, max_size=2),
        max_leaves=12,
    ).map(lambda document: json.dumps(document).encode())
)
def test_whatever_a_record_is_it_is_read_or_corrupt(value: bytes) -> None:
    """Nothing else can come of it."""
    try:
        record = decode_record(value, CALL_ID, Request("m1"))
    except CorruptCall:
        return
    assert isinstance(record, Record)
