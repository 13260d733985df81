"""What is asked of the telephone network, as messages.

An action waits for its gateway for a while; then RabbitMQ sends it back to the commands, where it
reads as the report that nobody took it. With each action goes a report that the gateway has said
nothing. It waits in a queue that nobody consumes until it is due, and changes nothing where the
gateway has spoken by then. So workers need no timers, and none is lost with a worker.
"""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from pamqp.commands import Basic
from pamqp.common import FieldValue
from pydantic_core import to_json

from schemas.contract import RINGING, ReportName, reason_phrase
from schemas.events import stable_id
from schemas.wire import ACTION_KEY, RECORD_HEADER, RECORD_ID_HEADER, REPORT_KEY
from worker.broker.encoding import PERSISTENT
from worker.broker.outbox import Outgoing
from worker.broker.topology import DEADLINE, GATEWAY, MARK, PENDING, Deadline
from worker.core.messages import Action
from worker.names import Names
from worker.settings import Settings

#: What is said where a gateway says nothing.
_NOT_REPORTED: Final = 504


class Patience(NamedTuple):
    """How long what takes time in a telephone network may take, in seconds.

    Attributes:
        take: Until a gateway takes an action.
        act: Until it has reported it, besides the time in which an endpoint rings.
        ring: How long an endpoint rings.
    """

    take: float
    act: float
    ring: float

    @classmethod
    def of(cls, settings: Settings) -> "Patience":
        """Return what settings say."""
        return cls(settings.take_seconds, settings.act_seconds, settings.ring_seconds)

    def until_reported(self, deadline: Deadline) -> float:
        """Return how long an action may take in all."""
        rings = self.ring if deadline is Deadline.RINGING else 0.0
        return self.take + self.act + rings


def action_message(action: Action, patience: Patience, names: Names) -> Outgoing:
    """Return an action as it is published to the exchange of actions.

    Args:
        action: The action.
        patience: How long it may take.
        names: The installation's names.
    """
    said: dict[str, object] = {
        ACTION_KEY: action.name,
        "request_id": action.request_id,
        "action_id": action.id,
        "gateway": action.gateway,
        "origin": action.origin,
        "destination": action.destination,
        "endpoint": action.endpoint,
        "digits": action.digits and action.digits.get_secret_value(),
        "timeout_seconds": patience.ring if action.name in RINGING else None,
        "again": action.again or None,
    }
    return _message(
        action,
        {name: value for name, value in said.items() if value is not None},
        {GATEWAY: action.gateway or ""},
        names,
        patience.take,
    )


def deadline_message(
    action: Action, record: tuple[str, bytes], at: int, patience: Patience, names: Names
) -> Outgoing:
    """Return the report that a gateway has not reported an action, for when that is so.

    The journal keeps a copy. By it a command that waits is known again after Redis has lost it: it
    has no event yet.

    Args:
        action: The action.
        record: Its command's record as it is stored, behind the id under which it is.
        at: When that was decided, in milliseconds since the epoch.
        patience: How long the action may take.
        names: The installation's names.
    """
    deadline = Deadline.RINGING if action.name in RINGING else Deadline.ACTING
    record_id, value = record
    said: dict[str, object] = {
        REPORT_KEY: ReportName.FAILED,
        "request_id": action.request_id,
        "action_id": action.id,
        "status": _NOT_REPORTED,
        "reason": f"{reason_phrase(_NOT_REPORTED)}: the gateway did not report {action.name}",
    }
    headers: dict[str, FieldValue] = {
        DEADLINE: deadline.value,
        MARK: PENDING,
        "request_id": action.request_id,
        RECORD_ID_HEADER: record_id,
        RECORD_HEADER: value.decode(),
    }
    return _message(action, said, headers, names, patience.until_reported(deadline), at=at)


def _message(
    action: Action,
    said: dict[str, object],
    headers: dict[str, FieldValue],
    names: Names,
    seconds: float,
    *,
    at: int | None = None,
) -> Outgoing:
    kind = MARK if MARK in headers else action.name.value
    return Outgoing(
        exchange=names.actions,
        # By this it comes back to its call's partition.
        routing_key=action.request_id,
        body=to_json(said),
        encoded=Basic.Properties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            expiration=str(round(seconds * 1000)),
            headers=headers,
            # Not the command's, whose record would answer what comes back.
            message_id=stable_id(action.request_id, action.id, kind),
            message_type=kind,
            timestamp=None if at is None else datetime.fromtimestamp(at // 1000, tz=UTC),
        ).marshal(),
        order=action.request_id,
    )
