"""Hostile input: properties nobody can decode, and names that were made to lead elsewhere."""

import json
import struct
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aio_pika.abc import AbstractIncomingMessage

from deploy.local import Services, rabbitmq_server
from schemas.wire import MAX_BODY_BYTES
from tests.frames import Closed, properties, raw_producer, short_string, table
from tests.harness import Installation, eventually, installation
from tests.listening import asked, journal

LARGEST = 16 * 1024 * 1024
CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}
HOLD = json.dumps({"call_control": "hold", "request_id": "1"}).encode()
NOT_UTF8 = short_string(b"a\xff")
DEEP = b"V"
for _ in range(4000):
    DEEP = b"A" + table(DEEP)

#: What RabbitMQ takes of a property that is not one, by the property's name in AMQP.
UNDECODABLE: list[tuple[str, bytes]] = [
    *(
        (name, properties({name: NOT_UTF8}))
        for name in (
            "content_type",
            "content_encoding",
            "correlation_id",
            "reply_to",
            "message_id",
            "app_id",
            "cluster_id",
        )
    ),
    ("type", properties({"message_type": NOT_UTF8})),
    ("timestamp", properties({"timestamp": struct.pack(">Q", 1_760_000_000_000_000)})),
    ("timestamp", properties({"timestamp": b"\xff" * 8})),
    ("headers", properties({"headers": table(b"\x02a\xffV")})),
    ("headers", properties({"headers": table(b"\x01aT" + b"\xff" * 8)})),
    ("headers", properties({"headers": table(b"\x01a" + DEEP)})),
]

#: Odd, but decodable.
ODD: list[bytes] = [
    properties({"headers": table(b"\x0btraceparentS" + table(b"\xff"))}),
    properties({"headers": table(b"\x0btraceparentD\xff\xff\xff\xff\xff")}),
    properties({"headers": table(b"\x00V\x01aF" + table(b"") + b"\x01bA" + table(b"Vt\1"))}),
    properties({"headers": table(b"\x01x" + b"x" + table(b"\x00\xff"))}),
    properties({"message_id": short_string(b"a\x00b"), "reply_to": short_string(b"a\x00b")}),
    properties({"priority": b"\xff"}),
]


async def test_a_command_whose_properties_cannot_be_decoded_gets_a_400_and_stops_nobody(
    calls: Installation,
) -> None:
    """Each kind in turn; pamqp would lose the connection over it, and over it again."""
    assert (await calls.ask("1", "call", **CALL)).content["status"] == 200
    async with raw_producer(calls.services.amqp_url) as producer:
        for number, (name, encoded) in enumerate(UNDECODABLE, start=1):
            await producer.publish(calls.names.commands, b"1", HOLD, encoded)
            await calls.until_dead(number)
            await calls.until_seen(number + 1)
            event, dead = calls.events[-1], calls.dead[-1]
            assert event.content["status"] == 400, name
            assert event.content["reason"] == f"Bad Request: {name}: cannot be decoded"
            assert event.content["call_control"] == "hold", name
            assert event.sequence == number + 1, name
            assert dead.headers["reason"] == event.content["reason"]
            assert dead.body == HOLD
    assert (await calls.ask("1", "hold")).content["status"] == 200
    assert calls.complaints() == []


async def test_undecodable_properties_of_a_body_that_names_no_call_go_to_the_dead_letters(
    calls: Installation,
) -> None:
    """As do undecodable routing keys, which are shown as they can be."""
    async with raw_producer(calls.services.amqp_url) as producer:
        for number, (_, encoded) in enumerate(UNDECODABLE, start=1):
            await producer.publish(calls.names.commands, b"1", b"\xff", encoded)
            await calls.until_dead(number)
            assert str(calls.dead[-1].headers["reason"]).startswith("Bad Request: body: ")
        await producer.publish(calls.names.commands, b"1\xff" * 127, b"\xff")
        await calls.until_dead(len(UNDECODABLE) + 1)
        assert calls.dead[-1].headers["original_routing_key"] == r"1\xff" * 127
    await calls.ask("1", "call", **CALL)
    assert len(calls.events) == 1
    assert calls.complaints() == []


async def test_odd_properties_are_taken_for_what_they_are(calls: Installation) -> None:
    """A command is not refused for what nobody needs."""
    await calls.ask("1", "call", **CALL)
    async with raw_producer(calls.services.amqp_url) as producer:
        for number, encoded in enumerate(ODD, start=2):
            await producer.publish(calls.names.commands, b"1", HOLD, encoded)
            await calls.until_seen(number)
            assert calls.events[-1].content["status"] == 200, encoded
    assert calls.complaints() == []


async def test_rabbitmq_refuses_what_nobody_could_read_past(calls: Installation) -> None:
    """Lengths that do not fit, and types that do not exist; the decoding relies on it."""
    for encoded in (
        properties({"timestamp": b"\0\0"}),
        properties({"message_id": b"\x09a"}),
        properties({"headers": table(b"\x05a")}),
        properties({"headers": table(b"\x01aZ")}),
        properties({"headers": table(b"\x01aS\0\0\1\0x")}),
        b"\0\0trailing",
    ):
        async with raw_producer(calls.services.amqp_url) as producer:
            with pytest.raises(Closed):
                await producer.publish(calls.names.commands, b"1", HOLD, encoded)


@pytest.fixture
async def lenient(services: Services) -> AsyncIterator[Installation]:
    """An installation on a RabbitMQ that takes what RabbitMQ 4 takes by default: 16 MiB."""
    with rabbitmq_server(f"max_message_size = {LARGEST}\n") as broker:
        own = replace(services, amqp_url=broker.url, rabbitmq=broker, management_url=None)
        async with installation(own) as made:
            await made.start()
            await made.subscribe()
            yield made


async def test_the_largest_bodies_that_rabbitmq_takes_are_answered(lenient: Installation) -> None:
    """By a dead letter that holds the beginning."""
    calls, size = lenient, LARGEST
    for number, filler in enumerate((b"[", b'{"a":', b"9", b" ", b'"', b"\xff"), start=1):
        body = (filler * (size // len(filler) + 1))[:size]
        await calls.publish_bytes("1", body, message_id=f"huge-{number}")
        await calls.until_dead(number)
        dead = calls.dead[-1]
        assert dead.headers["reason"] == f"Bad Request: body: longer than {MAX_BODY_BYTES} bytes"
        assert len(dead.body) <= MAX_BODY_BYTES
        assert dead.message_id == f"huge-{number}"
    await calls.ask("1", "call", **CALL)
    assert calls.complaints() == []


HOSTILE_IDS = [
    "*",
    "#",
    "a.b",
    "*.a",
    "a.#",
    "a.*.b",
    "%2A",
    "a%2Eb",
    "call_held.a",
    "a b",
    "{a}",
    "{call_control}:a",
    ".workers",
    "call_control.workers",
    "../call_control.workers",
    "a\\r\\nDEL a",
    "'; DROP TABLE calls; --",
    "$(reboot)",
    "a" * 128,
    "." * 78,
]


async def test_no_request_id_reaches_another_calls_subscribers(calls: Installation) -> None:
    """Whatever of a topic's syntax is in it, ``*.<id>`` gets the events of that call alone."""
    channel = await calls.connection.channel()
    seen: dict[str, list[str]] = {}
    for pattern in ("*.a", "*.b", "call_connected.a", "#.a", "a.#", "*.a.*", "*.*.*"):
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(calls.names.events, pattern)
        got = seen[pattern] = []

        async def keep(message: AbstractIncomingMessage, got: list[str] = got) -> None:
            got.append(str(message.headers["request_id"]))

        await queue.consume(keep, no_ack=True)
    for request_id in [*HOSTILE_IDS, "a", "b"]:
        event = await calls.ask(request_id, "call", **CALL)
        assert event.content == {
            "event": "call-connected",
            "request_id": request_id,
            "status": 200,
            "reason": "OK",
        }
        assert event.routing_key.count(".") == 1
    await eventually(lambda: bool(seen["*.b"]), "the last event reaches its subscriber")
    assert seen == {
        "*.a": ["a"],
        "*.b": ["b"],
        "call_connected.a": ["a"],
        "#.a": ["a"],
        "a.#": [],
        "*.a.*": [],
        "*.*.*": [],
    }


async def test_no_request_id_reaches_another_key_of_redis(calls: Installation) -> None:
    """Each call has the one key that is the prefix and its id; the others stay as they were."""
    names, redis = calls.names, calls.redis
    for request_id in HOSTILE_IDS:
        await calls.ask(request_id, "call", **CALL)
    keys = {
        key.decode() async for key in redis.scan_iter("*", count=1000) if b"call_control" in key
    }
    ours = {key for key in keys if key.startswith(names.base)}
    calls_keys = {names.call_prefix + request_id for request_id in HOSTILE_IDS}
    (worker,) = calls.workers
    assert ours - {names.worker(worker.name)} == calls_keys | set(names.keys)
    assert await redis.type(names.workers) == b"zset"
    assert await redis.get(names.partition_count) == b"8"


async def test_replies_go_where_they_may_and_nowhere_else(services: Services) -> None:
    """No installation's queue, of this namespace or another, can be had as ``reply_to``."""
    async with installation(services) as neighbour, installation(services) as calls:
        await neighbour.start()
        await neighbour.subscribe()
        await calls.start()
        await calls.subscribe()
        await calls.ask("1", "call", **CALL)
        forbidden = [
            calls.names.partition(0),
            calls.names.dead_letters,
            calls.names.journal,
            neighbour.names.partition(0),
            neighbour.names.dead_letters,
            neighbour.names.journal,
            "amq.rabbitmq.reply-to.g1h2AAAAAAAA",
            "nobody's queue",
            "a\x00b",
            "\u00e9" * 127,
        ]
        for queue in forbidden:
            body = {"call_control": "mute", "request_id": "1"}
            assert (await calls.answer(await calls.publish("1", body, reply_to=queue))).sequence
            await calls.publish_bytes("1", b"", message_id="bad", reply_to=queue)
        await calls.until_dead(len(forbidden))
        async with asked(calls) as (queue, replies):
            body = {"call_control": "mute", "request_id": "1"}
            published = await calls.publish("1", body, reply_to=queue)
            # Replies are published in order: those before this one have been, if any.
            await eventually(lambda: bool(replies), "the reply arrives")
            event = await calls.answer(published)
            assert [reply.body for reply in replies] == [event.raw.body]
            assert [reply.message_id for reply in replies] == [event.message_id]
        await neighbour.ask("1", "call", **CALL)
        assert len(neighbour.events) == 1
        assert neighbour.dead == []
        assert len(calls.dead) == len(forbidden)
        assert len(calls.events) == len(forbidden) + 2
        for each in (calls, neighbour):
            # The last event was published when all replies had been.
            entries = await journal(each, until=each.events[-1].message_id)
            assert [entry.message_id for entry in entries] == [
                event.message_id for event in each.events
            ]
        assert calls.complaints() == neighbour.complaints() == []


async def test_a_command_cannot_steer_its_answer_by_headers(calls: Installation) -> None:
    """RabbitMQ routes a message by its ``CC`` and ``BCC``; events and dead letters have none."""
    async with asked(calls) as (queue, stolen):
        channel = await calls.connection.channel()
        await (await channel.get_queue(queue)).bind(calls.names.events, "elsewhere")
        steering = {"CC": ["elsewhere"], "BCC": ["elsewhere"], "x-delay": 5}
        body = {"call_control": "call", "request_id": "1", **CALL}
        event = await calls.answer(await calls.publish("1", body, headers=steering))
        await calls.publish_bytes("1", b"", message_id="bad", headers=steering)
        await calls.until_dead(1)
        for headers in (event.headers, calls.dead[0].headers):
            assert headers.keys().isdisjoint(steering)
        await calls.ask("1", "mute")
        assert stolen == []
