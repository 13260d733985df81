"""The worker without its servers: what it has to publish for each message, and the rules for that.

The pure parts are the real ones; a dictionary stands for Redis, and what goes out is encoded as
the client library would.
"""

import json
from collections import Counter
from dataclasses import replace
from typing import Final, cast

from pamqp import frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pydantic_core import from_json

from schemas.reports import Report
from schemas.wire import MAX_BODY_BYTES, Malformed
from tests.frames import FRAME_MAX
from tests.fuzz.inputs import SECRET, Input
from worker.batch import Outcome, fold, unanswerable
from worker.broker.connection import Channel
from worker.broker.decoding import tolerate_undecodable_properties
from worker.broker.outbox import Outgoing
from worker.broker.subscription import KEPT_BYTES, Delivery, Subscription
from worker.core.call import Call
from worker.gateways.loopback import decide_and_grant
from worker.names import Names
from worker.outgoing import Built, Writer
from worker.reading import Item, read_delivery
from worker.settings import PREFIX, Settings
from worker.store.calls import StoredCall
from worker.store.codec import encode_call

#: Of every message: all of them are in one partition, and so in one order.
ROUTING_KEY: Final = b"fuzz"

_AT: Final = 1_760_000_000_000
_CHANNEL: Final = cast("Channel", object())
_PARTITION: Final = Subscription(0, _CHANNEL, "replica")
_REPORTED: Final = range(180, 700)


class Replica:
    """One installation's calls.

    Args:
        names: The installation's names.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._writer = Writer.of(Settings.from_environment({f"{PREFIX}NAMESPACE": names.namespace}))
        self._calls: dict[str, StoredCall] = {}
        self._said: dict[str, dict[int, str]] = {}
        self.answers: Counter[str] = Counter()

    def take(self, message: Input, number: int) -> Built:
        """Return what the worker publishes for a message, the only one of this number.

        Raises:
            AssertionError: It is not the one answer that a message has to get.
        """
        delivery = self._delivered(message.body, message.properties(number))
        item = read_delivery(delivery)
        outcome = self._outcome(item)
        built = self._writer.build(outcome)
        self._check(item, outcome, built)
        return built

    def _delivered(self, body: bytes, encoded: bytes) -> Delivery:
        tolerate_undecodable_properties()
        how = Basic.Deliver(
            consumer_tag="worker-1.07",
            delivery_tag=1,
            exchange=self._names.commands,
            routing_key=ROUTING_KEY.decode(),
        )
        return Delivery.of(_PARTITION, how.marshal(), encoded, body[:KEPT_BYTES])

    def _outcome(self, item: Item) -> Outcome:
        if item.request_id is None:
            return unanswerable(item, _AT)
        call = item.request_id
        stored = self._calls.get(call, StoredCall(Call(call), 0, {}))
        change, (outcome,) = fold(stored, [item], decide_and_grant, _AT)
        if change is not None:
            records = {**stored.records, **change.records}
            self._calls[call] = replace(
                stored, call=change.call, version=change.version + 1, records=records
            )
            for value in encode_call(change.call, 1).values():
                assert value.encode() is not None
        return outcome

    def _check(self, item: Item, outcome: Outcome, built: Built) -> None:
        messages, replies = built
        events = [each for each in messages if each.exchange == self._names.events]
        dead = [each for each in messages if each.exchange == self._names.dead_letters]
        assert len(events) + len(dead) == len(messages)
        assert item.fault is None
        if item.request_id is None:
            assert not events
            assert len(dead) == 1
        elif isinstance(item.message.body, Report):
            assert not dead
        else:
            assert len(events) == 1
            assert len(dead) == (outcome.status == 400)
            assert isinstance(item.message.body, Malformed) == (outcome.status == 400)
        for event in events:
            self._check_event(event)
        for letter in dead:
            self._check_dead_letter(letter, events)
        for each in (*messages, *replies):
            _check_encoding(each)
            if _has_secret(item.delivery.body):
                assert SECRET.encode() not in each.body
                assert SECRET not in str(dict(each.properties))
        if not messages:
            self.answers["report without an event"] += 1

    def _check_event(self, event: Outgoing) -> None:
        body = json.loads(event.body)
        body = body.get("content", body)
        headers = event.properties.headers or {}
        status, sequence = body["status"], headers["sequence"]
        assert status in _REPORTED
        assert status != 500
        assert body["reason"]
        said = self._said.setdefault(body["request_id"], {})
        assert isinstance(sequence, int)
        assert 1 <= sequence <= len(said) + 1
        assert said.setdefault(sequence, event.properties.message_id or "") == (
            event.properties.message_id
        )
        assert event.routing_key.count(".") == 1
        self.answers[f"event {status}"] += 1

    def _check_dead_letter(self, letter: Outgoing, events: list[Outgoing]) -> None:
        headers = letter.properties.headers or {}
        reason = str(headers["reason"])
        assert headers["status"] == 400
        assert reason.startswith("Bad Request: ")
        assert len(letter.body) <= MAX_BODY_BYTES
        for event in events:
            body = json.loads(event.body)
            assert body.get("content", body)["reason"] == reason
        self.answers["dead letter"] += 1


def _check_encoding(message: Outgoing) -> None:
    frame.marshal(Basic.Publish(exchange=message.exchange, routing_key=message.routing_key), 1)
    header = ContentHeader(body_size=len(message.body), properties=message.properties)
    assert len(frame.marshal(header, 1)) <= FRAME_MAX


def _has_secret(body: bytes) -> bool:
    """Tell whether a body has digits in it that can be known as such."""
    if b"digit" in body or b'"dial"' in body:
        return True
    try:
        from_json(body)
    except ValueError:
        return True
    return False
