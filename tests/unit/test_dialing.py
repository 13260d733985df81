"""Addresses and dial strings: what is called is what was meant, or nobody."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import ADDRESS_PATTERN
from worker.gateways.asterisk.dialing import (
    ANONYMOUS,
    SIP_FIELDS,
    TEL_FIELDS,
    NotDialable,
    Plan,
    checked_template,
    number_of,
    shown,
)

PLAN = Plan("PJSIP/{number}@trunk", "PJSIP/trunk/{uri}", "example.com", "+1")


@pytest.mark.parametrize(
    ("address", "dialled"),
    [
        ("tel:+18164388687", "PJSIP/+18164388687@trunk"),
        ("TEL:+1-(816).438-8687", "PJSIP/+18164388687@trunk"),
        ("tel:+18164388687;isup=x", "PJSIP/+18164388687@trunk"),
        ("sip:alice@example.com", "PJSIP/trunk/sip:alice@example.com"),
        ("SIPS:alice@Example.com:5061", "PJSIP/trunk/sips:alice@Example.com:5061"),
        ("sip:+1555@10.0.0.1;transport=TCP", "PJSIP/trunk/sip:+1555@10.0.0.1;transport=tcp"),
        ("sip:example.com", "PJSIP/trunk/sip:example.com"),
    ],
)
def test_an_address_becomes_a_dial_string(address: str, dialled: str) -> None:
    """Whatever it looks like, the same endpoint is called."""
    assert PLAN.dial_string(address) == dialled


def test_a_template_may_ask_for_the_parts() -> None:
    """Drivers and carriers differ in what they want to see."""
    plan = Plan("SIP/trunk/00{digits}", "PJSIP/{user}@{host}")
    assert plan.dial_string("tel:+18164388687") == "SIP/trunk/0018164388687"
    assert plan.dial_string("sip:bob@example.com:5070") == "PJSIP/bob@example.com:5070"


@pytest.mark.parametrize(
    "address",
    [
        "tel:+18164388687;ext=42",
        "tel:+18164388687;isub=1",
        "tel:+" + "1" * 33,
        "sip:alice/evil@example.com",
        "sip:alice&PJSIP/bob@example.com",
        "sip:alice,b(c)@example.com",
        "sip:alice%2Fbob@example.com",
        "sip:a;b@example.com",
        "sip:alice@example.com?Replaces=x",
        "sip:alice@example.com;maddr=10.0.0.1",
        "sip:alice@example.com;transport=udp;lr",
        "sip:alice@[::1]:5060",
        "sip:alice@example.com.",
        "http://example.com",
    ],
)
def test_what_could_mean_something_else_calls_nobody(address: str) -> None:
    """A dial string chooses drivers, trunks and further endpoints; an address must not."""
    with pytest.raises(NotDialable) as caught:
        PLAN.dial_string(address)
    assert address not in str(caught.value)


@given(st.from_regex(re.compile(ADDRESS_PATTERN), fullmatch=True))
def test_no_address_of_the_contract_gets_out_of_its_place(address: str) -> None:
    """Whatever is well formed, a dial string has one driver, one trunk and one endpoint."""
    try:
        dialled = PLAN.dial_string(address)
    except NotDialable:
        return
    assert re.fullmatch(
        r"PJSIP/\+[0-9]+@trunk"
        r"|PJSIP/trunk/sips?:([A-Za-z0-9_.!~*'+\-]+@)?[A-Za-z0-9.\-]+(:[0-9]+)?(;transport=[a-z]+)?",
        dialled,
    )


@pytest.mark.parametrize("address", ["tel:+18164388687", "sip:alice@example.com"])
def test_addresses_without_a_template_are_refused(address: str) -> None:
    """Any producer could otherwise have any host on the internet called."""
    with pytest.raises(NotDialable):
        Plan("", "").dial_string(address)


@pytest.mark.parametrize(
    ("number", "address"),
    [
        ("+18164388687", "tel:+18164388687"),
        ("+1 816", ANONYMOUS),
        ("(816)438-8687", "tel:+18164388687"),
        ("8164388687", "tel:+18164388687"),
        ("alice", "sip:alice@example.com"),
        ("", ANONYMOUS),
        ("a@b", ANONYMOUS),
        ("<script>", ANONYMOUS),
        ("*62", "sip:*62@example.com"),
    ],
)
def test_a_caller_becomes_an_address(number: str, address: str) -> None:
    """What networks send as a caller is not always a number, or anything at all."""
    assert PLAN.address(number) == address


def test_without_a_prefix_a_short_number_is_an_extension() -> None:
    """A tel: address is global; which country an extension is in, nobody knows."""
    assert Plan("", sip_domain="pbx").address("1001") == "sip:1001@pbx"


@given(st.text(max_size=300))
def test_whatever_a_caller_says_the_address_is_well_formed(number: str) -> None:
    """A report with another one would be refused, and the call never offered."""
    assert re.fullmatch(ADDRESS_PATTERN, PLAN.address(number))


@pytest.mark.parametrize(
    ("address", "number", "seen"),
    [
        ("tel:+1-816;x=1", "+1816", "+1816"),
        ("sip:+1816@example.com", None, "+1816"),
        ("sip:alice@example.com", None, "alice"),
        ("sip:example.com", None, ""),
        ("sip:a/b@example.com", None, ""),
    ],
)
def test_a_party_is_shown_by_number_or_name(address: str, number: str | None, seen: str) -> None:
    """It goes into a header of SIP, so only what is harmless does."""
    assert number_of(address) == number
    assert shown(address) == seen


@pytest.mark.parametrize(
    "template",
    ["PJSIP/{number}", "PJSIP/trunk/{digits}", "SIP/{digits}@a/b,c", ""],
)
def test_a_template_names_what_there_is(template: str) -> None:
    """Empty is one, too: it refuses."""
    assert checked_template(template, TEL_FIELDS) == template


@pytest.mark.parametrize(
    "template",
    [
        "PJSIP/trunk",
        "{number}",
        "PJSIP/{nummer}",
        "PJSIP/{number",
        "PJSIP/{0}",
        "PJSIP/{number.real}",
        "PJSIP/{}",
        "PJSIP/{uri}",
    ],
)
def test_a_template_that_cannot_work_is_refused_at_the_start(template: str) -> None:
    """Not when the first call is placed."""
    with pytest.raises(ValueError, match="expected"):
        checked_template(template, TEL_FIELDS)


def test_templates_of_both_kinds_have_their_own_fields() -> None:
    """A number has no host."""
    assert checked_template("PJSIP/t/{uri}", SIP_FIELDS) == "PJSIP/t/{uri}"
    with pytest.raises(ValueError, match="user"):
        checked_template("PJSIP/{number}", SIP_FIELDS)
