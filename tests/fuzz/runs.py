"""Fuzzing runs: in this process, many messages; through real servers, some."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from deploy.local import Services
from tests.frames import raw_producer
from tests.fuzz.inputs import Input, inputs
from tests.fuzz.replica import ROUTING_KEY, Replica
from tests.harness import eventually, installation
from worker.broker.outbox import Outgoing
from worker.names import Names

#: Messages in one history, which begins with no calls and is what a failure is reduced to.
_HISTORY: Final = 10

#: Histories in one run of Hypothesis, which remembers what it has drawn.
_CHUNK: Final = 500

#: How long a worker may take to answer all that it was sent.
_SECONDS: Final = 300.0

#: Answered last, with an event and with a dead letter: nothing more comes after them.
_LAST: Final = (
    Input(b'{"call_control": "hold", "request_id": "last"}', {}, b""),
    Input(b"", {}, b""),
)


@dataclass
class Figures:
    """What a run did."""

    messages: int = 0
    slowest_seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)


def draw(count: int, first_seed: int, use: Callable[[Sequence[Input]], None]) -> None:
    """Draw histories and use each; what fails is raised with the smallest history that does."""

    @seed(first_seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(inputs(), min_size=_HISTORY, max_size=_HISTORY))
    def run(history: list[Input]) -> None:
        use(history)

    run()


def in_process(count: int, first_seed: int) -> Iterator[Figures]:
    """Answer messages without servers; yield the figures so far, now and then.

    Raises:
        AssertionError: A message did not get the one answer that it has to get.
    """
    figures = Figures()

    def answer(history: Sequence[Input]) -> None:
        replica = Replica(Names())
        for number, message in enumerate(history):
            started = time.perf_counter()
            replica.take(message, number)
            seconds = time.perf_counter() - started
            figures.slowest_seconds = max(figures.slowest_seconds, seconds)
            figures.messages += 1
        figures.answers += replica.answers

    while figures.messages < count:
        left = -(-(count - figures.messages) // _HISTORY)
        draw(min(_CHUNK, left), first_seed + figures.messages, answer)
        yield figures


async def through_servers(services: Services, count: int, first_seed: int) -> Figures:
    """Publish messages to a real worker, and compare all that it says with what it has to say.

    Raises:
        AssertionError: It said something else, or lost its session.
    """
    messages: list[Input] = []
    draw(-(-count // _HISTORY), first_seed, messages.extend)
    async with installation(services) as calls:
        await calls.start()
        await calls.subscribe()
        replica = Replica(calls.names)
        said: list[Outgoing] = []
        async with raw_producer(services.amqp_url) as producer:
            for number, message in enumerate([*messages, *_LAST]):
                encoded = message.properties(number)
                await producer.send(calls.names.commands, ROUTING_KEY, message.body, encoded)
                said += replica.take(message, number)[0]
            await producer.confirmed()
        events = [each for each in said if each.exchange == calls.names.events]
        dead = [each for each in said if each.exchange == calls.names.dead_letters]
        await eventually(
            lambda: len(calls.events) >= len(events) and len(calls.dead) >= len(dead),
            f"{len(events)} events and {len(dead)} dead letters arrive",
            _SECONDS,
        )
        _compare(
            [(seen.message_id, seen.routing_key, seen.raw.body) for seen in calls.events],
            [(each.properties.message_id, each.routing_key, each.body) for each in events],
        )
        _compare(
            [(letter.headers["reason"], letter.body) for letter in calls.dead],
            [((each.properties.headers or {})["reason"], each.body) for each in dead],
        )
        assert calls.complaints() == []
    return Figures(len(messages), answers=replica.answers)


def _compare(seen: Sequence[object], predicted: Sequence[object]) -> None:
    for number, (one, other) in enumerate(zip(seen, predicted, strict=False)):
        assert one == other, f"message {number} out is {one}, and should be {other}"
    assert len(seen) == len(predicted)
