"""The loopback network: it grants every action at once, so a command and its event are one step."""

from schemas.contract import ActionName
from schemas.reports import Answered, Done, Report
from worker.core.call import Call
from worker.core.messages import Action, Decision, Message
from worker.core.transitions import decide

_CONNECTING = frozenset({ActionName.ORIGINATE, ActionName.ANSWER, ActionName.REDIRECT})


def grant(action: Action) -> Report:
    """Return the report of a network on which everything succeeds."""
    if action.name in _CONNECTING:
        return Answered(request_id=action.request_id, action_id=action.id)
    return Done(request_id=action.request_id, action_id=action.id)


def decide_and_grant(call: Call, message: Message) -> Decision:
    """Decide a message, and at once the reports that its actions bring back."""
    decision = decide(call, message)
    call, events = decision.call, decision.events
    for action in decision.actions:
        report = Message(message.request, grant(action))
        granted = decide(call, report, first_ordinal=len(events))
        call, events = granted.call, events + granted.events
    return Decision(call, events)
