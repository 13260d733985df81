"""Tones are told apart, alone and in mixtures."""

import itertools

import pytest

from deploy.local.tones import (
    FRAME,
    HIGHEST,
    LOWEST,
    SILENCE,
    STEP,
    decoded,
    encoded,
    heard,
    hears,
    tone,
)

TONES = range(LOWEST, HIGHEST + 1, STEP)


def mixed(*sounds: bytes) -> bytes:
    """Return sounds together, as a bridge of three mixes them."""
    samples = zip(*map(decoded, sounds), strict=True)
    return encoded(map(sum, samples))


@pytest.mark.parametrize("frequency", TONES)
def test_a_tone_is_heard_as_itself_and_nothing_else(frequency: int) -> None:
    """Every one that a telephone may have."""
    assert heard(tone(frequency) * 10) == {frequency}


@pytest.mark.parametrize("frequencies", list(itertools.combinations((400, 450, 700, 1000), 3)))
def test_three_tones_at_once_are_heard_each(frequencies: tuple[int, ...]) -> None:
    """Neighbours too, and nothing that their mixing adds."""
    assert heard(mixed(*(tone(each) * 10 for each in frequencies))) == set(frequencies)


def test_silence_is_no_tone() -> None:
    """Neither packets without sound nor no packets at all."""
    assert heard(SILENCE * 10) == heard(b"") == frozenset()


@pytest.mark.parametrize("cut", [1, 37, FRAME - 1])
def test_it_does_not_matter_where_a_tone_begins(cut: int) -> None:
    """A window begins wherever it was looked."""
    sound = tone(700) * 11
    assert heard(sound[cut : cut + 10 * FRAME]) == {700}


def test_lost_packets_take_no_tone_away() -> None:
    """Each packet has whole periods."""
    assert heard(tone(400) * 4 + tone(400) * 3) == {400}


def test_most_of_the_moment_decides() -> None:
    """A tone that has just begun is not heard yet, one that is nearly gone not any more."""
    assert heard(tone(400) + tone(500) * 9) == {500}
    assert hears(tone(400) * 5 + tone(500) * 5, 400)


def test_a_softer_tone_is_heard_until_it_is_a_quarter() -> None:
    """Mixing may lower it; crosstalk is no voice."""
    loud = decoded(tone(400) * 10)
    assert hears(encoded(each // 2 for each in loud), 400)
    assert not hears(encoded(each // 8 for each in loud), 400)


@pytest.mark.parametrize("frequency", [LOWEST - STEP, 425, HIGHEST + STEP])
def test_a_frequency_that_could_not_be_told_apart_is_an_error(frequency: int) -> None:
    """At once, and not as a test that hears nothing."""
    with pytest.raises(ValueError, match="multiple of 50"):
        tone(frequency)
    with pytest.raises(ValueError, match="multiple of 50"):
        hears(SILENCE, frequency)
