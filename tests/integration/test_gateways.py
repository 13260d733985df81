"""A telephone network behind RabbitMQ: actions out, reports back, and what is said without them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import aio_pika
import pytest

from deploy.local import Services
from schemas.actions import Answer, SendDigits
from schemas.reports import Answered, Ended, Offered, Ringing
from tests.harness import Installation, eventually, installation
from tests.network import failing, granting, network, silent
from worker.cli.demonstration import CONVERSATION
from worker.gateways.port import open_port

ALICE: Final = "tel:+18164388687"
BOB: Final = "tel:+18165057120"
CAROL: Final = "tel:+18166623395"
CALL: Final = {"origin": ALICE, "destination": BOB}

#: Short, and long enough for a busy machine to do what is asked.
TAKE, ACT, RING = 1.5, 1.5, 1.0


@pytest.fixture
async def calls(services: Services) -> AsyncIterator[Installation]:
    """An installation with one worker, whose network is whatever gateway there is."""
    seconds = {"take_seconds": TAKE, "act_seconds": ACT, "ring_seconds": RING}
    async with installation(services, gateway="external", **seconds) as made:
        await made.start()
        await made.subscribe()
        yield made


def said(calls: Installation) -> list[tuple[str, int]]:
    """What the events seen say: their canonical names and statuses."""
    return [(event.kind, event.content["status"]) for event in calls.events]


async def test_the_documented_conversation_is_the_same_through_a_gateway(
    calls: Installation,
) -> None:
    """Each command gets the event of the document; and ringing is told besides."""
    async with network(calls) as phones:
        for step in CONVERSATION:
            body = {**step.body, "request_id": step.call}
            published = await calls.publish(step.call, {"content": body} if step.content else body)
            if "network_report" in step.body:
                await calls.until_seen(len(calls.events) + 1)
                continue
            event = await calls.answer(published)
            assert event.content["event"] == step.event
            assert event.content["status"] == step.status
            assert ("content" in event.body) is step.content
        assert {taken.action.gateway for taken in phones.taken} == {None, "pbx-1"}
    assert not calls.complaints()


async def test_a_call_that_rings_says_so_while_its_command_waits(calls: Installation) -> None:
    """And what is asked of it then is refused, with the reason; what wins is a disconnect."""
    async with network(calls, silent) as phones:
        call = await calls.command("123XYZ", "call", **CALL)
        taken = await phones.until_asked("originate")
        assert taken.action.request_id == "123XYZ"
        await phones.port.say(Ringing(request_id="123XYZ", action_id=taken.action.action_id))
        await calls.until_seen(1)
        refused = await calls.ask("123XYZ", "hold")
        assert refused.content["status"] == 409
        assert "the call is ringing, call in progress" in refused.content["reason"]

        disconnect = await calls.command("123XYZ", "disconnect")
        overtaken = await calls.answer(call)
        assert overtaken.content["status"] == 487
        hang_up = await phones.until_asked("originate", "hang_up")
        assert hang_up.action.gateway == "pbx-1"
        for report in granting(hang_up.action):
            await phones.port.say(report)
        assert (await calls.answer(disconnect)).content["status"] == 200
    assert said(calls) == [
        ("call_ringing", 180),
        ("call_control_failed", 409),
        ("call_control_failed", 487),
        ("call_terminated", 200),
    ]


@pytest.mark.parametrize("status", [486, 603, 480, 404])
async def test_what_the_network_refuses_is_answered_with_its_status(
    calls: Installation, status: int
) -> None:
    """And leaves the call as it was: there is none, or it goes on."""
    async with network(calls, failing(status)) as phones:
        assert (await calls.ask("123XYZ", "call", **CALL)).content["status"] == status
        assert (await calls.ask("123XYZ", "hold")).content["status"] == 481
        phones.behaviour = granting
        assert (await calls.ask("123XYZ", "call", **CALL)).content["status"] == 200
        phones.behaviour = failing(status)
        failed = await calls.ask("123XYZ", "transfer", endpoint=CAROL)
        assert (failed.content["status"], failed.state) == (status, "connected")
        phones.behaviour = granting
        assert (await calls.ask("123XYZ", "hold")).content["status"] == 200


async def test_where_there_is_no_gateway_a_command_is_answered_503(calls: Installation) -> None:
    """At once: nobody has ever had a queue for what is asked."""
    failed = await calls.ask("123XYZ", "call", **CALL)
    assert failed.content["status"] == 503
    assert failed.content["reason"] == "Service Unavailable: no gateway took originate"
    assert failed.state == "absent"
    assert (await calls.ask("123XYZ", "call", **CALL)).sequence == 2


async def test_what_no_gateway_takes_in_time_is_answered_503(calls: Installation) -> None:
    """Its gateway is away, and the call is as it was when it is back."""
    async with network(calls):
        assert (await calls.ask("123XYZ", "call", **CALL)).content["status"] == 200
    failed = await calls.ask("123XYZ", "hold")
    assert failed.content["reason"] == "Service Unavailable: no gateway took hold"
    assert (failed.content["status"], failed.state) == (503, "connected")
    other = await calls.ask("456", "call", **CALL)
    assert (other.content["status"], other.state) == (503, "absent")
    async with network(calls) as phones:
        assert (await calls.ask("123XYZ", "hold")).content["status"] == 200
        # What expired is not done when somebody comes.
        assert phones.asked == ["hold"]
    assert not calls.dead


@pytest.mark.parametrize("name", ["call", "hold"])
async def test_what_a_gateway_takes_and_never_reports_is_answered_504(
    calls: Installation, name: str
) -> None:
    """By RabbitMQ, in the time that its kind of action may take; and once."""
    async with network(calls) as phones:
        if name == "hold":
            await calls.ask("123XYZ", "call", **CALL)
        phones.behaviour = silent
        published = await calls.command("123XYZ", name, **(CALL if name == "call" else {}))
        failed = await calls.answer(published)
        action = {"call": "originate"}.get(name, name)
        assert failed.content["status"] == 504
        assert failed.content["reason"] == f"Timeout: the gateway did not report {action}"
        took = failed.at - published.at
        assert took >= TAKE + ACT + (RING if name == "call" else 0)
        # What it says afterwards is late.
        last = phones.taken[-1].action
        for report in granting(last):
            await phones.port.say(report)
        if name == "call":
            # Once for each sign of life.
            await phones.until_asked("originate", "hang_up", "hang_up")
        phones.behaviour = granting
        assert (await calls.ask("123XYZ", "disconnect")).content["status"] == (
            481 if name == "call" else 200
        )
    assert len(calls.answers(published.message_id)) == 1


async def test_a_gateway_that_reports_in_time_leaves_nothing_behind(calls: Installation) -> None:
    """When the time is over that it had, nothing is said, and nothing is stored or dead."""
    async with network(calls):
        await calls.ask("123XYZ", "call", **CALL)
        last = await calls.ask("123XYZ", "hold")
        fields: Any = await calls.redis.hgetall(calls.names.call_prefix + "123XYZ")
        for kind in ("acting", "ringing"):
            await until_empty(calls, calls.names.deadline(kind))
        assert (await calls.ask("123XYZ", "retrieve")).sequence == last.sequence + 1
        assert len(fields) == len(await calls.redis.hgetall(calls.names.call_prefix + "123XYZ")) - 2
    assert not calls.dead


async def until_empty(calls: Installation, queue: str) -> None:
    """Wait until a queue is empty."""
    channel = await calls.connection.channel()
    for _ in range(300):
        found = await channel.declare_queue(queue, passive=True)
        if not found.declaration_result.message_count:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{queue} is not empty")


@pytest.mark.parametrize(
    "fault", ["after_commit", "after_publish_before_confirm", "after_confirm_before_ack"]
)
async def test_a_worker_killed_before_it_has_asked_asks_when_it_is_back(
    services: Services, fault: str
) -> None:
    """The command comes back; the network is asked the same, which it knows by its id."""
    async with installation(services, gateway="external", partitions=2) as calls:
        (worker,) = await calls.start()
        await calls.subscribe()
        assert await worker.terminate() == 0
        async with network(calls) as phones:
            saboteur = await calls.spawn(command=("-m", "tests.saboteur", fault))
            published = await calls.command("123XYZ", "call", **CALL)
            await saboteur.process.wait()
            await calls.start()
            assert (await calls.answer(published)).content["status"] == 200
            assert (await calls.ask("123XYZ", "hold")).sequence == 3
            originated = [each.action.action_id for each in phones.taken][:-1]
            assert set(originated) == {published.message_id}
            assert len(originated) == 1 if fault == "after_commit" else len(originated) <= 2
        assert [event.kind for event in calls.events if event.sequence == 2][:1] == [
            "call_connected"
        ]


async def test_a_network_that_reports_by_itself_moves_the_call(calls: Installation) -> None:
    """A call comes in, is accepted, and the caller hangs up."""
    async with network(calls) as phones:
        offered = Offered(request_id="in-1", origin=ALICE, destination=BOB)
        await phones.port.say(offered)
        await calls.until_seen(1)
        accepted = await calls.ask("in-1", "accept", endpoint=ALICE)
        assert accepted.content["status"] == 200
        answer = phones.taken[-1].action
        assert isinstance(answer, Answer)
        assert (answer.endpoint, answer.destination, answer.gateway) == (ALICE, BOB, "pbx-1")
        await phones.port.say(Ended(request_id="in-1", status=480))
        await calls.until_seen(3)
    assert said(calls) == [("call_offered", 200), ("call_accepted", 200), ("call_terminated", 480)]


async def test_an_event_names_the_gateway_that_has_its_call(calls: Installation) -> None:
    """From the first report on, refusals included; before it there is none to name."""
    refused = await calls.ask("123XYZ", "hold")
    async with network(calls, gateway="east"):
        await calls.ask("123XYZ", "call", **CALL)
        await calls.ask("123XYZ", "retrieve")
        await calls.ask("123XYZ", "accept", endpoint=ALICE)
    assert "gateway" not in refused.headers
    assert [event.headers.get("gateway") for event in calls.events[1:]] == ["east"] * 4


async def test_calls_stay_with_the_gateway_that_has_them(calls: Installation) -> None:
    """New calls are shared among gateways by their names; all else goes where the call is."""
    count = 40
    async with network(calls, gateway="east") as east, network(calls, gateway="west") as west:
        for number in range(count):
            await calls.ask(f"call-{number}", "call", **CALL)
            await calls.ask(f"call-{number}", "hold")
        by_gateway = [{each.action.request_id for each in g.taken} for g in (east, west)]
        assert all(by_gateway)
        assert not by_gateway[0] & by_gateway[1]
        assert len(by_gateway[0] | by_gateway[1]) == count
        await west.port.say(Offered(request_id="in-1", origin=ALICE, destination=BOB))
        await calls.ask("in-1", "accept", endpoint=ALICE)
        assert west.taken[-1].action.request_id == "in-1"


async def test_what_ends_a_call_reaches_the_gateway_that_was_asked_to_begin_it(
    calls: Installation,
) -> None:
    """Also before that has said anything: both are shared by the call's name."""
    async with (
        network(calls, silent, gateway="east") as east,
        network(calls, silent, gateway="west") as west,
    ):
        for number in range(10):
            await calls.command(f"call-{number}", "call", **CALL)
            await calls.command(f"call-{number}", "disconnect")
        await eventually(lambda: len(east.taken) + len(west.taken) == 20, "both are asked")
        for gateway in (east, west):
            asked: dict[str, list[str]] = {}
            for each in gateway.taken:
                asked.setdefault(each.action.request_id, []).append(each.action.action)
            assert all(actions == ["originate", "hang_up"] for actions in asked.values())


async def test_a_second_process_of_a_gateway_stands_by(calls: Installation) -> None:
    """It is asked nothing while the first is there, and all that comes once it is gone."""
    calls.gateways.add("pbx-1")
    async with AsyncExitStack() as leaving:
        first = await leaving.enter_async_context(open_port(calls.settings, "pbx-1"))
        await first.claim()
        async with network(calls) as second:
            await calls.command("123XYZ", "call", **CALL)
            taken = await first.take()
            await first.settle(taken)
            assert (taken.action.request_id, second.taken) == ("123XYZ", [])
            await leaving.aclose()
            assert (await calls.ask("456", "call", **CALL)).content["status"] == 200
            assert [each.action.request_id for each in second.taken] == ["456"]


async def test_an_action_that_was_not_settled_comes_back_marked(calls: Installation) -> None:
    """Whoever takes over knows that it may have been begun."""
    calls.gateways.add("pbx-1")
    async with open_port(calls.settings, "pbx-1") as port:
        await port.claim()
        published = await calls.command("123XYZ", "call", **CALL)
        assert not (await port.take()).redelivered
    async with network(calls) as phones:
        assert (await calls.answer(published)).content["status"] == 200
        assert [each.redelivered for each in phones.taken] == [True]


async def test_redis_emptied_while_a_command_waits_costs_no_outcome(services: Services) -> None:
    """The journal knows that it waits, though it has no event yet; so its outcome comes."""
    assert services.redis is not None
    async with installation(services, gateway="external", partitions=2) as calls:
        (worker,) = await calls.start()
        await calls.subscribe()
        async with network(calls, silent) as phones:
            call = await calls.command("123XYZ", "call", **CALL)
            taken = await phones.until_asked("originate")
            await worker.settled()
            key = calls.names.call_prefix + "123XYZ"
            before: Any = await calls.redis.hgetall(key)
            await calls.redis.flushall()
            rebuilding = await calls.spawn(command=("-m", "worker", "rebuild"))
            assert await rebuilding.process.wait() == 0
            restored: Any = await calls.redis.hgetall(key)
            assert {**restored, b"version": b""} == {**before, b"version": b""}
            await worker.rejoined()
            await phones.port.say(Answered(request_id="123XYZ", action_id=taken.action.action_id))
            assert (await calls.answer(call)).content["status"] == 200


async def test_digits_go_to_the_network_and_nowhere_else(calls: Installation) -> None:
    """Not into Redis, the journal, an event or a log."""
    digits = "8675309*"
    async with network(calls) as phones:
        await calls.ask("123XYZ", "call", **CALL)
        await calls.ask("123XYZ", "dial", digits=digits)
        asked = phones.taken[-1].action
        assert isinstance(asked, SendDigits)
        assert asked.digits.get_secret_value() == digits
        assert digits not in repr(asked)
    fields: Any = await calls.redis.hgetall(calls.names.call_prefix + "123XYZ")
    assert digits.encode() not in b"".join((*fields, *fields.values()))
    assert all(digits not in json.dumps(event.body) for event in calls.events)
    assert all(digits not in str(event.headers) for event in calls.events)
    assert digits not in calls.workers[0].log.read_text()


async def test_a_body_that_is_no_action_goes_to_the_dead_letters(calls: Installation) -> None:
    """By way of the commands; the gateway goes on."""
    async with network(calls) as phones:
        queue = calls.names.gateway("pbx-1")
        fly = aio_pika.Message(b'{"action": "fly"}')
        await calls.producer.default_exchange.publish(fly, routing_key=queue)
        await calls.until_dead(1)
        assert (await calls.ask("123XYZ", "call", **CALL)).content["status"] == 200
        assert phones.asked == ["originate"]
