"""A real worker with one fault built in: ``python -m tests.saboteur FAULT``.

The faults replace methods or functions in the worker's own process; everything else is real.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NoReturn

import worker.service
from schemas import wire
from schemas.contract import CommandName
from schemas.events import Event
from worker import batch, outgoing
from worker.broker import messages
from worker.broker.inbox import Delivery, Inbox
from worker.broker.outbox import Outbox, Outgoing
from worker.cli.app import app
from worker.core.call import Call
from worker.core.messages import Decision, Message
from worker.gateways.loopback import decide_and_grant
from worker.membership import Heartbeat

#: The call whose commands are poison.
POISON = "poison"
_OK: Final = 200


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit


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


def die_after_commit() -> None:
    """Be killed when state and records are committed and nothing has been published."""

    async def publish(_: Outbox, messages: Sequence[Outgoing]) -> None:
        if messages:
            _die()

    _replace(Outbox, "publish", publish)


def die_after_publish() -> None:
    """Be killed when events are confirmed and nothing has been acknowledged."""

    async def settle(_: Inbox, deliveries: Iterable[Delivery]) -> None:
        if any(True for _ in deliveries):
            _die()

    _replace(Inbox, "settle", settle)


def die_of_poison() -> None:
    """Be killed by every command of one call, whenever it is decided."""

    def decide(call: Call, message: Message) -> Decision:
        if call.request_id == POISON:
            _die()
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

    _replace(batch, "read", fail)


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
    fault.__name__: fault
    for fault in (
        alone,
        die_after_commit,
        die_after_publish,
        die_of_poison,
        bug_in_decide,
        misread,
        misbuild,
    )
}

if __name__ == "__main__":
    _FAULTS[sys.argv[1]]()
    app(["worker"])
