"""Plays the scenes, shows each step, and counts those that are not as they should be."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from rich.console import Console
from rich.text import Text

from deploy.demo_calls import checking, ladder
from deploy.demo_calls.checking import TONES
from deploy.demo_calls.handset import Handset
from deploy.demo_calls.ladder import PRODUCER, WORKER, Arrow, Kind
from deploy.demo_calls.observing import PATIENCE_SECONDS, Observation, holds
from deploy.demo_calls.scenario import ADDRESSES, SCENES, Act
from deploy.local.phones import Address, Phones
from schemas.contract import EventName
from worker.cli.demonstration import Step, fields_of, request_of
from worker.client import Event, Subscription
from worker.client.requests import Requests

_LETTERS: Final = {address: who for who, address in ADDRESSES.items()}


@dataclass
class Play:
    """Plays the conversation on telephones.

    Attributes:
        console: Where it is shown.
        requests: Where commands are published.
        handsets: The telephones, by their columns' names.
        phones: Where further ones come from.
        switch: Where those that call speak SIP to.
        calls: The names of the calls, by those in the scenario: the gateway makes up those of
            calls that come in.
        steps: How many steps have been played.
        wrong: How many of them were not as they should be.
    """

    console: Console
    requests: Requests
    handsets: Mapping[str, Handset]
    phones: Phones
    switch: Address
    calls: dict[str, str] = field(default_factory=dict)
    steps: int = 0
    wrong: int = 0
    _events: list[tuple[float, Event]] = field(default_factory=list)

    async def follow(self, subscription: Subscription) -> None:
        """Take events in, for ever."""
        async for event in subscription:
            self._events.append((time.time(), event))

    async def play(self) -> None:
        """Play all scenes, or as far as events come."""
        for scene in SCENES:
            if scene.busy:
                await self._occupy(self.handsets[scene.busy])
            self._show([Text(), Text(scene.title, style="bold"), ladder.header()])
            for act in scene.acts:
                if not await self._act(act):
                    return

    async def _act(self, act: Act) -> bool:
        """Play a step, show it, and tell whether its events came."""
        name = act.step.call
        step = replace(act.step, call=self.calls.setdefault(name, name))
        observation = Observation(act, self.handsets)
        arrows: list[Arrow] = []
        answered = ""
        if checking.comes_in(step):
            await self._ring(step)
        else:
            request = request_of(step)
            answered = request.message_id
            arrows.append(Arrow(time.time(), PRODUCER, WORKER, _command(step), Kind.COMMAND))
            await self.requests.publish(request, PATIENCE_SECONDS)
        came = await holds(lambda: len(self._events) > len(act.before))
        await observation.finish()
        seen, self._events = self._events, []
        events = [event for _, event in seen]
        if events and checking.comes_in(step):
            self.calls[name] = events[0].request_id
            step = replace(step, call=self.calls[name])
        problems = checking.unexpected((*act.before, step), events, answered)
        problems += observation.problems()
        arrows += [_event(*each) for each in seen]
        arrows += [arrow for each in self.handsets.values() for arrow in each.new()]
        refusals = [event.reason for event in events if _is_refusal(event)]
        self._show_step(arrows, refusals, observation.remark(), problems)
        return came

    def _show_step(
        self, arrows: list[Arrow], refusals: list[str], heard: str, problems: list[str]
    ) -> None:
        self.steps += 1
        self.wrong += bool(problems)
        # The command, where there is one: what is late from the step before is no beginning.
        commands = [each.at for each in arrows if each.kind is Kind.COMMAND]
        since = min(commands or [each.at for each in arrows], default=0.0)
        lines = ladder.rungs(arrows, since)
        for refusal in refusals:
            lines += ladder.remark(refusal)
        lines += ladder.remark(f"{'✗' if problems else '✓'} {heard}", wrong=bool(problems))
        for problem in problems:
            lines += ladder.remark(f"✗ {problem}", wrong=True)
        self._show(lines)

    def _show(self, lines: Sequence[Text]) -> None:
        for line in lines:
            self.console.print(line, soft_wrap=True)

    async def _ring(self, step: Step) -> None:
        """Have the telephone at a call's origin call its destination."""
        caller = self.handsets[_LETTERS[step.body["origin"]]]
        number, called = (_number(step.body[party]) for party in ("origin", "destination"))
        phone = await asyncio.to_thread(
            self.phones.calling, called, self.switch, caller=number, tone=TONES[caller.name]
        )
        caller.phones.append(phone)

    async def _occupy(self, handset: Handset) -> None:
        """Have a telephone busy from now on: another one in the same place."""
        former = handset.phones[0]
        await asyncio.to_thread(former.kill)
        busy = await asyncio.to_thread(
            self.phones.refusing, 486, address=former.address, port=former.port
        )
        handset.phones.append(busy)


def _number(address: str) -> str:
    return address.removeprefix("tel:")


def _command(step: Step) -> str:
    return fields_of((name, _LETTERS.get(value, value)) for name, value in step.body.items())


def _event(at: float, event: Event) -> Arrow:
    kind = Kind.REFUSAL if _is_refusal(event) else Kind.EVENT
    return Arrow(at, WORKER, PRODUCER, checking.said(event), kind)


def _is_refusal(event: Event) -> bool:
    return event.kind == EventName.CALL_CONTROL_FAILED
