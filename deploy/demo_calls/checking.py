"""Holds what came of a step against what had to: pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from deploy.demo_calls.scenario import MUSIC
from deploy.local import asterisk
from worker.cli.demonstration import Step, fits
from worker.client import Event

#: What each telephone sounds, in Hz.
TONES: Final[Mapping[str, int]] = {"A": 400, "B": 500, "C": 600}

_NAMES: Final = {tone: name for name, tone in TONES.items()} | {asterisk.MUSIC: MUSIC}

#: What each telephone hears, by the names of whoever sounds.
Heard = Mapping[str, frozenset[str]]


def named(tones: frozenset[int]) -> frozenset[str]:
    """Return whose tones are heard."""
    return frozenset(_NAMES.get(tone, f"{tone} Hz") for tone in tones)


def wanted(hears: Mapping[str, str]) -> Heard:
    """Return what each telephone has to hear, those that are not named too."""
    return {who: frozenset(filter(None, [hears.get(who, "")])) for who in TONES}


def hearing(hears: Mapping[str, str], heard: Heard) -> str:
    """Say what is heard: by the telephones that matter, and by others that should hear nothing."""
    said = [
        f"{who} hears {' and '.join(sorted(sounds)) or 'nothing'}"
        for who, sounds in heard.items()
        if who in hears or sounds
    ]
    return ", ".join(said) or "nobody hears anything"


def misheard(hears: Mapping[str, str], heard: Heard) -> list[str]:
    """Say which telephones hear something else."""
    return [
        f"{who} should hear {' and '.join(sorted(sounds)) or 'nothing'}"
        for who, sounds in wanted(hears).items()
        if heard[who] != sounds
    ]


def unexpected(expected: Sequence[Step], events: Sequence[Event], answers: str = "") -> list[str]:
    """Say which events are not, to the letter, those that had to come, in that order.

    Args:
        expected: Those that had to come.
        events: Those that came.
        answers: The ``message_id`` of the command that the last one answers; empty for none.
    """
    wrong = [
        f"expected {step.event} {step.status} {step.reason}, and not {said(event)} {event.reason}"
        for step, event in zip(expected, events, strict=False)
        if not fits(step, event.body)
    ]
    wrong += [f"no {step.event} came" for step in expected[len(events) :]]
    wrong += [f"nobody expects {said(event)}" for event in events[len(expected) :]]
    if answers and not wrong and events[-1].correlation_id != answers:
        wrong.append(f"{said(events[-1])} does not answer the command")
    return wrong


def comes_in(step: Step) -> bool:
    """Tell whether a step is a call that comes in, which nobody publishes."""
    return "network_report" in step.body


def said(event: Event) -> str:
    """Return what is written on an event's arrow: its name and its status, as they stand in it."""
    return f"{event.content.get('event')} {event.content.get('status')}"
