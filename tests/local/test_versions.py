"""A tree that is asked for by its name has the versions that are asked for."""

import re

import aio_pika
import pytest
import redis

from deploy.local import Services, rootfs

#: Of RabbitMQ and of Redis or its successor, by the tree's name.
VERSIONS = {
    "debian": ("4.0", "redis", "8.0"),
    "bookworm": ("3.10", "redis", "7.0"),
    "forky": ("4.3", "redis", "8.0"),
    "valkey": ("4.0", "valkey", "8.1"),
}


def test_every_tree_has_versions_that_are_stated() -> None:
    """So that no tree is added without saying what it is for."""
    assert VERSIONS.keys() == rootfs.TREES.keys()


async def test_the_servers_have_the_versions_of_the_tree_that_was_asked_for(
    services: Services,
) -> None:
    """Otherwise what is run on all versions would be run on one of them again and again."""
    if services.provider not in VERSIONS:
        pytest.skip(f"{services.provider} has whatever versions it has")
    broker, server, version = VERSIONS[services.provider]
    async with await aio_pika.connect(services.amqp_url) as connection:
        said = connection.transport.connection.server_properties  # type: ignore[union-attr]  # it is open
        assert re.match(rf"{re.escape(broker)}\.", str(said["version"]))
    with redis.Redis.from_url(services.redis_url) as client:
        info = client.info("server")
        assert info.get("server_name", "redis") == server
        assert str(info[f"{server}_version"]).startswith(f"{version}.")
