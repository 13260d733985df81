"""What an answer, or the lack of one, asks of the caller.

CallControlError
├── Refused                 the call is as it was; ``status`` and ``reason`` say why
│   ├── InvalidCommand      400: mend the command
│   ├── Conflict            409: the call's state does not allow it
│   ├── NoSuchCall          481: nobody knows the call, or it is over
│   ├── NetworkRefused      3xx to 6xx: what the telephone network answered: busy, not found, …
│   ├── NetworkUnavailable  503, 504: no gateway took it, or it did not answer
│   └── WorkerFailed        500: a bug of the worker's; the command is also a dead letter
└── Unavailable
    ├── BrokerUnavailable   RabbitMQ cannot be reached, when the client is opened
    └── OutcomeUnknown      no answer in time: ask again with the same ``message_id``
"""

from typing import Final

from schemas.contract import OK
from worker.client.event import Event
from worker.errors import CallControlError, Unavailable


class Refused(CallControlError):
    """Raised when a command is answered, but not with success.

    Attributes:
        event: The answer; None for a command that was found invalid before it was published.
        status: Its status.
        reason: Its reason.
        request_id: The call.
    """

    def __init__(
        self, status: int, reason: str, request_id: str | None, event: Event | None = None
    ) -> None:
        super().__init__(f"{status} {reason}")
        self.event = event
        self.status = status
        self.reason = reason
        self.request_id = request_id


class InvalidCommand(Refused):
    """Raised for a 400: the command breaks a rule, and the reason names the field."""


class Conflict(Refused):
    """Raised for a 409: the call's state does not allow it; the reason says what it does allow."""


class NoSuchCall(Refused):
    """Raised for a 481: nobody knows the call, or it is over."""


class NetworkRefused(Refused):
    """Raised for a SIP status that the telephone network answered (RFC 3261 section 21)."""


class NetworkUnavailable(Refused):
    """Raised for a 503 or a 504: no telephony gateway took the command, or it did not answer."""


class WorkerFailed(Refused):
    """Raised for a 500: a bug, or a command that kills its workers."""


class OutcomeUnknown(Unavailable):
    """Raised when no answer came in time: the command may have been done, or may yet be.

    Asking again with the same ``message_id`` is safe: it has one outcome, which is answered.

    Attributes:
        message_id: The command's id.
        request_id: The call.
    """

    def __init__(self, message_id: str, request_id: str, why: str) -> None:
        super().__init__(why)
        self.message_id = message_id
        self.request_id = request_id


_OF_STATUS: Final[dict[int, type[Refused]]] = {
    400: InvalidCommand,
    409: Conflict,
    481: NoSuchCall,
    500: WorkerFailed,
    503: NetworkUnavailable,
    504: NetworkUnavailable,
}


def raise_if_refused(event: Event) -> Event:
    """Return an answer that is a success.

    Raises:
        Refused: It is not.
    """
    if event.status == OK:
        return event
    kind = _OF_STATUS.get(event.status, NetworkRefused)
    raise kind(event.status, event.reason, event.request_id, event)
