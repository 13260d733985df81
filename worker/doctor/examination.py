"""Examine everything, in the order in which it is to be mended."""

from worker.doctor.findings import Finding, Report
from worker.doctor.management import examine_management
from worker.doctor.rabbitmq import examine_rabbitmq
from worker.doctor.redis import examine_redis
from worker.settings import Settings


async def examine(settings: Settings, management: str | None = None) -> list[Finding]:
    """Return what is found; nothing is changed, and nothing taken from a queue.

    A service that cannot be reached is a finding too.

    Args:
        settings: The installation's settings.
        management: Where RabbitMQ's management is, if it may be asked.

    Raises:
        ConfigurationError: That is no URL of HTTP.
    """
    findings: list[Finding] = []
    alive = await examine_redis(settings, Report("Redis", findings))
    rabbitmq = Report("RabbitMQ", findings)
    if await examine_rabbitmq(settings, rabbitmq, alive):
        await examine_management(settings, rabbitmq, management)
    return findings
