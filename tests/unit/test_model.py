"""Random conversations with a call, compared step by step with a naive reading of the contract."""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.contract import CommandName
from schemas.events import Event, Request
from schemas.wire import Malformed
from tests.unit.builders import ALICE, CALL_ID, CAROL, FIELDS, Decider, command, report
from tests.unit.naive import PEOPLE, NaiveCall
from worker.core.call import Call, State
from worker.core.messages import Message
from worker.core.transitions import decide
from worker.gateways.loopback import decide_and_grant

ENDPOINTS = st.sampled_from(list(PEOPLE))
ANSWERS = st.sampled_from([(480, "Temporarily Unavailable"), (486, "Busy Here"), (603, "Decline")])
#: What ends a call comes rarely, so that there is a call to speak of.
COMMANDS = st.sampled_from([name for name in CommandName if name != "disconnect"])

#: Commands and reports that a conversation opens with.
OPENINGS = st.sampled_from(
    [
        (),
        ("call",),
        ("call", "ringing"),
        ("call", "ringing", "granted"),
        ("call", "granted", "hold", "granted"),
        ("call", "granted", "mute", "granted"),
        ("offered",),
        ("offered", "accept", "granted"),
        ("accept",),
    ]
)


def seldom(conversation: "Conversation") -> bool:
    """Allow a rule at one message in four."""
    return conversation.messages % 4 == 3


def rarely(conversation: "Conversation") -> bool:
    """Allow a rule at one message in eight."""
    return conversation.messages % 8 == 7


class Conversation(RuleBasedStateMachine):
    """A call on a network that answers when it likes."""

    decider: Decider = staticmethod(decide)
    instant = False

    def __init__(self) -> None:
        super().__init__()
        self.call = Call(CALL_ID)
        self.naive = NaiveCall()
        self.events: list[Event] = []
        self.commands: list[str] = []
        self.messages = 0

    def _next(self) -> str:
        self.messages += 1
        return f"m{self.messages}"

    def _take(self, message: Message) -> None:
        """Decide a message, and compare what was said with what the contract has said."""
        decision = self.decider(self.call, message)
        assert self.instant or len(decision.actions) <= 1
        said = [
            (event.name.value, event.status, event.reason, event.answers and event.answers.id)
            for event in decision.events
        ]
        expected, self.naive.said = self.naive.said, []
        heads = [
            # The details of a refusal are ours to word; its head is not.
            (name, status, head if reason.startswith(head) else reason, answers)
            for (name, status, reason, answers), (_, _, head, _) in zip(
                said, expected, strict=False
            )
        ]
        assert (heads, len(said)) == (expected, len(expected))
        assert [event.ordinal for event in decision.events] == list(range(len(said)))
        assert all(event.cause == message.request.id for event in decision.events)
        if decision.events:
            assert decision.events[-1].call_state == self.naive.state
        self.call = decision.call
        self.events += decision.events

    @initialize(opening=OPENINGS)
    def open(self, opening: tuple[str, ...]) -> None:
        """Get the conversation going."""
        for step in opening:
            if step == "ringing":
                self.ringing()
            elif step == "offered":
                self.offered(ALICE, CAROL)
            elif step != "granted":
                self._command(step, ALICE, ALICE, CAROL)
            elif self.naive.waiting is not None:
                self.granted("done")

    @rule(name=COMMANDS, endpoint=ENDPOINTS, origin=ENDPOINTS, destination=ENDPOINTS)
    def command(self, name: CommandName, endpoint: str, origin: str, destination: str) -> None:
        """Send a command."""
        self._command(name.value, endpoint, origin, destination)

    @rule()
    @precondition(rarely)
    def disconnect(self) -> None:
        """Hang up, when there has been something to see."""
        self._command("disconnect", CAROL, "", "")

    def _command(self, name: str, endpoint: str, origin: str, destination: str) -> None:
        said = {"endpoint": endpoint, "origin": origin, "destination": destination}
        fields = {key: value for key, value in said.items() if key in FIELDS[name]}
        command_id = self._next()
        self.commands.append(command_id)
        self.naive.command(name, command_id, endpoint, origin, destination)
        if self.instant:
            self.naive.granted(command_id)
        self._take(command(name, command_id, **fields))

    @rule(is_report=st.booleans())
    @precondition(seldom)
    def malformed(self, *, is_report: bool) -> None:
        """Send what cannot be read, but names the call."""
        message_id = self._next()
        if not is_report:
            self.commands.append(message_id)
            self.naive.fail(400, "Bad Request: endpoint: ", message_id)
        body = Malformed("endpoint", "missing", CALL_ID, "transfer", is_report=is_report)
        self._take(Message(Request(message_id, call_control="transfer"), body))

    @rule(origin=ENDPOINTS, destination=ENDPOINTS)
    @precondition(seldom)
    def offered(self, origin: str, destination: str) -> None:
        """Let the network offer the call."""
        self.naive.offered(origin, destination)
        self._report("offered", origin=origin, destination=destination)

    @rule()
    def ringing(self) -> None:
        """Let the network ring."""
        self.naive.ringing()
        self._report("ringing")

    @rule(answer=ANSWERS)
    @precondition(rarely)
    def ended(self, answer: tuple[int, str]) -> None:
        """Let the network end the call."""
        self.naive.ended(*answer)
        self._report("ended", status=answer[0])

    @rule(answer=ANSWERS)
    @precondition(lambda self: self.naive.waiting is not None)
    def failed(self, answer: tuple[int, str]) -> None:
        """Let the network refuse what is asked."""
        assert self.naive.waiting is not None
        action_id = self.naive.waiting.id
        self.naive.failed(action_id, *answer)
        self._report("failed", action_id, status=answer[0])

    @rule(name=st.sampled_from(["done", "answered"]))
    @precondition(lambda self: self.naive.waiting is not None)
    def granted(self, name: str) -> None:
        """Let the network do what is asked."""
        assert self.naive.waiting is not None
        action_id = self.naive.waiting.id
        self.naive.granted(action_id)
        self._report(name, action_id)

    @rule(data=st.data(), name=st.sampled_from(["done", "answered", "failed"]))
    def answer_to_anything(self, data: st.DataObject, name: str) -> None:
        """Let the network answer any command, or none: mostly one that has been answered."""
        action_id = data.draw(st.sampled_from([None, "nobody's", *self.commands]))
        if name == "failed":
            self.naive.failed(action_id, 480, "Temporarily Unavailable")
        else:
            self.naive.granted(action_id)
        self._report(name, action_id, status=480)

    def _report(self, name: str, action_id: str | None = None, **fields: Any) -> None:
        self._take(report(name, action_id, self._next(), **fields))

    @invariant()
    def the_call_is_as_the_contract_says(self) -> None:
        """State, flags, parties, and what waits."""
        naive, call = self.naive, self.call
        assert (call.state.value, call.held, call.muted) == (naive.state, naive.held, naive.muted)
        assert (call.incoming, call.origin) == (naive.incoming, naive.origin)
        assert call.destination == naive.destination
        waiting = naive.waiting and naive.waiting.id
        assert (call.pending and call.pending.request.id) == waiting
        assert call.state is State.CONNECTED or not (call.held or call.muted)

    @invariant()
    def the_sequence_has_no_gap(self) -> None:
        """From 1, one by one, and the call knows how far it is."""
        assert [event.sequence for event in self.events] == list(range(1, len(self.events) + 1))
        assert self.call.sequence == len(self.events)

    @invariant()
    def every_command_has_one_outcome(self) -> None:
        """Or none yet, while it waits; and no event has another's id."""
        outcomes = Counter(event.answers.id for event in self.events if event.answers)
        waiting = self.naive.waiting and self.naive.waiting.id
        assert outcomes == Counter(each for each in self.commands if each != waiting)
        assert len({event.message_id for event in self.events}) == len(self.events)

    @invariant()
    def nothing_but_refusals_follows_the_end(self) -> None:
        """One terminal event at most; the 200 of a repeated disconnect is no second one."""
        ends = [event for event in self.events if event.terminal]
        assert len(ends) == (self.call.state is State.ENDED)
        for event in self.events[ends[0].sequence :] if ends else []:
            repeated = (event.name, event.status) == ("call_terminated", 200)
            assert event.name == "call_control_failed" or (repeated and event.answers)


class InstantConversation(Conversation):
    """A call on the loopback network, which grants everything at once."""

    decider = staticmethod(decide_and_grant)
    instant = True


Conversation.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
InstantConversation.TestCase.settings = Conversation.TestCase.settings

TestConversation = Conversation.TestCase
TestInstantConversation = InstantConversation.TestCase
