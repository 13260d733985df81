"""Examine RabbitMQ, as far as AMQP shows it, without changing or taking anything."""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, urlsplit

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed
from pamqp.commands import Basic

from worker.broker.connection import (
    broker_errors,
    broker_version,
    close,
    connect,
    is_blocked,
    open_channel,
)
from worker.broker.declaring import declare
from worker.broker.topology import PARTITION_MESSAGES, Exchange, Topology, topology_of
from worker.broker.verification import Compared, Match, verify
from worker.doctor.findings import Report, written_out
from worker.errors import (
    BrokerUnavailable,
    CallControlError,
    ConfigurationError,
    MayNotConfigure,
    TopologyMismatch,
)
from worker.names import Names
from worker.settings import HashExchange, Settings

#: The versions that the tests run on are from the first to the second.
_OLDEST: Final = (3, 10)
_NEWEST: Final = (4, 3)

#: Before it, metadata is never in Khepri.
_KHEPRI: Final = (4, 2)

#: Seconds between heartbeats beyond which a dead connection goes unnoticed for long.
_SLOW_HEARTBEAT: Final = 30

#: Seconds that an answer to an attempt to publish may take.
_ANSWER_SECONDS: Final = 3.0

#: A name that RabbitMQ lets nobody declare, and says so after it has looked at the type.
_UNDECLARABLE: Final = "amq.call_control.doctor"

#: No time that RabbitMQ takes for one, which it says after it has looked at the permission.
_NO_TIME: Final = "never"

#: How full a partition may be before it is worth a word.
_MANY_WAIT: Final = PARTITION_MESSAGES // 10

#: Whose user it is (deploy/rabbitmq) that may declare, publish commands, publish events.
_ROLES: Final = {
    (True, True, True): "declare, publish commands and publish events: an administrator's",
    (True, False, False): "declare: the topology's",
    (True, True, False): "declare: the topology's",
    (False, True, False): "publish commands or reports: a producer's, a gateway's or an operator's",
    (False, False, True): "publish events: a worker's",
    (False, False, False): "neither declare nor publish: a subscriber's",
}


async def examine_rabbitmq(settings: Settings, report: Report, alive: int | None) -> bool:
    """Add what is to be said of RabbitMQ; return whether it answers.

    Args:
        settings: The installation's settings.
        report: Where to add it.
        alive: How many workers live, as far as that is known.
    """
    try:
        connection = await _connected(settings)
    except CallControlError as error:
        remedy = "start it, or mend CALL_CONTROL_AMQP_URL and what its user may do"
        report.bad("connection", str(error), remedy)
        return False
    try:
        report.ok("connection", "answers")
        version = _version(report, broker_version(connection))
        _heartbeat(report, settings)
        await _hash_exchange(report, settings, version)
        compared = await verify(connection, topology_of(settings))
        _topology(report, compared)
        await _permissions(report, settings, compared)
        await _queues(report, settings, connection, alive)
    except BrokerUnavailable as error:
        report.bad("connection", str(error), "look at RabbitMQ's log")
        return False
    finally:
        await close(connection)
    return True


async def _connected(settings: Settings) -> AbstractConnection:
    return await connect(settings.amqp_url.get_secret_value(), "callctl doctor")


def _version(report: Report, text: str) -> tuple[int, ...]:
    version = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if version < _OLDEST:
        report.bad("version", f"RabbitMQ {text}", "run RabbitMQ 3.10 or newer")
    elif version > _NEWEST:
        remedy = "look for a newer release of the worker"
        report.warning("version", f"RabbitMQ {text}, which nothing was tested with", remedy)
    else:
        report.ok("version", f"RabbitMQ {text}")
    return version


def _heartbeat(report: Report, settings: Settings) -> None:
    query = parse_qs(urlsplit(settings.amqp_url.get_secret_value()).query)
    text = query.get("heartbeat", ["10"])[-1]
    if text.isdecimal() and 0 < int(text) <= _SLOW_HEARTBEAT:
        report.ok("heartbeat", f"{text} s")
    else:
        remedy = "leave ?heartbeat= out of CALL_CONTROL_AMQP_URL: then it is 10 s"
        report.warning(
            "heartbeat", f"{text}: a connection that is dead goes unnoticed for long", remedy
        )


async def _hash_exchange(report: Report, settings: Settings, version: tuple[int, ...]) -> None:
    kind = settings.hash_exchange
    # A connection of its own: RabbitMQ closes it over a type that it does not know.
    connection = await _connected(settings)
    try:
        await declare(connection, Topology((), (Exchange(_UNDECLARABLE, kind),), ()))
    except TopologyMismatch as error:
        report.bad("hash exchange", str(error), "rabbitmq-plugins enable … on all nodes")
        return
    except MayNotConfigure:
        pass
    finally:
        await close(connection)
    if kind is HashExchange.CONSISTENT and version < _KHEPRI:
        found = f"{kind}, whose order of queues changes when RabbitMQ {version[0]} starts"
        remedy = "a new installation: take x-modulus-hash; this one: drain it before each restart"
        report.warning("hash exchange", found, remedy)
    else:
        report.ok("hash exchange", f"RabbitMQ knows {kind}")


def _topology(report: Report, compared: Sequence[Compared]) -> None:
    check, remedy = "topology", "callctl topology verify says more"
    missing = [each.name for each in compared if each.match is Match.MISSING]
    different = [each for each in compared if each.match is Match.DIFFERENT]
    unknown = [each for each in compared if each.match is Match.UNKNOWN]
    if different:
        names = written_out([each.name for each in different])
        report.bad(check, f"different: {names}: {different[0].why}", remedy)
    if missing:
        apply = "callctl topology apply, or start a worker that may declare"
        report.bad(check, f"missing: {written_out(missing)}", apply)
    if unknown and not missing and not different:
        who = "run doctor as call_control.topology"
        report.unknown(check, f"there; {len(unknown)} arguments cannot be compared", who)
    if not missing and not different and not unknown:
        report.ok(check, f"{len(compared)} exchanges and queues are as they should be")


async def _permissions(report: Report, settings: Settings, compared: Sequence[Compared]) -> None:
    names = Names(settings.namespace)
    connection = await _connected(settings)
    try:
        commands = await _may_publish(connection, names.commands)
        events = await _may_publish(connection, names.events)
    except BrokerUnavailable:
        if not await is_blocked(connection):
            raise
        remedy = "rabbitmq-diagnostics alarms says of what; commands wait until it has it again"
        report.bad("alarms", "RabbitMQ is short of memory or disk, and blocks publishers", remedy)
        return
    finally:
        await close(connection)
    report.ok("alarms", "none")
    if commands is None or events is None:
        remedy = "callctl topology apply, then callctl doctor again"
        report.unknown("permissions", "cannot be tried without the exchanges", remedy)
        return
    declares = any(each.match in (Match.SAME, Match.DIFFERENT) for each in compared)
    found = _ROLES.get((declares, commands, events), "what no user of deploy/rabbitmq may")
    report.ok("permissions", f"this user may {found}")


async def _may_publish(connection: AbstractConnection, exchange: str) -> bool | None:
    """Tell whether this user may publish to an exchange; None where there is none.

    What is published cannot be taken: RabbitMQ refuses it, for lack of permission or else for its
    expiration, and closes the channel.
    """
    channel = await open_channel(connection, confirms=True)
    properties = Basic.Properties(expiration=_NO_TIME)
    try:
        async with broker_errors("trying to publish", _ANSWER_SECONDS):
            await channel.basic_publish(b"", exchange=exchange, properties=properties)
    except BrokerUnavailable as error:
        if isinstance(error.__cause__, ChannelPreconditionFailed):
            return True
        if isinstance(error.__cause__, ChannelAccessRefused):
            return False
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            return None
        raise
    raise ConfigurationError("RabbitMQ takes messages with an expiration that is no time")


async def _queues(
    report: Report, settings: Settings, connection: AbstractConnection, alive: int | None
) -> None:
    names = Names(settings.namespace)
    dead = await _counts(connection, names.dead_letters)
    if dead and dead[0]:
        remedy = "callctl dead list says why; callctl dead replay once it is mended"
        report.warning("dead letters", f"{dead[0]} wait", remedy)
    elif dead:
        report.ok("dead letters", "none")
    partitions = [names.partition(number) for number in range(settings.partitions)]
    found = {name: counts for name in partitions if (counts := await _counts(connection, name))}
    if len(found) < len(partitions):
        # The topology's finding says so.
        return
    waiting = sum(messages for messages, _ in found.values())
    longest = max(messages for messages, _ in found.values())
    if longest >= _MANY_WAIT:
        shown = f"{waiting} commands, {longest} of them in one partition"
        remedy = f"start more workers; at {PARTITION_MESSAGES} RabbitMQ refuses producers"
        report.warning("backlog", shown, remedy)
    else:
        report.ok("backlog", f"{waiting} commands")
    _workers(
        Report("workers", report.findings),
        alive,
        [name for name, (_, consumers) in found.items() if not consumers],
        len(found),
    )


def _workers(report: Report, alive: int | None, idle: Sequence[str], partitions: int) -> None:
    if alive is None:
        report.unknown("alive", "Redis does not say", "see to Redis first")
    elif alive:
        report.ok("alive", str(alive))
    elif len(idle) < partitions:
        remedy = "compare CALL_CONTROL_REDIS_URL with the workers', and their clocks with Redis'"
        report.bad("alive", "none in this Redis, but partitions have consumers", remedy)
    else:
        report.warning("alive", "none: commands wait", "callctl worker")
    if alive and idle:
        remedy = "a worker's log or /ready says what keeps it from them"
        report.bad("partitions taken", f"nobody takes {written_out(idle)}", remedy)
    elif alive:
        report.ok("partitions taken", f"all {partitions}")


async def _counts(connection: AbstractConnection, queue: str) -> tuple[int, int] | None:
    """Return how many messages and consumers a queue has; None where this user sees none."""
    channel = await open_channel(connection)
    try:
        async with broker_errors("looking at a queue"):
            found = await channel.queue_declare(queue, passive=True)
    except BrokerUnavailable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity | ChannelAccessRefused):
            return None
        raise
    async with broker_errors("closing a channel"):
        await channel.close()
    return int(found.message_count or 0), int(found.consumer_count or 0)
