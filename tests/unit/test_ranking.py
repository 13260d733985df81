"""Who has which partition: everybody computes the same, and changes move no more than they must."""

from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shares import shares
from worker.membership.ranking import ranking

PARTITIONS = range(64)
WORKERS = st.sets(st.text(min_size=1, max_size=12), min_size=1, max_size=8)


@given(workers=WORKERS, newcomer=st.text(min_size=1, max_size=12))
def test_a_worker_that_joins_takes_only_what_it_owns(workers: set[str], newcomer: str) -> None:
    """A partition stays where it is, or goes to the newcomer; and the other way round."""
    everybody = workers | {newcomer}
    for partition in PARTITIONS:
        (before,) = ranking(workers, partition, 1)
        (now,) = ranking(everybody, partition, 1)
        assert now in (before, newcomer)
        (left,) = ranking(everybody - {newcomer} | {before}, partition, 1)
        assert left == before


@given(workers=WORKERS)
def test_the_second_in_rank_becomes_the_owner(workers: set[str]) -> None:
    """The standby is subscribed already when the owner is gone."""
    for partition in PARTITIONS:
        order = ranking(workers, partition, len(workers))
        while len(order) > 1:
            order = order[1:]
            assert ranking(set(order), partition, len(order)) == order


@given(workers=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8, unique=True))
def test_the_ranking_depends_on_the_set_alone(workers: list[str]) -> None:
    """Each worker lists the others in another order."""
    for partition in (0, 1, 63):
        expected = ranking(workers, partition, 3)
        assert ranking(reversed(workers), partition, 3) == expected
        assert ranking(frozenset(workers), partition, 3) == expected


@given(workers=WORKERS, depth=st.integers(1, 10))
def test_the_ranking_is_as_deep_as_asked(workers: set[str], depth: int) -> None:
    """The owner and its standbys, each once; fewer where there are not so many workers."""
    for partition in PARTITIONS:
        ranked = ranking(workers, partition, depth)
        assert len(ranked) == len(set(ranked)) == min(depth, len(workers))
        assert set(ranked) <= workers
        assert ranked == ranking(workers, partition, 10)[:depth]


def test_nobody_is_ranked_where_nobody_is() -> None:
    """The first heartbeat has not been seen yet."""
    assert ranking([], 0, 3) == ()


@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_load_is_even_enough(count: int) -> None:
    """The busiest worker has at most 1.6 times the mean, in the mean over a hundred fleets.

    A single fleet may be unlucky: chance deals the partitions out, and nothing corrects it.
    """
    heaviest = []
    for fleet in range(100):
        workers = [f"fleet-{fleet}-worker-{number}" for number in range(count)]
        load = shares(workers, len(PARTITIONS))
        heaviest.append(max(load.values()))
    assert mean(heaviest) <= 1.6 * len(PARTITIONS) / count


def test_the_load_of_a_fleet_is_even_enough() -> None:
    """So with the names that containers of a replicated service get."""
    for count in (2, 4, 8):
        workers = [f"call-control-worker-{number}" for number in range(count)]
        load = shares(workers, len(PARTITIONS))
        assert max(load.values()) <= 1.6 * len(PARTITIONS) / count
        assert len(load) == count


def test_a_partitions_ranking_never_changes_from_release_to_release() -> None:
    """Workers of two releases run side by side, and have to agree on it."""
    workers = ["a", "b", "c", "d"]
    owners = "".join(ranking(workers, partition, 1)[0] for partition in range(16))
    assert owners == "bbbbdababbccbbca"
