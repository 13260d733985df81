"""A very small run from end to end; its figures mean nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.local import Services
from tests.bench import __main__ as command
from tests.bench.contenders import contenders
from tests.bench.drain import START_SECONDS, Window, goes_on
from tests.bench.results import Drained, Results, read, write
from tests.bench.run import Plan, run
from tests.bench.stage import JobNotDone, Sample

PLAN = Plan(
    contenders=[each for each in contenders() if each.key in {"worker", "aio-pika"}],
    rounds=1,
    commands=24_000,
    window=Window(settle_seconds=0, seconds=0.5),
    rates=(50,),
    latency_rounds=1,
    latency_seconds=1,
    live_calls=(600, 700),
    history=(2, 3),
    scaling_commands=12_000,
    processes=(1, 2),
    share_commands=50_000,
    starts=1,
)


async def measured(services: Services, *names: str, **changes: Any) -> Results:
    """Run some of the measurements, by the plan with changes."""
    said: list[str] = []
    results = await run(services, replace(PLAN, **changes), names, said.append)
    assert len(said) >= len(names)
    return results


def plausible(drains: Sequence[Drained], subjects: Sequence[str]) -> bool:
    """Tell whether these are drains of these, and each of them has figures."""
    return [each.subject for each in drains] == list(subjects) and all(
        min(each.commands, each.rate, each.cpu) > 0 and 0 < each.memory <= each.peak_memory
        for each in drains
    )


@pytest.mark.timeout(300)
async def test_contenders_are_compared_at_a_backlog_and_on_a_schedule(
    services: Services, tmp_path: Path
) -> None:
    """And what is found is written so that it can be read again."""
    results = await measured(services, "drain", "latency")
    assert plausible(results.drain, ["worker", "aio-pika"])
    assert [(each.subject, each.round) for each in results.latency] == [
        ("worker", 1),
        ("aio-pika", 1),
    ]
    for found in results.latency:
        assert (found.rate, found.commands, found.unanswered) == (50, 50, 0)
        assert 0 < found.p50 <= found.p99 <= found.p999
    assert {"RabbitMQ", "Redis", "Python", "faststream"} <= results.versions.keys()
    write(results, tmp_path / "results.json")
    assert read(tmp_path / "results.json") == results


@pytest.mark.timeout(300)
async def test_what_grows_is_measured_of_the_worker(services: Services) -> None:
    """Live calls, histories, processes: each in places that keep their calls between rounds."""
    results = await measured(services, "live-calls", "history", "processes")
    assert plausible(results.live_calls, ["600", "700"])
    assert plausible(results.history, ["2", "3"])
    assert plausible(results.processes, ["1", "2"])


def test_a_stall_is_no_end_of_a_measurement() -> None:
    """A machine that stands still for a moment has not used a backlog up."""
    first, window = Sample(0, 100, 0, None, None), Window(seconds=0.5)
    assert goes_on(first, Sample(0.4, 101, 0, None, None), window)
    assert goes_on(first, Sample(10, 100, 0, None, None), window)
    assert not goes_on(first, Sample(0.6, 101, 0, None, None), window)
    assert not goes_on(first, Sample(START_SECONDS, 100, 0, None, None), window)


@pytest.mark.timeout(300)
async def test_memory_and_start_are_measured_of_the_worker(services: Services) -> None:
    """A call that is stored at all takes some bytes, and a start some time."""
    results = await measured(services, "memory", "start")
    assert results.call_bytes is not None
    assert 500 < results.call_bytes < 5000
    assert [seconds > 0 for seconds in results.first_event] == [True]


def test_a_contender_that_does_not_do_its_job_fails_the_run_and_slowness_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Figures of half a job would be worse than none."""

    async def fails(*_: object) -> None:
        raise JobNotDone("somebody has taken 2 commands and answered 1")

    monkeypatch.setattr(command, "_run", fails)
    out = tmp_path / "results.json"
    answer = CliRunner().invoke(command.app, ["--out", str(out)])
    assert answer.exit_code == 1
    assert not out.exists()


@pytest.mark.parametrize("option", ["--contenders", "--only"])
def test_an_unknown_name_says_which_there_are(option: str) -> None:
    """Before anything is started."""
    answer = CliRunner().invoke(command.app, [option, "nonsense"])
    assert answer.exit_code == 2
    assert "there are" in answer.output
