"""Log lines: what they name, and what they never show."""

import json
from typing import Any

import pytest

from tests.harness import Installation, Worker, eventually
from tests.saboteur import POISON
from tests.scraping import counted

ALICE, BOB, CAROL = "tel:+18164388687", "tel:+18165057120", "tel:+18166623395"
CALL = {"origin": ALICE, "destination": BOB}

#: What may be a PIN.
DIGITS = "84915037"

#: What each line says, whatever it is about.
EVERY = {"timestamp", "level", "event", "logger", "worker"}


def lines(worker: Worker, event: str) -> list[dict[str, Any]]:
    """Return the lines of an event."""
    return [line for line in worker.lines() if line["event"] == event]


async def converse(calls: Installation) -> None:
    """Have commands done, refused and found malformed."""
    await calls.ask("1", "call", **CALL)
    await calls.ask("1", "dial", digits=DIGITS)
    await calls.ask("1", "transfer", endpoint=CAROL)
    await calls.ask("2", "hold")
    await calls.ask("2", "dial", digits=f"{DIGITS}x")
    await counted(calls.workers[0], 5)


async def test_every_line_says_when_how_grave_what_and_whose_it_is(empty: Installation) -> None:
    """In JSON, from the first line to the last, those of libraries among them."""
    (worker,) = await empty.start()
    await worker.terminate()
    text = worker.log.read_text().splitlines()
    found = [json.loads(line) for line in text]
    assert [line for line in found if not line.keys() >= EVERY] == []
    assert {line["worker"] for line in found} == {worker.name}
    assert found[0]["logger"] == "worker.service"


async def test_a_dead_letter_is_a_warning_that_names_its_command(calls: Installation) -> None:
    """And says why, without quoting it."""
    (worker,) = calls.workers
    command = await calls.publish("7", {"call_control": "transfer", "request_id": "7"})
    await calls.answer(command)
    await calls.publish("8", {"call_control": "hold"}, message_id="nobody's")
    await eventually(lambda: len(lines(worker, "dead-lettered")) >= 2, "both are logged")
    named, nameless = lines(worker, "dead-lettered")
    assert named["level"] == "warning"
    assert (named["request_id"], named["message_id"]) == ("7", command.message_id)
    assert (named["command"], named["status"]) == ("transfer", 400)
    assert named["reason"].startswith("Bad Request: endpoint: ")
    assert 0 <= named["partition"] < calls.settings.partitions
    assert (nameless["request_id"], nameless["message_id"]) == (None, "nobody's")


async def test_at_debug_level_each_outcome_has_a_line(empty: Installation) -> None:
    """Refused and malformed ones too, with what came of them."""
    (worker,) = await empty.start(log_level="debug")
    await empty.subscribe()
    done = await empty.command("1", "call", **CALL)
    refused = await empty.command("1", "retrieve")
    malformed = await empty.command("1", "transfer")
    conflict = await empty.command("2", "hold")
    for command in (done, refused, malformed, conflict):
        await empty.answer(command)
    await eventually(lambda: len(lines(worker, "answered")) >= 4, "all are logged")
    found = {line["message_id"]: line for line in lines(worker, "answered")}
    line = found[done.message_id]
    assert (line["request_id"], line["command"], line["status"]) == ("1", "call", 200)
    assert (line["sequence"], line["call_state"]) == (1, "connected")
    assert (line["origin"], line["destination"]) == (ALICE, BOB)
    assert line["duplicate"] is False
    assert found[malformed.message_id]["status"] == 400
    assert found[conflict.message_id]["status"] == 481
    assert all(isinstance(line["partition"], int) for line in found.values())


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_no_line_shows_digits_and_phone_numbers_are_for_debugging(
    empty: Installation, level: str
) -> None:
    """Whatever becomes of the command that has them."""
    (worker,) = await empty.start(log_level=level)
    await empty.subscribe()
    await converse(empty)
    await worker.terminate()
    text = worker.log.read_text()
    assert lines(worker, "dead-lettered")
    assert DIGITS not in text
    shown = [number for number in (ALICE, BOB, CAROL) if number.removeprefix("tel:+") in text]
    assert shown == ([ALICE, BOB, CAROL] if level == "debug" else [])


async def test_a_bug_is_an_error_that_names_the_command(empty: Installation) -> None:
    """Whoever mends it needs to know which it was."""
    worker = await empty.spawn(command=("-m", "tests.saboteur", "bug_in_decide"))
    await worker.joined()
    await empty.subscribe()
    await empty.ask(POISON, "call", **CALL)
    command = await empty.command(POISON, "mute")
    await empty.answer(command)
    (line,) = lines(worker, "decision failed")
    assert (line["request_id"], line["message_id"]) == (POISON, command.message_id)
    assert line["level"] == "error"
    assert isinstance(line["partition"], int)


async def test_an_id_cannot_forge_a_line(calls: Installation) -> None:
    """It is its producer's to choose, line breaks and escapes included."""
    (worker,) = calls.workers
    forged = '\x1b[2J\n{"event": "forged", "level": "info"}'
    await calls.publish("1", {"call_control": "transfer", "request_id": "1"}, message_id=forged)
    await eventually(lambda: bool(lines(worker, "dead-lettered")), "it is logged")
    (line,) = lines(worker, "dead-lettered")
    assert line["message_id"] == forged.encode("unicode_escape").decode()
    assert not worker.logged("forged")
