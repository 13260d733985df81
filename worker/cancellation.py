"""A cancellation that a library has swallowed is raised all the same."""

import asyncio


def raise_if_cancelled() -> None:
    """Raise ``CancelledError`` in a task that has been cancelled and does not know.

    Before Python 3.12 ``asyncio.wait_for`` drops a cancellation that arrives just as what it
    waits for is done, or raises in its place what that failed with. redis-py sends with it, and
    aiormq raises why a connection was lost in place of a cancellation that came just then. A task
    that missed its cancellation would keep its whole session from ending.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
