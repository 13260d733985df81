"""Fixtures: an Asterisk for all tests, an application of it and telephones for each."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.local import Asterisk, NoProviderError, Services, asterisk_server, telephones
from deploy.local.phones import Phones
from tests.calls.ari import Ari, connected_to
from tests.calls.driving import Driven, driven, settings_of
from tests.calls.exchange import Exchange, exchange, switch
from tests.tools import unavailable


@pytest.fixture(scope="session")
def asterisk() -> Iterator[Asterisk]:
    """An Asterisk, whose tests leave it running and without calls."""
    with contextlib.ExitStack() as cleaning:
        try:
            started = cleaning.enter_context(asterisk_server())
        except NoProviderError as error:
            unavailable(str(error))
        yield started


@pytest.fixture
async def ari(asterisk: Asterisk) -> AsyncIterator[Ari]:
    """An application, connected."""
    async with connected_to(asterisk) as connected:
        yield connected


@pytest.fixture
def box(asterisk: Asterisk) -> Iterator[Phones]:
    """Telephones; where there is an Asterisk there is a sipp too."""
    del asterisk
    with telephones() as made:
        yield made


@pytest.fixture
async def gateway(asterisk: Asterisk) -> AsyncIterator[Driven]:
    """A gateway's calls, which are all over in the end."""
    async with driven(settings_of(asterisk)) as driver:
        # Of attempts that failed before, whose claims are still there.
        driver.reports.clear()
        yield driver
        await driver.idle()


@pytest.fixture(scope="module")
def switched() -> Iterator[tuple[Asterisk, Phones]]:
    """An Asterisk, and where telephones come from."""
    with switch() as made:
        yield made


@pytest.fixture
async def line(services: Services, switched: tuple[Asterisk, Phones]) -> AsyncIterator[Exchange]:
    """A whole exchange without a gateway yet, whose events keep to the invariants."""
    async with exchange(services, *switched, partitions=2) as made:
        yield made
        made.check()
