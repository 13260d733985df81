"""Bugs of the worker's own, built in on purpose: each costs its command, and nobody else."""

import pytest

from tests.harness import Installation
from tests.messages import Seen

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


async def start(empty: Installation, fault: str) -> None:
    """Start one worker with a bug, and subscribe."""
    worker = await empty.spawn(command=("-m", "tests.saboteur", fault))
    await worker.joined()
    await empty.subscribe()


def lost_sessions(empty: Installation) -> int:
    """Count the sessions that were lost."""
    return sum(line["event"] == "session lost" for each in empty.workers for line in each.lines())


async def test_a_bug_in_reading_costs_that_message_a_500_in_the_dead_letters(
    empty: Installation,
) -> None:
    """Nobody can be answered; those in the same batch are."""
    await start(empty, "misread")
    before = await empty.command("1", "call", **CALL)
    await empty.publish("1", {"call_control": "hold", "request_id": "unreadable"})
    after = await empty.command("1", "hold")
    assert (await empty.answer(before)).content["status"] == 200
    assert (await empty.answer(after)).sequence == 2
    await empty.until_dead(1)
    assert empty.dead[0].headers["status"] == 500
    assert empty.dead[0].headers["reason"] == "Internal Error: ZeroDivisionError"
    assert b"unreadable" in empty.dead[0].body
    assert lost_sessions(empty) == 0


@pytest.mark.parametrize("call", ["bad", "worse", "worst"])
async def test_a_bug_in_building_an_answer_costs_that_command_a_500_and_a_dead_letter(
    empty: Installation, call: str
) -> None:
    """Its neighbours are answered, and the partition goes on."""
    await start(empty, "misbuild")
    await empty.command(call, "call", **CALL)
    neighbour = await empty.command("good", "call", **CALL)
    assert (await empty.answer(neighbour)).content["status"] == 200
    await empty.until_dead(1)
    dead = empty.dead[0]
    assert dead.headers["status"] == 500
    assert dead.headers["reason"] == "Internal Error: ZeroDivisionError"
    assert dead.headers["original_routing_key"] == call
    assert bool(dead.body) == (call != "worst")
    answered: list[Seen] = [event for event in empty.events if event.request_id == call]
    assert [(event.content["status"], event.sequence, event.kind) for event in answered] == (
        [(500, 1, "call_control_failed")] if call == "bad" else []
    )
    assert (await empty.ask("good", "hold")).sequence == 2
    assert lost_sessions(empty) == 0
