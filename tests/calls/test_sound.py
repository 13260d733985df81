"""What is done to a call is heard at its far ends."""

import asyncio

from deploy.local.asterisk import MUSIC
from deploy.local.phones import Media, Phones
from deploy.local.process import wait_until
from tests.calls.ari import Ari

#: What each telephone sounds, in Hz.
LOW, HIGH, THIRD = 400, 500, 600

wait = asyncio.to_thread


def sounds(media: Media) -> bool:
    """Return whether somebody is sent packets."""
    before = media.sent
    return wait_until(lambda: media.sent > before, 0.2)


async def test_both_sides_of_a_call_hear_each_other_and_nothing_else(ari: Ari, box: Phones) -> None:
    """Otherwise no test below says anything."""
    one, other = box.answering(tone=LOW), box.answering(ring_ms=100, tone=HIGH)
    await ari.connected(one, other)
    await wait(one.wait_tones, HIGH)
    await wait(other.wait_tones, LOW)
    assert other.received() > 0


async def test_who_is_muted_is_not_heard_and_still_hears(ari: Ari, box: Phones) -> None:
    """One direction ends, the other goes on; and all of it comes back."""
    one, other = box.answering(tone=LOW), box.answering(tone=HIGH)
    call = await ari.connected(one, other)
    await wait(other.wait_tones, LOW)
    await ari("POST", f"/channels/{call.channels[0]}/mute", direction="in")
    await wait(other.wait_tones)
    assert not other.receiving()
    await wait(one.wait_tones, HIGH)
    await ari("DELETE", f"/channels/{call.channels[0]}/mute", direction="in")
    await wait(other.wait_tones, LOW)


async def test_on_hold_one_side_hears_music_and_the_other_nothing(ari: Ari, box: Phones) -> None:
    """The music is the tone that was made for it; retrieved, they hear each other again."""
    one, other = box.answering(tone=LOW), box.answering(tone=HIGH)
    call = await ari.connected(one, other)
    await wait(other.wait_tones, LOW)
    held = call.channels[1]
    await ari("POST", f"/bridges/{call.bridge}/removeChannel", channel=held)
    await ari("POST", f"/channels/{held}/moh")
    await wait(other.wait_tones, MUSIC)
    await wait(one.wait_tones)
    assert not one.receiving()
    await ari("DELETE", f"/channels/{held}/moh")
    await ari("POST", f"/bridges/{call.bridge}/addChannel", channel=held)
    await wait(other.wait_tones, LOW)
    await wait(one.wait_tones, HIGH)


async def test_three_in_a_call_hear_the_two_others(ari: Ari, box: Phones) -> None:
    """So tones are told apart in a mixture, as during a transfer."""
    phones = [box.answering(tone=tone) for tone in (LOW, HIGH, THIRD)]
    await ari.connected(*phones)
    await wait(phones[0].wait_tones, HIGH, THIRD)
    await wait(phones[1].wait_tones, LOW, THIRD)
    await wait(phones[2].wait_tones, LOW, HIGH)


async def test_digits_arrive_in_order_and_equal_ones_each(ari: Ari, box: Phones) -> None:
    """All sixteen of them, while the call goes on."""
    one, other = box.answering(tone=LOW), box.answering(tone=HIGH)
    call = await ari.connected(one, other)
    dialled = "1123456789*0##ABCD"
    await ari("POST", f"/channels/{call.channels[1]}/dtmf", dtmf=dialled, duration=100, between=50)
    await wait(other.wait_digits, dialled)
    assert one.digits() == ""
    await wait(other.wait_tones, LOW)


async def test_calls_of_one_telephone_are_heard_apart(ari: Ari, box: Phones) -> None:
    """By their Call-IDs, through the one port that it has for media."""
    busy_line = box.answering(tone=LOW)
    first, second = box.answering(tone=HIGH), box.answering(tone=THIRD)
    await ari.connected(busy_line, first)
    await ari.connected(busy_line, second)
    calls = busy_line.calls
    assert len(calls) == 2
    await wait(busy_line.wait_tones, HIGH, call_id=calls[0])
    await wait(busy_line.wait_tones, THIRD, call_id=calls[1])
    assert busy_line.tones() == {HIGH, THIRD}
    await wait(first.wait_tones, LOW)
    await wait(second.wait_tones, LOW)


async def test_a_telephone_falls_silent_with_its_call(ari: Ari, box: Phones) -> None:
    """And sounds again in the next one."""
    one = box.answering(tone=LOW)
    for number in (1, 2):
        other = box.answering(tone=HIGH)
        call = await ari.connected(one, other)
        await wait(other.wait_tones, LOW)
        assert await wait(sounds, one.media)
        for channel in call.channels:
            await ari("DELETE", f"/channels/{channel}")
        await wait(one.wait_for, "BYE", number=number)
        await wait(one.wait_tones)
        assert not await wait(sounds, one.media)
        assert one.count("INVITE") == number
