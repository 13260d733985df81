"""The demo notices an event that is not the documented one."""

from typing import Any

import pytest

from worker.cli.demonstration import CONVERSATION, Step, fits


def documented(step: Step) -> dict[str, Any]:
    """The body that a step has to bring back."""
    reason = step.reason if step.status == 200 else f"{step.reason}: why"
    content = {
        "event": step.event,
        "request_id": step.call,
        "status": step.status,
        "reason": reason,
        **step.more,
    }
    return {"content": content} if step.content else content


@pytest.mark.parametrize("step", CONVERSATION, ids=lambda step: f"{step.call} {step.event}")
def test_the_documented_event_fits_and_any_other_does_not(step: Step) -> None:
    """Neither another name, status, reason or call, nor a field more, nor the other envelope."""
    body = documented(step)
    assert fits(step, body)
    content = body["content"] if step.content else body
    for wrong in (
        {**content, "event": "call_confused"},
        {**content, "status": 299},
        {**content, "reason": "because"},
        {**content, "request_id": "another"},
        {**content, "more": 1},
        {key: value for key, value in content.items() if key != "reason"},
    ):
        assert not fits(step, {"content": wrong} if step.content else wrong)
    assert not fits(step, content if step.content else {"content": content})
