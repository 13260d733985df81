"""A violation of the contract is a 400 that names the field, and never quotes what stood in it."""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.contract import CommandName, ReportName
from schemas.wire import MAX_BODY_BYTES, Malformed, read
from tests.unit.builders import ALICE, BOB, CALL_ID, FIELDS

HOLD = '{"call_control": "hold", "request_id": "a"}'

NOT_A_BODY = {
    "nothing": b"",
    "white space": b"  \n",
    "too long": HOLD.encode() + b" " * MAX_BODY_BYTES,
    "not UTF-8": HOLD.replace("a", "\xe9").encode("latin-1"),
    "UTF-16": HOLD.encode("utf-16"),
    "with a byte order mark": b"\xef\xbb\xbf" + HOLD.encode(),
    "not JSON": b"call_control=hold&request_id=a",
    "the document's trailing comma": HOLD.replace("}", ",}").encode(),
    "the document's bare OK": b'{"call_control": "hold", "request_id": "a", "reason": OK}',
    "cut off": HOLD[:-1].encode(),
    "two documents": (HOLD + HOLD).encode(),
    "a list": f"[{HOLD}]".encode(),
    "a string": json.dumps(HOLD).encode(),
    "a number": b"5",
    "null": b"null",
    "NaN": b'{"call_control": "hold", "request_id": "a", "x": NaN}',
    "Infinity": b'{"call_control": "hold", "request_id": "a", "x": -Infinity}',
    "nested too deeply": b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
    "lists nested too deeply": b"[" * MAX_BODY_BYTES,
    "a lone surrogate": b'{"call_control": "hold", "request_id": "\\ud800"}',
    "a lone surrogate in an extra field": HOLD.replace("}", ', "x": "\\udc00"}').encode(),
    "a number too long to be one": b'{"x": ' + b"9" * 60_000 + b"}",
}


@pytest.mark.parametrize("kind", NOT_A_BODY)
def test_what_is_not_a_json_object_is_a_malformed_body(kind: str) -> None:
    """Nobody can be answered, so it only goes to the dead letters."""
    body = read(NOT_A_BODY[kind]).body
    assert isinstance(body, Malformed)
    assert body.field == "body"
    assert body.request_id is None
    assert body.reason.startswith("Bad Request: body: ")


def broken(name: str, **changes: Any) -> dict[str, Any]:
    """Return a command with some fields changed, and those set to ``...`` left out."""
    body = {"call_control": name, "request_id": CALL_ID, **FIELDS[name], **changes}
    return {key: value for key, value in body.items() if value is not ...}


def broken_report(name: str, **changes: Any) -> dict[str, Any]:
    """Return a report with some fields changed, and those set to ``...`` left out."""
    parties = {"origin": ALICE, "destination": BOB}
    body = {"network_report": name, "request_id": CALL_ID, "status": 486, **parties, **changes}
    return {key: value for key, value in body.items() if value is not ...}


BAD_REQUEST_IDS = {
    "missing": ...,
    "null": None,
    "a number": 123,
    "a huge number": 10**400,
    "a huge fraction": 1e308,
    "true": True,
    "a list": [CALL_ID],
    "empty": "",
    "129 characters": "a" * 129,
    "not ASCII": "caf\xe9",
    "with a line feed": "a\n",
    "with a NUL": "\x00",
    "with a DEL": "a\x7f",
    "too many dots for a routing key": "." * 79,
    "128 dots": "." * 128,
}

BAD_ADDRESSES = {
    "missing": ...,
    "null": None,
    "a number": 18166623395,
    "an object": {"tel": "+18166623395"},
    "empty": "",
    "without a scheme": "+18166623395",
    "another scheme": "https://example.com/",
    "a local number": "tel:6623395",
    "a local number with a context": "tel:3395;phone-context=+1816662",
    "a number without digits": "tel:+",
    "a number of separators": "tel:+--",
    "a number with letters": "tel:+1816CALLME",
    "a number with spaces": "tel:+1 816 662 3395",
    "a line feed behind it": "tel:+18166623395\n",
    "other scripts' digits": "tel:+\u0661\u0662\u0663",
    "sip without a host": "sip:",
    "sip with a user and no host": "sip:alice@",
    "sip with a password": "sip:alice:secret@example.com",
    "sip with a password of digits": "sip:alice:1234@example.com",
    "sips with a password": "sips:alice:secret@example.com",
    "sip with a port too long": "sip:alice@example.com:123456",
    "sip with a space": "sip:alice @example.com",
    "too long": "sip:alice@" + "a" * 1015,
    "as long as a body": "tel:+1" + "(" * 60_000,
}

BAD_DIGITS = {
    "missing": ...,
    "null": None,
    "a number": 12345,
    "a list": ["1"],
    "empty": "",
    "65 of them": "1" * 65,
    "a letter beyond D": "5X",
    "lower-case": "1a",
    "a space": "1 2",
    "a line feed behind them": "1\n",
    "other scripts' digits": "\u0661",
}

BAD_NAMES = {
    "null": None,
    "a number": 7,
    "a list": ["hold"],
    "empty": "",
    "unknown": "park",
    "upper-case": "HOLD",
    "with a space": "un mute",
}


def cases() -> list[Any]:
    """Return field, body and the readable request_id, for every way to break each field."""
    found = [
        pytest.param("request_id", broken("hold", request_id=value), None, id=f"request_id-{kind}")
        for kind, value in BAD_REQUEST_IDS.items()
    ]
    found += [
        pytest.param(field, broken(name, **{field: value}), CALL_ID, id=f"{name}-{field}-{kind}")
        for name, field in [
            ("call", "origin"),
            ("call", "destination"),
            *((name, "endpoint") for name in ("transfer", "redirect", "accept", "reject")),
        ]
        for kind, value in BAD_ADDRESSES.items()
    ]
    found += [
        pytest.param("digits", broken("dial", digits=value), CALL_ID, id=f"digits-{kind}")
        for kind, value in BAD_DIGITS.items()
    ]
    found += [
        pytest.param(
            "call_control", broken("hold", call_control=value), CALL_ID, id=f"call_control-{kind}"
        )
        for kind, value in BAD_NAMES.items()
    ]
    return found


@pytest.mark.parametrize(("field", "body", "request_id"), cases())
@pytest.mark.parametrize("in_content", [False, True])
def test_a_broken_field_is_named(
    field: str, body: dict[str, Any], request_id: str | None, *, in_content: bool
) -> None:
    """The 400 says which field, and goes to the call if the body still names one."""
    document = {"content": body} if in_content else body
    malformed = read(json.dumps(document).encode()).body
    assert isinstance(malformed, Malformed)
    assert (malformed.field, malformed.request_id) == (field, request_id)
    assert malformed.reason.startswith(f"Bad Request: {field}: ")
    assert not malformed.is_report


def test_a_body_without_a_command_says_what_is_missing() -> None:
    """Not every object is a command."""
    body = read(b'{"request_id": "123XYZ"}').body
    assert body == Malformed("call_control", "missing", CALL_ID)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("park", "park"),
        ("Un-Mute", "Un-Mute"),
        (["hold"], ""),
        ("x" * 33, ""),
        ("4111 1111", ""),
        ("<b>", ""),
    ],
)
def test_an_unknown_command_is_shown_only_where_it_is_fit_to_be(
    written: object, shown: str
) -> None:
    """The failure event names the command, but is no mirror for whatever was sent."""
    body = read(json.dumps(broken("hold", call_control=written)).encode()).body
    assert isinstance(body, Malformed)
    assert body.call_control == shown


@pytest.mark.parametrize("name", CommandName)
def test_a_malformed_command_still_says_which_command_it_is(name: CommandName) -> None:
    """So that the failure event can name it."""
    written = name.replace("_", "-")
    body = read(json.dumps(broken(name, call_control=written, request_id="")).encode()).body
    assert isinstance(body, Malformed)
    assert body.call_control == name


@pytest.mark.parametrize(
    ("field", "report", "expected"),
    [
        ("request_id", broken_report("done", request_id="." * 128), "printable"),
        ("status", broken_report("done", status=True), "integer"),
        ("status", broken_report("done", status="200"), "integer"),
        ("status", broken_report("done", status=99), "100"),
        ("status", broken_report("done", status=700), "699"),
        ("status", broken_report("done", status=200.5), "integer"),
        ("status", broken_report("failed", status=...), "missing"),
        ("status", broken_report("failed", status=200), "300"),
        ("reason", broken_report("ended", reason="a\r\nb"), "control character"),
        ("reason", broken_report("ended", reason="x" * 257), "256"),
        ("reason", broken_report("ended", reason=5), "256"),
        ("action_id", broken_report("done", action_id=""), "1 to 255"),
        ("action_id", broken_report("done", action_id="x" * 256), "1 to 255"),
        ("action_id", broken_report("done", action_id=5), "1 to 255"),
        ("origin", broken_report("offered", origin=...), "missing"),
        ("destination", broken_report("offered", destination="bob"), "tel:"),
        ("network_report", broken_report("parked"), "offered"),
        ("network_report", broken_report("done", network_report=None), "offered"),
    ],
)
def test_a_broken_field_of_a_report_is_named(
    field: str, report: dict[str, Any], expected: str
) -> None:
    """Nobody waits for an answer to a report, but its dead letter says what was wrong with it."""
    body = read(json.dumps(report).encode()).body
    assert isinstance(body, Malformed)
    assert body.is_report
    assert body.field == field
    assert expected in body.problem


FIELD_NAMES = ["call_control", "request_id", "origin", "destination", "endpoint", "digits"]
REPORT_FIELDS = ["network_report", "request_id", "status", "reason", "action_id", "origin"]


@given(
    name=st.sampled_from(CommandName),
    field=st.sampled_from(FIELD_NAMES),
    # Letters that no description is made of, so that finding them can only mean a leak.
    value=st.text("QXZ79", min_size=6, max_size=200),
    wrap=st.sampled_from([lambda v: v, lambda v: [v], lambda v: {v: v}, lambda v: f"tel:{v}"]),
)
def test_no_reason_quotes_a_commands_field(
    name: CommandName, field: str, value: str, wrap: Any
) -> None:
    """The value may be somebody's PIN in the wrong field."""
    body = read(json.dumps({**broken(name), field: wrap(value)}).encode()).body
    assume(isinstance(body, Malformed))
    assert isinstance(body, Malformed)
    assert value not in body.reason


@given(
    name=st.sampled_from(ReportName),
    field=st.sampled_from(REPORT_FIELDS),
    value=st.text("QXZ79\n", min_size=6, max_size=300) | st.integers(10**6, 10**9),
)
def test_no_reason_quotes_a_reports_field(name: ReportName, field: str, value: str | int) -> None:
    """Neither in a report."""
    body = read(json.dumps({**broken_report(name), field: value}).encode()).body
    assume(isinstance(body, Malformed))
    assert isinstance(body, Malformed)
    assert str(value) not in body.reason


@given(digits=st.text("0123456789", min_size=8, max_size=64), junk=st.text("XYZ ", min_size=1))
def test_no_part_of_a_malformed_command_shows_its_digits(digits: str, junk: str) -> None:
    """Whichever field is at fault, what is kept of the command has no digits in it."""
    for changes in ({"digits": digits + junk}, {"digits": digits, "request_id": ""}):
        body = read(json.dumps(broken("dial", **changes)).encode()).body
        assert isinstance(body, Malformed)
        assert digits not in repr(body)
        assert digits not in body.reason
