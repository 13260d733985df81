"""Credentials come from the environment or from files, and are in no line of any output."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from yarl import URL

from deploy.local import RedisSentinel, Services, redis_sentinel
from deploy.local.redis import asked
from tests.guarded import Management
from tests.harness import Installation, Worker, eventually, installation
from tests.integration.test_cli import callctl
from worker import store
from worker.broker import connection as broker
from worker.errors import CallControlError
from worker.settings import Settings
from worker.store.errors import translated_errors

#: With what has to be percent-encoded in a URL, and what often is not.
PASSWORD = "Zw9!@k7:/Qx#3?é%Vb&L=5"  # noqa: S105 - of users made here

#: With a blank and a plus, which a form would take for one.
OTHER = "Yp4+ Kd2/Wt"

FORMS = {
    OTHER,
    quote(OTHER),
    quote(OTHER, safe=""),
    quote_plus(OTHER),
    PASSWORD,
    quote(PASSWORD, safe=""),
    quote(PASSWORD),
    quote_plus(PASSWORD),
}

#: Pieces that a parser may have cut it into, long enough to be nothing else.
PIECES = {"Yp4", "Kd2", "Zw9!", "k7:", "Qx", "Vb&L", "Vb%26L", "%C3%A9"}


def shows_the_password(text: str) -> list[str]:
    """Return what of the password is in a text."""
    return sorted(form for form in FORMS | PIECES if form in text)


@pytest.fixture
async def secret(empty: Installation) -> AsyncIterator[Installation]:
    """An installation whose users have this password at both services."""
    user = f"{empty.names.base}.somebody"
    assert empty.services.management_url is not None, "users are made by the HTTP API"
    management = Management(empty.services.management_url)
    body = {"password": PASSWORD, "tags": ""}
    await management("PUT", f"users/{user}", body)
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    await management("PUT", f"permissions/%2F/{user}", everything)
    redis: Any = empty.redis
    rules = (f">{PASSWORD}", "on", "~*", "&*", "+@all")
    await redis.execute_command("ACL", "SETUSER", user, *rules)
    for name in ("amqp", "redis"):
        variable = f"CALL_CONTROL_{name.upper()}_URL"
        url = URL(empty.environment[variable]).with_user(user).with_password(PASSWORD)
        empty.environment[variable] = str(url)
    yield empty
    await redis.execute_command("ACL", "DELUSER", user)
    await management("DELETE", f"users/{user}")


async def test_a_worker_s_log_never_shows_a_password(secret: Installation) -> None:
    """At debug level: while it works, when its users are gone, and when they stay away."""
    (worker,) = await secret.start(log_level="debug")
    await secret.subscribe()
    await secret.ask("123XYZ", "hold")
    user = f"{secret.names.base}.somebody"
    redis: Any = secret.redis
    await redis.execute_command("ACL", "SETUSER", user, "resetpass", ">another")
    await redis.execute_command("CLIENT", "KILL", "USER", user)
    await eventually(lambda: says(worker, "no heartbeat", "password"), "Redis refuses it")
    management = Management(secret.services.management_url or "")
    await management("DELETE", f"users/{user}")
    await eventually(lambda: worker.logged("session lost"), "RabbitMQ lets go of it")
    await redis.execute_command("ACL", "SETUSER", user, "resetpass", f">{PASSWORD}")
    await eventually(lambda: says(worker, "cannot join", "ACCESS_REFUSED"), "RabbitMQ refuses it")
    await management("PUT", f"users/{user}", {"password": "another", "tags": ""})
    assert await worker.terminate() == 0
    assert shows_the_password(worker.log.read_text()) == []


def says(worker: Worker, event: str, why: str) -> bool:
    """Tell whether a worker has logged an event for a reason."""
    return any(line["event"] == event and why in line["why"] for line in worker.lines())


UNREACHABLE = f"user:{quote(PASSWORD, safe='')}@127.0.0.1:1/"

#: What people write into a URL, by what is wrong with it.
MISTAKES = {
    "unreachable": UNREACHABLE,
    "no such host": f"user:{quote(PASSWORD, safe='')}@host.invalid/",
    "not encoded": f"user:{PASSWORD}@127.0.0.1/",
    "half encoded": f"user:{quote(PASSWORD)}@127.0.0.1/",
    "a port that is none": f"user:{quote(PASSWORD, safe='')}@127.0.0.1:port/",
    "a port too high": f"user:{quote(PASSWORD, safe='')}@127.0.0.1:99999/",
    "no host": f"user:{quote(PASSWORD, safe='')}@",
    "a bracket": f"user:[{quote(PASSWORD, safe='')}@127.0.0.1:1/",
    "a look-alike of a delimiter": f"user:{quote(PASSWORD, safe='')}\N{ACCOUNT OF}@127.0.0.1:1/",
    "a blank": f"user:{quote(PASSWORD, safe='')} @127.0.0.1:1/",
}

SCHEMES = {
    "AMQP": ("amqp", "amqps", "http"),
    "REDIS": ("redis", "rediss", "redis+sentinel", "redis+cluster", "http"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize(
    ("service", "scheme"),
    [(service, scheme) for service, schemes in SCHEMES.items() for scheme in schemes],
)
async def test_no_mistake_in_a_url_shows_its_password(
    service: str, scheme: str, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with it: one line says so, without it."""
    tail = "name/0" if scheme == "redis+sentinel" else ""
    with pytest.raises(CallControlError) as caught:
        await visit(service, f"{scheme}://{mistake}{tail}")
    assert shows_the_password(str(caught.value) + caplog.text) == []
    assert "\n" not in str(caught.value)


async def visit(service: str, url: str) -> None:
    """Use a URL as every command does."""
    settings = Settings.from_environment({f"CALL_CONTROL_{service}_URL": url})
    if service == "AMQP":
        await broker.connect(settings.amqp_url.get_secret_value(), "visitor")
    else:
        client: Any = store.connect(settings.redis_url.get_secret_value())
        try:
            with translated_errors():
                await client.get("anything")
        finally:
            await store.close(client)


@pytest.mark.parametrize(
    ("service", "command"), [("AMQP", ("send", "hold", "1")), ("REDIS", ("show", "1"))]
)
async def test_callctl_never_shows_a_password(
    secret: Installation, service: str, command: tuple[str, ...]
) -> None:
    """Neither of a service that is not there nor of one that refuses it."""
    variable = f"CALL_CONTROL_{service}_URL"
    refused = URL(secret.environment[variable]).with_password(f"{PASSWORD}!")
    for url in (f"{SCHEMES[service][0]}://{MISTAKES['unreachable']}", str(refused)):
        secret.environment[variable] = url
        code, output, errors = await callctl(secret, *command)
        assert (code, output, errors.count("\n")) == (3, "", 1)
        assert errors.startswith("callctl: R")
        assert shows_the_password(errors) == []


SENTINEL_USER = "visitor"


@pytest.fixture(scope="module")
def sentinel() -> Iterator[RedisSentinel]:
    """Sentinels with a password, and a user that has another one on them and on the servers."""
    with redis_sentinel(password=PASSWORD) as servers:
        for server in servers.servers:
            asked(server.port, "ACL", "SETUSER", "worker", "on", f">{OTHER}", "~*", "&*", "+@all")
        for each in servers.sentinels:
            servers.ask(each, "ACL", "SETUSER", SENTINEL_USER, "on", f">{OTHER}", "+@all")
        yield servers


def behind(sentinel: RedisSentinel, query: str) -> str:
    """Return the URL for the user of the servers, and for what is said to the Sentinels."""
    url = sentinel.url.partition("?")[0]
    return url.replace("://", f"://worker:{quote(OTHER, safe='')}@") + query


async def test_sentinels_may_have_a_password_that_is_not_that_of_the_servers(
    services: Services, sentinel: RedisSentinel
) -> None:
    """It is used through a failover, and neither is in a line of any output."""
    url = behind(sentinel, "?sentinel_password=" + quote(PASSWORD, safe=""))
    durable = {"durability": "replica", "log_level": "debug", "hold_seconds": 60}
    async with installation(services, redis_url=url, **durable) as calls:
        (worker,) = await calls.start()
        await calls.subscribe()
        accept = {"endpoint": "tel:+18166623395"}
        assert (await calls.ask("123XYZ", "accept", **accept)).content["status"] == 200
        user = f"?sentinel_username={SENTINEL_USER}&sentinel_password={quote(OTHER, safe='')}"
        for query, code in ((f"?{url.partition('?')[2]}", 0), (user, 0), ("", 3)):
            calls.environment["CALL_CONTROL_REDIS_URL"] = behind(sentinel, query)
            found, output, errors = await callctl(calls, "show", "123XYZ")
            assert found == code, output + errors
            assert shows_the_password(output + errors) == []
            assert errors.count("\n") == bool(code)
        former = sentinel.primary
        await asyncio.to_thread(former.kill)
        promoted = await asyncio.to_thread(sentinel.wait_promoted, former)
        await asyncio.to_thread(former.start)
        assert (await calls.ask("123XYZ", "hold")).content["status"] == 200
        assert asked(promoted.port, "HGET", f"{calls.names.call_prefix}123XYZ", "state")
        assert await worker.terminate() == 0
        assert shows_the_password(worker.log.read_text()) == []


@pytest.mark.parametrize(
    "place",
    [
        "redis://127.0.0.1:1/0?sentinel_password={}",
        "redis+cluster://127.0.0.1:1?sentinel_password={}",
        "redis+sentinel://127.0.0.1:1/name/0&sentinel_password={}",
        "redis+sentinel://127.0.0.1:1&sentinel_password={}",
        "redis+sentinel://one&sentinel_password={}/name",
        "redis+sentinel://127.0.0.1:1/name?sentinel_password={}",
        "redis+sentinel://127.0.0.1:1/name?sentinel_password={}#end",
        "redis+sentinel://127.0.0.1:1/?sentinel_password={}",
        "redis+sentinel://127.0.0.1:port/name?sentinel_password={}",
    ],
)
@pytest.mark.parametrize("password", [quote(PASSWORD, safe=""), PASSWORD], ids=["encoded", "raw"])
async def test_no_mistake_in_a_url_shows_the_sentinels_password(
    place: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it was written, and whether it was encoded or not."""
    with pytest.raises(CallControlError) as caught:
        await visit("REDIS", place.format(password))
    assert shows_the_password(str(caught.value) + caplog.text) == []
    assert "\n" not in str(caught.value)


async def test_urls_may_be_read_from_files(secret: Installation, tmp_path: Path) -> None:
    """As secrets are mounted; a newline at the end is not part of them."""
    for name in ("AMQP_URL", "REDIS_URL"):
        file = tmp_path / name
        file.write_text(secret.environment.pop(f"CALL_CONTROL_{name}") + "\n")
        secret.environment[f"CALL_CONTROL_{name}_FILE"] = str(file)
    (worker,) = await secret.start()
    code, output, errors = await callctl(secret, "send", "hold", "123XYZ", "--wait")
    assert (code, errors) == (1, "")
    assert '"status": 481' in output
    assert await worker.terminate() == 0
