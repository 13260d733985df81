"""What is published of an outcome, and what is left of it when that cannot be built."""

from typing import Any

import pytest

from tests.unit.builders import DIGITS, FIELDS
from tests.unit.deliveries import body, delivery, spoken
from worker.batch import Outcome, fold
from worker.core.call import Call
from worker.gateways.loopback import decide_and_grant
from worker.names import Names
from worker.outgoing import Built, Writer
from worker.reading import read_delivery
from worker.settings import Settings
from worker.store.calls import StoredCall

NAMES = Names()
AT = 1_760_000_000_999


def outcome(name: str, **properties: Any) -> Outcome:
    """Return the outcome of a call's first command."""
    item = read_delivery(
        delivery(body(call_control=name, **FIELDS[name]), message_id="m1", **properties)
    )
    stored = StoredCall(Call(item.request_id or ""), 0, {})
    return fold(stored, [item], decide_and_grant, AT)[1][0]


def published(of: Outcome) -> Built:
    """Build it as an installation without a namespace does."""
    return Writer.of(Settings.from_environment({})).build(of)


def test_an_outcome_is_an_event_and_a_copy_for_whoever_asked() -> None:
    """No dead letter where nothing went wrong."""
    messages, replies = published(outcome("call", reply_to="answers"))
    assert [message.exchange for message in messages] == [NAMES.events]
    assert [reply.routing_key for reply in replies] == ["answers"]


@pytest.mark.parametrize("unfit", ["\ud800", "x" * 256])
def test_an_answer_that_cannot_be_encoded_leaves_a_dead_letter(unfit: str) -> None:
    """From RabbitMQ no such property comes; what stands in Redis may have been changed."""
    messages, replies = published(outcome("call", correlation_id=unfit, reply_to="answers"))
    (letter,) = messages
    assert replies == []
    assert letter.exchange == NAMES.dead_letters
    assert letter.body == b""
    assert letter.properties.headers is not None
    assert letter.properties.headers["status"] == 500
    assert str(letter.properties.headers["reason"]).startswith("Internal Error: ")


def test_a_failure_to_build_logs_no_digits(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does the dead letter say them."""
    (letter,), _ = published(outcome("dial", correlation_id="\ud800"))
    assert DIGITS.encode() not in letter.body
    logged = capsys.readouterr()
    assert "answer cannot be built" in logged.out + logged.err
    assert DIGITS not in logged.out + logged.err


def test_a_fault_in_reading_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the message as it was, and with a 500."""

    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("worker.reading.read", fail)
    item = read_delivery(spoken("hold"))
    assert item.request_id is None
    assert item.fault == "ZeroDivisionError"
