"""``python -m tests.fuzz``: hostile messages, first in this process, then through real servers."""

import argparse
import asyncio
import faulthandler
import secrets
import sys
from collections.abc import Sequence

from deploy.local import provide
from tests.fuzz.runs import Figures, in_process, through_servers

#: Seconds without progress after which this counts as a hang.
_HANG_SECONDS = 300


def main(arguments: Sequence[str]) -> None:
    """Fuzz, and print the figures; what fails is raised, with the messages that make it fail."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--bodies", type=int, default=100_000, help="messages in this process")
    parser.add_argument("--sample", type=int, default=3_000, help="messages through real servers")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="what to repeat")
    given = parser.parse_args(arguments)
    _say(f"seed {given.seed}")
    faulthandler.dump_traceback_later(_HANG_SECONDS, exit=True)
    for figures in in_process(given.bodies, given.seed):
        faulthandler.dump_traceback_later(_HANG_SECONDS, exit=True)
        _show("in process", figures)
    faulthandler.cancel_dump_traceback_later()
    with provide("tests") as services:
        _show("through servers", asyncio.run(through_servers(services, given.sample, given.seed)))


def _show(where: str, figures: Figures) -> None:
    answers = ", ".join(f"{count} {what}" for what, count in sorted(figures.answers.items()))
    slowest = f", slowest {figures.slowest_seconds:.3f} s" if figures.slowest_seconds else ""
    _say(f"{where}: {figures.messages} messages{slowest}: {answers}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
