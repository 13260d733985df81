"""What the gateway knows of a call. Asterisk knows it too: a gateway that comes anew asks it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from schemas.contract import ActionName
from worker.gateways.asterisk.events import ChannelState, Event


@dataclass(slots=True)
class Leg:
    """One channel of a call.

    Attributes:
        id: The channel's id.
        state: How far it is.
        bridge: The bridge that it is in.
        touched_at: When it was last heard of, or asked for, by ``time.monotonic``: a list that was
            asked for before is older.
    """

    id: str
    state: ChannelState = ChannelState.DOWN
    bridge: str | None = None
    touched_at: float = field(default_factory=time.monotonic)

    @property
    def is_up(self) -> bool:
        """Whether it has been answered."""
        return self.state is ChannelState.UP

    def touch(self) -> None:
        """Note that it has been heard of."""
        self.touched_at = time.monotonic()


@dataclass(slots=True)
class Attempt:
    """An action that is over when somebody has answered, or nobody has for long enough.

    Attributes:
        action_id: What its report names.
        kind: What it is.
        bridge: Its bridge, which is its claim: where the parties are connected if it succeeds.
        target: The address that is called.
        until: When it has rung for long enough, by ``time.monotonic``.
        give_up_at: When whatever is left of it is dropped, by ``time.monotonic``.
        silent_until: When it must have rung, by ``time.monotonic``; None where it has been dialled
            for certain.
        leg: The leg to the target; None while the origin has not answered.
        rang: Whether it has been reported to ring.
        asked: What has been asked of Asterisk and not been confirmed by an event yet.
    """

    action_id: str
    kind: ActionName
    bridge: str
    target: str
    until: float
    give_up_at: float
    silent_until: float | None = None
    leg: Leg | None = None
    rang: bool = False
    asked: set[str] = field(default_factory=set)

    @property
    def began(self) -> bool:
        """Whether the call began with it, and is over if it fails."""
        return self.kind is ActionName.ORIGINATE

    @property
    def deadline(self) -> float:
        """When it is given up, by ``time.monotonic``."""
        if self.silent_until is None:
            return self.give_up_at
        return min(self.silent_until, self.give_up_at)

    @property
    def ring_seconds(self) -> int:
        """How long it may ring from now on, in whole seconds and at least one."""
        return max(1, -int(-(self.until - time.monotonic()) // 1))


@dataclass(slots=True)
class CallState:
    """One call.

    Attributes:
        request_id: Its name.
        near: The origin's leg; of an incoming call the caller's.
        far: The destination's leg, once it has been connected.
        bridge: The bridge that connects them.
        held: Whether the destination hears music.
        incoming: Whether it came in.
        origin: The origin's address.
        destination: The called address, as the network gave it.
        attempt: What rings at the moment.
        digits_until: When the digits that are being sent are over, by ``time.monotonic``.
        over: Whether nothing more is to be reported of it.
        dying: The legs that have been hung up and are not gone yet, and when they were.
        waiting: Who waits for an event, and for which.
        interrupted: Set when the call is to be hung up, whatever is going on.
    """

    request_id: str
    near: Leg | None = None
    far: Leg | None = None
    bridge: str | None = None
    held: bool = False
    incoming: bool = False
    origin: str = ""
    destination: str = ""
    attempt: Attempt | None = None
    digits_until: float = 0.0
    over: bool = False
    dying: dict[str, float] = field(default_factory=dict)
    waiting: dict[asyncio.Future[None], Callable[[Event], bool]] = field(default_factory=dict)
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, event: Event) -> None:
        """Wake who waits for an event."""
        for waiter, is_it in self.waiting.items():
            if not waiter.done() and is_it(event):
                waiter.set_result(None)

    @contextmanager
    def expecting(self, is_it: Callable[[Event], bool]) -> Iterator[asyncio.Future[None]]:
        """Yield what is done when an event has come; enter it before asking for the event."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting[waiter] = is_it
        try:
            yield waiter
        finally:
            del self.waiting[waiter]
            waiter.cancel()

    @property
    def exists(self) -> bool:
        """Whether there is anything of it on Asterisk."""
        return self.near is not None or self.far is not None or self.attempt is not None

    @property
    def is_connected(self) -> bool:
        """Whether both parties are there."""
        return self.near is not None and self.far is not None

    @property
    def is_offered(self) -> bool:
        """Whether it came in, and has not been accepted."""
        return self.incoming and self.near is not None and self.bridge is None

    def legs(self) -> Iterator[Leg]:
        """Go through its legs."""
        for leg in (self.near, self.far, self.attempt.leg if self.attempt else None):
            if leg is not None:
                yield leg

    def leg(self, channel_id: str) -> Leg | None:
        """Return the leg with an id; None for one that is not, or no longer, among its legs."""
        return next((leg for leg in self.legs() if leg.id == channel_id), None)
