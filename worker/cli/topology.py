"""``callctl topology``."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from schemas.fields import GATEWAY_PATTERN
from worker.broker.connection import close, connect
from worker.broker.declaring import declare
from worker.broker.management import open_management, vhost_of
from worker.broker.topology import Topology, topology_of
from worker.broker.verification import Compared, Match, verify, verify_bindings
from worker.cli.exit_codes import ExitCode
from worker.cli.options import ManagementOption
from worker.cli.output import plain, print_json
from worker.cli.running import group, run
from worker.names import Names
from worker.settings import Settings

app = group()


@app.callback()
def topology() -> None:
    """What the installation has at RabbitMQ."""


_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_Gateways = Annotated[
    list[str] | None,
    typer.Option(
        "--gateway", metavar="NAME", help="With the queue of this gateway, too; may be repeated."
    ),
]


@app.command("show")
def show_wanted(gateway: _Gateways = None, *, as_json: _AsJson = False) -> None:
    """Show what the settings ask for; no service is asked."""
    run(partial(_show, _named(gateway), as_json=as_json))


@app.command("verify")
def verify_wanted(
    gateway: _Gateways = None, management: ManagementOption = None, *, as_json: _AsJson = False
) -> None:
    """Compare what the settings ask for with what RabbitMQ has. Exits with 1 when anything differs.

    Only a user who may configure them can have types and arguments compared. Bindings cannot be
    seen over AMQP: the management shows them, and apply makes sure of them.
    """
    run(partial(_verify, _named(gateway), management, as_json=as_json))


@app.command(
    epilog="callctl topology export > definitions.json"
    " && rabbitmqctl import_definitions definitions.json"
)
def export(gateway: _Gateways = None) -> None:
    """Print what the settings ask for as RabbitMQ's definitions.json; no service is asked.

    With it queues can be there before the first connection. Users, permissions and the policy for
    subscribers' queues are in deploy/rabbitmq.
    """
    run(partial(_export, _named(gateway)))


@app.command()
def apply(gateway: _Gateways = None) -> None:
    """Declare what is missing, as a user who may configure; a difference is an error that names it.

    Before the first producer of a new installation, and for workers that may not declare.
    """
    run(partial(_apply, _named(gateway)))


def _named(gateways: Sequence[str] | None) -> tuple[str, ...]:
    for name in gateways or ():
        if not re.fullmatch(GATEWAY_PATTERN, name):
            raise typer.BadParameter("expected 1 to 64 of A-Z a-z 0-9 _ -", param_hint="--gateway")
    return tuple(gateways or ())


async def _apply(gateways: Sequence[str], settings: Settings) -> int:
    """Declare an installation at RabbitMQ, for workers and others who may not.

    Raises:
        ConfigurationError: RabbitMQ has something else under a name, or its user may not declare.
        BrokerUnavailable: RabbitMQ cannot be reached.
    """
    wanted = topology_of(settings, gateways)
    connection = await connect(settings.amqp_url.get_secret_value(), "callctl topology")
    try:
        await declare(connection, wanted)
    finally:
        await close(connection)
    Console(highlight=False).print(
        f"{len(wanted.exchanges)} exchanges, {len(wanted.queues)} queues and"
        f" {len(wanted.bindings)} bindings are in place"
    )
    return ExitCode.DONE


async def _show(gateways: Sequence[str], settings: Settings, *, as_json: bool) -> int:
    wanted = topology_of(settings, gateways)
    if as_json:
        print_json(asdict(wanted))
        return ExitCode.DONE
    console = Console(highlight=False)
    table = Table("exchange", "type")
    for exchange in wanted.exchanges:
        table.add_row(exchange.name, exchange.type)
    console.print(table)
    table = Table("queue", "arguments")
    table.columns[1].overflow = "fold"
    for queues in _alike(wanted.queues, "arguments"):
        arguments = (f"{name}={value}" for name, value in queues[0].arguments.items())
        table.add_row(_range([queue.name for queue in queues]), "\n".join(arguments))
    console.print(table)
    table = Table("from exchange", "to", "by")
    for bindings in _alike(wanted.bindings, "exchange", "arguments"):
        names = [binding.destination for binding in bindings]
        matched = ", ".join(f"{name}={value}" for name, value in bindings[0].arguments.items())
        table.add_row(bindings[0].exchange, _range(names), matched or bindings[0].routing_key)
    console.print(table)
    return ExitCode.DONE


def _alike(items: Sequence[Any], *attributes: str) -> Iterator[list[Any]]:
    """Yield neighbours that have attributes in common."""
    for _, alike in groupby(items, key=attrgetter(*attributes)):
        yield list(alike)


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


async def _verify(
    gateways: Sequence[str], management: str | None, settings: Settings, *, as_json: bool
) -> int:
    """Print how what is there compares; return 1 when something is missing or different.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached.
    """
    wanted = topology_of(settings, gateways)
    connection = await connect(settings.amqp_url.get_secret_value(), "callctl topology")
    try:
        compared = await verify(connection, wanted)
    finally:
        await close(connection)
    if management is not None:
        async with open_management(management, settings) as api:
            compared += await verify_bindings(api, wanted, Names(settings.namespace).commands)
    wrong = [each for each in compared if each.match in (Match.MISSING, Match.DIFFERENT)]
    if as_json:
        print_json({"ok": not wrong, "compared": [asdict(each) for each in compared]})
    else:
        _print(compared)
    return ExitCode.NEGATIVE if wrong else ExitCode.DONE


def _print(compared: Sequence[Compared]) -> None:
    console = Console(highlight=False)
    styles = {Match.MISSING: "red", Match.DIFFERENT: "red", Match.UNKNOWN: "yellow"}
    table = Table("", "name", "is", "why")
    for each in compared:
        if each.match is not Match.SAME:
            row = (each.kind, each.name, each.match, each.why)
            table.add_row(*map(plain, row), style=styles[each.match])
    if table.row_count:
        console.print(table)
    bindings = any(each.kind == "binding" for each in compared)
    what = "exchanges, queues and bindings" if bindings else "exchanges and queues"
    numbers = [
        f"{sum(each.match is match for each in compared)} {word}"
        for match, word in _WORDS.items()
        if any(each.match is match for each in compared)
    ]
    console.print(f"{len(compared)} {what}: {', '.join(numbers)}")


_WORDS = {
    Match.SAME: "as they should be",
    Match.MISSING: "missing",
    Match.DIFFERENT: "different",
    Match.UNKNOWN: "not compared",
}


async def _export(gateways: Sequence[str], settings: Settings) -> int:
    definitions = _definitions(topology_of(settings, gateways), vhost_of(settings))
    typer.echo(json.dumps(definitions, indent=2))
    return ExitCode.DONE


def _definitions(wanted: Topology, vhost: str) -> dict[str, Any]:
    """Return a topology as RabbitMQ imports it (RabbitMQ documentation, "Definitions")."""
    place: dict[str, Any] = {"vhost": vhost, "durable": True, "auto_delete": False}
    return {
        "vhosts": [{"name": vhost}],
        "exchanges": [
            {
                "name": each.name,
                **place,
                "type": each.type,
                "internal": False,
                "arguments": each.arguments,
            }
            for each in wanted.exchanges
        ],
        "queues": [
            {"name": each.name, **place, "arguments": each.arguments} for each in wanted.queues
        ],
        "bindings": [
            {
                "source": each.exchange,
                "vhost": vhost,
                "destination": each.destination,
                "destination_type": "exchange" if each.to_exchange else "queue",
                "routing_key": each.routing_key,
                "arguments": each.arguments,
            }
            for each in wanted.bindings
        ],
    }
