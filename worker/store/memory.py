"""What a partition's owner knows of its calls, so that it need not load them again.

A call that was committed is remembered as it was left. The commit compares its version, and looks
for records of the same messages, so what is remembered may be wrong: then it costs two round
trips, and no more. Only a version that comes again could deceive it, when a call has expired and
another one has its name; so nothing is remembered for longer than half the time for which any call
is kept.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from worker.core.call import Call
from worker.store.calls import StoredCall

#: Calls that a worker remembers; each takes less than a kilobyte.
_MOST_CALLS: Final = 20_000


class _Remembered(NamedTuple):
    stored: StoredCall
    owner: object
    until: int


class Memory:
    """The calls that one session has committed."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, _Remembered] = OrderedDict()

    def remember(self, call: Call, version: int, owner: object, until: int) -> None:
        """Remember a call as it was committed.

        Args:
            call: The call.
            version: Its version.
            owner: That by which its partition is owned; nobody else is told.
            until: For how long, in milliseconds since the epoch.
        """
        self._calls[call.request_id] = _Remembered(StoredCall(call, version, {}), owner, until)
        self._calls.move_to_end(call.request_id)
        if len(self._calls) > _MOST_CALLS:
            self._calls.popitem(last=False)

    def recall(self, request_id: str, owner: object, at: int) -> StoredCall | None:
        """Return a call, without records; None if it is not known, or not any more.

        Args:
            request_id: Its name.
            owner: That by which its partition is owned now.
            at: The time, in milliseconds since the epoch.
        """
        known = self._calls.get(request_id)
        if known is None or known.owner is not owner or known.until <= at:
            return None
        return known.stored

    def forget(self, request_id: str) -> None:
        """Forget a call of which something else has become."""
        self._calls.pop(request_id, None)
