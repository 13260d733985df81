"""The commands of ``callctl``: what lists say of them, and what listing them costs."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.harness import ROOT
from worker.cli.app import COMMANDS, app, imported
from worker.cli.exit_codes import MEANINGS, ExitCode


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_with_the_first_sentence_of_its_help(name: str) -> None:
    """Which stands twice, so that a list needs no command's module."""
    assert imported(name).help.splitlines()[0] == COMMANDS[name]


def parameters() -> Iterator[Any]:
    """Every parameter of every command."""
    for name in COMMANDS:
        command = imported(name)
        for each in getattr(command, "commands", {name: command}).values():
            for parameter in each.params:
                yield pytest.param(parameter, id=f"{name} {each.name} {parameter.name}")


@pytest.mark.parametrize("parameter", list(parameters()))
def test_every_option_and_argument_says_what_it_is(parameter: Any) -> None:
    """In its command's help."""
    assert parameter.help


def test_help_loads_neither_clients_nor_settings() -> None:
    """Nor does the completion of a shell, which asks with every Tab."""
    code = "import sys, worker.cli.app; print(*sys.modules)"
    loaded = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "worker.cli.app" in loaded
    assert {"aio_pika", "redis", "pydantic", "aiohttp"}.isdisjoint(loaded)


def test_help_names_the_exit_codes() -> None:
    """All of them."""
    page = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "400"}).output.split())
    assert set(MEANINGS) == set(ExitCode)
    assert all(f"{code:d} {meaning}" in page for code, meaning in MEANINGS.items())


@pytest.mark.parametrize("arguments", [["nonsense"], ["show"], ["dead", "list", "--limit", "0"]])
def test_a_mistake_on_the_command_line_exits_with_2(arguments: list[str]) -> None:
    """Before anything is connected to."""
    assert CliRunner().invoke(app, arguments).exit_code == ExitCode.USAGE
