"""The job that every peer does, so that they differ in nothing but their framework.

A command is read and validated, the state of its call is read from Redis and written back, and one
event is published, persistent, mandatory and confirmed, before the command is acknowledged.

That is less than the worker does. A peer keeps no order among the commands of a call, two of them
may overwrite each other's state, there is no record of what has been answered, and an event has
two headers instead of sixteen. All of it favours the peers.
"""

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from worker.names import Names

#: Unacknowledged messages that a peer is given, where its own documentation names no number.
PREFETCH: Final = 100

#: How long a call is kept after its last command, in seconds.
KEPT_SECONDS: Final = 3600


class CommandName(StrEnum):
    """What a command asks for."""

    CALL = "call"
    HOLD = "hold"
    RETRIEVE = "retrieve"
    MUTE = "mute"
    UN_MUTE = "un_mute"
    TRANSFER = "transfer"
    DIAL = "dial"
    DISCONNECT = "disconnect"


class Command(BaseModel):
    """A command as it is published."""

    model_config = ConfigDict(frozen=True)

    call_control: CommandName
    request_id: str = Field(min_length=1, max_length=128)
    origin: str | None = None
    destination: str | None = None
    endpoint: str | None = None
    digits: str | None = Field(None, repr=False)


class Call(BaseModel):
    """The state of a call, as it stands in Redis."""

    connected: bool = False
    held: bool = False
    muted: bool = False
    sequence: int = 0


class Event(BaseModel):
    """The answer to a command: the fields that the worker's events have."""

    event: str
    request_id: str
    status: int
    reason: str

    @property
    def routing_key(self) -> str:
        """The key that the worker's events have, too."""
        return f"{self.event}.{self.request_id}"


_EVENTS: Final = {
    CommandName.CALL: "call_connected",
    CommandName.HOLD: "call_held",
    CommandName.RETRIEVE: "call_retrieved",
    CommandName.MUTE: "call_muted",
    CommandName.UN_MUTE: "call_unmuted",
    CommandName.TRANSFER: "call_transferred",
    CommandName.DIAL: "digits_sent",
    CommandName.DISCONNECT: "call_terminated",
}

_EFFECTS: Final = {
    CommandName.CALL: {"connected": True},
    CommandName.HOLD: {"held": True},
    CommandName.RETRIEVE: {"held": False},
    CommandName.MUTE: {"muted": True},
    CommandName.UN_MUTE: {"muted": False},
    CommandName.TRANSFER: {"held": False},
    CommandName.DIAL: {},
    CommandName.DISCONNECT: {"connected": False},
}


def decide(stored: bytes | str | None, command: Command) -> tuple[bytes, Event]:
    """Return the state of a call after a command, and the event that answers it.

    Args:
        stored: The state as it was read; None where there is none.
        command: The command.
    """
    call = Call() if stored is None else Call.model_validate_json(stored)
    name = command.call_control
    is_granted = call.connected or name is CommandName.CALL
    effect = _EFFECTS[name] if is_granted else {}
    after = call.model_copy(update={**effect, "sequence": call.sequence + 1})
    event = Event(
        event=_EVENTS[name] if is_granted else "call_control_failed",
        request_id=command.request_id,
        status=200 if is_granted else 409,
        reason="OK" if is_granted else "Conflict",
    )
    return after.model_dump_json().encode(), event


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer finds its commands and its calls, and where its events go."""

    amqp_url: str
    redis_url: str
    names: Names

    @classmethod
    def from_environment(cls) -> "Place":
        """Read it from the variables that a worker is given, too."""
        return cls(
            amqp_url=os.environ["CALL_CONTROL_AMQP_URL"],
            redis_url=os.environ["CALL_CONTROL_REDIS_URL"],
            names=Names(os.environ["CALL_CONTROL_NAMESPACE"]),
        )

    @property
    def queue(self) -> str:
        """The quorum queue with the commands."""
        return queue_of(self.names)

    @property
    def events(self) -> str:
        """The topic exchange for the events."""
        return self.names.events

    def key(self, command: Command) -> str:
        """Return the key of a command's call."""
        return self.names.call_prefix + command.request_id


def queue_of(names: Names) -> str:
    """Return the name of the queue that a peer consumes."""
    return f"{names.base}.peer"


def counter_of(names: Names) -> str:
    """Return the key in which the limit that has no queue counts its commands."""
    return f"{names.base}.done"
