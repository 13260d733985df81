"""Run a script for many calls in one round trip, while Redis is the one it was.

On one server nothing is written in another epoch, which the script itself looks at, nor by a server
that this session has not compared, which shows before anything is sent to it. In a cluster, where
the epoch is on one node, both are found out with the answers.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoScriptError, ResponseError

from worker.errors import StoreUnavailable
from worker.store.durability import Barrier
from worker.store.epoch import Guard
from worker.store.errors import translated_errors
from worker.store.servers import RedisClient


class Script(NamedTuple):
    """A script.

    Attributes:
        text: What Redis runs.
        digest: By which Redis knows it, once it has run it (Redis documentation, "EVALSHA").
    """

    text: str
    digest: str

    @classmethod
    def read(cls, name: str) -> "Script":
        """Return the script in the file of that name."""
        text = files("worker.store").joinpath(name).read_text()
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


LOAD: Final = Script.read("load.lua")
COMMIT: Final = Script.read("commit.lua")

#: Calls that one script loads or commits, at most: it takes Redis a millisecond or less, in which
#: nobody else is served.
_MOST_AT_ONCE: Final = 64


async def run(
    redis: RedisClient,
    script: Script,
    calls: Sequence[tuple[str, object]],
    guard: Guard | None,
    barrier: Barrier | None = None,
) -> list[Any]:
    """Run a script for calls, and return its answer for each.

    One argument says all of it: redis-py takes its time over each. A server is told the script only
    where it does not know it: to read it takes as long as to run it for one call. A cluster is
    always told, since its pipeline refuses EVALSHA; there each call has a script for itself: their
    slots differ.

    Args:
        redis: The client.
        script: The script.
        calls: The key of each, and what the script is told of it.
        guard: What is known of this Redis, if it matters.
        barrier: What to wait for behind the scripts.

    Raises:
        StoreRegressed: Redis has lost calls.
        Unavailable: Redis has been rebuilt, or is another server: begin a new session.
        StoreUnavailable: Redis did not answer, or not with all of it.
    """
    if not isinstance(redis, Redis):
        return await _run_in_cluster(redis, script, calls, guard, barrier)
    firsts = range(0, len(calls), _MOST_AT_ONCE)
    about = [_arguments(calls[at : at + _MOST_AT_ONCE], guard) for at in firsts]
    barriers = [barrier.command] if barrier else []
    with translated_errors():
        commands = [("EVALSHA", script.digest, *each) for each in about]
        answers = await _execute(redis, [*commands, *barriers], guard)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # What one of them has done all the same is done once: a commit finds its own records.
            commands = [("EVAL", script.text, *each) for each in about]
            answers = await _execute(redis, [*commands, *barriers], guard)
    found: list[Any] = []
    for answer in map(unless_error, answers[: len(about)]):
        if guard is not None:
            guard.check(redis, unless_error(answer.pop()))
        found += answer
    if barrier is not None:
        barrier.check(answers[len(about) :])
    return found


def _arguments(
    calls: Sequence[tuple[str, object]], guard: Guard | None
) -> tuple[str | bytes | int, ...]:
    keys, arguments = zip(*calls, strict=True)
    if guard is None:
        return len(keys), *keys, to_json(arguments)
    return len(keys) + 1, *keys, guard.key, to_json(arguments), guard.value


async def _execute(
    redis: Redis, commands: Sequence[tuple[str | bytes | int, ...]], guard: Guard | None
) -> list[Any]:
    """Execute commands in one round trip; return their answers, among which may be errors.

    redis-py's own pipeline may open a connection and write on it at one go.

    Raises:
        Unavailable: The connection leads to another server.
        RedisError: There were no answers.
    """
    pool: Any = redis.connection_pool
    connection = await pool.get_connection()
    # One limit for all of it: redis-py has one for each read, and one for each write, which Python
    # 3.11's ``wait_for`` makes a task of.
    limit, connection.socket_timeout = connection.socket_timeout, None
    try:
        if guard is not None and not guard.has_compared(redis):
            # It may refuse, which passes; if it does not, the session is over.
            await guard.look(redis)
        async with asyncio.timeout(limit):
            packed = connection.pack_commands(commands)
            await connection.send_packed_command(packed, check_health=False)
            return [await _answer(connection) for _ in commands]
    except BaseException:
        # An answer that is still to come would be taken for another command's.
        await connection.disconnect(nowait=True)
        raise
    finally:
        connection.socket_timeout = limit
        await pool.release(connection)


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def _run_in_cluster(
    redis: RedisCluster,
    script: Script,
    calls: Sequence[tuple[str, object]],
    guard: Guard | None,
    barrier: Barrier | None,
) -> list[Any]:
    options: dict[str, bool] = {}
    with translated_errors():
        pipeline: Any = redis.pipeline(transaction=False)
        for key, argument in calls:
            pipeline.eval(script.text, 1, key, to_json([argument]))
        if barrier is not None:
            await barrier.append(redis, pipeline, [key for key, _ in calls])
            options = barrier.options(redis)
        if guard is not None:
            # Last: a Redis that is the one it was now, was it when the scripts ran. And not GET,
            # which a replica would answer.
            pipeline.getex(guard.key)
        answers = await pipeline.execute(raise_on_error=False, **options)
    if guard is not None:
        guard.check(redis, unless_error(answers.pop()))
    found = list(_each(answers[: len(calls)]))
    if barrier is not None:
        barrier.check(answers[len(calls) :])
    return found


def _each(answers: Iterable[Any]) -> Iterator[Any]:
    """Go through what scripts for many calls have answered, call by call."""
    for answer in answers:
        yield from unless_error(answer)


def unless_error(answer: Any) -> Any:
    """Return an answer.

    Raises:
        StoreUnavailable: It is an error.
    """
    if isinstance(answer, Exception):
        raise StoreUnavailable(str(answer)) from answer
    return answer
