"""The completion of ``callctl`` in a shell."""

import asyncio
import sys
from pathlib import Path

import pytest

#: Source what callctl prints, and complete as bash does when Tab is pressed.
COMPLETE = """
source <(callctl --show-completion)
COMP_WORDS=({words})
COMP_CWORD=$(({number}))
_callctl_completion callctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


async def completed(*words: str) -> list[str]:
    """What bash proposes for the last word of a line."""
    quoted = " ".join(f"'{word}'" for word in ("callctl", *words))
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", COMPLETE.format(words=quoted, number=len(words))),
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/nonexistent"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return output.decode().split()


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        (("topo",), ["topology"]),
        (("topology", ""), ["show", "verify", "export", "apply"]),
        (("dead", "re"), ["replay"]),
        (("calls", "--state", "he"), ["held"]),
        (("send", "un"), ["un_mute"]),
        (("doctor", "--j"), ["--json"]),
    ],
)
async def test_bash_completes_commands_options_and_choices(
    words: tuple[str, ...], proposed: list[str]
) -> None:
    """With what ``callctl --show-completion`` prints there."""
    assert await completed(*words) == proposed
