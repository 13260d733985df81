"""Calls of a namespace of their own, in an epoch that has begun, in a real Redis."""

import secrets
from typing import Final

from worker.core.call import Call, State
from worker.store import CallStore, RedisClient
from worker.store.epoch import Guard

KEPT_SECONDS: Final = 3600
NOW_MS: Final = 4_000_000_000_000
CONNECTED: Final = Call(
    "1", state=State.CONNECTED, origin="tel:+1", destination="tel:+2", sequence=3
)


async def begun(redis: RedisClient, remember_seconds: float = 60) -> Guard:
    """Return a guard of a namespace of its own, in its first epoch."""
    made = Guard(f"test-{secrets.token_hex(6)}.epoch", remember_seconds=remember_seconds)
    assert await made.begin(redis) is None
    await made.found(redis)
    assert await made.begin(redis) is not None
    return made


def store_of(redis: RedisClient, guard: Guard, *, watched: bool = True) -> CallStore:
    """Return the calls that a guard watches over; or not, as another worker has them."""
    return CallStore(
        redis,
        prefix=f"{guard.key}:",
        ended_retention_seconds=KEPT_SECONDS,
        idle_expiry_seconds=KEPT_SECONDS,
        guard=guard if watched else None,
    )
