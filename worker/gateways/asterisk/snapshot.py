"""What there is on Asterisk at one moment."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from worker.gateways.asterisk.ari import Ari
from worker.gateways.asterisk.events import Bridge, Channel


@dataclass(frozen=True)
class Snapshot:
    """All channels and bridges.

    Attributes:
        channels: The channels by their ids.
        bridges: The bridges by their ids.
        began_at: When they were asked for, by ``time.monotonic``: what has been heard of a channel
            since then is later.
    """

    channels: Mapping[str, Channel]
    bridges: Mapping[str, Bridge]
    began_at: float

    @cached_property
    def _bridges_of(self) -> dict[str, str]:
        return {each: bridge.id for bridge in self.bridges.values() for each in bridge.channels}

    def bridge_of(self, channel_id: str) -> str | None:
        """Return the bridge that a channel is in."""
        return self._bridges_of.get(channel_id)


async def take(ari: Ari) -> Snapshot:
    """Ask Asterisk what there is.

    Raises:
        AsteriskUnavailable: It does not answer.
    """
    began_at = time.monotonic()
    bridges = await ari.bridges()
    channels = await ari.channels()
    return Snapshot(
        channels={channel.id: channel for channel in channels},
        bridges={bridge.id: bridge for bridge in bridges},
        began_at=began_at,
    )
