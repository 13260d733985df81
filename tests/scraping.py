"""A worker's metrics as Prometheus would take them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from tests.harness import PATIENCE_SECONDS, Worker
from tests.shares import shares

#: A series: its name, and its labels in their order.
Series = tuple[str, tuple[tuple[str, str], ...]]


#: What a worker's page says: a value for each series.
Page = Mapping[Series, float]


def series(name: str, **labels: str) -> Series:
    """Return a series by its name and labels."""
    return name, tuple(sorted(labels.items()))


async def scrape(worker: Worker) -> Page:
    """Return a worker's metrics by series."""
    _, page = await worker.get("/metrics")
    return {
        series(sample.name, **sample.labels): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def scraped(worker: Worker, holds: Callable[[Page], bool], what: str) -> Page:
    """Return a worker's metrics once a condition holds; fail with ``what`` when it never does.

    A subscriber may see an event before the worker, which counts it, has its confirm.
    """
    for _ in range(int(PATIENCE_SECONDS * 10)):
        page = await scrape(worker)
        if holds(page):
            return page
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: {what}; but {page}")


async def counted(worker: Worker, messages: int) -> Page:
    """Return a worker's metrics once it has counted so many messages."""
    done = series("call_control_processing_seconds_count")
    return await scraped(worker, lambda page: page[done] >= messages, f"{messages} are counted")


async def shared(workers: Sequence[Worker], partitions: int) -> Counter[str]:
    """Return how many partitions each worker has, by name, once each has its share and no more."""
    shared_out = shares([worker.name for worker in workers], partitions)
    owned = series("call_control_owned_partitions")

    async def has_its_share(worker: Worker, share: int) -> None:
        await scraped(
            worker, lambda page: page[owned] == share, f"{worker.name} has {share} partitions"
        )

    for worker in workers:
        await has_its_share(worker, shared_out[worker.name])
    return shared_out
