"""Calls that are in Redis before a worker starts, written by the worker's own store."""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from schemas.contract import OK, CommandName, EventName, reason_phrase
from schemas.events import Event, Request
from tests.harness import Installation
from worker.core.call import Call, State
from worker.store import CallStore, Change, Record, close, connect
from worker.store.codec import encode_record

#: Records that go to Redis in one pipeline.
_RECORDS: Final = 2000

#: When the calls were last heard of, in milliseconds since the epoch.
_AT: Final = 1_700_000_000_000


async def preload(calls: Installation, count: int, history: int = 1) -> list[str]:
    """Store connected calls, each with the records of so many commands; return their names."""
    names = [f"live-{number}" for number in range(count)]
    changes = (_change(name, history) for name in names)
    settings = calls.settings
    redis = connect(settings.redis_url.get_secret_value())
    store = CallStore.of(redis, settings)
    try:
        while some := list(islice(changes, max(1, _RECORDS // history))):
            assert all(await store.commit(some))
    finally:
        await close(redis)
    return names


def _change(request_id: str, history: int) -> Change:
    call = Call(
        request_id,
        state=State.CONNECTED,
        origin="tel:+18164388687",
        destination="tel:+18165057120",
    )
    records = {}
    for sequence in range(1, history + 1):
        call = call._replace(sequence=sequence, muted=sequence % 2 == 1)
        request = Request(f"{request_id}-{sequence}", call_control=CommandName.MUTE)
        records[request.id] = encode_record(_record(call, request), request)
    return Change(call, 0, records)


def _record(call: Call, request: Request) -> Record:
    event = Event(
        name=EventName.CALL_MUTED,
        request_id=call.request_id,
        sequence=call.sequence,
        status=OK,
        reason=reason_phrase(OK),
        call_state=call.state,
        terminal=False,
        cause=request.id,
        ordinal=0,
        answers=request,
    )
    return Record(_AT, CommandName.MUTE, call, (event,))


async def bytes_of(calls: Installation, names: Sequence[str]) -> list[int]:
    """Return what calls take in Redis, in bytes, as ``MEMORY USAGE`` counts them."""
    prefix = calls.names.call_prefix
    pipeline = calls.redis.pipeline(transaction=False)
    for name in names:
        pipeline.memory_usage(prefix + name, samples=0)
    return [int(answer) for answer in await pipeline.execute()]
