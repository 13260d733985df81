"""Telephone networks that do what a test says, behind a gateway's real port."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from deploy.local import Services
from schemas.actions import Action
from schemas.contract import ActionName
from schemas.reports import Answered, Done, Failed, Report, Ringing
from tests.harness import Installation, eventually, installation
from worker.broker.declaring import declare
from worker.broker.topology import topology_of
from worker.gateways.port import Port, Taken, open_port

_CONNECTING = frozenset({ActionName.ORIGINATE, ActionName.ANSWER, ActionName.REDIRECT})

#: What a network says to an action.
Behaviour = Callable[[Action], Iterable[Report]]


def granting(action: Action) -> Iterable[Report]:
    """Grant everything, as the loopback does; what is originated rings first."""
    known = {"request_id": action.request_id, "action_id": action.action_id}
    if action.action is ActionName.ORIGINATE:
        yield Ringing.model_validate(known)
    model = Answered if action.action in _CONNECTING else Done
    yield model.model_validate(known)


def silent(action: Action) -> Iterable[Report]:
    """Take everything, and say nothing."""
    del action
    return ()


def failing(status: int) -> Behaviour:
    """Fail everything with a status."""

    def fail(action: Action) -> Iterable[Report]:
        yield Failed(request_id=action.request_id, action_id=action.action_id, status=status)

    return fail


class Network:
    """A gateway, and the network behind it.

    Attributes:
        port: The gateway's port.
        taken: The actions that it was asked, in their order.
        behaviour: What it says to the next ones.
    """

    def __init__(self, port: Port, behaviour: Behaviour) -> None:
        self.port = port
        self.behaviour = behaviour
        self.taken: list[Taken] = []

    @property
    def asked(self) -> list[str]:
        """The names of the actions."""
        return [taken.action.action.value for taken in self.taken]

    async def until_asked(self, *names: str) -> Taken:
        """Wait until just these actions have come; return the last."""
        await eventually(lambda: len(self.taken) >= len(names), f"the network is asked {names}")
        assert self.asked == list(names)
        return self.taken[-1]

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.port.claim()
        while True:
            taken = await self.port.take()
            self.taken.append(taken)
            for report in self.behaviour(taken.action):
                await self.port.say(report)
            await self.port.settle(taken)


@asynccontextmanager
async def network(
    calls: Installation, behaviour: Behaviour = granting, *, gateway: str = "pbx-1"
) -> AsyncIterator[Network]:
    """Connect a network to an installation."""
    calls.gateways.add(gateway)
    async with open_port(calls.settings, gateway) as port:
        made = Network(port, behaviour)
        serving = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            if not serving.cancelled() and serving.exception():
                serving.result()


@asynccontextmanager
async def waiting_for(services: Services, gateway: str) -> AsyncIterator[Installation]:
    """Set up an installation with a worker, and the queue of a gateway that is still to come."""
    async with installation(services, gateway="external") as made:
        made.gateways.add(gateway)
        await declare(made.connection, topology_of(made.settings, [gateway]))
        await made.start()
        await made.subscribe()
        yield made
