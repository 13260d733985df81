"""Asterisk's events, read; what is of no interest or makes no sense is none."""

import pytest

from worker.gateways.asterisk.events import (
    Changed,
    Channel,
    ChannelState,
    Destroyed,
    Entered,
    Event,
    Left,
    Progressed,
    Replaced,
    Started,
    read_bridge,
    read_channel,
    read_event,
    read_time,
)

CHANNEL = {"id": "c", "state": "Up", "caller": {"name": "", "number": "+1"}}
READ = Channel("c", ChannelState.UP, "+1")


@pytest.mark.parametrize(
    ("document", "event"),
    [
        ({"type": "StasisStart", "channel": CHANNEL, "args": ["incoming", "1"]},
         Started(READ, ("incoming", "1"))),
        ({"type": "ChannelStateChange", "channel": CHANNEL}, Changed(READ)),
        ({"type": "Dial", "peer": CHANNEL, "dialstatus": "RINGING"},
         Progressed(READ, ringing=True)),
        ({"type": "Dial", "peer": CHANNEL, "dialstatus": "PROGRESS"},
         Progressed(READ, ringing=False)),
        ({"type": "ChannelEnteredBridge", "channel": CHANNEL, "bridge": {"id": "b"}},
         Entered(READ, "b")),
        ({"type": "ChannelLeftBridge", "channel": CHANNEL, "bridge": {"id": "b"}},
         Left(READ, "b")),
        ({"type": "ChannelDestroyed", "channel": CHANNEL, "cause": 17, "tech_cause": 486},
         Destroyed(READ, 17, 486)),
        ({"type": "ChannelDestroyed", "channel": CHANNEL, "cause": "x"}, Destroyed(READ)),
        ({"type": "ApplicationReplaced"}, Replaced()),
        ({"type": "Dial", "peer": CHANNEL, "dialstatus": "ANSWER"}, None),
        ({"type": "Dial", "dialstatus": "RINGING"}, None),
        ({"type": "StasisStart"}, None),
        ({"type": "ChannelVarset", "channel": CHANNEL}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_an_event_is_read(document: dict[str, object], event: Event | None) -> None:
    """By its name, which is all that tells one from another."""
    assert read_event(document) == event


def test_a_channel_says_how_it_came() -> None:
    """From the dialplan, with arguments; so a caller can be found later, too."""
    dialplan = {"app_name": "Stasis", "app_data": "app,incoming,+1"}
    read = read_channel({"id": "c", "state": "Busy", "dialplan": dialplan})
    assert (read.state, read.arguments) == (ChannelState.DOWN, ("app", "incoming", "+1"))
    assert read_channel({"dialplan": {"app_name": "Dial", "app_data": "x"}}).arguments == ()


def test_a_bridge_says_who_is_in_it() -> None:
    """And since when it is there."""
    document = {"id": "b", "name": "n", "channels": ["c"],
                "creationtime": "2026-11-27T04:17:01.272+0000"}  # fmt: skip
    bridge = read_bridge(document)
    assert (bridge.id, bridge.name, bridge.channels) == ("b", "n", frozenset({"c"}))
    assert bridge.created_at == pytest.approx(1795753021.272)
    assert read_time("yesterday") == 0
