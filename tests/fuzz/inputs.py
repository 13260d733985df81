"""Bodies and properties that try to break the reader, as Hypothesis strategies."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from schemas.contract import CommandName, ReportName
from schemas.wire import MAX_BODY_BYTES
from tests.frames import properties, short_string, table
from tests.unit.builders import ALICE, BOB, FIELDS

#: Digits that must not come out again; they stand in bodies only where digits belong.
SECRET: Final = "5309817264"  # noqa: S105 - it is to be looked for

_NESTED: Final = b'{"a":' * 10_000 + b"1" + b"}" * 10_000

#: JSON texts that stand where a field's value should.
_ODD: Final = (
    *(b"null", b"true", b"false", b"0", b"-0", b"7", b"200", b"1.5", b"1e308", b"1e999", b"-1e999"),
    *(
        b'""',
        b'" "',
        b'"\\u0000"',
        b'"\\ud83d\\ude00"',
        b'"tel:911"',
        b'"tel:+1\\n"',
        b'"sip:a:b@c"',
    ),
    *(b"[]", b"{}", b"[[[[]]]]", b'{"a":1,"a":2}', b'{"":{"":""}}', b"[" * 190 + b"]" * 190),
    *(b"9" * 4_300, b"0." + b"9" * 60_000, b"[" + b"1," * 30_000 + b"1]"),
    *(b'"' + b"x" * 60_000 + b'"', b'"' + b"\\" * 60_000 + b'"', b'"' + b"\\u0041" * 10_000 + b'"'),
    *(b'"tel:+1' + b"(" * 60_000 + b'"', b'"tel:+1' + b";a=b" * 15_000 + b'!"'),
    *(b'"sip:' + b"a" * 60_000 + b'"', b'"sip:a@' + b"a." * 30_000 + b'!"'),
    *(b'"sip:a' + b";a=a" * 15_000 + b'!"', b'"sip:a@a?' + b"?" * 60_000 + b'\\n"'),
)

#: What only looks like JSON, or is too much of it.
_NOT_JSON: Final = (
    *(b"NaN", b"Infinity", b"-Infinity", b"01", b"0x7", b"+1", b".5", b"1_000", b"[1,]", b"{,}"),
    *(b"''", b"OK", b'"\\ud800"', b'"\\udfff\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"'),
    *(b'"\x00"', b'"\n"', b'"\\x"', b'\xef\xbb\xbf""', b"9" * 4_301, b"-" + b"9" * 60_000),
    *(b"[" * 60_000, b"[" * 250 + b"]" * 250, _NESTED),
)

_CHANCES: Final = st.sampled_from([1, 2, 3, 0])
_T = TypeVar("_T")


@st.composite
def _mostly(draw: st.DrawFn, usual: st.SearchStrategy[_T], seldom: st.SearchStrategy[_T]) -> _T:
    """Draw three times in four what is usual; ``|`` takes all its sides alike."""
    return draw(usual if draw(_CHANCES) else seldom)


#: More of them dial, because of the digits.
_NAMES: Final = (*CommandName, "unmute", "un-mute", *["dial"] * 5)
_ODD_NAMES: Final = ("", "park", "HOLD", "dial ", "call_control", "<b>", "x" * 200, "__init__")
_KEYS: Final = (b'"call_control"', b'"call_control"', b'"call-control"')
_FIELDS: Final = (
    *("request_id", "call_control", "call-control", "network_report", "content", "origin"),
    *("destination", "endpoint", "digits", "action_id", "status", "reason", "__class__"),
)

#: Few, so that calls live through several commands; and some that would lead elsewhere.
_REQUEST_IDS: Final = _mostly(
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from(["a.b", "*", "#", "%2A", "{x}", "call_control.workers", "." * 79])
    | st.text(max_size=140),
)

_ENDINGS: Final = (b"", b"", b" \n", b"x", b"}", b",", b"\x00", b"{}", b" " * MAX_BODY_BYTES)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _object(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"{" + b",".join(key + b":" + value for key, value in pairs) + b"}"


@st.composite
def _command(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    name = draw(st.sampled_from(_NAMES))
    fields = dict(FIELDS["un_mute" if name.startswith("un") else name])
    if "digits" in fields:
        fields["digits"] = draw(st.sampled_from([SECRET, SECRET + "X", SECRET * 7]))
    return [
        (draw(st.sampled_from(_KEYS)), _json(name)),
        (b'"request_id"', _json(draw(_REQUEST_IDS))),
        *((_json(field), _json(value)) for field, value in fields.items()),
    ]


@st.composite
def _report(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    return [
        (b'"network_report"', _json(draw(st.sampled_from(ReportName)))),
        (b'"request_id"', _json(draw(_REQUEST_IDS))),
        (b'"status"', _json(draw(st.sampled_from([180, 200, 300, 486, 487, 699])))),
        (b'"origin"', _json(ALICE)),
        (b'"destination"', _json(BOB)),
    ]


_VALUES: Final = _mostly(
    st.sampled_from(_ODD)
    | st.sampled_from([*_NAMES, *_ODD_NAMES]).map(_json)
    | st.text(max_size=40).map(_json)
    | st.integers().map(_json),
    st.sampled_from(_NOT_JSON),
)


_PAIRS: Final = _mostly(_command(), _report())
_CHANGES: Final = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3])
_CHANGE: Final = st.sampled_from(["drop", "value", "value", "name", "again", "add"])
_FIELD: Final = st.sampled_from(_FIELDS).map(_json)
_WRAPPING: Final = st.sampled_from(
    [
        "",
        "",
        "",
        "",
        "",
        "content",
        "content",
        "content",
        "twice",
        "list",
        "beside",
        "text",
        "hidden",
    ]
)
_PLACE: Final = st.integers(0, 20)


def _changed(draw: st.DrawFn, pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Take a field away, give it another value, another name, or a second value, or add one."""
    pairs = list(pairs)
    change = draw(_CHANGE)
    place = draw(_PLACE) % (len(pairs) or 1)
    if change == "add" or not pairs:
        pairs.insert(place, (draw(_FIELD), draw(_VALUES)))
        return pairs
    key, value = pairs[place]
    if change == "drop":
        del pairs[place]
    elif change == "value":
        pairs[place] = (key, draw(_VALUES))
    elif change == "name" and SECRET.encode() not in value:
        pairs[place] = (draw(_FIELD), value)
    elif change == "again":
        pairs.insert(draw(_PLACE), (key, draw(_VALUES)))
    return pairs


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    pairs = draw(_PAIRS)
    for _ in range(draw(_CHANGES)):
        pairs = _changed(draw, pairs)
    body = _object(pairs)
    wrapping = draw(_WRAPPING)
    if wrapping in {"content", "twice"}:
        body = _object([(b'"content"', body)])
    if wrapping == "twice":
        body = _object([(b'"content"', body)])
    if wrapping == "hidden":
        body = _object([(b'"content"', body), (b'"content"', draw(_VALUES))])
    if wrapping == "list":
        body = b"[" + body + b"]"
    if wrapping == "beside":
        body = _object([(b'"content"', body), *pairs])
    if wrapping == "text":
        body = _json(body.decode(errors="replace"))
    return body


_DOCUMENTS: Final = _documents()
_ENDING: Final = st.sampled_from(_ENDINGS)
_JUNK: Final = st.binary(max_size=8)
_SKIP: Final = st.sampled_from([0, 0, 1, 5, MAX_BODY_BYTES])


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """Cut a document off, or put bytes into it."""
    body = draw(_DOCUMENTS)
    place = draw(st.integers(0, len(body)))
    return body[:place] + draw(_JUNK) + body[place + draw(_SKIP) :]


BODIES: Final[st.SearchStrategy[bytes]] = _mostly(
    _DOCUMENTS,
    _damaged()
    | st.tuples(_DOCUMENTS, _ENDING).map(b"".join)
    | st.sampled_from([*_ODD, *_NOT_JSON])
    | st.binary(max_size=200),
)

_STRINGS: Final = (
    st.sampled_from(
        [
            *(b"", b"a", b"a\xff", b"\xed\xa0\x80", "\u00e9".encode(), b"\x00", b"x" * 255),
            *(b"\xff" * 255, b"amq.rabbitmq.reply-to.x", b"call_control.dead_letters", b"a.b.*.#"),
        ]
    )
    | st.binary(max_size=255)
).map(short_string)

_HEADER_VALUES: Final = st.sampled_from(
    [
        *(b"V", b"t\1", b"b\xff", b"I\xff\xff\xff\xff", b"l" + b"\xff" * 8, b"D\xff" + b"\xff" * 4),
        *(
            b"T" + b"\xff" * 8,
            b"T" + bytes(8),
            b"d" + struct.pack(">d", 1e308),
            b"x" + table(b"\0"),
        ),
        *(b"S" + table(b"\xff"), b"S" + table(b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")),
        *(b"A" + table(b"V" * 6_000), b"F" + table(b"\x01aF" + table(b"\x01\xffV"))),
    ]
)
#: RabbitMQ passes on only one header of a name, so no two here have the same.
_HEADERS: Final = st.dictionaries(
    st.sampled_from([b"traceparent", b"a", b"\xff", b"", b"n" * 255]).map(short_string),
    _HEADER_VALUES,
    max_size=3,
).map(lambda fields: table(b"".join(name + value for name, value in fields.items())))

_OPTIONAL: Final[dict[str, st.SearchStrategy[bytes]]] = {
    "content_type": _STRINGS,
    "correlation_id": _STRINGS,
    "reply_to": _STRINGS,
    "message_type": _STRINGS,
    "app_id": _STRINGS,
    "headers": _HEADERS,
    "timestamp": st.binary(min_size=8, max_size=8),
}


@dataclass(frozen=True, slots=True)
class Input:
    """A message as a producer may send it.

    Attributes:
        body: Its body.
        encoded: Its properties but the ``message_id``, as they go over the wire.
        identified: What follows the number that begins its ``message_id``; None for no id.
    """

    body: bytes
    encoded: Mapping[str, bytes]
    identified: bytes | None

    def properties(self, number: int) -> bytes:
        """Return its properties, flags first; the number makes its id its own."""
        encoded = dict(self.encoded)
        if self.identified is not None:
            encoded["message_id"] = short_string(b"m-%d" % number + self.identified)
        return properties(encoded)


_PRESENT: Final = st.sampled_from(
    [(), (), (), (), *((name,) for name in _OPTIONAL), tuple(_OPTIONAL)]
)
_IDENTIFIED: Final = st.sampled_from([b"", b"", b"", b"", b"\xff", None])


@st.composite
def inputs(draw: st.DrawFn) -> Input:
    """Draw a message."""
    encoded = {name: draw(_OPTIONAL[name]) for name in draw(_PRESENT)}
    return Input(draw(BODIES), encoded, draw(_IDENTIFIED))
