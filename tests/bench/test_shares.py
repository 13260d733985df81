"""Workers that have a share of a core and no more."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local import Services
from tests.bench import shares
from tests.bench.drain import Window
from tests.bench.processes import cpu_seconds
from tests.bench.shares import NoShares, hold, share_of_a_core
from tests.bench.test_bench import measured, plausible

SHARE = 0.2


def test_a_process_gets_its_share_and_no_more() -> None:
    """However much it would like to have; and nothing is left of the group afterwards."""
    try:
        with share_of_a_core(SHARE) as group:
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            hold(group, process.pid)
            before, at = cpu_seconds([process.pid]), time.monotonic()
            time.sleep(2)
            used = (cpu_seconds([process.pid]) - before) / (time.monotonic() - at)
            process.kill()
            process.wait()
            assert SHARE / 4 < used < SHARE * 1.5
    except NoShares as error:
        pytest.skip(str(error))
    assert not group.exists()


@pytest.mark.timeout(300)
async def test_one_worker_and_two_are_measured_with_a_share_each(services: Services) -> None:
    """Where there are control groups; else that is left out, and the run goes on."""
    # With its share, it takes a worker a while to get through what it is given at first.
    window = Window(settle_seconds=1, seconds=2)
    results = await measured(services, "shares", window=window)
    assert plausible(results.shares, ["1", "2"] if results.shares else [])


async def test_where_no_groups_can_be_made_nothing_is_measured(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why."""
    monkeypatch.setattr(shares, "_FIRST_VERSION", Path("/nowhere"))
    monkeypatch.setattr(shares, "_SECOND_VERSION", Path("/nowhere"))
    assert (await measured(services, "shares")).shares == []
    with pytest.raises(NoShares, match="nowhere"), share_of_a_core(SHARE):
        pass
