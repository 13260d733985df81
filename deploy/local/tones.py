"""Steady tones in u-law, as telephones play them here, and how to tell which are heard."""

import math
from collections.abc import Iterable

#: Samples a second.
RATE = 8000

#: Samples in a packet of 20 ms.
FRAME = 160

#: Frequencies are multiples of this: a packet then holds whole periods of all of them, so that
#: packets can follow each other in any order, and none is taken for another.
STEP = 50

#: The lowest and the highest frequency that a tone may have, in Hz.
LOWEST, HIGHEST = 100, 3400

#: Of 32767; a sum of three does not clip.
AMPLITUDE = 8000

#: How much of a tone's amplitude has to be there for it to be heard.
_SHARE = 0.25

_BIAS = 132
_CLIP = 32635


def _byte(sample: int) -> int:
    """Return a sample of 16 bits as G.711 says."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP) + _BIAS
    exponent = magnitude.bit_length() - 8
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return ~(sign | exponent << 4 | mantissa) & 0xFF


def _sample(byte: int) -> int:
    """Undo ``_byte``, as far as eight bits can."""
    inverted = ~byte & 0xFF
    magnitude = (((inverted & 0x0F) << 3) + _BIAS << (inverted >> 4 & 0x07)) - _BIAS
    return -magnitude if inverted & 0x80 else magnitude


_SAMPLES = tuple(map(_sample, range(256)))


def encoded(samples: Iterable[int]) -> bytes:
    """Return samples of 16 bits in u-law."""
    return bytes(map(_byte, samples))


def decoded(sound: bytes) -> list[int]:
    """Return the samples of a sound."""
    return [_SAMPLES[byte] for byte in sound]


#: A packet without any sound.
SILENCE = encoded([0]) * FRAME


def tone(frequency: int) -> bytes:
    """Return the 20 ms of a tone; repeated, they are a steady one.

    Raises:
        ValueError: the frequency is no multiple of ``STEP`` between ``LOWEST`` and ``HIGHEST``.
    """
    _check(frequency)
    turn = 2 * math.pi * frequency / RATE
    return encoded(round(AMPLITUDE * math.sin(turn * number)) for number in range(FRAME))


def hears(sound: bytes, frequency: int) -> bool:
    """Return whether a tone is in a sound, other tones or not.

    Raises:
        ValueError: the frequency is none that ``tone`` makes.
    """
    _check(frequency)
    return frequency in heard(sound, [frequency])


def heard(sound: bytes, among: Iterable[int] = range(LOWEST, HIGHEST + 1, STEP)) -> frozenset[int]:
    """Return the tones that are in a sound, in Hz."""
    if not sound:
        return frozenset()
    # What is the same in each packet is all that counts; it is a period of every tone.
    samples = decoded(sound)
    period = [sum(samples[start::FRAME]) for start in range(min(FRAME, len(samples)))]
    # Half of the samples times the amplitude is what a tone alone amounts to.
    least = _SHARE * AMPLITUDE * len(samples) / 2
    return frozenset(each for each in among if _amount(period, each) >= least)


def _amount(period: list[int], frequency: int) -> float:
    """Return how much of a frequency there is (Goertzel)."""
    factor = 2 * math.cos(2 * math.pi * frequency / RATE)
    before, last = 0.0, 0.0
    for sample in period:
        before, last = last, sample + factor * last - before
    return math.sqrt(max(0.0, before * before + last * last - factor * before * last))


def _check(frequency: int) -> None:
    if frequency % STEP or not LOWEST <= frequency <= HIGHEST:
        raise ValueError(
            f"{frequency} Hz: has to be a multiple of {STEP} from {LOWEST} to {HIGHEST}"
        )
