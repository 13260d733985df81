"""redis-py's errors as the worker's own."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisClusterException, RedisError

from worker.cancellation import raise_if_cancelled
from worker.errors import StoreUnavailable


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise ``StoreUnavailable`` for whatever redis-py raises.

    That includes refusals such as ``OOM``, ``READONLY`` and ``LOADING``: they pass, or somebody
    has to mend the server; in both cases the commands are held until then.
    """
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise_if_cancelled()
        raise StoreUnavailable(f"Redis: {error or type(error).__name__}") from error
    except AttributeError as error:
        # What redis-py makes of ASK with a node of the cluster that has no slot yet.
        if error.obj is not None:
            raise
        raise_if_cancelled()
        raise StoreUnavailable("Redis: a key moves to a node that is not known yet") from error
    raise_if_cancelled()
