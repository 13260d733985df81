"""What the gateway says, and says again, and what it remembers to have said."""

import asyncio

import pytest

from schemas.reports import Done, Report
from worker.errors import BrokerUnavailable
from worker.gateways.asterisk import context
from worker.gateways.asterisk.context import Outcomes, Reporter


class Slow:
    """A port that does not take the first report in time; its connection stays."""

    def __init__(self) -> None:
        self.tried: list[Report] = []

    async def say(self, report: Report) -> None:
        """Take it, from the second time on."""
        self.tried.append(report)
        if len(self.tried) == 1:
            raise BrokerUnavailable("RabbitMQ: no answer in 10 s while reporting")


async def test_a_report_that_was_not_confirmed_in_time_is_said_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over the same port: nobody opens another one as long as the connection is there."""
    monkeypatch.setattr(context, "_AGAIN_SECONDS", 0.01)
    reporter, port = Reporter(), Slow()
    reporter.connect(port)
    done = Done(request_id="1", action_id="m1")
    await asyncio.wait_for(reporter.say(done), 5)
    assert port.tried == [done, done]


async def test_a_report_waits_for_a_port() -> None:
    """And goes over the next one."""
    reporter, first, second = Reporter(), Slow(), Slow()
    reporter.connect(first)
    reporter.disconnect()
    saying = asyncio.create_task(reporter.say(Done(request_id="1", action_id="m1")))
    await asyncio.sleep(0)
    assert not saying.done()
    second.tried.append(Done(request_id="0"))
    reporter.connect(second)
    await asyncio.wait_for(saying, 5)
    assert (len(first.tried), len(second.tried)) == (0, 2)


def test_outcomes_of_one_id_are_each_calls_own() -> None:
    """A producer may number the commands of each call from one."""
    outcomes = Outcomes()
    outcomes.remember(Done(request_id="one", action_id="1"))
    assert outcomes.of("one", "1") == Done(request_id="one", action_id="1")
    assert outcomes.of("other", "1") is None
