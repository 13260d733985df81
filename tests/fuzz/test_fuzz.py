"""Hostile messages of every kind: each gets its one answer, and the worker goes on."""

import pytest

from deploy.local import Services
from tests.fuzz.runs import in_process, through_servers

#: Fixed, so that a test that passes goes on to pass; ``python -m tests.fuzz`` takes others.
SEED = 1


@pytest.mark.timeout(300)
def test_every_message_gets_an_event_with_a_status_or_a_dead_letter_with_a_reason() -> None:
    """In this process, encoding included; the rules are the replica's."""
    *_, figures = in_process(3_000, SEED)
    assert figures.messages >= 3_000
    assert {"dead letter", "event 200", "event 400", "event 409", "event 481"} <= set(
        figures.answers
    )


@pytest.mark.timeout(300)
async def test_a_real_worker_says_what_the_pure_parts_predict(services: Services) -> None:
    """Through RabbitMQ and Redis: the same events and dead letters, and no session lost."""
    figures = await through_servers(services, 600, SEED)
    assert figures.answers["dead letter"] > 100
    assert figures.answers["event 200"] > 10
