"""Rendezvous (highest random weight) ranking of workers for a partition.

Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996: every worker computes
the same ranking from the same set, and a worker that comes or goes moves only its own share. The
second in rank is the next owner when the first is gone.
"""

from collections.abc import Iterable
from hashlib import blake2b


def ranking(workers: Iterable[str], partition: int, depth: int) -> tuple[str, ...]:
    """Return the owner of a partition and behind it its standbys, ``depth`` workers at most."""
    return tuple(
        sorted(workers, key=lambda worker: _weight(worker, partition), reverse=True)[:depth]
    )


def _weight(worker: str, partition: int) -> tuple[bytes, str]:
    digest = blake2b(f"{partition}/{worker}".encode(), digest_size=8).digest()
    return digest, worker
