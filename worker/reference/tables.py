"""The reference tables, in Markdown.

A page holds them between a pair of comments, ``<!-- table NAME -->`` and ``<!-- end -->``.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client.metrics_core import Metric
from pydantic import BaseModel

from schemas.actions import ACTION_MODELS
from schemas.contract import OUTCOMES, CommandName, EventName, Outcome
from schemas.wire import ACTION_KEY
from worker.cli.app import COMMANDS
from worker.cli.exit_codes import MEANINGS
from worker.core.table import TABLE, Cell, Column, Rule
from worker.gateways.asterisk.metrics import GatewayMetrics
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.metrics import Metrics
from worker.names import Names
from worker.reference.json_schemas import sentence
from worker.settings import ASTERISK_PREFIX, PREFIX, Settings

_BLOCK: Final = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

_HEADINGS: Final = {
    Column.ABSENT: "no such call",
    Column.OFFERED: "offered",
    Column.DIALING: "dialing, ringing",
    Column.CONNECTED: "connected",
    Column.HELD: "connected, held",
    Column.ENDED: "ended",
}


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def commands() -> str:
    """Return the table of commands and events."""
    return _markdown(
        ["`call_control`", "fields besides `request_id`", "`event` in the body", "canonical event"],
        (
            [
                _command(row),
                ", ".join(f"`{name}`" for name in row.fields) or "none",
                f"`{row.documented}`",
                f"`{row.event}`",
            ]
            for row in OUTCOMES
        ),
    )


def _command(row: Outcome) -> str:
    is_redirect = row.command is CommandName.TRANSFER and row.event is EventName.CALL_REDIRECTED
    return f"`{row.command}`, of a call that is offered" if is_redirect else f"`{row.command}`"


def transitions() -> str:
    """Return the table of what each command does in each state."""
    return _markdown(
        ["", *(_HEADINGS[column] for column in Column)],
        (
            [f"`{command}`", *(_cell(cells[column]) for column in Column)]
            for command, cells in TABLE.items()
        ),
    )


def _cell(cell: Cell) -> str:
    if cell.rule in (Rule.CONFLICT, Rule.NO_SUCH_CALL) or cell.event is None:
        return cell.rule.value
    text = f"`{cell.event}`"
    if cell.rule is Rule.UNCHANGED:
        text += ", unchanged"
    return f"{text}; from another endpoint 409" if cell.from_offerer else text


def actions() -> str:
    """Return the table of actions."""
    return _markdown(
        ["`action`", "fields besides `request_id`, `action_id`, `gateway`, `again`", "what to do"],
        (
            [f"`{name}`", _fields_of(model), sentence(model)]
            for name, model in ACTION_MODELS.items()
        ),
    )


def _fields_of(model: type[BaseModel]) -> str:
    known = {ACTION_KEY, "request_id", "action_id", "gateway", "again"}
    return ", ".join(f"`{name}`" for name in model.model_fields if name not in known) or "none"


def settings() -> str:
    """Return the table of settings."""
    return _settings(Settings, PREFIX)


def asterisk_settings() -> str:
    """Return the table of the settings of the gateway to Asterisk."""
    return _settings(AsteriskSettings, ASTERISK_PREFIX)


def _settings(model: type[BaseModel], prefix: str) -> str:
    return _markdown(
        ["variable", "default", "meaning"],
        (
            [f"`{prefix}{name.upper()}`", f"`{_default(field.default)}`", field.description or ""]
            for name, field in model.model_fields.items()
        ),
    )


def _default(value: object) -> str:
    secret = getattr(value, "get_secret_value", None)
    shown = secret() if secret else value
    return " " if shown is None or shown == "" else str(shown)


def names() -> str:
    """Return the table of what an installation has at RabbitMQ and in Redis."""
    shown = Names()
    return _markdown(
        ["name", "what it is"],
        [
            [f"`{shown.commands}`", "hash exchange: commands and network reports in"],
            [f"`{shown.partition(0)}` …", "its partitions: quorum queues, single active consumer"],
            [f"`{shown.events}`", "topic exchange: events out"],
            [
                f"`{shown.journal}`",
                "stream: every event of the last seven days, as far as its size allows",
            ],
            [f"`{shown.actions}`", "headers exchange: what gateways are asked"],
            [f"`{shown.new_calls}`", "hash exchange behind it: calls that no gateway has yet"],
            [f"`{shown.gateway('')}<name>`", "a gateway's quorum queue, single active consumer"],
            [
                f"`{shown.deadline('')}…`",
                "quorum queues: what counts as reported when a gateway says nothing",
            ],
            [f"`{shown.dead_letters}`", "fanout exchange, and the quorum queue behind it"],
            [f"`{shown.call_prefix}<request_id>`", "Redis hash: a call's state and records"],
            [f"`{shown.workers}`", "Redis sorted set: the workers' heartbeats"],
            [f"`{shown.worker('')}<name>`", "Redis string: what a worker says of itself to `top`"],
            [f"`{shown.partition_count}`", "Redis string: the number of partitions in force"],
            [f"`{shown.probe}`", "Redis string: shows for a minute that a worker has started"],
            [f"`{shown.suspect_prefix}00` …", "Redis sets: workers that may crash on a command"],
            [f"`{shown.epoch}`", "Redis string: tells that Redis has lost nothing"],
        ],
    )


def metrics() -> str:
    """Return the table of metrics."""
    return _metrics(Metrics().families())


def gateway_metrics() -> str:
    """Return the table of a gateway's metrics."""
    return _metrics(GatewayMetrics().families())


def _metrics(families: Iterable[Metric]) -> str:
    return _markdown(
        ["metric", "type", "meaning"],
        (
            [
                f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
                family.type,
                family.documentation,
            ]
            for family in families
        ),
    )


def callctl() -> str:
    """Return the table of ``callctl``'s commands."""
    return _markdown(
        ["command", "what it does"],
        ([f"`callctl {name}`", sentence] for name, sentence in COMMANDS.items()),
    )


def exit_codes() -> str:
    """Return the table of ``callctl``'s exit codes."""
    return _markdown(
        ["exit code", "meaning"], ([f"{code:d}", meaning] for code, meaning in MEANINGS.items())
    )


_TABLES: Final[dict[str, Callable[[], str]]] = {
    table.__name__: table
    for table in (
        commands,
        actions,
        transitions,
        settings,
        asterisk_settings,
        names,
        metrics,
        gateway_metrics,
        callctl,
        exit_codes,
    )
}


def renewed(page: str) -> str:
    """Return a page with its tables made anew.

    Raises:
        KeyError: It names a table that there is not.
    """
    return _BLOCK.sub(lambda found: found[1] + _TABLES[found[2]]() + found[3], page)
