"""``callctl doctor``: what it finds at RabbitMQ and among the workers, each really made so."""

import json
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from deploy.local import Services, redis_server
from tests.alarms import memory_alarm
from tests.guarded import guarded_installation, set_passwords
from tests.harness import Installation, eventually
from tests.integration.test_cli import callctl
from worker.broker import connection as broker
from worker.broker.topology import topology
from worker.doctor import Finding, Level, examine, rabbitmq
from worker.settings import HashExchange, Settings

#: What only the management shows.
UNSEEN = "bindings and policies"


async def examined(settings: Settings) -> dict[str, Finding]:
    """What is found, by the names of the checks."""
    return {f"{each.service} {each.check}": each for each in await examine(settings)}


async def found(settings: Settings, check: str) -> tuple[str, str]:
    """How bad one thing is, and what is said of it."""
    finding = (await examined(settings))[check]
    assert finding.remedy or finding.level is Level.OK, "somebody has to know what to do"
    return finding.level, finding.found


async def test_nothing_is_wrong_with_an_installation_that_works(calls: Installation) -> None:
    """For people and for programs; the exit code says so too."""
    code, output, errors = await callctl(calls, "doctor", "--json")
    assert (code, errors) == (0, "")
    report = json.loads(output)
    assert report["ok"] is True
    assert {each["check"] for each in report["findings"] if each["level"] != "ok"} == {UNSEEN}
    code, output, errors = await callctl(calls, "doctor", columns=80)
    assert (code, errors) == (0, "")
    assert f"{len(report['findings']) - 1} ok, 1 unknown" in output


async def test_bad_findings_are_told_by_the_exit_code_with_what_to_do(empty: Installation) -> None:
    """Here nobody has applied the topology."""
    code, output, errors = await callctl(empty, "doctor", "--json")
    assert (code, errors) == (1, "")
    report = json.loads(output)
    assert report["ok"] is False
    (bad,) = (each for each in report["findings"] if each["level"] == "bad")
    assert (bad["service"], bad["check"]) == ("RabbitMQ", "topology")
    assert empty.names.dead_letters in bad["found"]
    assert "callctl topology apply" in bad["remedy"]
    code, output, _ = await callctl(empty, "doctor", columns=200)
    assert code == 1
    assert "→ callctl topology apply" in output


async def test_nothing_is_changed_and_nothing_taken(idle: Installation) -> None:
    """A command that waits is delivered afterwards as if nobody had looked."""
    published = await idle.command("1", "hold")
    level, told = await found(idle.settings, "RabbitMQ backlog")
    assert (level, told) == (Level.OK, "1 commands")
    taken: list[AbstractIncomingMessage] = []

    async def take(message: AbstractIncomingMessage) -> None:
        taken.append(message)

    for number in range(idle.settings.partitions):
        queue = await idle.producer.get_queue(idle.names.partition(number), ensure=False)
        await queue.consume(take, no_ack=True)
    await eventually(lambda: bool(taken), "the command is delivered")
    assert [each.message_id for each in taken] == [published.message_id]
    assert (taken[0].redelivered, "x-delivery-count" in taken[0].headers) == (False, False)
    assert (idle.events, idle.dead) == ([], [])


async def test_a_difference_is_named(idle: Installation) -> None:
    """With what RabbitMQ says of it."""
    name = idle.names.partition(3)
    wanted = topology(idle.names, 8).queues[-1].arguments
    await idle.producer.queue_delete(name)
    await idle.producer.declare_queue(name, durable=True, arguments={**wanted, "x-max-length": 7})
    level, told = await found(idle.settings, "RabbitMQ topology")
    assert level is Level.BAD
    assert told.startswith(f"different: {name}: ")
    assert "x-max-length" in told


async def test_dead_letters_are_a_warning(idle: Installation) -> None:
    """Somebody should look at them."""
    await idle.publish("1", {"call_control": "hold", "request_id": "1"}, expiration=0.01)
    await idle.until_dead(1)
    assert await found(idle.settings, "RabbitMQ dead letters") == (Level.WARNING, "1 wait")


async def test_a_backlog_is_a_warning(idle: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before producers are refused."""
    monkeypatch.setattr(rabbitmq, "_MANY_WAIT", 3)
    for _ in range(3):
        await idle.command("1", "hold")
    level, told = await found(idle.settings, "RabbitMQ backlog")
    assert (level, told) == (Level.WARNING, "3 commands, 3 of them in one partition")


async def test_workers_that_are_not_there_are_a_warning(idle: Installation) -> None:
    """An installation may have none yet."""
    level, told = await found(idle.settings, "workers alive")
    assert (level, told) == (Level.WARNING, "none: commands wait")


async def test_partitions_that_living_workers_do_not_take_are_bad(idle: Installation) -> None:
    """Their commands wait, and nobody else sees it."""
    client: Any = idle.redis
    seconds, _ = await client.time()
    await client.zadd(idle.names.workers, {"a": (seconds + 3600) * 1000})
    level, told = await found(idle.settings, "workers partitions taken")
    first = ", ".join(idle.names.partition(number) for number in range(3))
    assert (level, told) == (Level.BAD, f"nobody takes {first} and 5 more")


async def test_workers_that_use_another_redis_are_bad(calls: Installation) -> None:
    """Whoever looks at this one looks at the wrong one."""
    with redis_server() as other:
        settings = Settings.from_environment(
            {**calls.environment, "CALL_CONTROL_REDIS_URL": other.url}
        )
        level, told = await found(settings, "workers alive")
    assert level is Level.BAD
    assert "partitions have consumers" in told


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("topology", "declare: the topology's"),
        ("producer", "publish commands or reports: a producer's, a gateway's or an operator's"),
        ("operator", "publish commands or reports: a producer's, a gateway's or an operator's"),
        ("gateway", "publish commands or reports: a producer's, a gateway's or an operator's"),
        ("worker", "publish events: a worker's"),
        ("subscriber", "neither declare nor publish: a subscriber's"),
    ],
)
async def test_it_says_whose_user_it_is(services: Services, role: str, may: str) -> None:
    """By trying what changes nothing."""
    async with guarded_installation(services) as guarded:
        await set_passwords(guarded)
        calls = guarded.calls
        calls.environment["CALL_CONTROL_AMQP_URL"] = guarded.url("topology")
        assert (await callctl(calls, "topology", "apply"))[0] == 0
        await calls.subscribe()
        calls.environment["CALL_CONTROL_AMQP_URL"] = guarded.url(role)
        findings = await examined(calls.settings)
        told = findings["RabbitMQ permissions"]
        assert (told.level, told.found) == (Level.OK, f"this user may {may}")
        compared = Level.OK if role == "topology" else Level.UNKNOWN
        assert findings["RabbitMQ topology"].level is compared
        assert [each for each in findings.values() if each.level is Level.BAD] == []
        assert (calls.events, calls.dead) == ([], [])


async def test_an_alarm_is_bad(idle: Installation) -> None:
    """RabbitMQ says it only to whoever publishes."""
    assert idle.services.rabbitmq is not None, "the alarm is set by rabbitmqctl"
    async with memory_alarm(idle.services.rabbitmq):
        level, told = await found(idle.settings, "RabbitMQ alarms")
    assert level is Level.BAD
    assert "short of memory or disk" in told
    assert await found(idle.settings, "RabbitMQ alarms") == (Level.OK, "none")


@pytest.mark.parametrize("heartbeat", ["0", "600"])
async def test_a_slow_heartbeat_is_a_warning(idle: Installation, heartbeat: str) -> None:
    """Or none at all."""
    url = URL(idle.services.amqp_url).update_query(heartbeat=heartbeat)
    idle.environment["CALL_CONTROL_AMQP_URL"] = str(url)
    level, told = await found(idle.settings, "RabbitMQ heartbeat")
    assert (level, told.startswith(f"{heartbeat}: ")) == (Level.WARNING, True)


async def test_a_missing_plugin_is_bad(idle: Installation) -> None:
    """RabbitMQ does not know the type of the command exchange then."""
    settings = idle.settings.model_copy(update={"hash_exchange": "x-unheard-of"})
    level, told = await found(settings, "RabbitMQ hash exchange")
    assert level is Level.BAD
    assert "x-unheard-of" in told


async def test_a_consistent_hash_exchange_is_a_warning_where_a_restart_mixes_it_up(
    idle: Installation,
) -> None:
    """Which is before metadata can be in Khepri."""
    connection = await broker.connect(idle.services.amqp_url, "tests")
    version = [int(part) for part in broker.broker_version(connection).split(".")[:2]]
    await broker.close(connection)
    settings = idle.settings.model_copy(update={"hash_exchange": HashExchange.CONSISTENT})
    level, _ = await found(settings, "RabbitMQ hash exchange")
    assert level is (Level.WARNING if version < [4, 2] else Level.OK)


async def test_services_that_are_not_there_are_findings_without_passwords(
    empty: Installation,
) -> None:
    """Like those that refuse."""
    refused = URL(empty.services.amqp_url).with_password("s3cret")
    for url in ("amqp://guest:s3cret@127.0.0.1:1/", str(refused)):
        empty.environment["CALL_CONTROL_AMQP_URL"] = url
        empty.environment["CALL_CONTROL_REDIS_URL"] = "redis://:s3cret@127.0.0.1:1/0"
        code, output, errors = await callctl(empty, "doctor", "--json")
        assert (code, errors) == (1, "")
        findings = json.loads(output)["findings"]
        assert [(each["service"], each["check"], each["level"]) for each in findings] == [
            ("Redis", "connection", "bad"),
            ("RabbitMQ", "connection", "bad"),
        ]
        assert "s3cret" not in output
    empty.environment["CALL_CONTROL_AMQP_URL"] = empty.services.amqp_url
