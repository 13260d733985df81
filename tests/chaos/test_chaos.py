"""The bounded run: every fault, under load, in a few minutes; ``make chaos`` is the long one."""

import secrets
from collections import Counter

import pytest

from deploy.local import Services
from tests.chaos.faults import FAULTS
from tests.chaos.run import Plan, run
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
    found = Counter(violation.kind for violation in verdict.violations)
    assert not found, f"seed {seed}: {found}; see {directory}/report.md"
    assert verdict.outcomes == verdict.commands > 0
    came = {row.fault for row in report.rows if row.times}
    assert {fault.name for fault in FAULTS} <= came
    assert report.killed_at.keys() == set(STEPS)
