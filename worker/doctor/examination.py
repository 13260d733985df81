"""Examine everything, in the order in which it is to be mended."""

from worker.doctor.findings import Finding, Report
from worker.doctor.rabbitmq import examine_rabbitmq
from worker.doctor.redis import examine_redis
from worker.settings import Settings


async def examine(settings: Settings) -> list[Finding]:
    """Return what is found; nothing is changed, and nothing taken from a queue.

    A service that cannot be reached is a finding too.
    """
    findings: list[Finding] = []
    alive = await examine_redis(settings, Report("Redis", findings))
    await examine_rabbitmq(settings, Report("RabbitMQ", findings), alive)
    return findings
