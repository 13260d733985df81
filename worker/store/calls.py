"""Load many calls in one round trip; commit many in another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from worker.core.call import Call, State
from worker.errors import CorruptCall, StoreRegressed
from worker.names import Names
from worker.settings import Durability, Settings
from worker.store.codec import (
    CALL_FIELDS,
    Record,
    decode_call,
    decode_history,
    encode_call,
    record_field,
    short_id,
    stored_records,
)
from worker.store.durability import Barrier
from worker.store.epoch import Guard
from worker.store.errors import translated_errors
from worker.store.scripts import COMMIT, LOAD, run, unless_error
from worker.store.servers import RedisClient, reconnect

#: The error prefix of a key that holds another type than a hash (Redis documentation, "Errors").
WRONG_TYPE: Final = "WRONGTYPE"

#: How long the key that a verification writes is kept, in milliseconds.
_PROBE_MS: Final = 60_000

#: The states of a call that is over, or never was.
FINISHED: Final = frozenset({State.ABSENT, State.ENDED})


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call as it was loaded.

    Attributes:
        call: The call.
        version: The version to commit against; 0 where nothing is stored.
        records: The records found among those asked for, by the ids under which they are kept.
    """

    call: Call
    version: int
    records: Mapping[str, bytes]

    @property
    def is_absent(self) -> bool:
        """Whether nothing is stored."""
        return self.version == 0


@dataclass(frozen=True, slots=True)
class Change:
    """A call to commit.

    Attributes:
        call: The call.
        version: The version to commit against.
        records: The records of the messages that changed it, by message id.
        before: The call as it was loaded, of which only what has changed is written; None for all.
    """

    call: Call
    version: int
    records: Mapping[str, bytes] = field(default_factory=dict)
    before: Call | None = None


class CallStore:
    """The calls of one namespace.

    Args:
        redis: The client; it belongs to the caller.
        prefix: What stands before the ``request_id`` in a key.
        ended_retention_seconds: How long a call is kept that is over, or never was.
        idle_expiry_seconds: How long a live call is kept after its last change.
        durability: What a commit waits for.
        guard: Notices that calls were lost; None where none are committed.

    Attributes:
        barrier: What the durability asks for.
    """

    def __init__(
        self,
        redis: RedisClient,
        *,
        prefix: str,
        ended_retention_seconds: int,
        idle_expiry_seconds: int,
        durability: Durability = Durability.SERVER,
        guard: Guard | None = None,
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self.barrier = Barrier(durability)
        self._ended_ms = ended_retention_seconds * 1000
        self._idle_ms = idle_expiry_seconds * 1000
        self._guard = guard

    @classmethod
    def of(cls, redis: RedisClient, settings: Settings, guard: Guard | None = None) -> "CallStore":
        """Return the calls of an installation."""
        return cls(
            redis,
            prefix=Names(settings.namespace).call_prefix,
            ended_retention_seconds=settings.ended_retention_seconds,
            idle_expiry_seconds=settings.idle_expiry_seconds,
            durability=settings.durability,
            guard=guard,
        )

    @property
    def waits(self) -> bool:
        """Whether a commit waits for more than the server's answer.

        What another worker committed may then not be safe yet; a call is committed anew before
        its records are relied on, and that waits for all that was written before it.
        """
        return bool(self.barrier)

    def kept_ms(self, call: Call) -> int:
        """Return how long a call is kept after its last change, in milliseconds."""
        return self._ended_ms if call.state in FINISHED else self._idle_ms

    @property
    def clock_tolerance_ms(self) -> int:
        """How far clocks may differ, in milliseconds: half the time for which any call is kept."""
        return min(self._ended_ms, self._idle_ms) // 2

    def key(self, request_id: str) -> str:
        """Return the key of a call's hash."""
        return self._prefix + request_id

    async def load(
        self, wanted: Mapping[str, Iterable[str] | None]
    ) -> dict[str, StoredCall | CorruptCall]:
        """Load calls by ``request_id``, each with the records of some message ids, or all (None).

        With ids, the cost does not depend on how long a call's history is.

        Raises:
            StoreRegressed: Redis has lost calls.
            Unavailable: Redis has been rebuilt, or is another server: begin a new session.
            StoreUnavailable: Redis did not answer, or not with all of it.
        """
        guard = self._guard
        asked = {
            request_id: None if ids is None else list(ids) for request_id, ids in wanted.items()
        }
        fields = [
            (self.key(request_id), ids is not None and [*CALL_FIELDS, *map(record_field, ids)])
            for request_id, ids in asked.items()
        ]
        answers = await run(self._redis, LOAD, fields, guard)
        stored = {
            request_id: _stored(request_id, ids, answer)
            for (request_id, ids), answer in zip(asked.items(), answers, strict=True)
        }
        if guard is not None:
            await self._compare(guard, stored)
        return stored

    def presumed(self, request_id: str) -> StoredCall | None:
        """Return a call of which nothing is stored, as far as anybody here knows; else None.

        To be committed against only where that finds out what a load would have: not in a cluster.
        """
        guard = self._guard
        if guard is None or not isinstance(self._redis, Redis) or guard.knows(request_id):
            return None
        return StoredCall(Call(request_id), 0, {})

    async def _compare(self, guard: Guard, loaded: Mapping[str, StoredCall | CorruptCall]) -> None:
        for request_id, stored in loaded.items():
            if isinstance(stored, CorruptCall):
                guard.forget(request_id)
            elif guard.set_back(request_id, stored.call.progress, absent=stored.is_absent):
                await guard.condemn(self._redis)
                raise StoreRegressed(f"call {request_id} is in an earlier state")

    async def look(self) -> None:
        """Make sure that Redis is still the one it was.

        Raises:
            StoreRegressed: Redis has lost calls.
            Unavailable: Redis has been rebuilt, or is another server: begin a new session.
            StoreUnavailable: Redis did not answer.
        """
        if self._guard is not None:
            await self._guard.look(self._redis)

    async def reconnect(self) -> None:
        """Connect anew: where the URL leads, another server may serve calls by now."""
        await reconnect(self._redis)

    async def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Commit calls; each is committed whole, or not at all.

        Returns:
            For each change whether it was committed; False means that the call has moved on since
            it was loaded, by another worker or by this one's own commit of unknown outcome, that
            it has one of the records already, or that its key holds something else by now.

        Raises:
            StoreRegressed: Redis has lost calls; on one server, nothing has been committed.
            Unavailable: Redis has been rebuilt, or is another server: begin a new session.
            StoreUnavailable: Some may have been committed, some not, or not safely. What is
                committed again is found to be there.
        """
        writes = [(self.key(change.call.request_id), self._written(change)) for change in changes]
        answers = await run(self._redis, COMMIT, writes, self._guard, self.barrier)
        done = [not _is_wrong_type(answer) and unless_error(answer) == 1 for answer in answers]
        if self._guard is not None:
            for change, committed in zip(changes, done, strict=True):
                if committed:
                    call = change.call
                    self._guard.committed(
                        call.request_id, call.progress, over=call.state in FINISHED
                    )
        return done

    async def verify(self, key: str) -> None:
        """Make sure that Redis takes writes, and makes them as safe as is asked for.

        Args:
            key: A key to write.

        Raises:
            StoreUnavailable: It does not, or not in time.
        """
        with translated_errors():
            pipeline: Any = self._redis.pipeline(transaction=False)
            pipeline.set(key, b"", px=_PROBE_MS)
            await self.barrier.append(self._redis, pipeline, [key])
            written, *barriers = await pipeline.execute(raise_on_error=False)
        unless_error(written)
        self.barrier.check(barriers)

    async def history(self, request_id: str) -> tuple[Call, list[tuple[str, Record]]] | None:
        """Return a call and its records with their message ids, oldest first; None if unknown.

        Raises:
            CorruptCall: What is stored is not a call.
            StoreUnavailable: Redis did not answer.
        """
        client: Any = self._redis
        with translated_errors():
            fields: dict[bytes, bytes] = await client.hgetall(self.key(request_id))
        if not fields:
            return None
        call, _ = decode_call(request_id, [fields.get(name.encode()) for name in CALL_FIELDS])
        return call, decode_history(request_id, fields)

    async def expires_ms(self, request_id: str) -> int | None:
        """Return how long a call is kept, unless something happens to it, in milliseconds.

        None for ever, or where nothing is stored.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        client: Any = self._redis
        with translated_errors():
            left = int(await client.pttl(self.key(request_id)))
        return left if left >= 0 else None

    def _written(self, change: Change) -> list[str | bytes | int]:
        fields = encode_call(change.call, change.version + 1, change.before)
        return [
            str(change.version),
            str(self.kept_ms(change.call)),
            len(change.records),
            *(part for id_, value in change.records.items() for part in (record_field(id_), value)),
            *(part for field in fields.items() for part in field),
        ]


def _is_wrong_type(answer: Any) -> bool:
    return isinstance(answer, ResponseError) and WRONG_TYPE in str(answer)


def _stored(request_id: str, ids: Sequence[str] | None, answer: Any) -> StoredCall | CorruptCall:
    if _is_wrong_type(answer):
        return CorruptCall(f"the key of call {request_id} holds something else")
    found = unless_error(answer)
    if ids is None:
        fields = dict(zip(found[::2], found[1::2], strict=True))
        values = [fields.get(name.encode()) for name in CALL_FIELDS]
        records = stored_records(fields)
    else:
        values = found[: len(CALL_FIELDS)]
        records = {
            short_id(id_): value
            for id_, value in zip(ids, found[len(CALL_FIELDS) :], strict=True)
            if value is not None
        }
    try:
        call, version = decode_call(request_id, values)
    except CorruptCall as error:
        return error
    return StoredCall(call, version, records)
