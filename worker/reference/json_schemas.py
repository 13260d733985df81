"""JSON Schemas (2020-12) of every command, report and event, made from the code's own models."""

from itertools import product
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from schemas.actions import ACTION_MODELS
from schemas.commands import COMMAND_MODELS
from schemas.contract import (
    OK,
    OUTCOMES,
    ActionName,
    CommandName,
    EventName,
    EventNames,
    ReportName,
    body_name,
)
from schemas.fields import Address, FailureStatus, Reason, RequestId, Status
from schemas.reports import REPORT_MODELS
from schemas.wire import (
    ACTION_KEY,
    COMMAND_KEYS,
    COMMAND_NAMES,
    MAX_BODY_BYTES,
    REPORT_KEY,
    SCHEMA_VERSION,
)
from worker.reference import examples

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

#: What a schema cannot say, and the reader insists on.
_UNSAID: Final = (
    "A schema cannot say all of it: a body has at most"
    f" {MAX_BODY_BYTES} bytes, a request_id has to fit a routing key (see its description), and a"
    " status is written without a fraction (200, not 200.0)."
)

_UNASKED: Final = {
    EventName.CALL_OFFERED: "The network offers an incoming call.",
    EventName.CALL_RINGING: "The network says that the destination rings.",
    EventName.CALL_TERMINATED: "or the call was ended by the network, with its status and reason.",
}


def schemas() -> dict[str, Schema]:
    """Return every schema, by the name of its file without the ending."""
    found = {
        "incoming": _incoming(),
        **{f"command.{name}": command(name) for name in CommandName},
        **{f"report.{name}": report(name) for name in ReportName},
        **{f"action.{name}": action(name) for name in ActionName},
        **{f"event.{name}": event(name) for name in EventName},
    }
    return {
        name: {"$schema": _DIALECT, "$id": f"urn:call-control:{SCHEMA_VERSION}:{name}", **schema}
        for name, schema in found.items()
    }


def command(name: CommandName) -> Schema:
    """Return the schema of a command as it should be written: bare, in canonical spelling."""
    return _written("call_control", name, COMMAND_MODELS[name], examples.of_command(name))


def report(name: ReportName) -> Schema:
    """Return the schema of a network report as it should be written."""
    return _written(REPORT_KEY, name, REPORT_MODELS[name], examples.of_report(name))


def action(name: ActionName) -> Schema:
    """Return the schema of an action, as workers write it."""
    return _written(ACTION_KEY, name, ACTION_MODELS[name], examples.of_action(name))


def event(name: EventName) -> Schema:
    """Return the schema of an event: exactly what workers write, in either envelope."""
    asked = [row.command for row in OUTCOMES if row.event is name]
    description = f"The answer to {' and '.join(asked)}: it is done, or was so already"
    if name is EventName.CALL_CONTROL_FAILED:
        description, bodies = "The answer to a command that was not done.", _in_both(_failure())
    elif not asked:
        description, bodies = _UNASKED[name], [_network_event(name)]
    elif name in _UNASKED:
        description += f"; {_UNASKED[name]}"
        bodies = [*_in_both(_success(name)), _network_event(name)]
    else:
        description, bodies = f"{description}.", _in_both(_success(name))
    return {
        "title": name.value,
        "description": description,
        **(bodies[0] if len(bodies) == 1 else {"anyOf": bodies}),
        "examples": [examples.body_of(each) for each in examples.of_event(name)],
    }


def _written(key: str, name: str, model: type[BaseModel], bodies: list[dict[str, Any]]) -> Schema:
    fields, required = _fields(model, key)
    return {
        "title": name,
        "description": sentence(model),
        **_object({key: {"const": name}, **fields}, [key, *required]),
        "examples": bodies,
    }


def sentence(model: type[BaseModel]) -> str:
    """Return what a model's docstring says first, without its mark-up."""
    return (model.__doc__ or "").partition("\n")[0].replace("``", "`")


def _fields(model: type[BaseModel], key: str) -> tuple[dict[str, Schema], list[str]]:
    whole = model.model_json_schema()
    fields = {name: _plain(field) for name, field in whole["properties"].items() if name != key}
    return fields, whole["required"]


def _plain(field: Schema) -> Schema:
    """Leave out what says nothing: a title that repeats the name, and that null is the default."""
    return {
        key: value
        for key, value in field.items()
        if key != "title" and (key, value) != ("default", None)
    }


def _object(properties: dict[str, Schema], required: list[str] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


def _in_both(body: Schema) -> list[Schema]:
    return [body, _object({"content": body})]


def _type(annotation: Any) -> Schema:
    return _plain(TypeAdapter(annotation).json_schema())


def _names(name: EventName) -> Schema:
    spelled = dict.fromkeys(body_name(name, names) for names in EventNames)
    return {"enum": list(spelled)} if len(spelled) > 1 else {"const": name.value}


def _success(name: EventName) -> Schema:
    return _object(
        {
            "event": _names(name),
            "request_id": _type(RequestId),
            "status": {"const": OK},
            "reason": {"const": "OK"},
        }
    )


def _network_event(name: EventName) -> Schema:
    (text, _null) = _type(Reason)["anyOf"]
    parties = {each: _type(Address) for each in ("origin", "destination")}
    return _object(
        {
            "event": _names(name),
            "request_id": _type(RequestId),
            "status": _type(Status),
            "reason": {**text, "minLength": 1},
            **(parties if name is EventName.CALL_OFFERED else {}),
        }
    )


def _failure() -> Schema:
    fields = {
        "event": {"const": EventName.CALL_CONTROL_FAILED.value},
        "request_id": _type(RequestId),
        "status": _type(FailureStatus),
        "reason": {"type": "string", "minLength": 1},
    }
    command_name = {
        "type": "string",
        "pattern": r"^[A-Za-z_\-]{0,32}$",
        "description": "the command, as it was written where it is none of the contract's; empty"
        " where that is not fit to be shown; absent from a 500 that no command asked for",
    }
    return {
        **_object({**fields, "call_control": command_name}, list(fields)),
        "if": {"properties": {"status": {"not": {"const": 500}}}},
        "then": {"required": ["call_control"]},
    }


def _incoming() -> Schema:
    keys = [*COMMAND_KEYS, REPORT_KEY]
    names_itself = {"anyOf": [{"required": [key]} for key in keys]}
    named = [_by_command(key) for key in COMMAND_KEYS]
    message: Schema = {
        "required": [REPORT_KEY],
        "oneOf": [_one(REPORT_KEY, {"const": name.value}, f"report.{name}") for name in ReportName],
    }
    for key, alternatives in reversed(list(zip(COMMAND_KEYS, named, strict=True))):
        message = {"if": {"required": [key]}, "then": alternatives, "else": message}
    return {
        "title": "incoming",
        "description": "Everything that workers read: commands and reports, bare or in content,"
        f" in every spelling, whatever other fields there are. {_UNSAID}",
        "type": "object",
        "if": {
            "required": ["content"],
            "properties": {"content": {"type": "object"}},
            "not": names_itself,
        },
        "then": {"properties": {"content": {"$ref": "#/$defs/message"}}},
        "else": {"$ref": "#/$defs/message"},
        "examples": [each.body for each in examples.examples() if each.canonical is not None],
        "$defs": {
            "message": message,
            **{
                f"command.{name}": _read(model, "call_control")
                for name, model in COMMAND_MODELS.items()
            },
            **{f"report.{name}": _read(model, REPORT_KEY) for name, model in REPORT_MODELS.items()},
        },
    }


def _by_command(key: str) -> Schema:
    spellings: dict[CommandName, list[str]] = {name: [] for name in CommandName}
    for spelled, name in COMMAND_NAMES.items():
        parts = spelled.split("_")
        for joints in product("_-", repeat=len(parts) - 1):
            woven = zip(parts, (*joints, ""), strict=True)
            spellings[name].append("".join(part + joint for part, joint in woven))
    return {
        "oneOf": [
            _one(key, {"enum": spelled}, f"command.{name}") for name, spelled in spellings.items()
        ]
    }


def _one(key: str, value: Schema, definition: str) -> Schema:
    return {"properties": {key: value}, "$ref": f"#/$defs/{definition}"}


def _read(model: type[BaseModel], key: str) -> Schema:
    fields, required = _fields(model, key)
    return {"properties": fields, "required": required}
