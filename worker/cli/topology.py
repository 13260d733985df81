"""``callctl topology``."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from worker.broker.connection import close, connect
from worker.broker.management import open_management, vhost_of
from worker.broker.topology import Topology, declare, topology_of
from worker.broker.verification import Compared, Match, verify, verify_bindings
from worker.cli.exit_codes import ExitCode
from worker.cli.options import ManagementOption
from worker.cli.output import plain, print_json
from worker.cli.running import group, run
from worker.settings import Settings

app = group()


@app.callback()
def topology() -> None:
    """What the installation has at RabbitMQ."""


_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("show")
def show_wanted(*, as_json: _AsJson = False) -> None:
    """Show what the settings ask for; no service is asked."""
    run(partial(_show, as_json=as_json))


@app.command("verify")
def verify_wanted(management: ManagementOption = None, *, as_json: _AsJson = False) -> None:
    """Compare what the settings ask for with what RabbitMQ has. Exits with 1 when anything differs.

    Only a user who may configure them can have types and arguments compared. Bindings cannot be
    seen over AMQP: the management shows them, and apply makes sure of them.
    """
    run(partial(_verify, management, as_json=as_json))


@app.command(
    epilog="callctl topology export > definitions.json"
    " && rabbitmqctl import_definitions definitions.json"
)
def export() -> None:
    """Print what the settings ask for as RabbitMQ's definitions.json; no service is asked.

    With it queues can be there before the first connection. Users, permissions and the policy for
    subscribers' queues are in deploy/rabbitmq.
    """
    run(_export)


@app.command()
def apply() -> None:
    """Declare what is missing, as a user who may configure; a difference is an error that names it.

    Before the first producer of a new installation, and for workers that may not declare.
    """
    run(_apply)


async def _apply(settings: Settings) -> int:
    """Declare an installation at RabbitMQ, for workers and others who may not.

    Raises:
        ConfigurationError: RabbitMQ has something else under a name, or its user may not declare.
        BrokerUnavailable: RabbitMQ cannot be reached.
    """
    wanted = topology_of(settings)
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


async def _show(settings: Settings, *, as_json: bool) -> int:
    wanted = topology_of(settings)
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
    table = Table("from exchange", "to queue", "routing key")
    for bindings in _alike(wanted.bindings, "exchange"):
        names = [binding.queue for binding in bindings]
        table.add_row(bindings[0].exchange, _range(names), bindings[0].routing_key)
    console.print(table)
    return ExitCode.DONE


def _alike(items: Sequence[Any], attribute: str) -> Iterator[list[Any]]:
    """Yield neighbours that have an attribute in common."""
    for _, alike in groupby(items, key=lambda item: getattr(item, attribute)):
        yield list(alike)


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


async def _verify(management: str | None, settings: Settings, *, as_json: bool) -> int:
    """Print how what is there compares; return 1 when something is missing or different.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached.
    """
    connection = await connect(settings.amqp_url.get_secret_value(), "callctl topology")
    try:
        compared = await verify(connection, topology_of(settings))
    finally:
        await close(connection)
    if management is not None:
        async with open_management(management, settings) as api:
            compared += await verify_bindings(api, topology_of(settings))
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


async def _export(settings: Settings) -> int:
    definitions = _definitions(topology_of(settings), vhost_of(settings))
    typer.echo(json.dumps(definitions, indent=2))
    return ExitCode.DONE


def _definitions(wanted: Topology, vhost: str) -> dict[str, Any]:
    """Return a topology as RabbitMQ imports it (RabbitMQ documentation, "Definitions")."""
    place: dict[str, Any] = {"vhost": vhost, "durable": True, "auto_delete": False}
    return {
        "vhosts": [{"name": vhost}],
        "exchanges": [
            {"name": each.name, **place, "type": each.type, "internal": False, "arguments": {}}
            for each in wanted.exchanges
        ],
        "queues": [
            {"name": each.name, **place, "arguments": each.arguments} for each in wanted.queues
        ],
        "bindings": [
            {
                "source": each.exchange,
                "vhost": vhost,
                "destination": each.queue,
                "destination_type": "queue",
                "routing_key": each.routing_key,
                "arguments": {},
            }
            for each in wanted.bindings
        ],
    }
