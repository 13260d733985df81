"""From outcomes to what is published: events, copies as replies, actions, dead letters.

All of it is built and encoded here, one outcome at a time, so that an error, which is a bug, costs
one command its answer. In the outbox it would cost every command its session, again and again.
"""

from dataclasses import dataclass, replace
from typing import Final

import structlog
from pamqp.commands import Basic

from schemas.contract import EventName, EventNames, reason_phrase
from worker.batch import Outcome
from worker.broker.asking import Patience, action_message, deadline_message
from worker.broker.messages import dead_letter, event_message, reply_message
from worker.broker.outbox import Outgoing
from worker.errors import place
from worker.names import Names
from worker.settings import Settings

_BUG: Final = 500

_log: Final = structlog.get_logger(__name__)

Built = tuple[list[Outgoing], list[Outgoing]]


@dataclass(frozen=True, slots=True)
class Writer:
    """Builds what is published.

    Args:
        names: The installation's names.
        event_names: Which name stands in an event's body.
        patience: How long what is asked of the network may take.
    """

    names: Names
    event_names: EventNames
    patience: Patience

    @classmethod
    def of(cls, settings: Settings) -> "Writer":
        """Return the writer that settings ask for."""
        return cls(Names(settings.namespace), settings.event_names, Patience.of(settings))

    def build(self, outcome: Outcome) -> Built:
        """Return what is published of an outcome, and apart from the rest replies.

        Where that cannot be built, 500s take the events' places in the call's sequence, and the
        command is dead-lettered too; where not even 500s can be built, it is only dead-lettered, if
        need be without its body and properties.
        """
        try:
            return self._built(outcome)
        except Exception as error:  # noqa: BLE001 - a bug costs this command, not its session
            failed = _failed(outcome, error)
        unanswered = failed._replace(events=(), actions=())
        for attempt in (failed, unanswered):
            try:
                return self._built(attempt)
            except Exception as error:  # noqa: BLE001 - as above
                _log_failure(outcome, error)
        return self._built(_emptied(unanswered))

    def _built(self, outcome: Outcome) -> Built:
        names, at = self.names, outcome.at
        messages: list[Outgoing] = []
        replies: list[Outgoing] = []
        for event in outcome.events:
            message = event_message(event, at, names, self.event_names, outcome.record)
            messages.append(message)
            reply = reply_message(event, message)
            if reply is not None:
                replies.append(reply)
        for action in outcome.actions:
            if outcome.record is not None:
                # Before the action: a worker that dies in between leaves a call that is answered.
                deadline = deadline_message(action, outcome.record, at, self.patience, names)
                messages.append(deadline)
            messages.append(action_message(action, self.patience, names))
        if outcome.dead_reason is not None:
            delivery = outcome.item.delivery
            messages.append(dead_letter(delivery, outcome.status, outcome.dead_reason, at, names))
        return messages, replies


def _failed(outcome: Outcome, error: Exception) -> Outcome:
    _log_failure(outcome, error)
    reason = f"{reason_phrase(_BUG)}: {type(error).__name__}"
    events = tuple(
        event._replace(name=EventName.CALL_CONTROL_FAILED, status=_BUG, reason=reason)
        for event in outcome.events
    )
    return outcome._replace(events=events, status=_BUG, dead_reason=reason)


def _emptied(outcome: Outcome) -> Outcome:
    delivery = replace(outcome.item.delivery, body=b"", properties=Basic.Properties())
    return outcome._replace(item=outcome.item._replace(delivery=delivery))


def _log_failure(outcome: Outcome, error: Exception) -> None:
    # Not the error's text: it can quote what could not be encoded, digits included.
    _log.error(
        "answer cannot be built",
        **outcome.item.identity,
        why=type(error).__name__,
        where=place(error),
    )
