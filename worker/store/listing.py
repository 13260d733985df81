"""Go through all calls of an installation, without keeping Redis from its work."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from worker.core.call import Call
from worker.errors import CorruptCall, StoreUnavailable
from worker.store.calls import WRONG_TYPE
from worker.store.codec import CALL_FIELDS, decode_call
from worker.store.errors import translated_errors
from worker.store.servers import RedisClient

#: Keys that Redis looks at in one step; it does so in well under a millisecond.
_STEP: Final = 500


@dataclass(frozen=True, slots=True)
class Listed:
    """A call as it was met.

    Attributes:
        call: The call.
        expires_ms: How long it is kept, unless something happens to it; None for ever.
    """

    call: Call
    expires_ms: int | None


async def every_call(redis: RedisClient, prefix: str) -> AsyncIterator[list[Listed | CorruptCall]]:
    """Yield the calls under a prefix of keys, in no order, a bounded number at a time.

    What begins or expires meanwhile may be missing; each other call is met once. In a cluster all
    primaries are asked.

    Raises:
        StoreUnavailable: Redis did not answer, or this user may not list keys.
    """
    client: Any = redis
    met: set[int] = set()
    page: list[bytes] = []
    keys = aiter(client.scan_iter(match=f"{prefix}*", count=_STEP))
    while True:
        with translated_errors():
            key = await anext(keys, None)
        if key is not None:
            # SCAN may return a key more than once (Redis documentation, "SCAN").
            if hash(key) not in met:
                met.add(hash(key))
                page.append(key)
            if len(page) < _STEP:
                continue
        if page:
            yield await _read(client, page, len(prefix.encode()))
            page = []
        if key is None:
            return


async def _read(client: Any, keys: Sequence[bytes], skipped: int) -> list[Listed | CorruptCall]:
    with translated_errors():
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.hmget(key, CALL_FIELDS)
            pipeline.pttl(key)
        answers = await pipeline.execute(raise_on_error=False)
    pairs = zip(keys, answers[::2], answers[1::2], strict=True)
    read = [_listed(key[skipped:].decode(errors="replace"), *pair) for key, *pair in pairs]
    return [each for each in read if each is not None]


def _listed(request_id: str, fields: Any, expires_ms: Any) -> Listed | CorruptCall | None:
    for answer in (fields, expires_ms):
        if isinstance(answer, ResponseError) and WRONG_TYPE in str(answer):
            return CorruptCall(f"the key of call {request_id} holds something else")
        if isinstance(answer, Exception):
            raise StoreUnavailable(f"Redis: {answer}") from answer
    try:
        call, version = decode_call(request_id, fields)
    except CorruptCall as error:
        return error
    if not version:
        return None
    return Listed(call, expires_ms if expires_ms >= 0 else None)
