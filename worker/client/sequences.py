"""Tell copies and gaps by the numbers that events of a call have."""

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime
from typing import Final

from worker.client.event import Event

#: Calls whose last event is remembered.
_MOST_CALLS: Final = 100_000


class Sequences:
    """The last event seen of each call, for as many calls as are remembered.

    Args:
        gapless: Whether every event of a call is seen, so that one that is not is missed.
    """

    def __init__(self, *, gapless: bool) -> None:
        self._gapless = gapless
        self._last: OrderedDict[str, tuple[int, datetime | None]] = OrderedDict()

    def new(self, event: Event) -> Event | None:
        """Return an event with the number of those missing before it; None for a copy.

        A copy has the time of its original. So a low number with a later time is no copy, but
        begins another call of the same ``request_id``, after the former is forgotten.
        """
        if event.sequence == 0:
            return event
        at, missed = event.decided_at, 0
        last = self._last.pop(event.request_id, None)
        if last is not None:
            sequence, latest = last
            if event.sequence > sequence:
                missed = event.sequence - sequence - 1
                # Workers' clocks differ, and a call may change its worker.
                at = latest if _is_later(latest, at) else at
            elif _is_later(at, latest):
                missed = event.sequence - 1
            else:
                self._last[event.request_id] = last
                return None
        self._last[event.request_id] = (event.sequence, at)
        if len(self._last) > _MOST_CALLS:
            self._last.popitem(last=False)
        return replace(event, missed=missed if self._gapless else None)


def _is_later(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one > other
