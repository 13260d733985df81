"""RabbitMQ and Redis for the demo, for a first run and for the tests.

    from deploy.local import provide

    with provide("tests") as services:
        services.amqp_url, services.redis_url      # where they listen, on 127.0.0.1
        services.management_url                    # RabbitMQ's HTTP API and UI, or None
        services.rabbitmq.kill()                   # SIGKILL, as a crash would
        services.rabbitmq.start()                  # same URL, durable data still there
        services.rabbitmq.ctl("list_queues")       # rabbitmqctl's output
        services.redis.pause(), services.redis.resume()

    with rabbitmq_cluster(3) as cluster:           # and redis_sentinel(), redis_cluster()
        cluster.leaders()["a queue"].kill()
        cluster.cut_off(cluster.nodes[0]), cluster.heal()

    with asterisk_server() as asterisk, telephones() as box:
        asterisk.ari_url, asterisk.ari_user, asterisk.ari_password
        box.answering(tone=400).wait_for("INVITE")   # deploy.local.phones says more

``provide(purpose, progress)`` takes the first of these that is there:

1. the servers named in the environment. Purpose ``"run"`` reads
   ``CALL_CONTROL_AMQP_URL`` and ``CALL_CONTROL_REDIS_URL``; purpose ``"tests"`` reads
   ``CALL_CONTROL_TEST_AMQP_URL`` and ``CALL_CONTROL_TEST_REDIS_URL``. Only one of the two is
   an error. Their handles (``services.rabbitmq``, ``services.redis``) are None: what was not
   started here is not stopped here;
2. a Docker engine that answers: testcontainers for tests, ``deploy/compose.yaml`` for a run;
3. ``rabbitmq-server`` >= 3.10 and ``redis-server`` >= 7 on PATH;
4. on Debian as root, both unpacked from Debian 13 into ``.cache/rootfs`` and run with chroot.

``asterisk_server`` takes the same order, with an image of deploy/asterisk/Dockerfile and Debian 14;
telephones are always processes of this machine.

``CALL_CONTROL_SERVICES`` = ``docker``, ``path`` or ``debian`` forces one of them; ``bookworm``,
``forky`` and ``valkey`` force trees with other versions (``rootfs.TREES``). Every use has servers
of its own, on free ports of 127.0.0.1; several may run at once. They are stopped when the block is
left, by SIGINT and SIGTERM too; those of a process that was killed outright are stopped by the
next ``provide`` or by ``python -m deploy.local clean``.

Every wait is bounded, and its error carries the end of the server's log. All calls block:
from asyncio use ``asyncio.to_thread``. Errors are ``ServicesError`` and its subclasses.
"""

from deploy.local.errors import NoProviderError, ServerFailedError, ServicesError
from deploy.local.more import (
    rabbitmq_cluster,
    rabbitmq_server,
    redis_cluster,
    redis_sentinel,
    redis_server,
)
from deploy.local.provide import provide
from deploy.local.rabbitmq_cluster import RabbitMQCluster
from deploy.local.redis_cluster import RedisCluster
from deploy.local.redis_sentinel import RedisSentinel
from deploy.local.services import Asterisk, Broker, Progress, Purpose, Server, Services
from deploy.local.telephony import asterisk_server, telephones

__all__ = [
    "Asterisk",
    "Broker",
    "NoProviderError",
    "Progress",
    "Purpose",
    "RabbitMQCluster",
    "RedisCluster",
    "RedisSentinel",
    "Server",
    "ServerFailedError",
    "Services",
    "ServicesError",
    "asterisk_server",
    "provide",
    "rabbitmq_cluster",
    "rabbitmq_server",
    "redis_cluster",
    "redis_sentinel",
    "redis_server",
    "telephones",
]
