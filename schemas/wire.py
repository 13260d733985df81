"""Bytes to messages, liberally; events to bytes, strictly."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from schemas.actions import ACTION_MODELS, Action
from schemas.commands import COMMAND_MODELS, Command
from schemas.contract import (
    ActionName,
    CommandName,
    EventName,
    EventNames,
    ReportName,
    body_name,
    reason_phrase,
)
from schemas.events import Envelope, Event
from schemas.fields import RequestId, routing_word
from schemas.reports import REPORT_MODELS, Failed, Report

#: The largest body that is read, in bytes.
MAX_BODY_BYTES: Final = 64 * 1024

#: Of the events' headers and bodies; raised when either changes incompatibly.
SCHEMA_VERSION: Final = 1

#: The version of CloudEvents that events keep to, and the head of their ``type``.
CLOUDEVENTS_VERSION: Final = "1.0"
CLOUDEVENTS_TYPE: Final = "call_control"

#: The header for when a command was published, in milliseconds since the epoch; the AMQP property
#: has whole seconds. RabbitMQ can set it, too (its documentation, "Message Interceptors").
TIMESTAMP_HEADER: Final = "timestamp_in_ms"

#: The headers from which a call is restored when its store has lost it.
RECORD_ID_HEADER: Final = "record_id"
RECORD_HEADER: Final = "record"

#: The keys under which a command says what it is; the second is one of the contract's oddities.
COMMAND_KEYS: Final = ("call_control", "call-control")
REPORT_KEY: Final = "network_report"
ACTION_KEY: Final = "action"

#: What is said of an action that comes back because no gateway has taken it.
_NOT_TAKEN: Final = 503

_REQUEST_ID: Final = TypeAdapter(RequestId)
_PRESENTABLE: Final = re.compile(r"[A-Za-z_\-]{1,32}")

_Model = TypeVar("_Model", bound=BaseModel)

#: The commands by what stands under those keys, with underscores for hyphens.
COMMAND_NAMES: Final = {
    **{name.value: name for name in CommandName},
    "unmute": CommandName.UN_MUTE,
}
_REPORT_NAMES: Final = {name.value: name for name in ReportName}
_ACTIONS: Final = tuple(name.value for name in ActionName)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A body that breaks the contract.

    Attributes:
        field: The field at fault, or ``body``.
        problem: What is wrong with it, in words that never quote the value.
        request_id: The call, where it could be read; without it there is nobody to answer.
        call_control: The command as it was written, where it is fit to be shown.
        is_report: Whether it was meant as a network report, which nobody waits for.
    """

    field: str
    problem: str
    request_id: str | None = None
    call_control: str = ""
    is_report: bool = False

    @property
    def reason(self) -> str:
        """Say what is wrong, as the 400 says it."""
        return f"Bad Request: {self.field}: {self.problem}"


class Reading(NamedTuple):
    """What a body says, and the envelope it came in."""

    envelope: Envelope
    body: Command | Report | Malformed


def read(body: bytes) -> Reading:
    """Read a command or a network report; whatever the bytes are, there is an answer.

    The contract's oddities are read here and nowhere else: both envelopes, ``call_control`` and
    ``call-control``, hyphens and underscores alike in its value, ``unmute`` for ``un_mute``.
    """
    if len(body) > MAX_BODY_BYTES:
        problem = f"longer than {MAX_BODY_BYTES} bytes"
        return Reading(Envelope.BARE, Malformed("body", problem))
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError:
        return Reading(Envelope.BARE, Malformed("body", "not a JSON document in UTF-8"))
    if not isinstance(document, dict):
        return Reading(Envelope.BARE, Malformed("body", "not a JSON object"))
    content = document.get("content")
    if isinstance(content, dict) and document.keys().isdisjoint((*COMMAND_KEYS, REPORT_KEY)):
        return Reading(Envelope.CONTENT, _read_object(content))
    return Reading(Envelope.BARE, _read_object(document))


def _read_object(document: Mapping[str, Any]) -> Command | Report | Malformed:
    for key in COMMAND_KEYS:
        if key in document:
            written = document[key]
            spelled = written.replace("-", "_") if isinstance(written, str) else ""
            name = COMMAND_NAMES.get(spelled)
            if name is None:
                return _unknown_name("call_control", CommandName, written, document)
            return _validated(COMMAND_MODELS[name], document, "call_control", name)
    if REPORT_KEY in document:
        written = document[REPORT_KEY]
        report = _REPORT_NAMES.get(written) if isinstance(written, str) else None
        if report is None:
            return _unknown_name(REPORT_KEY, ReportName, written, document)
        return _validated(REPORT_MODELS[report], document, REPORT_KEY, report)
    if document.get(ACTION_KEY) in _ACTIONS and "action_id" in document:
        return _not_taken(document)
    return Malformed("call_control", "missing", _readable_request_id(document))


def _validated(
    model: type[_Model], document: Mapping[str, Any], key: str, name: str
) -> _Model | Malformed:
    try:
        return model.model_validate({**document, key: name})
    except ValidationError as error:
        # Neither the input nor the error's own context may get out: it can hold digits.
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    is_report = key == REPORT_KEY
    return Malformed(
        str(first["loc"][0]),
        _problem(model, first),
        _readable_request_id(document),
        "" if is_report else name,
        is_report,
    )


def read_action(body: bytes) -> Action | Malformed:
    """Read an action, as workers write it; whatever the bytes are, there is an answer."""
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError:
        return Malformed("body", "not a JSON document in UTF-8")
    if not isinstance(document, dict):
        return Malformed("body", "not a JSON object")
    asked = document.get(ACTION_KEY)
    if asked not in _ACTIONS:
        return Malformed(ACTION_KEY, f"expected one of {', '.join(ActionName)}")
    name = ActionName(asked)
    return _validated(ACTION_MODELS[name], document, ACTION_KEY, name)


def _not_taken(action: Mapping[str, Any]) -> Report | Malformed:
    """Read an action that RabbitMQ has sent back, as the report that nobody has made."""
    failed = {
        "request_id": action.get("request_id"),
        "action_id": action.get("action_id"),
        "status": _NOT_TAKEN,
        "reason": f"{reason_phrase(_NOT_TAKEN)}: no gateway took {action[ACTION_KEY]}",
    }
    return _validated(Failed, failed, REPORT_KEY, ReportName.FAILED)


def _problem(model: type[BaseModel], error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "missing"
    return f"expected {model.model_fields[str(error['loc'][0])].description}"


def _unknown_name(
    key: str, names: type[CommandName | ReportName], written: object, document: Mapping[str, Any]
) -> Malformed:
    shown = written if isinstance(written, str) and _PRESENTABLE.fullmatch(written) else ""
    return Malformed(
        key,
        f"expected one of {', '.join(names)}",
        _readable_request_id(document),
        shown,
        is_report=key == REPORT_KEY,
    )


def _readable_request_id(document: Mapping[str, Any]) -> str | None:
    try:
        return _REQUEST_ID.validate_python(document.get("request_id"))
    except ValidationError:
        return None


def write_body(event: Event, names: EventNames) -> bytes:
    """Return an event's body: exactly the documented fields, in their order."""
    body: dict[str, str | int | None] = {
        "event": body_name(event.name, names),
        "request_id": event.request_id,
        "status": event.status,
        "reason": event.reason,
    }
    if event.name is EventName.CALL_CONTROL_FAILED and event.answers is not None:
        body["call_control"] = event.answers.call_control
    if event.name is EventName.CALL_OFFERED:
        body |= {"origin": event.origin, "destination": event.destination}
    if event.answers is not None and event.answers.envelope is Envelope.CONTENT:
        return to_json({"content": body})
    return to_json(body)


def event_headers(
    event: Event, at: int, source: str, record: tuple[str, bytes] | None = None
) -> dict[str, str | int | bool]:
    """Return an event's AMQP headers.

    Among them are the attributes of a CloudEvent in binary mode, with the prefix that survives JMS
    (CloudEvents 1.0.2, "AMQP Protocol Binding", section 3.1.3.1).

    Args:
        event: The event.
        at: When it was decided, in milliseconds since the epoch.
        source: The installation it comes from, as a URI-reference.
        record: What the worker stores of its message, in UTF-8, and before it the id under which it
            does: from that a call can be restored. None where nothing is stored.
    """
    headers: dict[str, str | int | bool] = {
        "request_id": event.request_id,
        "sequence": event.sequence,
        "call_state": event.call_state,
        "terminal": event.terminal,
        "schema_version": SCHEMA_VERSION,
        "cloudEvents_specversion": CLOUDEVENTS_VERSION,
        "cloudEvents_id": event.message_id,
        "cloudEvents_source": source,
        "cloudEvents_type": f"{CLOUDEVENTS_TYPE}.{event.name}",
        "cloudEvents_subject": event.request_id,
        "cloudEvents_time": _time(at),
    }
    if event.gateway is not None:
        headers["gateway"] = event.gateway
    if event.answers is not None:
        headers["call_control"] = event.answers.call_control or ""
        if event.answers.traceparent is not None:
            headers["traceparent"] = event.answers.traceparent
    if record is not None:
        record_id, value = record
        headers |= {RECORD_ID_HEADER: record_id, RECORD_HEADER: value.decode()}
    return headers


@lru_cache(maxsize=16)
def _time(at: int) -> str:
    # A batch's events have one.
    return datetime.fromtimestamp(at / 1000, tz=UTC).isoformat(timespec="milliseconds")


def routing_key(event: Event) -> str:
    """Return ``<canonical event>.<request_id>``, the latter as one word of a topic pattern."""
    return f"{event.name}.{routing_word(event.request_id)}"
