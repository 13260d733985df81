"""A real gateway with one fault built in: ``python -m tests.calls.saboteur FAULT``.

The faults replace methods in the gateway's own process; everything else is real.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from schemas.reports import Answered, Done, Report, Ringing
from worker.cli.app import app
from worker.gateways.port import Port, Taken


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_ringing_is_reported() -> None:
    """Die when a telephone rings, before anybody has been told."""
    _before_saying(lambda report: isinstance(report, Ringing))


def before_it_is_reported() -> None:
    """Die when what was asked is done, before anybody has been told."""
    _before_saying(lambda report: isinstance(report, Answered | Done))


def before_it_is_settled() -> None:
    """Die when what was asked has been reported, and before its action is acknowledged."""

    async def settle(_: Port, __: Taken) -> None:
        _die()

    setattr(Port, "settle", settle)  # noqa: B010 - mypy lets no method be assigned


def _before_saying(doomed: Callable[[Report], bool]) -> None:
    take, say = Port.take, Port.say
    asked = set()

    async def take_and_note(self: Port) -> Taken:
        taken = await take(self)
        asked.add(taken.action.action_id)
        return taken

    async def say_or_die(self: Port, report: Report) -> None:
        # Not of what it has found: it says once more how that is.
        if doomed(report) and report.action_id in asked:
            _die()
        await say(self, report)

    setattr(Port, "take", take_and_note)  # noqa: B010 - mypy lets no method be assigned
    setattr(Port, "say", say_or_die)  # noqa: B010 - as above


FAULTS: Final = {
    fault.__name__: fault
    for fault in (before_ringing_is_reported, before_it_is_reported, before_it_is_settled)
}


if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    app(["gateway", "asterisk"])
