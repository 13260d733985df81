"""What RabbitMQ says of published messages, by number, is put down to the right ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from worker.broker.publisher import Batch, Outgoing


def messages(*message_ids: str) -> list[Outgoing]:
    """Return messages of one call."""
    return [
        Outgoing(
            "events", "call.1", b"{}", Basic.Properties(message_id=message_id).marshal(), "call-1"
        )
        for message_id in message_ids
    ]


@given(st.lists(st.tuples(st.integers(-3, 9), st.booleans(), st.booleans()), max_size=20))
async def test_every_message_is_confirmed_or_refused_once(
    said: list[tuple[int, bool, bool]],
) -> None:
    """However RabbitMQ sums up what it says, in whatever order; what came before is no matter."""
    batch = Batch(messages(*"abcdefghij"))
    unconfirmed = set(range(10))
    refused: set[int] = set()
    for place, multiple, taken in [*said, (9, True, True)]:
        assert batch.done.done() == (not unconfirmed)
        meant = {each for each in unconfirmed if each == place or (multiple and each < place)}
        batch.confirm(place, multiple=multiple, taken=taken)
        unconfirmed -= meant
        refused |= set() if taken else meant
        assert batch.unconfirmed == unconfirmed
        assert set(batch.refused) == refused
    assert batch.done.done()


async def test_a_batch_without_messages_is_confirmed() -> None:
    """There is nothing to wait for."""
    assert Batch([]).done.done()


async def test_what_is_sent_back_is_refused_although_it_is_confirmed_then() -> None:
    """And only that: nothing but its content says which it was, or its place among equal ones."""
    batch = Batch(messages("a", "b", "a", "c", "a"))
    for message_id in ("c", "a", "unknown", "a"):
        encoded = Basic.Properties(message_id=message_id, delivery_mode=2).marshal()
        batch.send_back("events", "call.1", encoded, "NO_ROUTE")
    assert batch.refused == dict.fromkeys((0, 2, 3), "NO_ROUTE")
    batch.confirm(4, multiple=True, taken=True)
    assert batch.done.done()
    assert set(batch.refused) == {0, 2, 3}


@pytest.mark.parametrize(("exchange", "key"), [("others", "call.1"), ("events", "call.2")])
async def test_what_was_published_elsewhere_is_not_sent_back(exchange: str, key: str) -> None:
    """Copies of a message have its properties."""
    batch = Batch(messages("a"))
    batch.send_back(exchange, key, Basic.Properties(message_id="a").marshal(), "NO_ROUTE")
    assert batch.refused == {}
