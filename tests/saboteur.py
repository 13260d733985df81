"""A real worker with one fault built in: ``python -m tests.saboteur FAULT``.

The faults replace a method of one class in the worker's own process; everything else is real.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import worker.service
from schemas.contract import CommandName
from worker.broker.inbox import Delivery, Inbox
from worker.broker.outbox import Outbox, Outgoing
from worker.cli.app import app
from worker.core.call import Call
from worker.core.messages import Decision, Message
from worker.gateways.loopback import decide_and_grant
from worker.membership import Heartbeat

#: The call whose commands are poison.
POISON = "poison"


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


def _replace(owner: object, name: str, function: Any) -> None:
    setattr(owner, name, function)


_FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (alone, die_after_commit, die_after_publish, die_of_poison, bug_in_decide)
}

if __name__ == "__main__":
    _FAULTS[sys.argv[1]]()
    app(["worker"])
