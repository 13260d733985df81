"""The state of one call."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from schemas.contract import CommandName, EventName
from schemas.events import Request


class State(StrEnum):
    """The lifecycle of a call; ``held`` and ``muted`` are flags beside it."""

    ABSENT = "absent"
    OFFERED = "offered"
    DIALING = "dialing"
    RINGING = "ringing"
    CONNECTED = "connected"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Pending:
    """A command that waits for the network's report.

    Attributes:
        request: What its answer needs to know; ``request.id`` is also the action's id.
        command: The command.
        event: The event that will answer it if the network agrees.
        endpoint: The endpoint it names.
        began: Whether the call began with it, and is forgotten if the network does not agree.
    """

    request: Request
    command: CommandName
    event: EventName
    endpoint: str | None
    began: bool


class Call(NamedTuple):
    """One call, as far as messages have changed it.

    Attributes:
        request_id: Its name.
        state: Where it is in its life.
        held: Whether it is on hold.
        muted: Whether it is muted; survives hold and retrieve.
        incoming: Whether the network offered it.
        origin: The caller; of an incoming call the offering endpoint.
        destination: The called address, as the last transfer left it.
        sequence: The number of events so far.
        pending: The command that waits for the network, if any.
        gateway: The gateway that has the call, as its reports named it; None on the loopback.
    """

    request_id: str
    state: State = State.ABSENT
    held: bool = False
    muted: bool = False
    incoming: bool = False
    origin: str | None = None
    destination: str | None = None
    sequence: int = 0
    pending: Pending | None = None
    gateway: str | None = None

    @property
    def accounted(self) -> int:
        """How many events its commands have had so far, and will have when no more comes."""
        return self.sequence + (self.pending is not None)

    @property
    def progress(self) -> int:
        """A number that grows with each change of the call, to tell the later of two states."""
        return self.sequence + self.accounted

    @property
    def flags(self) -> tuple[str, ...]:
        """The names of the flags that are up."""
        return tuple(name for name in FLAGS if getattr(self, name))


FLAGS: Final = ("held", "muted", "incoming")
