"""A limit: one write to Redis per command, each awaited before the next, and nothing else.

No command is consumed and no event published; what is counted is the key that is written.
"""

import asyncio

from redis.asyncio import Redis

from tests.bench.peers.job import Place, counter_of


async def main() -> None:
    """Write until the process is ended."""
    place = Place.from_environment()
    key = counter_of(place.names)
    async with Redis.from_url(place.redis_url) as redis:
        while True:
            await redis.incr(key)


if __name__ == "__main__":
    asyncio.run(main())
