"""How a command is run: its settings, its errors, its exit code."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import typer
from rich.console import Console

from worker import logs
from worker.cli.exit_codes import ExitCode
from worker.errors import CallControlError, ConfigurationError, Unavailable
from worker.event_loop import loop_factory
from worker.settings import Settings


def group() -> typer.Typer:
    """Return what a module's commands are added to; with one alone, it is that command."""
    return typer.Typer(add_completion=False, no_args_is_help=True)


def run(command: Callable[[Settings], Coroutine[Any, Any, int]]) -> None:
    """Run a command to its exit code; an error a user can mend is one line, not a traceback.

    Raises:
        typer.Exit: Always, with the exit code.
    """
    logs.silence_libraries()
    try:
        settings = Settings.from_environment(os.environ)
        with asyncio.Runner(loop_factory=loop_factory(settings.event_loop)) as runner:
            code = runner.run(command(settings))
    except CallControlError as error:
        console = Console(stderr=True, highlight=False)
        console.print(f"callctl: {error}", style="red", markup=False, soft_wrap=True)
        code = _code(error)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    raise typer.Exit(code)


def _code(error: CallControlError) -> ExitCode:
    if isinstance(error, ConfigurationError):
        return ExitCode.USAGE
    if isinstance(error, Unavailable):
        return ExitCode.UNAVAILABLE
    return ExitCode.NEGATIVE
