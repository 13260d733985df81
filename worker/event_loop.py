"""The event loop: uvloop where it is installed, unless told otherwise; else asyncio's own."""

import asyncio
from collections.abc import Callable

from worker.errors import ConfigurationError
from worker.settings import EventLoop


def loop_factory(wanted: EventLoop) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop.

    Raises:
        ConfigurationError: uvloop is asked for, and not installed.
    """
    if wanted is EventLoop.ASYNCIO:
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        if wanted is EventLoop.AUTO:
            return asyncio.new_event_loop
        raise ConfigurationError(
            "CALL_CONTROL_EVENT_LOOP=uvloop: it is not installed:"
            " pip install 'call-control-worker[uvloop]'"
        ) from None
    return uvloop.new_event_loop


def running_loop() -> str:
    """Return the name of the library whose event loop runs."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
