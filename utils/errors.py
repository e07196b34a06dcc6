"""The two errors that a user can cause.  The entry points print them in one line and exit with their code."""

import re


class UsageError(ValueError):
    """The command asks for something that does not exist or does not fit; the message names what would be right."""

    exit_code = 2


class RunError(RuntimeError):
    """The command was right but could not be carried out; the message says why and what to do."""

    exit_code = 1


class PartlyDone(RunError):
    """All was done that could be, but not for everything that was asked for: one line and exit code 3."""

    exit_code = 3


def reason(error: Exception) -> str:
    """The last line of an error's text, which is the one that says why, without what urllib wraps around it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^<urlopen error (.*)>$", r"\1", lines[-1])[:200]
