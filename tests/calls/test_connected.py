"""What is done to connected calls, heard at both ends."""

import asyncio

from deploy.local.asterisk import MUSIC
from deploy.local.phones import Phones
from schemas.actions import Hold, Mute, Retrieve, UnMute
from schemas.reports import Done
from tests.calls.driving import Driven, digits, simple, some_id, transfer

wait = asyncio.to_thread


async def test_who_is_on_hold_hears_music_and_is_not_heard(gateway: Driven, box: Phones) -> None:
    """And after it both hear each other again; either may be asked for twice."""
    alice, bob = box.answering(tone=400), box.answering(tone=500)
    call = await gateway.connected(alice, bob)
    for _ in range(2):
        assert isinstance(await gateway.done(simple(Hold, call)), Done)
    await wait(bob.wait_tones, MUSIC)
    await wait(alice.wait_tones)
    for _ in range(2):
        assert isinstance(await gateway.done(simple(Retrieve, call)), Done)
    await wait(bob.wait_tones, 400)
    await wait(alice.wait_tones, 500)
    await gateway.hang_up(call)


async def test_who_is_muted_hears_and_is_not_heard(gateway: Driven, box: Phones) -> None:
    """Through hold and retrieve, until it is undone."""
    alice, bob = box.answering(tone=400), box.answering(tone=500)
    call = await gateway.connected(alice, bob)
    await gateway.done(simple(Mute, call))
    await wait(bob.wait_tones)
    await wait(alice.wait_tones, 500)
    await gateway.done(simple(Hold, call))
    await gateway.done(simple(Retrieve, call))
    await wait(alice.wait_tones, 500)
    await wait(bob.wait_tones)
    await gateway.done(simple(UnMute, call))
    await wait(bob.wait_tones, 400)
    await gateway.hang_up(call)


async def test_digits_arrive_once_at_the_destination(gateway: Driven, box: Phones) -> None:
    """In their order, with their pauses, and nowhere else."""
    alice, bob = box.answering(), box.answering()
    call = await gateway.connected(alice, bob)
    action = digits(call, "12w#A*")
    assert isinstance(await gateway.done(action), Done)
    gateway.ask(action, redelivered=True)
    assert isinstance(await gateway.done(digits(call, "9")), Done)
    # It waits for their end.
    assert isinstance(await gateway.done(simple(Hold, call)), Done)
    assert bob.digits() == "12#A*9"
    assert alice.digits() == ""
    await gateway.hang_up(call)


async def test_digits_that_may_have_been_sent_are_not_sent_again(
    gateway: Driven, box: Phones
) -> None:
    """A PIN that is entered twice is a wrong one; so the outcome is said to be unknown."""
    alice, bob = box.answering(), box.answering()
    call = await gateway.connected(alice, bob)
    status, reason = await gateway.failure(digits(call, "4711"), redelivered=True)
    assert status == 500
    assert "not known" in reason
    assert "4711" not in reason
    assert isinstance(await gateway.done(digits(call, "1")), Done)
    await gateway.done(simple(Hold, call))
    assert bob.digits() == "1"
    await gateway.hang_up(call)


async def test_nothing_waits_for_digits_that_take_too_long(gateway: Driven, box: Phones) -> None:
    """A refusal is better than a hold that comes after its command was answered with 504."""
    alice, bob = box.answering(), box.answering()
    call = await gateway.connected(alice, bob)
    await gateway.done(digits(call, "1" + "W" * 20))
    assert (await gateway.failure(simple(Hold, call)))[0] == 491
    assert isinstance(await gateway.hang_up(call), Done)


async def test_a_transfer_connects_the_origin_with_somebody_else(
    gateway: Driven, box: Phones
) -> None:
    """They talk until the new one answers, and not a moment less."""
    alice, bob = box.answering(tone=400), box.answering(tone=500)
    carol = box.answering(ring_ms=800, tone=600)
    call = await gateway.connected(alice, bob)
    action = transfer(call, carol)
    gateway.ask(action)
    await wait(carol.wait_for, "INVITE")
    await wait(alice.wait_tones, 500)
    assert isinstance(await gateway.outcome(action.action_id), Done)
    await wait(bob.wait_for, "BYE")
    await wait(alice.wait_tones, 600)
    await wait(carol.wait_tones, 400)
    await gateway.hang_up(call)


async def test_a_transfer_that_fails_leaves_the_call_as_it_was(
    gateway: Driven, box: Phones
) -> None:
    """Held, if it was."""
    alice, bob, busy = box.answering(tone=400), box.answering(tone=500), box.refusing(486)
    call = await gateway.connected(alice, bob)
    assert await gateway.failure(transfer(call, busy)) == (486, "Busy Here")
    await wait(alice.wait_tones, 500)
    await gateway.done(simple(Hold, call))
    assert (await gateway.failure(transfer(call, busy)))[0] == 486
    await wait(bob.wait_tones, MUSIC)
    await gateway.hang_up(call)


async def test_a_held_call_can_be_transferred_and_is_held_no_more(
    gateway: Driven, box: Phones
) -> None:
    """And the one after that, too."""
    alice, bob, carol = box.answering(tone=400), box.answering(), box.answering(tone=600)
    dave = box.answering(tone=800)
    call = await gateway.connected(alice, bob)
    await gateway.done(simple(Hold, call))
    assert isinstance(await gateway.done(transfer(call, carol)), Done)
    await wait(alice.wait_tones, 600)
    assert isinstance(await gateway.done(simple(Hold, call)), Done)
    await wait(carol.wait_tones, MUSIC)
    assert isinstance(await gateway.done(simple(Retrieve, call)), Done)
    assert isinstance(await gateway.done(transfer(call, dave)), Done)
    await wait(dave.wait_tones, 400)
    await gateway.hang_up(call)


async def test_a_party_that_hangs_up_during_a_transfer_does_not_end_it(
    gateway: Driven, box: Phones
) -> None:
    """It was to go anyway. If the transfer fails, nobody is left to talk to, and the call ends."""
    alice, bob = box.answering(tone=400), box.answering(hang_up_ms=500)
    carol = box.answering(ring_ms=1500, tone=600)
    call = await gateway.connected(alice, bob)
    assert isinstance(await gateway.done(transfer(call, carol)), Done)
    await wait(alice.wait_tones, 600)
    await gateway.hang_up(call)

    bob, busy = box.answering(hang_up_ms=300), box.refusing(486, ring_ms=1500)
    call = await gateway.connected(alice, bob)
    assert (await gateway.failure(transfer(call, busy)))[0] == 486
    assert (await gateway.ended(call))[0] == 486
    await gateway.idle()


async def test_an_origin_that_hangs_up_during_a_transfer_ends_the_call(
    gateway: Driven, box: Phones
) -> None:
    """Nobody rings for nobody."""
    alice, bob, nobody = box.answering(hang_up_ms=700), box.answering(), box.ringing()
    call = await gateway.connected(alice, bob)
    gateway.ask(transfer(call, nobody))
    await wait(nobody.wait_for, "INVITE")
    assert await gateway.ended(call) == (200, "OK")
    await wait(nobody.wait_for, "CANCEL")
    await wait(bob.wait_for, "BYE")


async def test_hanging_up_ends_a_transfer_and_the_call(gateway: Driven, box: Phones) -> None:
    """All three phones are let go."""
    alice, bob, nobody = box.answering(), box.answering(), box.ringing()
    call = await gateway.connected(alice, bob)
    gateway.ask(transfer(call, nobody))
    await wait(nobody.wait_for, "INVITE")
    assert isinstance(await gateway.hang_up(call), Done)
    for phone, what in ((nobody, "CANCEL"), (alice, "BYE"), (bob, "BYE")):
        await wait(phone.wait_for, what)


async def test_a_call_that_nobody_knows_is_answered_so(gateway: Driven, box: Phones) -> None:
    """And if the worker believes that this gateway has it, it is told that it is over."""
    nobodys = some_id()
    assert await gateway.failure(simple(Hold, nobodys)) == (481, "Call Does Not Exist")
    assert (await gateway.failure(transfer(nobodys, box.answering())))[0] == 481
    assert len(gateway.reports) == 2
    known = simple(Hold, some_id()).model_copy(update={"gateway": "gateway"})
    assert (await gateway.failure(known))[0] == 481
    assert (await gateway.ended(known.request_id))[0] == 503
