"""``callctl watch`` over the journal, and ``callctl load``."""

import json
from typing import Any

import pytest

from tests.harness import Installation
from tests.integration.test_cli import callctl

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


async def watched(calls: Installation, *arguments: str) -> list[dict[str, Any]]:
    """Return what ``callctl watch`` tells of what has happened."""
    code, output, errors = await callctl(
        calls, "watch", "--since", "first", "--no-follow", "--json", *arguments
    )
    lines = [json.loads(line) for line in output.splitlines()]
    assert (code, errors) == (0 if lines else 1, "")
    return lines


async def test_watch_replays_the_journal_and_leaves_out_what_is_not_asked_for(
    calls: Installation,
) -> None:
    """By call, kind and state; from the first event, an offset or a time on."""
    for name in ("one", "two"):
        await calls.ask(name, "call", **CALL)
        await calls.ask(name, "hold")
        await calls.ask(name, "disconnect")
    everything = await watched(calls)
    assert [(line["request_id"], line["sequence"]) for line in everything] == [
        (name, number) for name in ("one", "two") for number in (1, 2, 3)
    ]
    assert everything[0]["body"]["event"] == "call-connected"
    assert {line["missed"] for line in everything} == {0}
    one = await watched(calls, "--call", "one")
    assert [line["kind"] for line in one] == ["call_connected", "call_held", "call_terminated"]
    held = await watched(calls, "--kind", "call_held", "--kind", "call_muted")
    assert [line["request_id"] for line in held] == ["one", "two"]
    over = await watched(calls, "--state", "ended", "--limit", "1")
    assert [line["request_id"] for line in over] == ["one"]
    rest = await watched(calls, "--since", str(everything[4]["offset"]))
    assert [line["sequence"] for line in rest] == [2, 3]
    assert len(await watched(calls, "--since", "10m")) == 6
    assert await watched(calls, "--call", "nobody") == []


async def test_watch_shows_people_no_phone_number_and_no_control_character(
    calls: Installation,
) -> None:
    """Of a call that is offered; a refusal has its reason."""
    offered = {"network_report": "offered", "request_id": "IN-1", **CALL}
    await calls.publish("IN-1", offered)
    await calls.ask("IN-1", "hold")
    code, output, _ = await callctl(calls, "watch", "--since", "first", "--no-follow")
    assert code == 0
    lines = output.splitlines()
    assert [line.split()[1:4] for line in lines] == [
        ["IN-1", "1", "call_offered"],
        ["IN-1", "2", "call_control_failed"],
    ]
    assert "409 Conflict: the call is offered" in lines[1]
    assert "+1816" not in output


async def test_watch_colours_refusals_and_ends_on_a_terminal(
    calls: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that they are seen among hundreds of lines."""
    await calls.ask("1", "call", **CALL)
    await calls.ask("1", "retrieve")
    await calls.ask("1", "reject", endpoint=CALL["origin"])
    await calls.ask("1", "disconnect")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, output, _ = await callctl(calls, "watch", "--since", "first", "--no-follow")
    colours = [line.partition("m")[0] for line in output.splitlines()]
    assert colours == ["\x1b[32", "\x1b[32", "\x1b[33", "\x1b[2"]


async def test_watch_without_anything_to_begin_with_cannot_stop_at_the_end(
    calls: Installation,
) -> None:
    """That is a mistake in the options."""
    code, _, errors = await callctl(calls, "watch", "--no-follow")
    assert code == 2
    assert "--since" in errors


async def test_load_answers_whole_conversations_and_says_how_long_that_took(
    calls: Installation,
) -> None:
    """As many as the rate and the time make; nothing is left in a state but ended."""
    code, output, errors = await callctl(calls, "load", "--rate", "80", "--seconds", "2", "--json")
    assert (code, errors) == (0, "")
    result = json.loads(output)
    assert (result["commands"], result["conversations"]) == (160, 20)
    assert (result["statuses"], result["unanswered"]) == ({"200": 160}, 0)
    assert sum(result["histogram"].values()) == 160
    latencies = result["latency_ms"]
    assert 0 < latencies["p50"] <= latencies["p99"] <= latencies["p100"]
    await calls.until_seen(160)
    last = {event.headers["request_id"]: event for event in calls.events}
    assert len(last) == 20
    assert {event.headers["call_state"] for event in last.values()} == {"ended"}


async def test_load_that_is_not_answered_says_so(idle: Installation) -> None:
    """And exits with 1."""
    code, output, _ = await callctl(
        idle, "load", "--rate", "8", "--seconds", "1", "--timeout", "0.5"
    )
    assert code == 1
    assert "8 not answered in time" in output
