"""The JSON Schemas say what the reader takes and what the worker writes, and nothing else."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from schemas.contract import CommandName, EventName, EventNames, ReportName
from schemas.events import Envelope, Event, Request
from schemas.fields import routing_word
from schemas.wire import Malformed, read, write_body
from tests.unit.builders import ALICE, BOB, CALL_ID, CAROL, command, report
from worker.core.call import Call
from worker.core.messages import Message
from worker.core.transitions import decide, refuse
from worker.gateways.loopback import decide_and_grant
from worker.reference.files import JSON_SCHEMAS


def _pattern(
    _validator: Validator, pattern: str, instance: object, _schema: object
) -> Iterator[ValidationError]:
    # In ECMA-262, whose patterns these are, $ does not match before a final line break.
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Final = extend(  # type: ignore[no-untyped-call]  # the stubs leave it out
    Draft202012Validator, {"pattern": _pattern}
)

SCHEMAS: Final[dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(JSON_SCHEMAS.glob("*.json"))
}
VALIDATORS: Final[dict[str, Validator]] = {
    name: _Validator(schema) for name, schema in SCHEMAS.items()
}


def takes(name: str, body: Any) -> bool:
    """Tell whether a schema takes a body."""
    return VALIDATORS[name].is_valid(body)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_and_its_examples_are_as_it_says(name: str) -> None:
    """By somebody else's validator, as everybody's own will be."""
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMAS[name]["examples"]
    for example in SCHEMAS[name]["examples"]:
        Draft202012Validator(SCHEMAS[name]).validate(example)
        assert takes(name, example)


@pytest.mark.parametrize("name", [*CommandName, *ReportName])
def test_what_a_schema_lets_write_is_read(name: CommandName | ReportName) -> None:
    """And what lacks something, or has too much, is not to be written."""
    file = f"{'command' if isinstance(name, CommandName) else 'report'}.{name}"
    schema = SCHEMAS[file]
    for example in schema["examples"]:
        reading = read(json.dumps(example).encode())
        assert reading.body.request_id == example["request_id"]
        assert takes("incoming", example)
        assert not takes(file, {**example, "priority": 1})
        for field in schema["required"]:
            assert not takes(file, {key: example[key] for key in example if key != field})


KEYS: Final = ("call_control", "call-control", "network_report")
SPELLINGS: Final = (
    *(*CommandName, *ReportName),
    *("un-mute", "unmute", "un--mute", "un_-mute", "Hold", "call-connected", "call_control", ""),
)
ODD: Final[tuple[Any, ...]] = (
    *(None, True, 0, 1, 99, 100, 180, 200, 299, 300, 699, 700, -1, 7.5, 1e300, 10**30),
    *([], {}, ["x"], {"x": 1}, "", " ", "x", "\n", "\t", "OK", "é", "a\n", "%", "a.b*c#d"),
    *("a" * 128, "a" * 129, "." * 78, "." * 79, "x" * 255, "x" * 256, "x" * 257, "a\x1fb", "\x7f"),
    *(ALICE, f"{ALICE}\n", "tel:911", "tel:+1-816(438)8687;ext=1", "TEL:+1", "tel:+1;", "tel:+"),
    *("sip:a@b.c", "sip:a:b@c", "sips:[::1]:5061", "Sip:x;y=z?a=b", "sip:", "sip:a b@c"),
    *("sip:a@" + "b" * 1018, "sip:a@" + "b" * 1019),
    *("12345#", "0123456789ABCD*#wW", "1" * 64, "1" * 65, "12 3", "e", "d", "1\n"),
)
GOOD: Final[dict[str, Any]] = {
    "request_id": CALL_ID,
    "origin": ALICE,
    "destination": BOB,
    "endpoint": CAROL,
    "digits": "12345#",
    "status": 486,
    "reason": "Busy Here",
    "action_id": "m1",
}


@pytest.mark.parametrize("field", [*GOOD, "content", *KEYS])
@pytest.mark.parametrize("name", [*CommandName, *ReportName])
def test_the_schema_of_what_is_read_draws_each_line_where_the_reader_does(
    name: CommandName | ReportName, field: str
) -> None:
    """With each field wrong in turn, in every way, or missing."""
    key = "call_control" if isinstance(name, CommandName) else "network_report"
    body = {key: name.value, **GOOD}
    for value in (*ODD, *SPELLINGS):
        compare({**body, field: value})
    compare({other: body[other] for other in body if other != field})


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """Return an object that is a command or a report, or not far from one."""
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=2))
    body = {key: draw(st.sampled_from(SPELLINGS)) for key in keys} | GOOD
    for key in draw(st.lists(st.sampled_from([*GOOD, *KEYS, "content", "more"]), max_size=2)):
        body[key] = draw(st.sampled_from(ODD))
    for key in draw(st.lists(st.sampled_from(list(GOOD)), max_size=1)):
        del body[key]
    return body


DOCUMENTS: Final = (
    objects()
    | (objects() | st.sampled_from(ODD)).map(lambda body: {"content": body})
    | st.tuples(objects(), objects()).map(lambda pair: {**pair[0], "content": pair[1]})
)


@settings(deadline=None, max_examples=600)
@given(document=DOCUMENTS)
def test_the_schema_of_what_is_read_takes_what_the_reader_takes(document: dict[str, Any]) -> None:
    """Whatever envelope there is, however much is wrong at once."""
    compare(document)


def compare(document: dict[str, Any]) -> None:
    """Have the reader and the schema judge a document."""
    body = read(json.dumps(document).encode()).body
    if not (isinstance(body, Malformed) and unsaid(body, document)):
        assert takes("incoming", document) is not isinstance(body, Malformed), document


def unsaid(body: Malformed, document: Any) -> bool:
    """Tell whether a body is malformed in what no schema can say: the routing key's length."""
    inner = document["content"] if isinstance(document.get("content"), dict) else document
    return body.field == "request_id" and any(
        len(routing_word(each["request_id"])) > 235
        for each in (document, inner)
        if isinstance(each.get("request_id"), str)
    )


def test_what_a_schema_cannot_say_is_what_it_says_it_cannot() -> None:
    """Three things, and the schema names them."""
    hold = {"call_control": "hold", "request_id": CALL_ID}
    ended = {"network_report": "ended", "request_id": CALL_ID}
    for body in (
        {**hold, "more": "x" * 64 * 1024},
        {**hold, "request_id": "." * 79},
        {**ended, "status": 200.0},
    ):
        assert takes("incoming", body)
        assert isinstance(read(json.dumps(body).encode()).body, Malformed)
    said = SCHEMAS["incoming"]["description"]
    assert all(word in said for word in ("65536 bytes", "request_id", "fraction"))


MESSAGES: Final = (
    st.sampled_from(CommandName).map(lambda name: command(name, "c1"))
    | st.builds(command, st.sampled_from(["accept", "reject"]), endpoint=st.just(CAROL))
    | st.builds(
        report,
        st.sampled_from(ReportName),
        action_id=st.sampled_from([None, "m0", "m1", "m2"]),
        status=st.integers(300, 699),
        reason=st.none() | st.text(st.characters(min_codepoint=32, codec="utf-8"), max_size=256),
    )
    | st.sampled_from(["hold", "nonsense", ""]).map(
        lambda name: Message(
            Request("bad", call_control=name),
            Malformed("endpoint", "missing", CALL_ID, name),
        )
    )
)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), instant=st.booleans(), envelope=st.sampled_from(Envelope))
def test_every_event_that_can_be_published_is_as_its_schema_says(
    data: st.DataObject, *, instant: bool, envelope: Envelope
) -> None:
    """Whatever is said to a call, on a network that answers at once or when it likes."""
    call = Call(CALL_ID)
    for number, message in enumerate(data.draw(st.lists(MESSAGES, max_size=8))):
        is_report = message.request.call_control is None
        asked = Request(
            f"m{number}",
            call_control=message.request.call_control,
            envelope=Envelope.BARE if is_report else envelope,
        )
        said = Message(asked, message.body)
        decision = (decide_and_grant if instant else decide)(call, said)
        if data.draw(st.integers(0, 9)) == 0 and not is_report:
            decision = refuse(call, said, 500, "Internal Error: ValueError")
        for event in decision.events:
            check(event)
        call = decision.call


def check(event: Event) -> None:
    """Check an event's body, under either name."""
    for names in EventNames:
        check_body(event.name, json.loads(write_body(event, names)))


def check_body(name: EventName, body: Any) -> None:
    """Check that an event's schema takes its body, and nothing less or more than it."""
    schema = f"event.{name}"
    VALIDATORS[schema].validate(body)
    inner = body.get("content", body)
    wrong = [{key: inner[key] for key in inner if key != field} for field in inner]
    wrong.append({**inner, "more": 1})
    if name is EventName.CALL_CONTROL_FAILED and inner["status"] == 500:
        # What no command asked for names none.
        wrong = [each for each in wrong if "call_control" in each]
    for each in wrong:
        assert not takes(schema, {"content": each} if "content" in body else each)


@pytest.mark.parametrize("name", EventName)
def test_an_event_is_exactly_as_its_schema_says(name: EventName) -> None:
    """Bare, and the answers to commands in ``content`` too."""
    answers = name not in {EventName.CALL_OFFERED, EventName.CALL_RINGING}
    for body in SCHEMAS[f"event.{name}"]["examples"]:
        inner = body.get("content", body)
        assert inner["request_id"]
        check_body(name, inner)
        if answers and inner["status"] == 200:
            check_body(name, {"content": inner})
        assert takes(f"event.{name}", {"content": inner}) is answers
