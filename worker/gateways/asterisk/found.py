"""Calls as they are found on Asterisk, by a gateway that did not make them.

What the legs are for stands in their notes; how far the call has come, in who is up and who is in
which bridge with whom.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.reports import Failed, Offered, Report, Ringing
from worker.gateways.asterisk.causes import phrase
from worker.gateways.asterisk.dialing import Plan
from worker.gateways.asterisk.events import Channel, ChannelState
from worker.gateways.asterisk.names import Ids, Role, incoming_request_id
from worker.gateways.asterisk.notes import Note, read_bridge_name
from worker.gateways.asterisk.ringing import MARGIN_SECONDS, SILENT_SECONDS, success
from worker.gateways.asterisk.snapshot import Snapshot
from worker.gateways.asterisk.state import Attempt, CallState, Leg

#: What is said of an action that somebody began, and of which nothing is left.
UNKNOWN: Final = "its gateway was lost, and what came of it is not known"


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call that is there.

    Attributes:
        state: What can be seen of it.
        reports: What is to be said of it, since nobody knows whether it has been.
    """

    state: CallState
    reports: tuple[Report, ...] = ()


@dataclass(slots=True)
class Found:
    """What is there, apart from what is known already.

    Attributes:
        calls: The calls.
        strays: The channels that are to be hung up.
        reports: What is to be said of actions of which nothing is left but the claim.
    """

    calls: list[FoundCall] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    reports: list[Failed] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Finder:
    """Tells what is there.

    Args:
        ids: How this application's ids are made.
        gateway: The gateway's name.
        plan: How callers are named.
    """

    ids: Ids
    gateway: str
    plan: Plan

    def is_incoming(self, channel: Channel) -> bool:
        """Tell whether a channel is that of a caller."""
        return channel.arguments[:2] == (self.ids.application, "incoming")

    def is_leg(self, channel_id: str) -> bool:
        """Tell whether a channel has been made by this application."""
        made = self.ids.read(channel_id)
        return made is not None and made.role is not None

    def find(
        self, snapshot: Snapshot, channels: Mapping[str, Channel], notes: Mapping[str, Note | None]
    ) -> Found:
        """Return the calls that some channels make up.

        Args:
            snapshot: What there is.
            channels: Those of its channels that are this application's, and belong to no call that
                is known.
            notes: What stands on the legs among them.
        """
        found = Found()
        targets: dict[str, list[tuple[Channel, Note]]] = defaultdict(list)
        origins: dict[str, tuple[Channel, Note | None]] = {}
        for channel in channels.values():
            note = notes.get(channel.id)
            made = self.ids.read(channel.id)
            if made is None:
                origins[incoming_request_id(self.gateway, channel.id)] = channel, None
            elif note is None:
                found.strays.append(channel.id)
            elif made.role is Role.ORIGIN and note.request_id not in origins:
                origins[note.request_id] = channel, note
            elif made.role is Role.TARGET:
                targets[note.request_id].append((channel, note))
            else:
                found.strays.append(channel.id)
        for request_id in origins.keys() | targets.keys():
            others = targets[request_id]
            if request_id in origins:
                near, note = origins[request_id]
                call = _Sorting(self, snapshot, request_id, near, note)
                self._settle(found, call, others)
            else:
                # The origin is gone.
                found.strays += [channel.id for channel, _ in others]
                found.reports += [_unknown(note) for _, note in others]
        return found

    def _settle(self, found: Found, call: "_Sorting", others: list[tuple[Channel, Note]]) -> None:
        made = call.sort(others)
        if made is not None:
            found.calls.append(made)
            kept = {leg.id for leg in made.state.legs()}
        else:
            kept = set()
            found.strays.append(call.near.id)
            notes = [note for _, note in others] + ([call.note] if call.note else [])
            found.reports += [_unknown(note) for note in notes]
        found.strays += [channel.id for channel, _ in others if channel.id not in kept]

    def empty_claims(self, snapshot: Snapshot) -> dict[str, tuple[str, str]]:
        """Return the request_ids and action_ids of bridges that nobody is in."""
        claims = {}
        for bridge in snapshot.bridges.values():
            if bridge.channels or self.ids.read(bridge.id) is None:
                continue
            named = read_bridge_name(bridge.name)
            if named is not None:
                claims[bridge.id] = named
        return claims


@dataclass(frozen=True, slots=True)
class _Sorting:
    """One call's legs, to be told apart.

    Attributes:
        finder: How.
        snapshot: What there is.
        request_id: The call.
        near: The origin's channel.
        note: What stands on it; None on that of a caller.
    """

    finder: Finder
    snapshot: Snapshot
    request_id: str
    near: Channel
    note: Note | None

    def sort(self, others: list[tuple[Channel, Note]]) -> FoundCall | None:
        """Return the call; None if so little is left of it that nobody can go on."""
        state = CallState(self.request_id, incoming=self.note is None)
        state.near = self._leg(self.near)
        state.origin = self.finder.plan.address(self.near.caller)
        state.destination = (
            self.note.target
            if self.note is not None
            else self.finder.plan.address(",".join(self.near.arguments[2:3]))
        )
        connected: Note | None = None
        trying: Note | None = None
        for channel, note in others:
            leg, bridge = self._leg(channel), self._bridge(note)
            is_connected = leg.is_up and state.near.is_up and state.near.bridge == bridge
            if is_connected and state.far is None:
                state.far, state.bridge, connected = leg, bridge, note
                state.held = leg.bridge != bridge
            elif state.attempt is None:
                state.attempt, trying = self._attempt(note, leg), note
        if connected is not None and trying is not None and trying.until < connected.until:
            # The former destination, which a transfer has replaced already.
            state.attempt = None
        if connected is not None:
            reports: tuple[Report, ...] = (success(state, connected.action_id, connected.action),)
        elif state.incoming and state.near.bridge is None:
            reports = (
                Offered(
                    request_id=self.request_id, origin=state.origin, destination=state.destination
                ),
            )
        else:
            reports = ()
            if not self._goes_on(state):
                return None
        return FoundCall(state, reports + self._ringing(state))

    def _goes_on(self, state: CallState) -> bool:
        """Tell whether a call that is not connected is on the way to it."""
        if state.attempt is not None:
            return True
        if self.note is None or state.near is None or state.near.bridge is not None:
            # Its destination has been called, and is gone.
            return False
        state.attempt = self._attempt(self.note, None)
        if state.near.state is ChannelState.DOWN:
            self._hurry(state.attempt)
        return True

    def _ringing(self, state: CallState) -> tuple[Report, ...]:
        attempt = state.attempt
        if attempt is None or not attempt.began or attempt.leg is None:
            return ()
        if attempt.leg.state is ChannelState.DOWN:
            return ()
        attempt.rang = True
        return (
            Ringing(request_id=self.request_id, action_id=attempt.action_id, reason=phrase(180)),
        )

    def _attempt(self, note: Note, leg: Leg | None) -> Attempt:
        attempt = Attempt(
            action_id=note.action_id,
            kind=note.action,
            bridge=self._bridge(note),
            target=note.target,
            until=note.deadline,
            give_up_at=note.deadline + MARGIN_SECONDS,
            leg=leg,
        )
        if leg is not None and leg.state is ChannelState.DOWN:
            # To dial it a second time would hang it up.
            self._hurry(attempt)
        return attempt

    def _hurry(self, attempt: Attempt) -> None:
        attempt.silent_until = time.monotonic() + SILENT_SECONDS

    def _bridge(self, note: Note) -> str:
        return self.finder.ids.bridge(self.request_id, note.action_id)

    def _leg(self, channel: Channel) -> Leg:
        return Leg(channel.id, channel.state, self.snapshot.bridge_of(channel.id))


def _unknown(note: Note) -> Failed:
    return unknown(note.request_id, note.action_id)


def unknown(request_id: str, action_id: str) -> Failed:
    """Return the report of an action that was begun, and of which nobody knows what became."""
    return Failed(
        request_id=request_id, action_id=action_id, status=500, reason=phrase(500, UNKNOWN)
    )
