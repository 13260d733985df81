"""What goes into a decision and what comes out of it."""

from typing import NamedTuple

from pydantic import SecretStr

from schemas.commands import Command
from schemas.contract import ActionName
from schemas.events import Event, Request
from schemas.reports import Report
from schemas.wire import Malformed
from worker.core.call import Call


class Message(NamedTuple):
    """A command, a network report or a body that is neither, with what its answer needs."""

    request: Request
    body: Command | Report | Malformed

    @property
    def kind(self) -> str:
        """The command or the network report, as far as it can be told."""
        if isinstance(self.body, Report):
            return self.body.network_report
        return self.request.call_control or ""


class Action(NamedTuple):
    """Something asked of the telephone network, which answers with a report.

    Attributes:
        name: What to do.
        id: What the report names as ``action_id``; the id of the command that asks for it.
        request_id: The call.
        gateway: The gateway that has the call; None where none has spoken of it yet.
        origin: The caller, for ``originate``.
        destination: The called address, for ``originate``, and for ``answer`` where it is known.
        endpoint: The endpoint of ``transfer``, ``redirect``, ``answer`` and ``reject``.
        digits: The digits of ``send_digits``.
        again: Whether it may have been asked before.
    """

    name: ActionName
    id: str
    request_id: str
    gateway: str | None = None
    origin: str | None = None
    destination: str | None = None
    endpoint: str | None = None
    digits: SecretStr | None = None
    again: bool = False


class Decision(NamedTuple):
    """The effect of one message: the call after it, and what leaves because of it, in order."""

    call: Call
    events: tuple[Event, ...] = ()
    actions: tuple[Action, ...] = ()
