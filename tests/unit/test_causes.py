"""Why a leg is gone, in SIP's numbers."""

import pytest

from worker.gateways.asterisk.causes import REJECTIONS, end_status, failure_status, phrase


@pytest.mark.parametrize(
    ("cause", "tech_cause", "status"),
    [
        (17, 486, 486),
        (21, 603, 603),
        (21, 403, 403),
        (1, 404, 404),
        (19, 480, 480),
        (34, 503, 503),
        (18, 408, 408),
        (17, None, 486),
        (1, None, 404),
        (34, None, 503),
        (20, 0, 480),
        (16, 200, 480),
        (None, None, 480),
        (9999, None, 480),
    ],
)
def test_the_phones_own_word_counts_and_else_the_cause(
    cause: int | None, tech_cause: int | None, status: int
) -> None:
    """A producer knows what 486 is; hardly what 17 is."""
    assert failure_status(cause, tech_cause, unheard_of=False) == status


def test_a_phone_that_was_not_heard_of_has_not_rung() -> None:
    """Asterisk says the same of both when their time is over."""
    assert failure_status(19, 480, unheard_of=True) == 408
    assert failure_status(19, None, unheard_of=True) == 408
    assert failure_status(17, 486, unheard_of=True) == 486


@pytest.mark.parametrize(
    ("cause", "tech_cause", "status"),
    [(16, None, 200), (None, None, 200), (0, None, 200), (38, None, 503), (41, 500, 500)],
)
def test_a_call_that_ends_as_calls_do_is_no_failure(
    cause: int | None, tech_cause: int | None, status: int
) -> None:
    """And one that breaks down is."""
    assert end_status(cause, tech_cause) == status


def test_a_caller_who_gives_up_has_cancelled() -> None:
    """Whatever its network calls that."""
    assert end_status(127, 487, answered=False) == 487
    assert end_status(16, None, answered=False) == 487


def test_a_reason_has_its_phrase_and_a_detail_behind_it() -> None:
    """The phrase is for programs that look for it, the detail for people."""
    assert phrase(486) == "Busy Here"
    assert phrase(484) == "Address Incomplete"
    assert phrase(503, "Asterisk was restarted") == "Service Unavailable: Asterisk was restarted"


def test_a_call_can_be_rejected_as_busy_or_declined() -> None:
    """Those two are what people set."""
    assert {486, 603} <= REJECTIONS.keys()
