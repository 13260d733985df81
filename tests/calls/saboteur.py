"""A real gateway with one fault built in: ``python -m tests.calls.saboteur FAULT``.

The faults replace methods in the gateway's own process; everything else is real.
"""

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Final

from schemas.reports import Answered, Done, Report, Ringing
from worker.cli.app import app
from worker.errors import AsteriskUnavailable
from worker.gateways.asterisk import service
from worker.gateways.asterisk.calls import Calls
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

    async def settle(_: Port, __: Taken, *, heard: bool = False) -> None:
        del heard
        _die()

    setattr(Port, "settle", settle)  # noqa: B010 - mypy lets no method be assigned


def comparisons_fail() -> None:
    """Have Asterisk not answer in time whenever the calls are compared, but for the first time."""
    compare, times = Calls.compare, count()

    async def compare_once(self: Calls) -> None:
        if next(times):
            raise AsteriskUnavailable("Asterisk: no answer")
        await compare(self)

    setattr(Calls, "compare", compare_once)  # noqa: B010 - mypy lets no method be assigned
    setattr(service, "_COMPARE_SECONDS", 0.2)  # noqa: B010 - nor a constant


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


_DEATHS: Final = (before_ringing_is_reported, before_it_is_reported, before_it_is_settled)
#: The moments about a call at which a gateway can die.
DEATHS: Final = tuple(fault.__name__ for fault in _DEATHS)
FAULTS: Final = {fault.__name__: fault for fault in (*_DEATHS, comparisons_fail)}


if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    app(["gateway", "asterisk"])
