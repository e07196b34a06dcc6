"""Errors a user can cause (2: usage, 1: failed, 3: partly done).  The entry points print them in one line."""

import re


class UsageError(ValueError):
    """The command asks for something that does not exist or does not fit; the message names what would be right."""

    exit_code = 2


class RunError(RuntimeError):
    """The command was right but could not be carried out; the message says why and what to do."""

    exit_code = 1


class PartlyDone(RunError):
    """Part of what was asked for could not be done; the message names it.  Exit code 3."""

    exit_code = 3


def reason(error: Exception) -> str:
    """The last line of an error's text, which states the cause, without urllib's wrapping."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^<urlopen error (.*)>$", r"\1", lines[-1])[:200]
