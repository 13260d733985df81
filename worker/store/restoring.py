"""Write calls that were read from the journal back into Redis."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import ResponseError

from worker.core.call import Call
from worker.errors import StoreUnavailable
from worker.store.calls import WRONG_TYPE, CallStore
from worker.store.codec import CALL_FIELDS, encode_call
from worker.store.errors import translated_errors
from worker.store.servers import RedisClient

_RESTORE: Final = files("worker.store").joinpath("restore.lua").read_text()

_VERSION: Final = CALL_FIELDS[0]


@dataclass(slots=True)
class Restoration:
    """What the journal says of a call.

    Attributes:
        call: The call after the last of its events.
        at: When that was, in milliseconds since the epoch.
        began: When its first event was; None where that is not among its records.
        latest: The latest time of any of its events.
        records: By their fields, values of records, and behind which progress of the call.
    """

    call: Call
    at: int
    began: int | None = None
    latest: int = 0
    records: dict[str, tuple[int, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """What restoring a call changed; None stands for a key that holds something else.

    Attributes:
        changed: Whether anything was missing, or in an earlier state, and had not been restored at
            this version before.
        records: The number of records that were missing.
    """

    changed: bool
    records: int


async def restore(
    redis: RedisClient, store: CallStore, restorations: Sequence[Restoration], version: int
) -> list[Written | None]:
    """Restore calls; what Redis has is never replaced by something older.

    It may be repeated, and done while workers work.

    Args:
        redis: The client.
        store: The installation's calls.
        restorations: What the journal says; calls that have the same name in their order.
        version: The least version of a call that is changed. No worker may have loaded it at this
            version or a later one.

    Raises:
        StoreUnavailable: Some may have been restored, some not, or not safely.
    """
    with translated_errors():
        pipeline: Any = redis.pipeline(transaction=False)
        for each in restorations:
            fields = encode_call(each.call, version)
            del fields[_VERSION]
            pipeline.eval(
                _RESTORE,
                1,
                store.key(each.call.request_id),
                each.call.progress,
                each.at,
                each.at + store.kept_ms(each.call),
                each.began or "",
                store.clock_tolerance_ms,
                version,
                len(fields),
                *(part for item in fields.items() for part in item),
                *(
                    part
                    for name, (progress, value) in each.records.items()
                    for part in (progress, name, value)
                ),
            )
        keys = [store.key(each.call.request_id) for each in restorations]
        await store.barrier.append(redis, pipeline, keys)
        answers = await pipeline.execute(raise_on_error=False, **store.barrier.options(redis))
    store.barrier.check(answers[len(restorations) :])
    return [_written(answer) for answer in answers[: len(restorations)]]


def _written(answer: Any) -> Written | None:
    if isinstance(answer, ResponseError) and WRONG_TYPE in str(answer):
        return None
    if isinstance(answer, Exception):
        raise StoreUnavailable(str(answer)) from answer
    changed, records = answer
    return Written(bool(changed), int(records))
