"""From outcomes to what is published: events, copies of them as replies, dead letters.

All of it is built and encoded here, one outcome at a time, so that an error, which is a bug, costs
one command its answer. In the outbox it would cost every command its session, again and again.
"""

from dataclasses import replace
from typing import Final

import structlog
from pamqp.commands import Basic

from schemas.contract import EventName, EventNames, reason_phrase
from worker.batch import Outcome
from worker.broker.messages import dead_letter, event_message, reply_message
from worker.broker.outbox import Outgoing
from worker.errors import place
from worker.names import Names

_BUG: Final = 500

_log: Final = structlog.get_logger(__name__)

Built = tuple[list[Outgoing], list[Outgoing]]


def build(outcome: Outcome, names: Names, event_names: EventNames) -> Built:
    """Return what is published of an outcome: events and dead letters, and apart from them replies.

    Where that cannot be built, 500s take the events' places in the call's sequence, and the
    command is dead-lettered too; where not even 500s can be built, it is only dead-lettered, if
    need be without its body and properties.
    """
    try:
        return _built(outcome, names, event_names)
    except Exception as error:  # noqa: BLE001 - a bug costs this command, not its session
        failed = _failed(outcome, error)
    unanswered = failed._replace(events=())
    for attempt in (failed, unanswered):
        try:
            return _built(attempt, names, event_names)
        except Exception as error:  # noqa: BLE001 - as above
            _log_failure(outcome, error)
    return _built(_emptied(unanswered), names, event_names)


def _built(outcome: Outcome, names: Names, event_names: EventNames) -> Built:
    messages: list[Outgoing] = []
    replies: list[Outgoing] = []
    for event in outcome.events:
        message = event_message(event, outcome.at, names, event_names, outcome.record)
        messages.append(message)
        reply = reply_message(event, message)
        if reply is not None:
            replies.append(reply)
    if outcome.dead_reason is not None:
        delivery = outcome.item.delivery
        messages.append(
            dead_letter(delivery, outcome.status, outcome.dead_reason, outcome.at, names)
        )
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
