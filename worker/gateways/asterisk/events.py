"""What Asterisk says of channels and bridges, as far as it is of interest here."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

#: The events that are asked for. All the others of a call are three times as many.
KINDS: Final = (
    "StasisStart",
    "ChannelStateChange",
    "Dial",
    "ChannelEnteredBridge",
    "ChannelLeftBridge",
    "ChannelDestroyed",
    "ApplicationReplaced",
)


class ChannelState(StrEnum):
    """How far a channel is, as far as it is told apart here."""

    DOWN = "Down"
    RING = "Ring"
    RINGING = "Ringing"
    UP = "Up"


class Channel(NamedTuple):
    """A channel, as an event or a list shows it.

    Attributes:
        id: Its id.
        state: How far it is; another state of Asterisk's counts as ``DOWN``.
        caller: The caller's number.
        arguments: What the dialplan, or who made it, gave the Stasis application; its name first.
    """

    id: str
    state: ChannelState = ChannelState.DOWN
    caller: str = ""
    arguments: tuple[str, ...] = ()


class Bridge(NamedTuple):
    """A bridge.

    Attributes:
        id: Its id.
        name: Its name.
        channels: The ids of those who are in it.
        created_at: When it was made, in seconds since the epoch.
    """

    id: str
    name: str = ""
    channels: frozenset[str] = frozenset()
    created_at: float = 0.0


class Started(NamedTuple):
    """A channel has come to the application, with arguments."""

    channel: Channel
    arguments: tuple[str, ...]


class Changed(NamedTuple):
    """A channel's state is another one."""

    channel: Channel


class Progressed(NamedTuple):
    """The far end of a channel that is being called rings, or says something before it answers."""

    channel: Channel
    ringing: bool


class Entered(NamedTuple):
    """A channel is in a bridge."""

    channel: Channel
    bridge_id: str


class Left(NamedTuple):
    """A channel is in a bridge no more."""

    channel: Channel
    bridge_id: str


class Destroyed(NamedTuple):
    """A channel is gone.

    Attributes:
        channel: As it was.
        cause: Why, after Q.850.
        tech_cause: What its SIP peer said.
    """

    channel: Channel
    cause: int | None = None
    tech_cause: int | None = None


class Replaced(NamedTuple):
    """Another client has connected as this application."""


Event = Started | Changed | Progressed | Entered | Left | Destroyed | Replaced


def read_channel(document: Mapping[str, Any]) -> Channel:
    """Read a channel."""
    state = document.get("state")
    dialplan = document.get("dialplan") or {}
    arguments: tuple[str, ...] = ()
    if dialplan.get("app_name") == "Stasis":
        arguments = tuple(str(dialplan.get("app_data") or "").split(","))
    return Channel(
        id=str(document.get("id") or ""),
        state=ChannelState(state) if state in tuple(ChannelState) else ChannelState.DOWN,
        caller=str((document.get("caller") or {}).get("number") or ""),
        arguments=arguments,
    )


def read_bridge(document: Mapping[str, Any]) -> Bridge:
    """Read a bridge."""
    return Bridge(
        id=str(document.get("id") or ""),
        name=str(document.get("name") or ""),
        channels=frozenset(map(str, document.get("channels") or ())),
        created_at=read_time(document.get("creationtime")),
    )


def read_event(document: Mapping[str, Any]) -> Event | None:
    """Read an event; None for one that is of no interest."""
    kind = document.get("type")
    if kind == "ApplicationReplaced":
        return Replaced()
    channel = read_channel(document.get("peer" if kind == "Dial" else "channel") or {})
    event: Event | None = None
    if not channel.id:
        return event
    if kind == "StasisStart":
        event = Started(channel, tuple(map(str, document.get("args") or ())))
    elif kind == "ChannelStateChange":
        event = Changed(channel)
    elif kind == "Dial" and document.get("dialstatus") in ("RINGING", "PROGRESS"):
        event = Progressed(channel, ringing=document["dialstatus"] == "RINGING")
    elif kind == "ChannelEnteredBridge":
        event = Entered(channel, _bridge_id(document))
    elif kind == "ChannelLeftBridge":
        event = Left(channel, _bridge_id(document))
    elif kind == "ChannelDestroyed":
        event = Destroyed(channel, _number(document, "cause"), _number(document, "tech_cause"))
    return event


def _bridge_id(document: Mapping[str, Any]) -> str:
    return str((document.get("bridge") or {}).get("id") or "")


def _number(document: Mapping[str, Any], name: str) -> int | None:
    value = document.get(name)
    return value if isinstance(value, int) else None


def read_time(written: object) -> float:
    """Read a time, in seconds since the epoch; 0 for something else."""
    try:
        return datetime.fromisoformat(str(written)).timestamp()
    except ValueError:
        return 0.0
