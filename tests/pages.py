"""What README.md shows: its sections, its blocks, and how they are run and compared."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.harness import ROOT

#: Seconds that what a page shows may take on a busy machine.
SECONDS = 120.0

#: What differs from run to run: times, durations, ids, the width of columns.
_VARYING = (
    (re.compile(r"\d\d:\d\d:\d\d(\.\d+)?"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DATE"),
    (re.compile(r"\b[0-9a-f]{8,32}\b"), "ID"),
    (re.compile(r"\d+(\.\d+)? m?s\b"), "SECONDS"),
    (re.compile(r"[\s│┃|─━┏┓┗┛┡┩└┘├┤┼╇┳┻┬┴]+"), " "),
)


def section(title: str) -> str:
    """Return a section of README.md."""
    page = (ROOT / "README.md").read_text()
    found = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)^## ", page)
    assert found, title
    return found[1]


def parts(title: str) -> dict[str, list[tuple[str, str]]]:
    """Return the blocks of a section's parts, each with its language, by their headings."""
    _, *texts = re.split(r"^### ", section(title), flags=re.MULTILINE)
    return {
        text.partition("\n")[0]: re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", text) for text in texts
    }


def normal(text: str) -> list[str]:
    """Return the lines of a text, without what differs from run to run."""
    for varying, shown in _VARYING:
        text = "\n".join(varying.sub(shown, line) for line in text.splitlines())
    return [line.strip() for line in text.splitlines() if line.strip()]


def is_shown(wanted: list[str], output: list[str]) -> bool:
    """Tell whether lines stand in an output in their order; ``…`` in them is anything."""
    patterns = [
        re.compile(".*".join(map(re.escape, line.split("…")))) for line in wanted if line != "…"
    ]
    remaining = iter(output)
    return all(any(pattern.fullmatch(line) for line in remaining) for pattern in patterns)


@contextmanager
def shell(script: str, directory: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a script to its end, and yield what it has printed; what it left behind still runs."""
    output = directory / "output"
    with output.open("wb") as file:
        running = subprocess.Popen(  # noqa: S603 - the project's own page
            ["/bin/bash", "-c", script],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        running.wait(SECONDS)
        yield output.read_text()
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
