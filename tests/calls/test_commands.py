"""Each documented command on real SIP calls, looked at from the far side: by the telephones."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from deploy.local import Services
from deploy.local.asterisk import MUSIC
from deploy.local.phones import Phone, Phones
from deploy.local.process import free_port
from deploy.local.services import Asterisk
from tests.calls.exchange import (
    Exchange,
    address_of,
    caller_of,
    calling,
    exchange,
    new_call,
    off_loop,
)

ALICE, BOB, CAROL = 400, 500, 600
RECEPTION = 900


@pytest.fixture(scope="module")
async def line(services: Services, switched: tuple[Asterisk, Phones]) -> AsyncIterator[Exchange]:
    """A whole exchange, whose events keep to the invariants."""
    async with exchange(services, *switched, ring_seconds=4) as made:
        await made.start_ready_gateway()
        yield made
        made.check()


@pytest.fixture
def alice(line: Exchange) -> Phone:
    """Who calls."""
    return line.phones.answering(tone=ALICE)


@pytest.fixture
def bob(line: Exchange) -> Phone:
    """Who is called."""
    return line.phones.answering(ring_ms=100, tone=BOB)


async def test_a_call_rings_and_then_both_hear_each_other(
    line: Exchange, alice: Phone, bob: Phone
) -> None:
    """Connected means connected: each hears the other's tone, and nothing else."""
    call = await line.connect(alice, bob)
    assert [event.kind for event in line.of(call)] == ["call_ringing", "call_connected"]
    assert line.of(call)[0].content["status"] == 180
    await off_loop(alice.wait_tones, BOB)
    await off_loop(bob.wait_tones, ALICE)
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)
    await line.done(call, "disconnect")


async def test_a_disconnect_hangs_up_on_both(line: Exchange, alice: Phone, bob: Phone) -> None:
    """One BYE each, and silence."""
    call = await line.connect(alice, bob)
    ended = await line.done(call, "disconnect")
    assert (ended.kind, ended.headers["terminal"]) == ("call_terminated", True)
    for phone in (alice, bob):
        await off_loop(phone.wait_for, "BYE", sent=False)
        await off_loop(phone.wait_tones)


@pytest.mark.parametrize("code", [486, 603, 404, 480, 503, 403])
async def test_a_destination_that_refuses_is_told_with_its_status(
    line: Exchange, alice: Phone, code: int
) -> None:
    """The command gets the telephone's own status; the origin is hung up on."""
    busy = await off_loop(line.phones.refusing, code)
    call = new_call()
    parties = {"origin": address_of(alice, "+1"), "destination": address_of(busy, "+2")}
    failed = await line.ask(call, "call", **parties)
    assert (failed.kind, failed.content["status"]) == ("call_control_failed", code)
    assert failed.state == "absent"
    await off_loop(alice.wait_for, "BYE", sent=False)
    assert (await line.ask(call, "hold")).content["status"] == 481


async def test_a_destination_that_does_not_answer_is_given_up(line: Exchange, alice: Phone) -> None:
    """When it has rung for as long as the settings say; its ringing ends."""
    nobody = await off_loop(line.phones.ringing)
    parties = {"origin": address_of(alice, "+1"), "destination": address_of(nobody, "+2")}
    failed = await line.ask(new_call(), "call", **parties)
    assert failed.content["status"] == 480
    await off_loop(nobody.wait_for, "CANCEL", sent=False)
    await off_loop(alice.wait_for, "BYE", sent=False)


async def test_a_destination_that_is_not_there_is_unreachable(line: Exchange, alice: Phone) -> None:
    """Nobody answers at that address, not even with a refusal."""
    parties = {
        "origin": address_of(alice, "+1"),
        "destination": f"sip:+2@127.0.0.1:{free_port()}",
    }
    failed = await line.ask(new_call(), "call", **parties)
    assert failed.content["status"] in {408, 480, 503}
    await off_loop(alice.wait_for, "BYE", sent=False)


async def test_an_origin_that_refuses_keeps_the_destination_from_ringing(
    line: Exchange, bob: Phone
) -> None:
    """Nobody is called for somebody who is not there."""
    busy = await off_loop(line.phones.refusing, 486)
    parties = {"origin": address_of(busy, "+1"), "destination": address_of(bob, "+2")}
    failed = await line.ask(new_call(), "call", **parties)
    assert failed.content["status"] == 486
    assert bob.count("INVITE") == 0


async def test_a_disconnect_while_it_rings_cancels_the_call(line: Exchange, alice: Phone) -> None:
    """The call gets 487, and the telephone stops ringing."""
    nobody = await off_loop(line.phones.ringing)
    call = new_call()
    parties = {"origin": address_of(alice, "+1"), "destination": address_of(nobody, "+2")}
    asked = await line.command(call, "call", **parties)
    await line.seen(call, "call_ringing")
    await line.done(call, "disconnect")
    assert (await line.calls.answer(asked)).content["status"] == 487
    await off_loop(nobody.wait_for, "CANCEL", sent=False)
    await off_loop(alice.wait_for, "BYE", sent=False)
    assert line.of(call)[-1].kind == "call_terminated"


async def test_a_held_destination_hears_music_and_the_origin_nothing(
    line: Exchange, alice: Phone, bob: Phone
) -> None:
    """And after a retrieve they hear each other again."""
    call = await line.connect(alice, bob)
    await line.done(call, "hold")
    await off_loop(bob.wait_tones, MUSIC)
    await off_loop(alice.wait_tones)
    await line.done(call, "retrieve")
    await off_loop(bob.wait_tones, ALICE)
    await off_loop(alice.wait_tones, BOB)
    await line.done(call, "disconnect")


async def test_a_muted_origin_is_not_heard_and_hears(
    line: Exchange, alice: Phone, bob: Phone
) -> None:
    """One direction only, across hold and retrieve, until it is undone."""
    call = await line.connect(alice, bob)
    await line.done(call, "mute")
    await off_loop(bob.wait_tones)
    await off_loop(alice.wait_tones, BOB)
    await line.done(call, "hold")
    await off_loop(bob.wait_tones, MUSIC)
    retrieved = await line.done(call, "retrieve")
    assert retrieved.state == "connected"
    await off_loop(alice.wait_tones, BOB)
    await off_loop(bob.wait_tones)
    await line.done(call, "un_mute")
    await off_loop(bob.wait_tones, ALICE)
    await line.done(call, "disconnect")


async def test_dialed_digits_arrive_once_and_in_order(
    line: Exchange, alice: Phone, bob: Phone
) -> None:
    """At the destination, as telephone events (RFC 4733); pauses are none."""
    call = await line.connect(alice, bob)
    await line.done(call, "dial", digits="42#w7")
    await line.done(call, "dial", digits="*1")
    assert await _digits(bob, 6) == "42#7*1"
    assert alice.digits() == ""
    await line.done(call, "disconnect")


async def _digits(phone: Phone, count: int) -> str:
    for _ in range(100):
        if len(phone.digits()) >= count:
            break
        await asyncio.sleep(0.1)
    return phone.digits()


async def test_a_transfer_connects_the_origin_with_the_new_endpoint(
    line: Exchange, alice: Phone, bob: Phone
) -> None:
    """The old destination is hung up on; also of a call that is held."""
    for held in (False, True):
        carol = await off_loop(line.phones.answering, ring_ms=100, tone=CAROL)
        call = await line.connect(alice, bob)
        if held:
            await line.done(call, "hold")
        await line.done(call, "transfer", endpoint=address_of(carol, "+3"))
        await off_loop(alice.wait_tones, CAROL)
        await off_loop(carol.wait_tones, ALICE)
        await off_loop(bob.wait_for, "BYE", sent=False)
        assert carol.count("INVITE") == 1
        await line.done(call, "hold")
        await off_loop(carol.wait_tones, MUSIC)
        await line.done(call, "disconnect")
        await off_loop(carol.wait_for, "BYE", sent=False)


async def test_a_transfer_that_fails_leaves_the_call_as_it_was(
    line: Exchange, alice: Phone, bob: Phone
) -> None:
    """They go on talking; the command gets the new endpoint's status."""
    busy = await off_loop(line.phones.refusing, 486)
    call = await line.connect(alice, bob)
    failed = await line.ask(call, "transfer", endpoint=address_of(busy, "+3"))
    assert (failed.content["status"], failed.state) == (486, "connected")
    await off_loop(alice.wait_tones, BOB)
    await off_loop(bob.wait_tones, ALICE)
    assert bob.count("BYE") == 0
    await line.done(call, "disconnect")


async def test_a_call_that_comes_in_is_offered_and_accepted(line: Exchange) -> None:
    """The caller hears ringing, is answered only when the destination has, and they talk."""
    caller = await off_loop(calling, line, tone=ALICE)
    offered = await line.offer(caller)
    assert offered.content["origin"] == f"tel:{caller_of(caller)}"
    assert offered.content["destination"] == "tel:+15557000"
    await off_loop(caller.wait_for, 180)
    assert not caller.found(200)
    call = offered.request_id
    accepted = await line.done(call, "accept", endpoint=offered.content["origin"])
    assert accepted.kind == "call_accepted"
    await off_loop(caller.wait_for, 200)
    await off_loop(caller.wait_tones, RECEPTION)
    await off_loop(line.reception.wait_for, "ACK")
    await line.done(call, "hold")
    await line.done(call, "disconnect")
    await off_loop(caller.wait_for, "BYE", sent=False)


async def test_a_rejected_caller_is_refused(line: Exchange) -> None:
    """With the status that the gateway's settings say; nobody rings."""
    rang = line.reception.count("INVITE")
    caller = await off_loop(calling, line)
    offered = await line.offer(caller)
    rejected = await line.done(offered.request_id, "reject", endpoint=offered.content["origin"])
    assert (rejected.kind, rejected.headers["terminal"]) == ("call_rejected", True)
    await off_loop(caller.wait_for, 603)
    assert line.reception.count("INVITE") == rang


@pytest.mark.parametrize("command", ["redirect", "transfer"])
async def test_a_redirected_caller_talks_with_the_new_endpoint(
    line: Exchange, command: str
) -> None:
    """By either name; the number that was called does not ring."""
    rang = line.reception.count("INVITE")
    carol = await off_loop(line.phones.answering, ring_ms=100, tone=CAROL)
    caller = await off_loop(calling, line, tone=ALICE)
    call = (await line.offer(caller)).request_id
    redirected = await line.done(call, command, endpoint=address_of(carol, "+3"))
    assert redirected.kind == "call_redirected"
    await off_loop(caller.wait_tones, CAROL)
    await off_loop(carol.wait_tones, ALICE)
    assert line.reception.count("INVITE") == rang
    await line.done(call, "disconnect")


async def test_a_caller_who_gives_up_ends_the_offer(line: Exchange) -> None:
    """The call is terminated with 487, and accepting it is too late."""
    caller = await off_loop(calling, line, give_up_ms=700)
    offered = await line.offer(caller)
    ended = await line.seen(offered.request_id, "call_terminated")
    assert (ended.content["status"], ended.headers["terminal"]) == (487, True)
    late = await line.ask(offered.request_id, "accept", endpoint=offered.content["origin"])
    assert late.content["status"] == 481


async def test_nobody_accepts_or_rejects_a_call_that_the_network_does_not_know(
    line: Exchange,
) -> None:
    """With a real network 481, though the document's commands stand alone."""
    for command in ("accept", "reject"):
        refused = await line.ask(new_call(), command, endpoint="tel:+18164388687")
        assert (refused.content["status"], refused.state) == (481, "absent")


@pytest.mark.parametrize("who", ["origin", "destination"])
async def test_whoever_hangs_up_ends_the_call(line: Exchange, who: str) -> None:
    """Told with the cause; the other one is hung up on."""
    hang_up_ms = {who: 1200}
    alice = await off_loop(line.phones.answering, hang_up_ms=hang_up_ms.get("origin", 60_000))
    bob = await off_loop(line.phones.answering, hang_up_ms=hang_up_ms.get("destination", 60_000))
    call = await line.connect(alice, bob)
    ended = await line.seen(call, "call_terminated")
    assert (ended.content["status"], ended.headers["terminal"]) == (200, True)
    other = bob if who == "origin" else alice
    await off_loop(other.wait_for, "BYE", sent=False)


async def test_a_command_that_is_published_twice_places_one_call(
    line: Exchange, alice: Phone, bob: Phone
) -> None:
    """One INVITE each, and one outcome."""
    call = new_call()
    body = {
        "call_control": "call",
        "request_id": call,
        "origin": address_of(alice, "+1"),
        "destination": address_of(bob, "+2"),
    }
    first = await line.calls.publish(call, body, message_id=f"{call}-twice")
    await line.calls.publish(call, body, message_id=f"{call}-twice")
    line.said.append(first)
    assert (await line.calls.answer(first)).content["status"] == 200
    await line.done(call, "disconnect")
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)
