"""What sipp writes down is read while it grows, and is what was said."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.phones.messages import Message, Trace

INVITE = """INVITE sip:+1555@127.0.0.1:5060 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5070;rport;branch=z9hG4bKone
From: "Zoë" <sip:+1444@127.0.0.1>;tag=a
To: <sip:+1555@127.0.0.1>
Call-ID: call-one
CSeq: 17 INVITE
Content-Type: application/sdp

v=0
c=IN IP4 127.0.0.1
m=audio 12396 RTP/AVP 0 101
a=sendrecv
""".replace("\n", "\r\n")

RINGING = """SIP/2.0 180 Ringing
Via: SIP/2.0/UDP 127.0.0.1:5070;rport;branch=z9hG4bKone
To: <sip:+1555@127.0.0.1>;tag=b
Call-ID: call-one
CSeq: 17 INVITE

""".replace("\n", "\r\n")

WHEN = datetime(2026, 3, 4, 5, 6, 7, 800, UTC)


def written(text: str, direction: str) -> bytes:
    """Return a message as sipp writes it."""
    size = len(text.encode())
    said = f"received [{size}] bytes " if direction == "received" else f"sent ({size} bytes)"
    return f"{'-' * 47} 2026-03-04 05:06:07.000800\nUDP message {said}:\n\n{text}\n".encode()


def message(text: str, *, sent: bool = False) -> Message:
    """Return a message."""
    return Message(WHEN, sent, text)


def test_messages_come_in_order_with_time_and_direction(tmp_path: Path) -> None:
    """Word for word."""
    file = tmp_path / "messages.log"
    file.write_bytes(written(INVITE, "received") + written(RINGING, "sent"))
    assert list(Trace(file).new()) == [message(INVITE), message(RINGING, sent=True)]


@pytest.mark.parametrize("step", [1, 7, 100])
def test_a_message_comes_once_all_of_it_is_there(tmp_path: Path, step: int) -> None:
    """However the file grows: letters of several bytes may be cut in two."""
    file = tmp_path / "messages.log"
    trace = Trace(file)
    assert list(trace.new()) == []
    whole = written(INVITE, "received") + written(RINGING, "sent")
    got: list[Message] = []
    with file.open("wb", buffering=0) as growing:
        for start in range(0, len(whole), step):
            growing.write(whole[start : start + step])
            got += trace.new()
    assert [each.text for each in got] == [INVITE, RINGING]


def test_a_request_and_its_answer_say_what_they_are() -> None:
    """The method of an answer is that of the request."""
    invite, ringing = message(INVITE), message(RINGING, sent=True)
    assert (invite.method, invite.status, invite.cseq) == ("INVITE", None, 17)
    assert (ringing.method, ringing.status, ringing.cseq) == ("INVITE", 180, 17)
    assert invite.call_id == ringing.call_id == "call-one"
    assert invite.header("from") == '"Zoë" <sip:+1444@127.0.0.1>;tag=a'
    assert invite.header("Reason") == ""


def test_media_are_where_the_description_says() -> None:
    """And nowhere when there is none."""
    assert message(INVITE).media == ("127.0.0.1", 12396)
    assert message(INVITE).listening
    assert not message(INVITE.replace("sendrecv", "sendonly")).listening
    assert message(RINGING).media is None


def test_a_retransmission_is_the_same_message_and_a_reinvite_is_not() -> None:
    """A copy has all that tells messages apart."""
    first = message(INVITE)
    again = INVITE.replace("z9hG4bKone", "z9hG4bKtwo").replace("CSeq: 17", "CSeq: 18")
    reinvite = message(again.replace("<sip:+1555@127.0.0.1>\r", "<sip:+1555@127.0.0.1>;tag=b\r"))
    assert message(INVITE).identity == first.identity
    assert reinvite.identity != first.identity
    assert reinvite.again
    assert not first.again
