"""``decide(call, message) -> Decision``: the one place where a call changes."""

from schemas.addresses import same_endpoint
from schemas.commands import Call as CallCommand
from schemas.commands import Command, Dial
from schemas.contract import ActionName, CommandName, EventName, reason_phrase
from schemas.events import Event, Request
from schemas.reports import Answered, Ended, Failed, Offered, Report, Ringing
from schemas.wire import Malformed
from worker.core.call import Call, Pending, State
from worker.core.messages import Action, Decision, Message
from worker.core.table import (
    ACTIONS,
    EFFECTS,
    REDIRECTING,
    REFUSALS,
    TABLE,
    Column,
    Rule,
    column_of,
)

_ENDED_REASON = "Call Has Ended"


def decide(call: Call, message: Message, first_ordinal: int = 0) -> Decision:
    """Return what a message does to a call.

    Args:
        call: The call before the message.
        message: A command, a network report, or a malformed body that names the call.
        first_ordinal: The ordinal of the message's next event, where it has had some already.
    """
    draft = _Draft(call, message.request, first_ordinal)
    body = message.body
    if isinstance(body, Malformed):
        if not body.is_report:
            draft.refuse(message.request, 400, body.reason)
    elif isinstance(body, Report):
        _take_report(draft, body)
    else:
        _take_command(draft, body)
    return Decision(draft.call, tuple(draft.events), tuple(draft.actions))


def refuse(call: Call, message: Message, status: int, reason: str) -> Decision:
    """Return the refusal of a message for a reason that is the worker's, not the call's."""
    draft = _Draft(call, message.request, 0)
    draft.refuse(message.request, status, reason)
    return Decision(draft.call, tuple(draft.events))


def asked_again(call: Call, message: Message) -> tuple[Action, ...]:
    """Return what a command that has come back asks of the network, while it still waits for that.

    Whoever took it first may have died before it asked.
    """
    pending, command = call.pending, message.body
    if pending is None or pending.request.id != message.request.id:
        return ()
    if isinstance(command, Report | Malformed):
        return ()
    return (_action(call, pending, command)._replace(again=True),)


class _Draft:
    """A decision in the making."""

    def __init__(self, call: Call, request: Request, first_ordinal: int) -> None:
        self.call = call
        self.request = request
        self.events: list[Event] = []
        self.actions: list[Action] = []
        self._ordinal = first_ordinal

    def emit(
        self,
        name: EventName,
        answers: Request | None,
        status: int,
        reason: str,
        *,
        terminal: bool = False,
        origin: str | None = None,
        destination: str | None = None,
    ) -> None:
        self.call = self.call._replace(sequence=self.call.sequence + 1)
        self.events.append(
            Event(
                name=name,
                request_id=self.call.request_id,
                sequence=self.call.sequence,
                status=status,
                reason=reason,
                call_state=self.call.state.value,
                terminal=terminal,
                cause=self.request.id,
                ordinal=self._ordinal,
                answers=answers,
                origin=origin,
                destination=destination,
                gateway=self.call.gateway,
            )
        )
        self._ordinal += 1

    def refuse(self, answers: Request, status: int, reason: str) -> None:
        self.emit(EventName.CALL_CONTROL_FAILED, answers, status, reason)

    def happen(self, name: EventName, endpoint: str | None, answers: Request | None) -> None:
        """Change the call as the event says, and emit it with 200."""
        was_over = self.call.state is State.ENDED
        self.call = _after(self.call, name, endpoint)
        over = self.call.state is State.ENDED
        self.emit(name, answers, 200, reason_phrase(200), terminal=over and not was_over)

    def give_up(self, pending: Pending, status: int, reason: str) -> None:
        """Answer a pending command with a failure; the state is for the caller to choose."""
        self.call = self.call._replace(pending=None)
        self.refuse(pending.request, status, reason)


def _after(call: Call, event: EventName, endpoint: str | None) -> Call:
    call = call._replace(**EFFECTS[event])
    return call._replace(destination=endpoint) if event in REDIRECTING else call


def _take_command(draft: _Draft, command: Command) -> None:
    call, request = draft.call, draft.request
    name = command.call_control
    cell = TABLE[name][column_of(call)]
    if call.pending is not None and not _wins(name, call.pending):
        draft.refuse(request, 409, _conflict(call, f", {call.pending.command} in progress"))
    elif cell.from_offerer and (problem := _offer_problem(call, command)) is not None:
        draft.refuse(request, 409, _conflict(call, problem))
    elif cell.rule is Rule.CONFLICT:
        draft.refuse(request, 409, _conflict(call))
    elif cell.rule is Rule.NO_SUCH_CALL:
        ended = call.state is State.ENDED
        draft.refuse(request, 481, _ENDED_REASON if ended else reason_phrase(481))
    elif cell.event is not None and (
        cell.rule is Rule.UNCHANGED
        or (cell.rule is Rule.TOGGLE and _after(call, cell.event, command.endpoint) == call)
    ):
        draft.happen(cell.event, command.endpoint, request)
    elif cell.event is not None:
        _ask_network(draft, command, cell.event)


def _wins(name: CommandName, pending: Pending) -> bool:
    return name is CommandName.DISCONNECT and pending.command is not CommandName.DISCONNECT


def _offer_problem(call: Call, command: Command) -> str | None:
    if not call.incoming or call.origin is None or command.endpoint is None:
        return " and did not come in"
    if not same_endpoint(call.origin, command.endpoint):
        return ", offered by another endpoint"
    return None


def _conflict(call: Call, detail: str = "") -> str:
    column = column_of(call)
    state = "connected and held" if column is Column.HELD else call.state
    allowed = [
        name
        for name in CommandName
        if TABLE[name][column].rule not in REFUSALS
        and (call.incoming or not TABLE[name][column].from_offerer)
        and (call.pending is None or _wins(name, call.pending))
    ]
    return f"Conflict: the call is {state}{detail}; allowed: {', '.join(allowed) or 'nothing now'}"


def _ask_network(draft: _Draft, command: Command, event: EventName) -> None:
    if draft.call.pending is not None:
        draft.give_up(draft.call.pending, 487, reason_phrase(487))
    call, request = draft.call, draft.request
    began = call.state is State.ABSENT
    pending = Pending(request, command.call_control, event, command.endpoint, began)
    if isinstance(command, CallCommand):
        call = call._replace(
            state=State.DIALING, origin=command.origin, destination=command.destination
        )
    elif began:
        # accept and reject of a call that was never reported: their endpoint is taken as the offer.
        call = call._replace(state=State.OFFERED, incoming=True, origin=command.endpoint)
    draft.call = call._replace(pending=pending)
    draft.actions.append(_action(draft.call, pending, command))


def _action(call: Call, pending: Pending, command: Command) -> Action:
    name = ACTIONS[pending.event]
    needs_destination = name in (ActionName.ORIGINATE, ActionName.ANSWER)
    return Action(
        name=name,
        id=pending.request.id,
        request_id=call.request_id,
        gateway=call.gateway,
        origin=call.origin if name is ActionName.ORIGINATE else None,
        destination=call.destination if needs_destination else None,
        endpoint=pending.endpoint,
        digits=command.digits if isinstance(command, Dial) else None,
    )


def _take_report(draft: _Draft, report: Report) -> None:
    """Apply a report; one that does not fit the call (a late or a repeated one) changes nothing."""
    call = draft.call
    pending = call.pending
    answered = pending if pending is not None and pending.request.id == report.action_id else None
    if isinstance(report, Offered):
        if call.state is State.ABSENT:
            _offer(draft, report)
    elif isinstance(report, Ended):
        if call.state not in (State.ABSENT, State.ENDED):
            _end(draft, report)
    elif call.state in (State.ABSENT, State.ENDED) and isinstance(report, Ringing | Answered):
        _let_go(draft, report)
    elif isinstance(report, Ringing):
        if call.state is State.DIALING and (answered or report.action_id is None):
            _heard_from(draft, report)
            draft.call = draft.call._replace(state=State.RINGING)
            draft.emit(EventName.CALL_RINGING, None, report.status, _reason(report))
    elif answered is not None:
        _go_on(draft, answered, report)
    elif pending is None and call.state in (State.DIALING, State.RINGING):
        _give_up_on_an_orphan(draft, report)


def _give_up_on_an_orphan(draft: _Draft, report: Report) -> None:
    """End a call that nobody waits for: a disconnect has overtaken its command, and failed."""
    if isinstance(report, Failed):
        _end(draft, report)
    elif isinstance(report, Answered):
        _let_go(draft, report)


def _go_on(draft: _Draft, answered: Pending, report: Report) -> None:
    if isinstance(report, Failed):
        if answered.began:
            draft.call = Call(draft.call.request_id, sequence=draft.call.sequence)
        draft.give_up(answered, report.status, _reason(report))
    else:
        _heard_from(draft, report)
        draft.call = draft.call._replace(pending=None)
        draft.happen(answered.event, answered.endpoint, answered.request)


def _heard_from(draft: _Draft, report: Report) -> None:
    """Note who has the call: what is asked of it from now on is asked of them."""
    draft.call = draft.call._replace(gateway=report.gateway or draft.call.gateway)


def _let_go(draft: _Draft, report: Ringing | Answered) -> None:
    """Have the network end what nobody waits for any more, such as a call that was given up."""
    draft.actions.append(
        Action(
            name=ActionName.HANG_UP,
            id=draft.request.id,
            request_id=draft.call.request_id,
            gateway=report.gateway,
        )
    )


def _offer(draft: _Draft, report: Offered) -> None:
    _heard_from(draft, report)
    draft.call = draft.call._replace(
        state=State.OFFERED,
        incoming=True,
        origin=report.origin,
        destination=report.destination,
    )
    draft.emit(
        EventName.CALL_OFFERED,
        None,
        report.status,
        _reason(report),
        origin=report.origin,
        destination=report.destination,
    )


def _end(draft: _Draft, report: Ended | Failed) -> None:
    pending = draft.call.pending
    if pending is not None and pending.command is CommandName.DISCONNECT:
        draft.call = draft.call._replace(pending=None)
        draft.happen(EventName.CALL_TERMINATED, None, pending.request)
        return
    if pending is not None:
        # Nothing but refusals may follow the terminal event, so the pending command goes first.
        draft.give_up(pending, 487, reason_phrase(487))
    draft.call = _after(draft.call, EventName.CALL_TERMINATED, None)
    draft.emit(EventName.CALL_TERMINATED, None, report.status, _reason(report), terminal=True)


def _reason(report: Report) -> str:
    return report.reason or reason_phrase(report.status)
