"""A Redis that refuses to write: nothing is committed, and it is tried again."""

import pytest

from deploy.local import redis_server
from tests.epochs import CONNECTED, begun, store_of
from worker.errors import StoreUnavailable
from worker.store import Change, close, connect


@pytest.mark.parametrize(
    ("refuse", "allow", "why"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "maxmemory"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read only"),
    ],
    ids=["out of memory", "read-only"],
)
async def test_nothing_is_committed_until_redis_takes_it(refuse: str, allow: str, why: str) -> None:
    """Neither is anything written past its limit, which would end in its death."""
    with redis_server() as server:
        redis = connect(server.url)
        try:
            store = store_of(redis, await begun(redis))
            change = Change(CONNECTED, 0)
            await redis.execute_command(*refuse.split())
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match=why):
                    await store.commit([change])
            assert await redis.exists(store.key(CONNECTED.request_id)) == 0
            await redis.execute_command(*allow.split())
            assert await store.commit([change]) == [True]
        finally:
            await close(redis)
