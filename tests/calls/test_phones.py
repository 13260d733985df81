"""Telephones behave as asked, and say what became of each call."""

import asyncio
import time

import pytest

from deploy.local import Asterisk, ServerFailedError, asterisk_server
from deploy.local.phones import Phones
from deploy.local.probes import sip_answers
from deploy.local.process import free_port
from tests.calls.ari import Ari, connected_to

wait = asyncio.to_thread


async def test_a_telephone_rings_before_it_answers(ari: Ari, box: Phones) -> None:
    """As long as it was told, by its own record."""
    phone = box.answering(ring_ms=400)
    await ari.originate(phone)
    answer = await wait(phone.wait_for, 200, sent=True)
    (ringing,) = phone.found(180, sent=True)
    assert 0.35 < (answer.time - ringing.time).total_seconds() < 5
    kinds = [each.status or each.method for each in phone.messages]
    assert kinds[:3] == ["INVITE", 180, 200]


@pytest.mark.parametrize(
    ("code", "cause"), [(486, 17), (603, 21), (403, 21), (404, 1), (480, 19), (503, 34)]
)
async def test_a_refusal_reaches_the_application_with_its_code(
    ari: Ari, box: Phones, code: int, cause: int
) -> None:
    """Each has a cause of its own; none of them is answered."""
    phone = box.refusing(code)
    destroyed = await ari.event("ChannelDestroyed", await ari.originate(phone))
    assert (destroyed["cause"], destroyed["tech_cause"]) == (cause, code)
    await wait(phone.wait_for, "ACK")
    assert phone.count(200) == phone.count(180) == 0


async def test_a_telephone_may_ring_before_it_refuses(ari: Ari, box: Phones) -> None:
    """Somebody looks at who calls, and declines."""
    phone = box.refusing(603, ring_ms=200)
    destroyed = await ari.event("ChannelDestroyed", await ari.originate(phone))
    assert destroyed["tech_cause"] == 603
    assert phone.count(180) == 1


async def test_a_telephone_that_nobody_answers_stops_ringing_when_told(
    ari: Ari, box: Phones
) -> None:
    """Asterisk cancels after the time that it was given."""
    phone = box.ringing()
    channel = await ari.originate(phone, seconds=1)
    await wait(phone.wait_for, 180)
    destroyed = await ari.event("ChannelDestroyed", channel)
    assert destroyed["cause"] == 19
    await wait(phone.wait_for, "CANCEL")
    await wait(phone.wait_for, 487, sent=True)
    await wait(phone.wait_for, "ACK")


async def test_where_there_is_no_telephone_the_attempt_ends_within_seconds(ari: Ari) -> None:
    """Not after the half minute of a real network."""
    began = time.monotonic()
    channel = await ari.dial(f"PJSIP/trunk/sip:+15550001@127.0.0.9:{free_port('127.0.0.9')}")
    destroyed = await ari.event("ChannelDestroyed", channel)
    assert (destroyed["cause"], destroyed["tech_cause"]) == (18, 408)
    assert time.monotonic() - began < 15


async def test_a_telephone_hangs_up_by_itself(ari: Ari, box: Phones) -> None:
    """The application learns of it as of any remote end."""
    phone = box.answering(hang_up_ms=300)
    destroyed = await ari.event("ChannelDestroyed", await ari.originate(phone))
    assert destroyed["cause"] == 16
    await wait(phone.wait_for, "BYE", sent=True)


async def test_hanging_up_reaches_the_telephone(ari: Ari, box: Phones) -> None:
    """Which agrees, and can be called again."""
    phone = box.answering()
    for number in (1, 2):
        channel = await ari.originate(phone)
        await ari.event("StasisStart", channel)
        await ari("DELETE", f"/channels/{channel}")
        bye = await wait(phone.wait_for, "BYE", number=number)
        assert not bye.sent
    assert phone.count("INVITE") == len(phone.calls) == 2


async def test_a_caller_is_offered_and_answered_and_hangs_up(
    ari: Ari, box: Phones, asterisk: Asterisk
) -> None:
    """With the number that it dialled, its own, and a 180 before the 200."""
    caller = box.calling("+15550002", asterisk.sip, caller="+15553333", hang_up_ms=300)
    offered = await ari.event("StasisStart")
    assert offered["args"] == ["incoming", "+15550002"]
    assert offered["channel"]["caller"]["number"] == "+15553333"
    channel = offered["channel"]["id"]
    await ari("POST", f"/channels/{channel}/ring")
    await wait(caller.wait_for, 180)
    assert not caller.found(200)
    await ari("POST", f"/channels/{channel}/answer")
    await wait(caller.wait_for, "BYE", sent=True)
    await ari.event("StasisEnd", channel)
    await wait(caller.wait_gone)


async def test_a_caller_notices_that_the_other_side_hangs_up(
    ari: Ari, box: Phones, asterisk: Asterisk
) -> None:
    """It hears music until then, and its call is over."""
    caller = box.calling("7", asterisk.sip)
    offered = await ari.event("StasisStart")
    assert offered["args"] == ["incoming", "7"]
    channel = offered["channel"]["id"]
    await ari("POST", f"/channels/{channel}/answer")
    await wait(caller.wait_for, "ACK")
    await ari("DELETE", f"/channels/{channel}")
    assert not (await wait(caller.wait_for, "BYE")).sent
    await wait(caller.wait_gone)


@pytest.mark.parametrize(
    ("reason", "code"), [("busy", 486), ("rejected", 403), ("normal", 603), ("congestion", 503)]
)
async def test_a_caller_sees_why_it_was_refused(
    ari: Ari, box: Phones, asterisk: Asterisk, reason: str, code: int
) -> None:
    """And acknowledges it, as it would not be asked again otherwise."""
    caller = box.calling("+15550002", asterisk.sip)
    channel = (await ari.event("StasisStart"))["channel"]["id"]
    await ari("DELETE", f"/channels/{channel}", reason=reason)
    await wait(caller.wait_for, code)
    await wait(caller.wait_for, "ACK", sent=True)
    await wait(caller.wait_gone)


async def test_a_caller_who_gives_up_is_gone_before_anybody_answers(
    ari: Ari, box: Phones, asterisk: Asterisk
) -> None:
    """The application learns that it was cancelled."""
    caller = box.calling("+15550002", asterisk.sip, give_up_ms=400)
    channel = (await ari.event("StasisStart"))["channel"]["id"]
    await ari("POST", "/applications/call-control/subscription", eventSource=f"channel:{channel}")
    await ari("POST", f"/channels/{channel}/ring")
    destroyed = await ari.event("ChannelDestroyed", channel)
    assert destroyed["cause"] == 127
    await wait(caller.wait_for, 487)
    await wait(caller.wait_gone)


async def test_without_an_application_a_caller_is_told_to_try_elsewhere(
    box: Phones, asterisk: Asterisk
) -> None:
    """503, at once, rather than ringing for nobody."""
    caller = box.calling("+15550002", asterisk.sip)
    await wait(caller.wait_for, 503)
    assert not caller.found(180)


async def test_a_reinvite_is_accepted_and_is_no_second_call(box: Phones) -> None:
    """Asterisk sends one where it passes a hold on, which the trunk's configuration does not ask.

    On hold a telephone says nothing, until it is told that it may.
    """
    passing = {"pjsip.conf": "[trunk](+)\nmoh_passthrough = yes\n"}
    with asterisk_server(config=passing) as asterisk:
        async with connected_to(asterisk) as ari:
            phone, other = box.answering(tone=400), box.answering(tone=500)
            call = await ari.connected(phone, other)
            await wait(other.wait_tones, 400)
            await ari("POST", f"/channels/{call.channels[0]}/hold")
            await wait(phone.wait_for, "ACK", number=2)
            await wait(other.wait_tones)
            await ari("DELETE", f"/channels/{call.channels[0]}/hold")
            await wait(phone.wait_for, "ACK", number=3)
            await wait(other.wait_tones, 400)
            assert len(phone.found("INVITE", again=True)) == 2
            assert phone.count("INVITE") == 1


async def test_digits_may_come_as_info_and_are_agreed_to(box: Phones) -> None:
    """As some networks have them; the call goes on."""
    info = {"pjsip.conf": "[trunk](+)\ndtmf_mode = info\n"}
    with asterisk_server(config=info) as asterisk:
        async with connected_to(asterisk) as ari:
            phone, other = box.answering(tone=400), box.answering(tone=500)
            call = await ari.connected(phone, other)
            await ari("POST", f"/channels/{call.channels[0]}/dtmf", dtmf="42")
            asked = [await wait(phone.wait_for, "INFO", number=number) for number in (1, 2)]
            assert [each.text.partition("Signal=")[2][0] for each in asked] == ["4", "2"]
            # The answer to the call, and one to each of them.
            await wait(phone.wait_for, 200, sent=True, number=3)
            assert phone.digits() == ""
            await wait(phone.wait_tones, 500)


async def test_a_telephone_that_is_asked_whether_it_is_there_says_so(ari: Ari, box: Phones) -> None:
    """And takes calls before and after."""
    phone = box.answering()
    for number in (1, 2):
        assert await wait(sip_answers, phone.address, phone.port)
        await wait(phone.wait_for, 200, sent=True, number=2 * number - 1)
        await ari.event("StasisStart", await ari.originate(phone))
    assert phone.count("OPTIONS") == phone.count("INVITE") == 2


async def test_many_calls_at_once_end_each_for_itself(ari: Ari, box: Phones) -> None:
    """Twenty of them at one telephone, answered after they all have rung."""
    phone = box.answering(ring_ms=200)
    channels = await asyncio.gather(*(ari.originate(phone) for _ in range(20)))
    for channel in channels:
        await ari.event("StasisStart", channel)
    await wait(phone.wait_for, "ACK", number=20)
    assert phone.count("INVITE") == 20
    for channel in channels:
        await ari("DELETE", f"/channels/{channel}")
    for channel in channels:
        await ari.event("ChannelDestroyed", channel)
    await wait(phone.wait_for, "BYE", number=20)
    assert phone.count("BYE") == 20


async def test_a_telephone_whose_plug_is_pulled_says_nothing(ari: Ari, box: Phones) -> None:
    """No BYE; whoever talks to it hears nothing."""
    phone, other = box.answering(tone=400), box.answering(tone=500)
    await ari.connected(phone, other)
    await wait(other.wait_tones, 400)
    phone.kill()
    await wait(other.wait_tones)
    assert not phone.found("BYE")
    assert not phone.running


def test_a_wait_for_what_does_not_come_says_what_came(box: Phones) -> None:
    """The failure of a test has to be readable."""
    phone = box.answering()
    with pytest.raises(ServerFailedError, match=r"no BYE \(number 1\)"):
        phone.wait_for("BYE", seconds=0.1)
