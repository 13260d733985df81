"""Calls as they are found on Asterisk: who is up, and who is in which bridge, tells how far."""

import time

from schemas.contract import ActionName
from schemas.reports import Answered, Done, Failed, Offered, Report, Ringing
from worker.gateways.asterisk.dialing import Plan
from worker.gateways.asterisk.events import Bridge, Channel, ChannelState
from worker.gateways.asterisk.found import Finder, Found, FoundCall
from worker.gateways.asterisk.names import Ids, Role, incoming_request_id
from worker.gateways.asterisk.notes import Note, bridge_name
from worker.gateways.asterisk.snapshot import Snapshot
from worker.gateways.asterisk.state import CallState

IDS = Ids("call-control")
FINDER = Finder(IDS, "west", Plan("PJSIP/{number}@trunk"))

UP, RINGING, DOWN, RING = (
    ChannelState.UP,
    ChannelState.RINGING,
    ChannelState.DOWN,
    ChannelState.RING,
)


class Asterisk:
    """What there is, built up."""

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self.bridges: dict[str, Bridge] = {}
        self.notes: dict[str, Note | None] = {}

    def leg(
        self,
        role: Role,
        state: ChannelState,
        action_id: str = "call",
        action: ActionName = ActionName.ORIGINATE,
        request_id: str = "R",
    ) -> str:
        """Add a leg with its note."""
        made = IDS.leg(request_id, action_id, role)
        self.channels[made] = Channel(made, state, arguments=("call-control", "leg"))
        self.notes[made] = Note(
            request_id=request_id,
            action_id=action_id,
            action=action,
            target="tel:+18164388687",
            until=time.time() + 30,
        )
        return made

    def caller(self, state: ChannelState) -> str:
        """Add a caller's channel."""
        made = "1795755260.12"
        arguments = ("call-control", "incoming", "+15550002")
        self.channels[made] = Channel(made, state, "+15559999", arguments)
        return made

    def bridge(self, action_id: str, *channels: str, request_id: str = "R") -> str:
        """Add an action's bridge."""
        made = IDS.bridge(request_id, action_id)
        name = bridge_name(request_id, action_id)
        self.bridges[made] = Bridge(made, name, frozenset(channels))
        return made

    @property
    def snapshot(self) -> Snapshot:
        """What there is."""
        return Snapshot(self.channels, self.bridges, time.monotonic())

    def found(self) -> Found:
        """Return what is found."""
        return FINDER.find(self.snapshot, self.channels, self.notes)

    def call(self) -> FoundCall:
        """Return the one call that is found, with nothing left."""
        found = self.found()
        assert (found.strays, found.reports) == ([], [])
        (call,) = found.calls
        return call


def said(call: FoundCall) -> list[type[Report]]:
    """Return what is to be said of a call."""
    return [type(report) for report in call.reports]


def ids(state: CallState) -> tuple[str | None, str | None, str | None]:
    """Return the ids of a call's legs."""
    attempt = state.attempt
    target = attempt.leg if attempt is not None else None
    return tuple(leg and leg.id for leg in (state.near, state.far, target))  # type: ignore[return-value]


def test_two_that_are_up_in_a_bridge_are_connected() -> None:
    """It is said again: whoever was here before may not have come to it."""
    there = Asterisk()
    a, b = there.leg(Role.ORIGIN, UP), there.leg(Role.TARGET, UP)
    bridge = there.bridge("call", a, b)
    call = there.call()
    assert ids(call.state) == (a, b, None)
    assert (call.state.bridge, call.state.held, said(call)) == (bridge, False, [Answered])


def test_one_that_is_up_outside_is_held() -> None:
    """Hold takes the destination out of the bridge, and nothing else does."""
    there = Asterisk()
    a, b = there.leg(Role.ORIGIN, UP), there.leg(Role.TARGET, UP)
    there.bridge("call", a)
    call = there.call()
    assert (ids(call.state), call.state.held) == ((a, b, None), True)


def test_an_origin_that_rings_is_waited_for() -> None:
    """With what is to be called when it answers."""
    there = Asterisk()
    a = there.leg(Role.ORIGIN, RINGING)
    there.bridge("call")
    call = there.call()
    assert (ids(call.state), said(call)) == ((a, None, None), [])
    assert call.state.attempt is not None
    assert call.state.attempt.target == "tel:+18164388687"


def test_an_origin_that_is_up_outside_its_bridge_has_a_destination_to_be_called() -> None:
    """Being in the bridge is the mark that it may have been."""
    there = Asterisk()
    a = there.leg(Role.ORIGIN, UP)
    there.bridge("call")
    assert ids(there.call().state) == (a, None, None)


def test_an_origin_that_is_alone_in_its_bridge_has_lost_its_destination() -> None:
    """That may have rung and refused; so nobody is called again, and nobody knows what it said."""
    there = Asterisk()
    a = there.leg(Role.ORIGIN, UP)
    there.bridge("call", a)
    found = there.found()
    assert (found.calls, found.strays) == ([], [a])
    assert [(report.action_id, report.status) for report in found.reports] == [("call", 500)]


def test_a_destination_that_rings_is_waited_for_and_said_to_ring() -> None:
    """A worker that knows it already takes no notice."""
    there = Asterisk()
    a, b = there.leg(Role.ORIGIN, UP), there.leg(Role.TARGET, RINGING)
    there.bridge("call", a, b)
    call = there.call()
    assert (ids(call.state), said(call)) == ((a, None, b), [Ringing])


def test_a_leg_that_is_silent_is_not_waited_for_as_long() -> None:
    """Whether it was dialled cannot be seen."""
    there = Asterisk()
    a, b = there.leg(Role.ORIGIN, UP), there.leg(Role.TARGET, DOWN)
    there.bridge("call", a, b)
    attempt = there.call().state.attempt
    assert attempt is not None
    assert attempt.deadline < attempt.until


def test_a_transfer_is_found_beside_the_call() -> None:
    """The origin is where it still talks to the destination."""
    there = Asterisk()
    a, b = there.leg(Role.ORIGIN, UP), there.leg(Role.TARGET, UP)
    c = there.leg(Role.TARGET, UP, "transfer", ActionName.TRANSFER)
    there.bridge("call", a, b)
    there.bridge("transfer")
    call = there.call()
    assert (ids(call.state), said(call)) == ((a, b, c), [Answered])


def test_a_transfer_that_is_through_is_said_to_be_done() -> None:
    """Even if the former destination is not gone yet: it is hung up."""
    there = Asterisk()
    a, b = there.leg(Role.ORIGIN, UP), there.leg(Role.TARGET, UP)
    c = there.leg(Role.TARGET, UP, "transfer", ActionName.TRANSFER)
    there.bridge("call", b)
    there.bridge("transfer", a, c)
    found = there.found()
    (call,) = found.calls
    assert (call.state.near or call).id == a  # type: ignore[union-attr]
    assert call.state.far is not None
    assert call.state.far.id == c
    assert said(call) == [Done]
    assert (call.state.attempt, found.strays) == (None, [b])


def test_a_caller_is_offered() -> None:
    """Whether somebody has offered it before or not."""
    there = Asterisk()
    x = there.caller(RING)
    call = there.call()
    assert ids(call.state) == (x, None, None)
    (offered,) = call.reports
    assert isinstance(offered, Offered)
    assert (offered.origin, offered.destination) == ("tel:+15559999", "tel:+15550002")
    assert offered.request_id == "west-1795755260-12"


def test_a_caller_whose_destination_rings_goes_on_to_it() -> None:
    """It was accepted, and nobody has said that it failed."""
    there = Asterisk()
    x = there.caller(RING)
    request_id = incoming_request_id("west", x)
    b = there.leg(Role.TARGET, RINGING, "accept", ActionName.ANSWER, request_id)
    there.bridge("accept", b, request_id=request_id)
    call = there.call()
    assert (ids(call.state), said(call)) == ((x, None, b), [Offered])


def test_a_caller_who_talks_is_connected() -> None:
    """Accepted calls are like others from then on."""
    there = Asterisk()
    x = there.caller(UP)
    request_id = incoming_request_id("west", x)
    b = there.leg(Role.TARGET, UP, "accept", ActionName.ANSWER, request_id)
    there.bridge("accept", x, b, request_id=request_id)
    call = there.call()
    assert (ids(call.state), said(call)) == ((x, b, None), [Answered])


def test_a_destination_without_its_origin_is_hung_up() -> None:
    """The origin has hung up, and nobody was there to see it."""
    there = Asterisk()
    b = there.leg(Role.TARGET, UP)
    there.bridge("call", b)
    found = there.found()
    assert (found.calls, found.strays) == ([], [b])
    assert [type(report) for report in found.reports] == [Failed]


def test_a_leg_without_a_note_is_hung_up() -> None:
    """Nobody can know what it is for."""
    there = Asterisk()
    a = there.leg(Role.ORIGIN, UP)
    there.notes[a] = None
    assert there.found().strays == [a]


def test_claims_are_found_where_nobody_is_and_only_our_own() -> None:
    """A bridge with somebody in it is no mere claim."""
    there = Asterisk()
    a = there.leg(Role.ORIGIN, UP)
    there.bridge("call", a)
    empty = there.bridge("other")
    there.bridges["theirs"] = Bridge("theirs", bridge_name("R", "x"))
    assert FINDER.empty_claims(there.snapshot) == {empty: ("R", "other")}
