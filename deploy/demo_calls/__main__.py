"""``python -m deploy.demo_calls``: 0 if every step was as it should be, 1 if not."""

import asyncio
import os
import secrets
import sys
from contextlib import AsyncExitStack
from typing import Final

from rich.console import Console

from deploy.demo_calls.checking import TONES
from deploy.demo_calls.handset import Handset
from deploy.demo_calls.installation import running
from deploy.demo_calls.playing import Play
from deploy.demo_calls.scenario import ADDRESSES
from deploy.local import (
    Asterisk,
    Services,
    ServicesError,
    asterisk_server,
    provide,
    telephones,
)
from deploy.local.phones import Phone, Phones
from deploy.local.progress import ShownProgress, shown_progress
from deploy.local.provide import ADDRESSES as VARIABLES
from worker import logs
from worker.cli.connecting import client_of
from worker.client.link import Link
from worker.client.requests import Requests
from worker.errors import CallControlError
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.names import Names
from worker.settings import Gateway, Settings

#: How long a telephone rings before it is answered, in milliseconds.
_RING_MS: Final = 150

#: The trunk's endpoint with another address: each telephone has a number of its own.
_EXTENSION: Final = """
[{name}](trunk)
aors = {name}

[{name}]
type = aor
contact = sip:{number}@{phone.address}:{phone.port}
"""


def _numbers(phones: dict[str, Phone]) -> str:
    """Return what Asterisk has to know to reach a telephone by its number."""
    numbers = {who: ADDRESSES[who].removeprefix("tel:") for who in phones}
    return "".join(
        _EXTENSION.format(name=numbers[who].removeprefix("+"), number=numbers[who], phone=phone)
        for who, phone in phones.items()
    )


def _settings(services: Services) -> Settings:
    addresses = zip(VARIABLES["run"], (services.amqp_url, services.redis_url), strict=True)
    settings = Settings.from_environment(os.environ | dict(addresses))
    return settings.model_copy(
        update={
            "namespace": f"demo-calls-{secrets.token_hex(4)}",
            "gateway": Gateway.EXTERNAL,
            "http_port": 0,
            "log_level": "error",
        }
    )


def _gateway(asterisk: Asterisk) -> AsteriskSettings:
    return AsteriskSettings.model_validate(
        {
            "url": asterisk.ari_url,
            "user": asterisk.ari_user,
            "password": asterisk.ari_password,
            "tel_endpoint": "PJSIP/{digits}",
        }
    )


async def _play(
    services: Services,
    asterisk: Asterisk,
    box: Phones,
    phones: dict[str, Phone],
    progress: ShownProgress,
) -> int:
    console = Console(highlight=False)
    settings = _settings(services)
    logs.configure(settings)
    link = Link(settings.amqp_url.get_secret_value(), "demo-calls")
    play = Play(
        console,
        Requests(link, Names(settings.namespace).commands),
        {who: Handset(who, phone) for who, phone in phones.items()},
        box,
        asterisk.sip,
    )
    progress("starting a worker and a gateway")
    async with AsyncExitStack() as closing:
        closing.push_async_callback(link.close)
        await closing.enter_async_context(
            running(settings, _gateway(asterisk), play.calls.values())
        )
        client = await closing.enter_async_context(client_of(settings))
        subscription = await closing.enter_async_context(client.events())
        progress.done(f"Namespace   {settings.namespace}, with a worker and a gateway")
        who_has = (f"{who} has {address}" for who, address in ADDRESSES.items())
        console.print(f"{', '.join(who_has)}; each sounds a tone of its own")
        following = asyncio.create_task(play.follow(subscription))
        try:
            await play.play()
        finally:
            following.cancel()
            await asyncio.wait([following])
    console.print()
    if play.wrong:
        console.print(f"{play.wrong} of {play.steps} steps were not as they should be", style="red")
        return 1
    console.print(
        f"all {play.steps} steps were as documented, at the telephones too", style="green"
    )
    return 0


def main() -> int:
    """Set everything up, play the conversation, and return the exit code."""
    logs.silence_libraries()
    try:
        with (
            shown_progress() as progress,
            telephones(progress) as box,
            provide("run", progress) as services,
        ):
            progress.done(f"Servers     {services.provider}")
            phones = {who: box.answering(_RING_MS, tone=tone) for who, tone in TONES.items()}
            config = {"pjsip.conf": _numbers(phones)}
            with asterisk_server(config=config, progress=progress) as asterisk:
                progress.done(f"Asterisk    {asterisk.address}:{asterisk.sip_port}")
                for who, phone in phones.items():
                    progress.done(f"Telephone {who} {phone.address}:{phone.port}, {ADDRESSES[who]}")
                return asyncio.run(_play(services, asterisk, box, phones, progress))
    except (ServicesError, CallControlError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command line's own output
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
