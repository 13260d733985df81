"""A cancellation that a library has swallowed is raised all the same."""

import asyncio


def cancellations() -> int:
    """Return how often the current task has been cancelled; cleaning up goes on after the first."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def raise_if_cancelled(before: int = 0) -> None:
    """Raise ``CancelledError`` in a task that has been cancelled and does not know.

    Before Python 3.12 ``asyncio.wait_for`` drops a cancellation that arrives just as what it
    waits for is done, or raises in its place what that failed with. redis-py sends with it, and
    aiormq raises why a connection was lost in place of a cancellation that came just then. A task
    that missed its cancellation would keep its whole session from ending.
    """
    if cancellations() > before:
        raise asyncio.CancelledError
