"""Prometheus' own checks, by ``promtool``."""

import subprocess

from tests.tools import debian_tool

_SECONDS = 60


def promtool(*arguments: str, page: str = "") -> str:
    """Run a check, and return what it says; fail where it finds anything.

    Args:
        arguments: Its command line.
        page: Its standard input.
    """
    tool = debian_tool("promtool", "prometheus")
    found = subprocess.run(  # noqa: S603 - the program is a tool of the tests' own choice
        [tool.path, *arguments],
        input=page,
        env=dict(tool.environment),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    said = found.stdout + found.stderr
    assert found.returncode == 0, said
    return said
