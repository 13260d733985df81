"""``callctl``: the worker, and tools to use it by hand.

``callctl x`` is in the module ``worker.cli.x``, its options beside its code. A module is imported
when its command is used; all of them together would keep ``callctl --help`` and the completion of
shells waiting for a second.
"""

import gc
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from worker.cli.exit_codes import MEANINGS

#: The commands in the order in which they are listed, and what is said of them there: the first
#: sentence of their own help.
COMMANDS: Final = {
    "worker": "Run a worker until SIGTERM or Ctrl-C; a second signal exits at once.",
    "gateway": "Connect the workers with a telephone network.",
    "demo": "Play the documented conversation through RabbitMQ, with a worker of its own.",
    "send": "Publish a command.",
    "offer": "Play the network: offer an incoming call.",
    "watch": "Show events as they happen, until Ctrl-C.",
    "load": "Send whole conversations at a rate, and show how long their answers took.",
    "show": "Show a call's state and its history.",
    "calls": "List the calls there are, the latest first, and count them by state.",
    "top": "Show workers, rates, what waits and calls by state, until Ctrl-C.",
    "topology": "What the installation has at RabbitMQ.",
    "doctor": "Examine RabbitMQ and Redis, and say what to do about each finding.",
    "rebuild": "Restore Redis from the journal after it has lost calls; workers wait for it.",
    "dead": "Look at dead letters, replay them, drop them.",
}


class _Commands(TyperGroup):
    """Commands that are known by their names until one of them is used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, sentence in COMMANDS.items():
            self.add_command(TyperCommand(name, help=sentence))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and imported(str(command.name)), rest


def imported(name: str) -> Any:
    """Return a command itself, or the group that it is.

    What is imported stays for good. To look for garbage in it takes a sixth of a worker's start,
    and later pauses of tens of milliseconds, in which no command is answered.
    """
    gc.disable()
    try:
        return typer.main.get_command(import_module(f"worker.cli.{name}").app)
    finally:
        gc.freeze()
        gc.enable()


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=f"Exit codes: {'; '.join(f'{code:d} {what}' for code, what in MEANINGS.items())}.",
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        typer.echo(f"callctl {version('call-control-worker')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Call control over RabbitMQ. Set CALL_CONTROL_AMQP_URL and CALL_CONTROL_REDIS_URL."""


def main() -> None:
    """Run ``callctl``."""
    sys.exit(app())
