"""TLS on both connections, with a private CA: who is let in, and who is refused how."""

import asyncio
import re
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from deploy.local import Services
from tests.encrypted import Authority, Encrypted, encrypted_servers
from tests.harness import installation
from tests.integration.test_cli import callctl
from worker import store
from worker.broker import connection as broker
from worker.errors import BrokerUnavailable, StoreUnavailable, Unavailable
from worker.settings import PREFIX, Settings
from worker.store.errors import translated_errors

#: Prints what a node listens for.
PROTOCOLS: Final = (
    "[Protocol || {_, _, Protocol, _, _, _, _} <- rabbit_networking:node_listeners(node())]."
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the authorities have their files."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    """The CA of the servers and of their clients."""
    return Authority.found(directory / "authority")


@pytest.fixture(scope="module")
def stranger(directory: Path) -> Authority:
    """Another CA."""
    return Authority.found(directory / "stranger")


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[Encrypted]:
    """Servers whose certificates are for 127.0.0.1 and for no other name."""
    with encrypted_servers(authority.server_files("127.0.0.1")) as made:
        yield made


def files(authority: Authority) -> dict[str, Any]:
    """Return the settings that name the files of a client."""
    return {
        "ca_file": authority.ca_file,
        "certificate_file": authority.certificate_file,
        "key_file": authority.key_file,
    }


async def visit_rabbitmq(**settings: Any) -> None:
    """Connect to RabbitMQ."""
    url = read(settings).amqp_url.get_secret_value()
    await broker.close(await broker.connect(url, "visitor"))


async def visit_redis(**settings: Any) -> None:
    """Ask Redis for something."""
    client: Any = store.connect(read(settings).redis_url.get_secret_value())
    try:
        with translated_errors():
            await client.ping()
    finally:
        await store.close(client)


def read(values: dict[str, Any]) -> Settings:
    """Read settings."""
    environment = {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}
    return Settings.from_environment(environment)


BOTH = pytest.mark.parametrize(
    ("visit", "refusal"),
    [
        pytest.param(visit_rabbitmq, BrokerUnavailable, id="RabbitMQ"),
        pytest.param(visit_redis, StoreUnavailable, id="Redis"),
    ],
)


async def test_a_worker_and_callctl_work_over_tls_with_certificates_of_their_own(
    servers: Encrypted, authority: Authority
) -> None:
    """Both connections are encrypted, and both sides are who they say they are."""
    async with installation(servers.services(authority)) as calls:
        settings = {**servers.urls(), **files(authority)}
        calls.environment |= {f"{PREFIX}{k.upper()}": str(v) for k, v in settings.items()}
        (worker,) = await calls.start()
        await calls.subscribe()
        await calls.ask("123XYZ", "accept", endpoint="tel:+18166623395")
        code, output, errors = await callctl(calls, "send", "hold", "123XYZ", "--wait")
        assert (code, errors) == (0, "")
        assert "call_held" in output
        code, output, errors = await callctl(calls, "show", "123XYZ")
        assert (code, errors) == (0, "")
        assert "connected held incoming" in output
        assert await worker.terminate() == 0


@BOTH
async def test_a_server_of_another_name_is_refused(
    servers: Encrypted, authority: Authority, visit: Any, refusal: type[Unavailable]
) -> None:
    """Whoever has some certificate of the CA is not for that the server that was meant."""
    with pytest.raises(refusal, match="certificate is not valid for 'localhost'"):
        await visit(**servers.urls("localhost"), **files(authority))


@BOTH
async def test_a_server_of_another_authority_is_refused(
    servers: Encrypted, stranger: Authority, visit: Any, refusal: type[Unavailable]
) -> None:
    """Not of the CA that was given, nor without one of those that the system trusts."""
    for settings in (files(stranger), {}):
        with pytest.raises(refusal, match="certificate verify failed: self-signed"):
            await visit(**servers.urls(), **settings)


@BOTH
async def test_a_client_without_a_certificate_of_the_authority_is_told_so(
    servers: Encrypted,
    authority: Authority,
    stranger: Authority,
    visit: Any,
    refusal: type[Unavailable],
) -> None:
    """Where the server asks for one, as it does in deploy/; it may hang up before it is heard."""
    with pytest.raises(refusal, match=r"alert certificate required|closed|reset"):
        await visit(**servers.urls(), ca_file=authority.ca_file)
    foreign = {**files(stranger), "ca_file": authority.ca_file}
    with pytest.raises(refusal, match=r"alert unknown ca|closed|reset"):
        await visit(**servers.urls(), **foreign)


@BOTH
async def test_an_impostor_is_sent_nothing(
    authority: Authority, stranger: Authority, visit: Any, refusal: type[Unavailable]
) -> None:
    """No password reaches who answers at the address with a certificate of another CA."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    stranger.ca.issue_cert("127.0.0.1").configure_cert(context)
    impostor = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    async with impostor:
        port = impostor.sockets[0].getsockname()[1]
        settings = {
            "amqp_url": f"amqps://user:s3cret@127.0.0.1:{port}/",
            "redis_url": f"rediss://user:s3cret@127.0.0.1:{port}/0",
        }
        with pytest.raises(refusal, match="certificate verify failed"):
            await visit(**settings, ca_file=authority.ca_file)
    assert b"".join(heard) == b""


async def test_speaking_plainly_to_a_port_for_tls_is_an_error_that_says_so(
    servers: Encrypted,
) -> None:
    """Redis only hangs up, which is an error that names the address."""
    plain = {name: url.replace("s://", "://") for name, url in servers.urls().items()}
    with pytest.raises(BrokerUnavailable, match=r"port for TLS \(amqps://\)"):
        await visit_rabbitmq(**plain)
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{servers.redis.port}"):
        await visit_redis(**plain)


async def test_speaking_tls_to_a_plain_port_is_an_error(
    services: Services, authority: Authority
) -> None:
    """It is not tried again in the clear."""
    urls = {
        "amqp_url": services.amqp_url.replace("amqp://", "amqps://"),
        "redis_url": services.redis_url.replace("redis://", "rediss://"),
    }
    with pytest.raises(BrokerUnavailable, match="wrong version number"):
        await visit_rabbitmq(**urls, **files(authority))
    with pytest.raises(StoreUnavailable, match="Redis: "):
        await visit_redis(**urls, **files(authority))


async def test_nobody_is_served_in_the_clear(servers: Encrypted) -> None:
    """Not by AMQP, by Redis' protocol or by the management, whatever else opens those ports."""
    plain = {
        "amqp_url": f"amqp://guest:guest@127.0.0.1:{servers.rabbitmq.plain_port}/",
        "redis_url": f"redis://127.0.0.1:{servers.redis.plain_port}/0",
    }
    # In asyncio's words, or uvloop's.
    refused = r"Connect call failed|Connection refused"
    with pytest.raises(BrokerUnavailable, match=refused):
        await visit_rabbitmq(**plain)
    with pytest.raises(StoreUnavailable, match=refused):
        await visit_redis(**plain)
    said = await asyncio.to_thread(servers.rabbitmq.ctl, "eval", PROTOCOLS)
    assert set(re.findall(r"[a-z/]+", said)) == {"amqp/ssl", "clustering", "https"}


async def test_the_management_is_served_by_tls(servers: Encrypted, authority: Authority) -> None:
    """A browser has no certificate to show, but knows the CA."""
    context = ssl.create_default_context(cafile=authority.ca_file)
    url = f"{servers.rabbitmq.management_url}/api/overview"
    async with aiohttp.ClientSession() as http, http.get(url, ssl=context) as answer:
        assert answer.status == HTTPStatus.OK
        assert "rabbitmq_version" in await answer.text()


async def test_sentinels_and_clusters_get_the_same_files(authority: Authority) -> None:
    """Sentinels, the primary that they name, and every node of a cluster."""
    expected = {
        "ssl_ca_certs": str(authority.ca_file),
        "ssl_certfile": str(authority.certificate_file),
        "ssl_keyfile": str(authority.key_file),
    }
    found = []
    for url in ("rediss+sentinel://127.0.0.1/calls", "rediss+cluster://127.0.0.1"):
        settings = read({"redis_url": url, **files(authority)})
        client: Any = store.connect(settings.redis_url.get_secret_value())
        if "sentinel" in url:
            pool = client.connection_pool
            sentinels = pool.sentinel_manager.sentinels
            found += [pool.connection_kwargs, sentinels[0].connection_pool.connection_kwargs]
            assert "SSL" in pool.connection_class.__name__
        else:
            found.append(client.connection_kwargs)
        await store.close(client)
    assert [{name: kwargs.get(name) for name in expected} for kwargs in found] == [expected] * 3
