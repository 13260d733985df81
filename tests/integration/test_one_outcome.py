"""One command, one outcome: repeated deliveries, and workers killed at the worst moments."""

import json

import pytest
from aio_pika.abc import AbstractIncomingMessage

from tests.harness import Installation, eventually
from tests.saboteur import STEPS

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


async def test_a_command_delivered_twice_has_one_outcome(calls: Installation) -> None:
    """The second delivery is answered from the record of the first, whatever happened since."""
    await calls.ask("123XYZ", "call", **CALL)
    hold = {"call_control": "hold", "request_id": "123XYZ"}
    first = await calls.publish("123XYZ", hold, message_id="only-once")
    await calls.answer(first)
    await calls.ask("123XYZ", "retrieve")

    await calls.publish("123XYZ", hold, message_id="only-once")
    await eventually(lambda: len(calls.answers("only-once")) == 2, "the copy arrives")

    original, copy = calls.answers("only-once")
    assert copy.message_id == original.message_id
    assert copy.sequence == original.sequence
    assert copy.body == original.body
    assert (await calls.ask("123XYZ", "dial", digits="1")).content["status"] == 200


async def test_a_refusal_is_an_outcome_that_stays_even_when_it_would_succeed_now(
    calls: Installation,
) -> None:
    """A hold that came before its call stays refused when it is delivered again after it."""
    hold = {"call_control": "hold", "request_id": "123XYZ"}
    first = await calls.publish("123XYZ", hold, message_id="too-early")
    assert (await calls.answer(first)).content["status"] == 481
    await calls.ask("123XYZ", "call", **CALL)

    await calls.publish("123XYZ", hold, message_id="too-early")
    await eventually(lambda: len(calls.answers("too-early")) == 2, "the copy arrives")
    assert {event.content["status"] for event in calls.answers("too-early")} == {481}
    assert len({event.message_id for event in calls.answers("too-early")}) == 1


async def test_one_batch_that_holds_the_same_command_twice_has_one_outcome(
    empty: Installation,
) -> None:
    """Published while nobody works, both deliveries are in the first batch of the next worker."""
    (worker,) = await empty.start()
    await empty.subscribe()
    assert await worker.terminate() == 0

    call = {"call_control": "call", "request_id": "123XYZ", **CALL}
    await empty.publish("123XYZ", call, message_id="twice")
    await empty.publish("123XYZ", call, message_id="twice")
    last = await empty.command("123XYZ", "hold")
    await empty.start()

    assert (await empty.answer(last)).sequence == 2
    assert [event.content["status"] for event in empty.answers("twice")] == [200]


@pytest.mark.parametrize(
    "fault", ["after_commit", "after_publish_before_confirm", "after_confirm_before_ack"]
)
async def test_a_worker_killed_between_commit_and_acknowledgement_leaves_one_outcome(
    empty: Installation, fault: str
) -> None:
    """The command comes back; its record answers it, with the same event and no second effect."""
    saboteur = await empty.spawn(command=("-m", "tests.saboteur", fault))
    await saboteur.joined()
    await empty.subscribe()
    published = await empty.command("123XYZ", "call", **CALL)
    await saboteur.process.wait()
    recorded = await empty.redis.hgetall(empty.names.call_prefix + "123XYZ")
    assert recorded[b"version"] == b"1"

    await empty.start()
    copies_before = 0 if fault == "after_commit" else 1
    await eventually(
        lambda: len(empty.answers(published.message_id)) == copies_before + 1,
        "the outcome arrives",
    )
    events = empty.answers(published.message_id)
    assert {event.content["event"] for event in events} == {"call-connected"}
    assert len({event.message_id for event in events}) == 1
    assert await empty.redis.hgetall(empty.names.call_prefix + "123XYZ") == recorded
    assert (await empty.ask("123XYZ", "hold")).sequence == 2


@pytest.mark.parametrize("fault", STEPS)
async def test_equal_commands_without_a_message_id_have_one_outcome_each_whatever_is_killed(
    empty: Installation, fault: str
) -> None:
    """The documented commands have no id: what comes back is told apart by its order."""
    (worker,) = await empty.start()
    await empty.subscribe()
    assert await worker.terminate() == 0
    said: list[dict[str, str]] = [{"call_control": "call", **CALL}]
    said += [{"call_control": "dial", "digits": digit} for digit in "123"]
    said += [{"call_control": name} for name in ("mute", "un_mute", "mute", "dial")]
    said[-1]["digits"] = "4"
    for command in said:
        body = json.dumps({**command, "request_id": "123XYZ"}).encode()
        await empty.publish_bytes("123XYZ", body, message_id=None)

    saboteur = await empty.spawn(command=("-m", "tests.saboteur", fault))
    await saboteur.process.wait()
    await empty.start()
    last = await empty.ask("123XYZ", "disconnect")

    assert last.sequence == len(said) + 1
    seen = {event.sequence: event for event in empty.events}
    assert sorted(seen) == list(range(1, len(said) + 2))
    assert {event.content["status"] for event in seen.values()} == {200}
    assert len({event.message_id for event in empty.events}) == len(said) + 1


async def test_a_command_without_a_message_id_is_answered_each_time_it_is_published(
    calls: Installation,
) -> None:
    """Two commands of the same content are two commands, each with an event of its own."""
    await calls.ask("123XYZ", "call", **CALL)
    hold = json.dumps({"call_control": "hold", "request_id": "123XYZ"}).encode()
    await calls.publish_bytes("123XYZ", hold, message_id=None)
    await calls.publish_bytes("123XYZ", hold, message_id=None)
    await calls.until_seen(3)
    first, second = calls.events[1:]
    assert (first.sequence, second.sequence) == (2, 3)
    assert first.message_id != second.message_id


async def test_whoever_asks_for_a_reply_gets_a_copy_of_the_event(calls: Installation) -> None:
    """RabbitMQ's direct reply-to: the documented request and response, without a subscription."""
    replies: list[AbstractIncomingMessage] = []

    async def on_reply(message: AbstractIncomingMessage) -> None:
        replies.append(message)

    # Direct reply-to wants the request published on the channel that consumes the replies.
    pseudo_queue = await calls.producer.get_queue("amq.rabbitmq.reply-to", ensure=False)
    await pseudo_queue.consume(on_reply, no_ack=True)
    body = {"call_control": "hold", "request_id": "nobody"}
    published = await calls.publish("nobody", body, reply_to="amq.rabbitmq.reply-to")

    event = await calls.answer(published)
    await eventually(lambda: len(replies) == 1, "the reply arrives")
    assert json.loads(replies[0].body) == event.body
    assert replies[0].correlation_id == published.message_id
    assert replies[0].message_id == event.message_id


@pytest.mark.parametrize(
    "reply_to",
    ["there-is-no-such-queue", "amq.rabbitmq.reply-to.bogus", "x" * 255],
)
async def test_a_reply_that_cannot_be_delivered_costs_nothing(
    calls: Installation, reply_to: str
) -> None:
    """The event is published all the same, and the partition goes on."""
    body = {"call_control": "hold", "request_id": "nobody"}
    await calls.answer(await calls.publish("nobody", body, reply_to=reply_to))
    assert (await calls.ask("nobody", "call", **CALL)).content["status"] == 200
    assert not any(worker.logged("session lost") for worker in calls.workers)


async def test_a_command_cannot_make_the_worker_publish_into_a_queue_of_the_installation(
    calls: Installation,
) -> None:
    """A reply_to that names the dead letters or a partition is not served."""
    body = {"call_control": "hold", "request_id": "nobody"}
    for queue in (calls.names.dead_letters, calls.names.partition(0)):
        await calls.answer(await calls.publish("nobody", body, reply_to=queue))
    await calls.ask("nobody", "call", **CALL)
    assert calls.dead == []
    assert len(calls.events) == 3
