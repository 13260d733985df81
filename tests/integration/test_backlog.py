"""A worker that comes to a backlog takes what it can work on, and leaves the rest to RabbitMQ."""

from tests.backlog import drain, publish_backlog
from tests.harness import Installation

_COMMANDS = 10_000
_BYTES = 4096


async def test_a_backlog_does_not_become_the_worker_s_memory(empty: Installation) -> None:
    """What it takes grows with the prefetch and the partitions, not with what waits."""
    await publish_backlog(empty, _COMMANDS, _BYTES)
    samples = await drain(empty, _COMMANDS, seconds=90)
    grown = samples[-1].peak - samples[0].now
    assert grown < _COMMANDS * _BYTES / 4, f"{grown} bytes, of {_COMMANDS * _BYTES} that waited"
