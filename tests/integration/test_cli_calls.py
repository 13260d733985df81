"""``callctl show`` and ``callctl calls``: what is known of calls."""

import json
import re
from typing import Any

from deploy.local import redis_cluster
from tests.harness import Installation
from tests.integration.test_cli import callctl
from worker.core.call import Call, State
from worker.store import CallStore, Change, close, connect, every_call

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}
ALICE = "tel:+18166623395"


async def counted(calls: Installation, *filters: str) -> dict[str, Any]:
    """What ``callctl calls --count`` says."""
    _, output, errors = await callctl(calls, "calls", "--count", "--json", *filters)
    assert errors == ""
    found: dict[str, Any] = json.loads(output)
    return found


async def test_show_is_a_timeline_of_what_came_of_each_command(calls: Installation) -> None:
    """When, how long after the one before, the event, the state; refusals in their place."""
    await calls.ask("123XYZ", "hold")
    await calls.ask("123XYZ", "call", **CALL)
    await calls.ask("123XYZ", "dial", digits="5551")
    await calls.ask("123XYZ", "mute")
    code, output, errors = await callctl(calls, "show", "123XYZ")
    assert (code, errors) == (0, "")
    assert re.search(r"state +connected muted", output)
    assert re.search(rf"origin +{re.escape(CALL['origin'])}", output)
    assert re.search(r"kept for +24 h", output)
    lines = [line for line in output.splitlines() if re.search(r"\d\d:\d\d:\d\d\.\d{3} ", line)]
    told = ["481 Call Does Not Exist", "call_connected", "digits_dialed", "call_muted"]
    assert [each in line for each, line in zip(told, lines, strict=True)] == [True] * 4
    assert [bool(re.search(r"\d m?s ", line)) for line in lines] == [False, True, True, True]
    assert "5551" not in output


async def test_show_gives_programs_one_object(calls: Installation) -> None:
    """With whole ids, and times that say where they are."""
    asked = [await calls.command("123XYZ", "call", **CALL), await calls.command("123XYZ", "hold")]
    await calls.answer(asked[-1])
    code, output, _ = await callctl(calls, "show", "123XYZ", "--json")
    (line,) = output.splitlines()
    shown = json.loads(line)
    assert (code, shown["state"], shown["flags"], shown["sequence"]) == (
        0,
        "connected",
        ["held"],
        2,
    )
    assert 86_000 < shown["kept_for_seconds"] <= 86_400
    assert [each["message_id"] for each in shown["messages"]] == [each.message_id for each in asked]
    first, last = shown["messages"]
    assert first["at"].endswith("+00:00")
    assert (first["since_last_seconds"], last["since_last_seconds"] >= 0) == (None, True)
    assert last["events"] == [
        {
            "event": "call_held",
            "sequence": 2,
            "status": 200,
            "reason": "OK",
            "call_state": "connected",
        }
    ]


async def test_what_producers_choose_does_nothing_to_a_terminal(calls: Installation) -> None:
    """Nor is it markup: a message_id may be anything."""
    body = {"call_control": "hold", "request_id": "[red]1"}
    await calls.publish("[red]1", body, message_id="\x1b[2J[b]x")
    await calls.until_seen(1)
    for command in (("show", "[red]1"), ("calls",)):
        _, output, _ = await callctl(calls, *command)
        assert "[red]1" in output
        assert "\x1b" not in output
    _, output, _ = await callctl(calls, "show", "[red]1")
    assert "?[2J[b]x" in output


async def test_calls_are_counted_by_state(calls: Installation) -> None:
    """Calls that never were, too: their refusals are on record."""
    for number in range(3):
        await calls.ask(f"up-{number}", "call", **CALL)
    await calls.ask("up-1", "hold")
    await calls.ask("up-2", "mute")
    await calls.ask("over", "reject", endpoint=ALICE)
    await calls.ask("nobody", "hold")
    await calls.redis.set(f"{calls.names.call_prefix}broken", "x")
    found = await counted(calls)
    assert (found["calls"], found["unreadable"]) == (5, 1)
    states = {name: number for name, number in found["states"].items() if number}
    assert states == {"connected": 3, "ended": 1, "absent": 1}
    assert found["flags"] == {"held": 1, "muted": 1, "incoming": 1}
    assert (await counted(calls, "--state", "held", "--state", "muted"))["calls"] == 2
    code, output, errors = await callctl(calls, "calls")
    assert (code, errors) == (0, "the key of call broken holds something else\n")
    assert "5 calls: 1 absent, 3 connected, 1 ended, 1 held, 1 muted, 1 incoming" in output
    assert "1 that cannot be read" in output
    assert "+1816" not in output


async def test_calls_are_listed_with_the_latest_first_and_no_more_than_asked_for(
    calls: Installation,
) -> None:
    """For people, or one JSON object a line; and the exit code says whether there are any."""
    for number in range(4):
        await calls.ask(str(number), "call", **CALL)
        key = f"{calls.names.call_prefix}{number}"
        # As if time had passed since.
        await calls.redis.pexpire(key, 86_400_000 - (7 - number) * 3_600_000)
    _, output, _ = await callctl(calls, "calls", "--limit", "2", "--json")
    listed = [json.loads(line) for line in output.splitlines()]
    assert [each["request_id"] for each in listed] == ["3", "2"]
    assert [round(each["idle_seconds"] / 3600) for each in listed] == [4, 5]
    _, output, _ = await callctl(calls, "calls", "--limit", "2")
    assert "4 calls, the latest 2 shown: 4 connected" in output
    assert "4 h ago" in output
    code, output, _ = await callctl(calls, "calls", "--state", "ended", "--json")
    assert (code, output) == (1, "")


async def test_each_call_is_met_once_however_many_there_are(calls: Installation) -> None:
    """They are read a few hundred at a time."""
    await calls.ask("0", "call", **CALL)
    stored: Any = await calls.redis.hgetall(f"{calls.names.call_prefix}0")
    pipeline = calls.redis.pipeline()
    for number in range(1, 2600):
        pipeline.hset(f"{calls.names.call_prefix}{number}", mapping=stored)
    await pipeline.execute()
    assert (await counted(calls))["states"]["connected"] == 2600
    pages = [len(page) async for page in every_call(calls.redis, calls.names.call_prefix)]
    assert (sum(pages), max(pages)) == (2600, 500)
    code, output, _ = await callctl(calls, "calls", "--limit", "100000", "--json")
    listed = {json.loads(line)["request_id"] for line in output.splitlines()}
    assert (code, listed) == (0, {str(number) for number in range(2600)})


async def test_calls_of_a_namespace_are_not_those_of_another(calls: Installation) -> None:
    """Though their keys are in one Redis."""
    await calls.ask("mine", "call", **CALL)
    await calls.redis.hset(f"x{calls.names.call_prefix}theirs", "state", "connected")
    assert (await counted(calls))["calls"] == 1
    await calls.redis.delete(f"x{calls.names.call_prefix}theirs")


async def test_calls_of_a_cluster_are_those_of_all_its_primaries(
    empty: Installation,
) -> None:
    """And the doctor looks at each of them."""
    with redis_cluster() as cluster:
        empty.environment["CALL_CONTROL_REDIS_URL"] = cluster.url
        client = connect(cluster.url)
        store = CallStore.of(client, empty.settings)
        changes = [
            Change(Call(str(number), State.CONNECTED, sequence=1), 0) for number in range(300)
        ]
        assert all(await store.commit(changes))
        await close(client)
        assert (await counted(empty))["states"]["connected"] == 300
        _, output, _ = await callctl(empty, "doctor", "--json")
        roles = [each for each in json.loads(output)["findings"] if each["check"] == "role"]
        assert [each["found"] for each in roles] == ["a primary"] * 3
        assert len({each["service"] for each in roles}) == 3
