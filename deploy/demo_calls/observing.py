"""What comes of a step at the telephones: the messages, the sounds, the digits."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from deploy.demo_calls import checking
from deploy.demo_calls.checking import Heard
from deploy.demo_calls.handset import Handset
from deploy.demo_calls.scenario import Act

#: Seconds that an event, a SIP message, a sound or digits may take.
PATIENCE_SECONDS: Final = 10.0

#: How long a sound has to last to count, in seconds. What else comes of a step comes meanwhile.
_STEADY_SECONDS: Final = 0.3

#: Seconds between two looks.
_LOOK_SECONDS: Final = 0.02


async def holds(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait until a condition holds; tell whether it does in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True


class Observation:
    """Looks at the telephones from before a step until what has to come of it is there.

    Args:
        act: The step.
        handsets: The telephones, by their columns' names.
    """

    def __init__(self, act: Act, handsets: Mapping[str, Handset]) -> None:
        self._act = act
        self._handsets = handsets
        self._counts = {(who, what): handsets[who].count(what) for who, what in act.sip}
        self._digits_before = len(self._digits())
        self._sent = act.step.body.get("digits", "") if act.digits_at else ""
        self._heard: Heard = {}

    async def finish(self) -> None:
        """Wait for what has to come, for as long as it may take."""
        await holds(lambda: not self._missing())
        await holds(lambda: len(self._arrived()) >= len(self._sent))
        wanted = checking.wanted(self._act.hears)
        deadline = time.monotonic() + PATIENCE_SECONDS
        since: float | None = None
        while True:
            # It is a lot to reckon, and events are to be seen when they come.
            self._heard = await asyncio.to_thread(self._listen)
            now = time.monotonic()
            since = (since or now) if self._heard == wanted else None
            if now > deadline or (since is not None and now - since >= _STEADY_SECONDS):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def remark(self) -> str:
        """Say what is heard, and how many digits have arrived; not which."""
        said = checking.hearing(self._act.hears, self._heard)
        if self._act.digits_at:
            said += f"; {len(self._arrived())} digits have arrived at {self._act.digits_at}"
        return said

    def problems(self) -> list[str]:
        """Say what is not as it should be."""
        problems = [f"no {what} at {who}" for who, what in self._missing()]
        if self._arrived() != self._sent:
            problems.append("other digits have arrived than were sent")
        return problems + checking.misheard(self._act.hears, self._heard)

    def _missing(self) -> list[tuple[str, str | int]]:
        return [
            (who, what)
            for (who, what), count in self._counts.items()
            if self._handsets[who].count(what) <= count
        ]

    def _arrived(self) -> str:
        return self._digits()[self._digits_before :]

    def _digits(self) -> str:
        return self._handsets[self._act.digits_at].digits() if self._act.digits_at else ""

    def _listen(self) -> Heard:
        return {who: checking.named(each.tones()) for who, each in self._handsets.items()}
