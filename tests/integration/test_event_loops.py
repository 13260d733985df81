"""uvloop and asyncio's own loop: whichever runs a worker, it does the same."""

import asyncio

import pytest

from tests.harness import Installation
from worker.cli.exit_codes import ExitCode
from worker.settings import EventLoop

CONVERSATION: tuple[tuple[str, dict[str, str], str], ...] = (
    ("call", {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}, "call-connected"),
    ("hold", {}, "call_held"),
    ("retrieve", {}, "call_retrieved"),
    ("disconnect", {}, "call_terminated"),
)

#: A process in which uvloop is not installed.
_WITHOUT = """
import sys
sys.modules["uvloop"] = None
from worker.cli.app import main
main()
"""


def loops(calls: Installation) -> list[str]:
    """Return the event loops that the workers say they have."""
    return [
        line["event_loop"]
        for worker in calls.workers
        for line in worker.lines()
        if line["event"] == "worker started"
    ]


@pytest.mark.parametrize(
    ("asked_for", "given"),
    [
        (EventLoop.AUTO, "uvloop"),
        (EventLoop.UVLOOP, "uvloop"),
        (EventLoop.ASYNCIO, "asyncio"),
    ],
)
async def test_a_worker_converses_on_either_event_loop(
    empty: Installation, asked_for: EventLoop, given: str
) -> None:
    """And says which it has; uvloop is taken where it is installed. It drains on both."""
    (worker,) = await empty.start(event_loop=asked_for)
    await empty.subscribe()
    for name, fields, event in CONVERSATION:
        assert (await empty.ask("123XYZ", name, **fields)).body["event"] == event
    assert loops(empty) == [given]
    assert await worker.terminate() == 0


async def test_a_worker_without_uvloop_runs_on_asyncio_s_loop(empty: Installation) -> None:
    """It is an extra; nobody has to install it."""
    worker = await empty.spawn(command=("-c", _WITHOUT, "worker"), event_loop=EventLoop.AUTO)
    await worker.joined()
    await empty.subscribe()
    assert (await empty.ask("123XYZ", "hold")).content["status"] == 481
    assert loops(empty) == ["asyncio"]


async def test_asking_for_uvloop_where_it_is_not_installed_names_the_extra(
    empty: Installation,
) -> None:
    """It is an error at the start, not a worker that is slower than expected."""
    worker = await empty.spawn(command=("-c", _WITHOUT, "worker"), event_loop=EventLoop.UVLOOP)
    assert await asyncio.wait_for(worker.process.wait(), 60) == ExitCode.USAGE
    assert "pip install 'call-control-worker[uvloop]'" in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()
