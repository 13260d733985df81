"""What ``callctl`` exits with."""

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    NEGATIVE = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


#: What each of them says, for people.
MEANINGS: Final = {
    ExitCode.DONE: "done (a worker: drained)",
    ExitCode.NEGATIVE: "the answer is no: a refusal, nothing found, or something found wrong",
    ExitCode.USAGE: "a mistake in options, input or settings, or they do not fit what is there",
    ExitCode.UNAVAILABLE: "a service cannot be reached, or gives no answer in time: what came of"
    " it is unknown",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}
