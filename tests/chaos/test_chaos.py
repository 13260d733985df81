"""The bounded run: every fault, under load, in a few minutes; ``make chaos`` is the long one."""

import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local import Services
from tests.chaos import schedule
from tests.chaos.checker import Kind
from tests.chaos.faults import FAULTS, worker
from tests.chaos.run import Plan, run
from tests.chaos.target import Target, fault
from tests.harness import ROOT
from tests.saboteur import STEPS

#: Seconds: each fault alone, and some at once. The long run has twenty deaths at each step.
_SECONDS = 160.0


@pytest.mark.timeout(1200)
async def test_nothing_is_lost_or_done_twice_and_all_is_in_order_whatever_breaks(
    services: Services,
) -> None:
    """Every fault alone, then several at once; on a violation the report has the evidence."""
    directory = ROOT / ".cache" / "chaos-test"
    seed = secrets.randbelow(2**31)
    report = await run(services, Plan(FAULTS, _SECONDS, seed, directory, partitions=16))
    report.write(directory)

    verdict = report.verdict
    assert not verdict.violations, f"seed {seed}, {directory}/report.md:\n{verdict.breaches()}"
    assert verdict.outcomes == verdict.commands > 0
    came = {row.fault for row in report.rows if row.times}
    assert {fault.name for fault in FAULTS} <= came
    assert report.killed_at.keys() == set(STEPS)


async def test_what_waits_for_a_worker_to_work_befalls_one_that_has_partitions(
    services: Services, tmp_path: Path
) -> None:
    """Of three workers two have none, and never get to any step."""
    faults = (*worker.killed_at_steps, worker.paused)
    report = await run(services, Plan(faults, 0.0, 1, tmp_path, rate=50.0, partitions=1))
    assert not report.verdict.violations, report.verdict.breaches()
    assert report.killed_at.keys() == set(STEPS)


@fault("worker", "ends by itself")
async def ends(target: Target) -> AsyncIterator[None]:
    """The fleet did not tell it to."""
    ending = target.fleet.any()
    ending.process.kill()
    # Else the next fault comes before there is another one.
    await target.fleet.ended(ending)
    yield


@fault("worker", "stands still", lasting=1)
async def stands_still(target: Target) -> AsyncIterator[None]:
    """Nobody wakes it when the fault is over."""
    target.fleet.any().send(signal.SIGSTOP)
    yield


@fault("worker", "cannot be injected")
async def cannot_be_injected(target: Target) -> AsyncIterator[None]:
    """The worker of before is woken, so that the run can end."""
    target.fleet.any().send(signal.SIGCONT)
    yield
    raise RuntimeError("no such fault")


async def test_a_run_says_what_no_history_shows(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that crashed, one that stood still, and a fault that did not come as it should."""
    monkeypatch.setattr(schedule, "_RECOVERY_SECONDS", 1.0)
    faults = (ends, stands_still, cannot_be_injected)
    plan = Plan(faults, 0.0, 1, tmp_path, workers=1, rate=50.0, partitions=4)
    report = await run(services, plan)
    found = {violation.kind: violation for violation in report.verdict.violations}
    assert found.keys() == {Kind.CRASH, Kind.STALL, Kind.CUT_SHORT}
    assert found[Kind.STALL].where == "worker: stands still"
    assert "no such fault" in found[Kind.CUT_SHORT].detail
    assert report.verdict.outcomes == report.verdict.commands > 0
