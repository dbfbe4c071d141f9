"""Exit codes for scripts (docs/cli.md lists them), and the errors that lead to them.

Cut by what a script does next: go on, give up on this version, wait longer, look for the name, look at its access.
"""

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code says."""

    DONE = 0  # it is as asked
    NO = 1  # rolled back, rejected, findings, or nothing to act on
    TIMED_OUT = 2  # not yet
    NOT_FOUND = 3
    NO_ACCESS = 4  # no kubeconfig, no answer, or the API server refuses
    USAGE = 64  # the command line itself is wrong (EX_USAGE)
    INTERRUPTED = 130


class Stop(Exception):
    """End with this exit code; the message is for the user, and says what to do instead."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
