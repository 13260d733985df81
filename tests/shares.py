"""How the partitions are shared out among workers."""

from collections import Counter
from collections.abc import Collection

from worker.membership.ranking import ranking


def shares(workers: Collection[str], partitions: int) -> Counter[str]:
    """Return how many partitions each worker has; chance gives one of them none now and then.

    Args:
        workers: The names of all workers there are; at least one.
        partitions: The number of partitions.
    """
    return Counter(ranking(workers, partition, depth=1)[0] for partition in range(partitions))
