"""The source document, message by message, through a real broker.

The subscriber here knows nothing but the document: it reads bodies and nothing else.
"""

import json
from typing import Any

import pytest

from tests.harness import Installation

# The document's exchanges in its own order and spelling; its trailing commas removed, its bare OK
# quoted, nothing else changed.
DOCUMENT: list[tuple[str, str]] = [
    (
        """{"call_control": "call", "request_id": "123XYZ",
            "origin": "tel:+18164388687", "destination": "tel:+18165057120"}""",
        """{"event": "call-connected", "request_id": "123XYZ", "status": 200, "reason": "OK"}""",
    ),
    (
        """{"content": {"call_control": "transfer", "request_id": "123XYZ",
            "endpoint": "tel:+18166623395"}}""",
        """{"content": {"event": "call_transferred", "request_id": "123XYZ",
            "status": 200, "reason": "OK"}}""",
    ),
    (
        """{"content": {"call_control": "hold", "request_id": "123XYZ"}}""",
        """{"content": {"event": "call_held", "request_id": "123XYZ",
            "status": 200, "reason": "OK"}}""",
    ),
    (
        """{"content": {"call-control": "retrieve", "request_id": "123XYZ"}}""",
        """{"content": {"event": "call_retrieved", "request_id": "123XYZ",
            "status": 200, "reason": "OK"}}""",
    ),
    (
        """{"content": {"call_control": "dial", "request_id": "123XYZ", "digits": "12345#"}}""",
        """{"content": {"event": "call_retrieved", "request_id": "123XYZ",
            "status": 200, "reason": "OK"}}""",
    ),
    (
        """{"content": {"call_control": "mute", "request_id": "123XYZ"}}""",
        """{"content": {"event": "call_muted", "request_id": "123XYZ",
            "status": 200, "reason": "OK"}}""",
    ),
    (
        """{"content": {"call-control": "un_mute", "request_id": "123XYZ"}}""",
        """{"content": {"event": "call_un_muted", "request_id": "123XYZ",
            "status": 200, "reason": "OK"}}""",
    ),
    (
        """{"call_control": "disconnect", "request_id": "123XYZ"}""",
        """{"event": "call_terminated", "request_id": "123XYZ", "status": 200, "reason": "OK"}""",
    ),
]

OFFER = """{"network_report": "offered", "request_id": "123XYZ",
            "origin": "tel:+18166623395", "destination": "tel:+18165057120"}"""

REDIRECT = (
    """{"content": {"call_control": "transfer", "request_id": "123XYZ",
        "endpoint": "tel:+18166623395"}}""",
    """{"content": {"event": "call_transferred", "request_id": "123XYZ",
        "status": 200, "reason": "OK"}}""",
)

ACCEPT = (
    """{"content": {"call_control": "accept", "request_id": "123XYZ",
        "endpoint": "tel:+18166623395"}}""",
    """{"content": {"event": "call_accepted", "request_id": "123XYZ",
        "status": 200, "reason": "OK"}}""",
)

REJECT = (
    """{"content": {"call_control": "reject", "request_id": "123XYZ",
        "endpoint": "tel:+18166623395"}}""",
    """{"content": {"event": "call_rejected", "request_id": "123XYZ",
        "status": 200, "reason": "OK"}}""",
)


def respelled(body: str) -> str:
    """The same command with the other envelope and the other spelling of the key."""
    document = json.loads(body)
    inner: dict[str, Any] = document.get("content", document)
    other = {"call_control": "call-control", "call-control": "call_control"}
    inner = {other.get(key, key): value for key, value in inner.items()}
    return json.dumps(inner if "content" in document else {"content": inner})


def rewrapped(body: str) -> str:
    """The same event in the other envelope."""
    document = json.loads(body)
    return json.dumps(document.get("content", {"content": document}))


async def converse(calls: Installation, exchanges: list[tuple[str, str]]) -> None:
    """Publish each command, and compare the event that comes with the documented one."""
    for command, event in exchanges:
        before = len(calls.events)
        await calls.publish_bytes("123XYZ", command.encode(), message_id=None)
        await calls.until_seen(before + 1)
        assert calls.events[before].body == json.loads(event), command


async def test_every_message_of_the_document_yields_exactly_the_documented_event(
    calls: Installation,
) -> None:
    """The document's conversation, as it is printed."""
    await converse(calls, DOCUMENT)
    assert len(calls.events) == len(DOCUMENT)


async def test_the_other_envelope_and_the_other_spelling_of_the_key_are_read_as_well(
    calls: Installation,
) -> None:
    """Bare for content and content for bare, call-control for call_control and back."""
    await converse(calls, [(respelled(command), rewrapped(event)) for command, event in DOCUMENT])


@pytest.mark.parametrize(
    "exchange", [ACCEPT, REJECT, REDIRECT], ids=["accept", "reject", "redirect"]
)
async def test_an_offered_call_is_accepted_rejected_or_redirected_as_documented(
    calls: Installation, exchange: tuple[str, str]
) -> None:
    """The network offers a call, and the document's incoming-call commands answer it."""
    await calls.publish_bytes("123XYZ", OFFER.encode(), message_id=None)
    await calls.until_seen(1)
    assert calls.events[0].body == {
        "event": "call_offered",
        "request_id": "123XYZ",
        "status": 200,
        "reason": "OK",
        "origin": "tel:+18166623395",
        "destination": "tel:+18165057120",
    }
    await converse(calls, [exchange])


@pytest.mark.parametrize("exchange", [ACCEPT, REJECT], ids=["accept", "reject"])
async def test_accept_and_reject_work_on_a_call_that_was_never_announced(
    calls: Installation, exchange: tuple[str, str]
) -> None:
    """The document shows them without saying how the call became known."""
    await converse(calls, [exchange])
