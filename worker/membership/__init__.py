"""Which workers live, and which of them is to have which partition: a hint, never a promise."""

from worker.membership.heartbeat import Heartbeat, claim_partition_count
from worker.membership.ranking import ranking

__all__ = ["Heartbeat", "claim_partition_count", "ranking"]
