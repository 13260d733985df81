"""A real worker with one fault built in: ``python -m tests.saboteur FAULT``.

The faults replace methods or functions in the worker's own process; everything else is real.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import worker.service
from schemas import wire
from schemas.contract import CommandName
from schemas.events import Event
from worker import outgoing, reading
from worker.broker import messages
from worker.broker.inbox import Inbox
from worker.broker.publisher import Batch, Outgoing, Publisher
from worker.broker.subscription import Delivery
from worker.cli.app import app
from worker.core.call import Call
from worker.core.messages import Decision, Message
from worker.gateways.loopback import decide_and_grant
from worker.membership import Heartbeat
from worker.store import CallStore, Change

#: The steps of the pipeline at which a worker can be killed or paused, in their order.
STEPS: Final = (
    "after_take",
    "before_commit",
    "after_commit",
    "after_publish_before_confirm",
    "after_confirm_before_ack",
)

#: What a worker writes to its log before it is killed or paused at a step.
LAST_WORDS: Final = "struck at "

#: Asked with a step's name whenever commands get there; returns the signal that the worker is to
#: send to itself, or 0.
Doom = Callable[[str], int]

#: The call whose commands are poison.
POISON = "poison"
_OK: Final = 200


def strike_when(doomed: Doom) -> None:
    """Be killed, or paused, at a step of the pipeline."""
    take, commit, settle = Inbox.take, CallStore.commit, Inbox.settle

    async def take_struck(self: Inbox, limit: int) -> list[Delivery]:
        taken = await take(self, limit)
        _strike("after_take", doomed("after_take"))
        return taken

    async def commit_struck(self: CallStore, changes: Sequence[Change]) -> list[bool]:
        _strike("before_commit", doomed("before_commit"))
        committed = await commit(self, changes)
        _strike("after_commit", doomed("after_commit"))
        return committed

    async def settle_struck(self: Inbox, deliveries: Iterable[Delivery]) -> None:
        settled = list(deliveries)
        if settled:
            _strike("after_confirm_before_ack", doomed("after_confirm_before_ack"))
        await settle(self, settled)

    _replace(Inbox, "take", take_struck)
    _replace(CallStore, "commit", commit_struck)
    _replace(Inbox, "settle", settle_struck)
    _strike_while_publishing(doomed)


def _strike_while_publishing(doomed: Doom) -> None:
    step, publish = "after_publish_before_confirm", Publisher.publish

    def publish_struck(self: Publisher, messages: Sequence[Outgoing], *, mandatory: bool) -> Batch:
        # It is written to the socket in there.
        batch = publish(self, messages, mandatory=mandatory)
        if messages and mandatory:
            _strike(step, doomed(step))
        return batch

    _replace(Publisher, "publish", publish_struck)


def set_clock(offset_seconds: Callable[[], float]) -> None:
    """Tell a time that is off by so many seconds; the clock that only runs on stays right."""
    real_seconds, real_nanoseconds = time.time, time.time_ns
    _replace(time, "time", lambda: real_seconds() + offset_seconds())
    _replace(time, "time_ns", lambda: real_nanoseconds() + int(offset_seconds() * 1e9))


def alone() -> None:
    """Believe to be the only worker, whatever the heartbeats say."""
    beat = Heartbeat.beat

    async def beat_alone(self: Heartbeat) -> frozenset[str]:
        await beat(self)
        return frozenset({self.worker})

    async def nobody(_: Heartbeat) -> frozenset[str]:
        return frozenset()

    _replace(Heartbeat, "beat", beat_alone)
    _replace(Heartbeat, "others", nobody)


def _strike(step: str, number: int) -> None:
    if number:
        os.write(sys.stderr.fileno(), f"{LAST_WORDS}{step}\n".encode())
        os.kill(os.getpid(), number)


def _killed_at(step: str) -> None:
    strike_when(lambda reached: signal.SIGKILL if reached == step else 0)


def paused_before_commit() -> None:
    """Be paused with the first commands in hand, decided, and nothing committed."""
    first = iter((signal.SIGSTOP,))
    strike_when(lambda reached: next(first, 0) if reached == "before_commit" else 0)


def die_of_poison() -> None:
    """Be killed by every command of one call, whenever it is decided."""

    def decide(call: Call, message: Message) -> Decision:
        if call.request_id == POISON:
            _strike("poison", signal.SIGKILL)
        return decide_and_grant(call, message)

    _replace(worker.service, "decide_and_grant", decide)


def bug_in_decide() -> None:
    """Have a bug that every ``mute`` of one call runs into."""

    def decide(call: Call, message: Message) -> Decision:
        if call.request_id == POISON and message.request.call_control == CommandName.MUTE:
            raise RuntimeError("planted")
        return decide_and_grant(call, message)

    _replace(worker.service, "decide_and_grant", decide)


def misread() -> None:
    """Have a bug in the reading of every body that says ``unreadable``."""

    def fail(body: bytes) -> wire.Reading:
        if b"unreadable" in body:
            raise ZeroDivisionError
        return wire.read(body)

    _replace(reading, "read", fail)


def misbuild() -> None:
    """Have bugs in the building of what is published about some calls.

    Of ``bad`` calls no success can be built, of ``worse`` ones no event, and of the ``worst`` not
    even a dead letter that has the body.
    """

    def fail_event(event: Event, *more: Any) -> Outgoing:
        if event.request_id.startswith("wors") or (
            event.request_id == "bad" and event.status == _OK
        ):
            raise ZeroDivisionError
        return messages.event_message(event, *more)

    def fail_dead_letter(delivery: Delivery, *more: Any) -> Outgoing:
        if b'"worst"' in delivery.body:
            raise ZeroDivisionError
        return messages.dead_letter(delivery, *more)

    _replace(outgoing, "event_message", fail_event)
    _replace(outgoing, "dead_letter", fail_dead_letter)


def _replace(owner: Any, name: str, function: Any) -> None:
    setattr(owner, name, function)


_FAULTS: dict[str, Callable[[], None]] = {
    **{step: partial(_killed_at, step) for step in STEPS},
    **{
        fault.__name__: fault
        for fault in (alone, paused_before_commit, die_of_poison, bug_in_decide, misread, misbuild)
    },
}

if __name__ == "__main__":
    _FAULTS[sys.argv[1]]()
    app(["worker"])
