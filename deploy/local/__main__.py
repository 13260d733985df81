"""``python -m deploy.local run|engine|clean``.

run [--] CMD ARGS…     RabbitMQ and Redis for as long as CMD runs, their addresses in its
                       environment as CALL_CONTROL_AMQP_URL and CALL_CONTROL_REDIS_URL
engine [--] CMD ARGS…  a Docker engine for as long as CMD runs: the machine's own where one
                       answers, else (Debian, root) a private one, its address in DOCKER_HOST
clean                  stops and removes everything that was made here

Exits with CMD's code; 1 when there is nothing to run it with; 2 when called wrongly.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence

from deploy.local import engine
from deploy.local.child import run_child
from deploy.local.cleaning import clean
from deploy.local.errors import ServicesError
from deploy.local.progress import shown_progress
from deploy.local.provide import ADDRESSES, FORCE, provide


def run(command: Sequence[str]) -> int:
    """Run a command with servers."""
    if not shutil.which(command[0]):
        raise ServicesError(f"{command[0]}: no such command")
    with shown_progress() as progress, provide("run", progress) as services:
        amqp, redis = ADDRESSES["run"]
        progress.done(f"Servers     {services.provider}")
        # Some clients take a URL that ends in / for the virtual host without a name.
        amqp_url = re.sub("/$", "/%2F", services.amqp_url)
        progress.done(f"AMQP        {amqp_url}")
        progress.done(f"Redis       {services.redis_url}")
        if services.management_url:
            progress.done(f"RabbitMQ UI {services.management_url}")
        env = dict(os.environ) | {amqp: amqp_url, redis: services.redis_url}
        # A variable the worker does not know is an error to it.
        env.pop(FORCE, None)
        return run_child(command, env)


def with_engine(command: Sequence[str]) -> int:
    """Run a command with a Docker engine."""
    with shown_progress() as progress, engine.engine(progress) as variables:
        progress.pause()
        return run_child(command, dict(os.environ) | variables)


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands and return the exit code."""
    commands: dict[str, Callable[[Sequence[str]], int]] = {"run": run, "engine": with_engine}
    verb, *rest = arguments or [""]
    if rest[:1] == ["--"]:
        rest = rest[1:]
    try:
        if verb == "clean" and not rest:
            with shown_progress() as progress:
                clean(progress)
            return 0
        if verb in commands and rest:
            return commands[verb](rest)
    except ServicesError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command line's own output
        return 1
    print(__doc__, file=sys.stderr)  # noqa: T201 - a command line's own output
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
