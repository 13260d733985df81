"""What README.md shows is run as it stands there, and has to come to what it says."""

import ast
import asyncio
import inspect
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deploy.local import rabbitmq_server, redis_server
from tests.harness import Installation
from tests.pages import SECONDS, is_shown, normal, parts, shell
from worker.settings import PREFIX

STEPS = parts("First steps")
EXAMPLES = parts("From Python")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the steps print, each by its heading, when one shell runs them in their order.

    As ``make shell`` does, on servers of its own: the page speaks of no namespace.
    """
    directory = tmp_path_factory.mktemp("first-steps")
    (directory / ".venv").symlink_to(Path(sys.prefix))
    mark = secrets.token_hex(8)
    script = "".join(_script(mark, directory))
    with rabbitmq_server() as rabbitmq, redis_server() as redis:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(PREFIX)},
            "CALL_CONTROL_AMQP_URL": rabbitmq.url,
            "CALL_CONTROL_REDIS_URL": redis.url,
            "CALL_CONTROL_HTTP_PORT": "0",
            "COLUMNS": "200",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        with shell(script, directory, environment) as printed:
            return dict(_by_title(printed, mark))


def _script(mark: str, directory: Path) -> Iterator[str]:
    """Yield the commands of all steps, and write their programs into the directory."""
    for title, blocks in STEPS.items():
        yield f"echo '{mark} {title}'\n"
        for language, text in blocks:
            if language == "sh":
                yield text
            elif language == "python":
                name = text.removeprefix("# ").partition("\n")[0]
                (directory / name).write_text(text)


def _by_title(printed: str, mark: str) -> Iterator[tuple[str, str]]:
    for part in printed.split(f"{mark} ")[1:]:
        title, _, text = part.partition("\n")
        yield title, text


@pytest.mark.parametrize("title", STEPS)
def test_a_first_step_comes_to_what_the_page_says(outputs: Mapping[str, str], title: str) -> None:
    """Every line that is shown is printed, in that order."""
    wanted = [
        line for language, text in STEPS[title] if language == "text" for line in normal(text)
    ]
    assert wanted, "a step shows what it comes to"
    assert is_shown(wanted, normal(outputs[title])), outputs[title]


@pytest.mark.parametrize("title", EXAMPLES)
async def test_an_example_of_the_client_runs(
    calls: Installation, capsys: pytest.CaptureFixture[str], title: str
) -> None:
    """And prints what is shown behind it."""
    ((_, code), *shown) = EXAMPLES[title]
    settings = calls.settings
    values = {
        "url": settings.amqp_url.get_secret_value(),
        "namespace": settings.namespace,
        "__name__": "example",
    }
    program = compile(code, title, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with asyncio.timeout(SECONDS):
        running = eval(program, values)  # noqa: S307 - the project's own page
        if inspect.isawaitable(running):
            await running
    wanted = [line for _, text in shown for line in normal(text)]
    assert is_shown(wanted, normal(capsys.readouterr().out))


def test_what_is_not_printed_is_noticed() -> None:
    """Nor in another order."""
    output = normal("12:00:01 one 200 OK\ntwo 3.5 ms\n")
    assert is_shown(normal("23:59:59 one … OK\ntwo 1 ms"), output)
    assert not is_shown(normal("two 1 ms\n12:00:00 one 200 OK"), output)
    assert not is_shown(normal("three"), output)
