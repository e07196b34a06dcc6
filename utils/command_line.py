"""What the entry points share: help that leads with examples, errors of one line, exit codes."""

import argparse
import difflib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any, NoReturn

from utils.errors import RunError, UsageError
from utils.version import project_version

Arguments = argparse.Namespace
OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "size calculation overflowed")
OTHERS_WAIT = 3.0  # seconds; torchrun ends all processes once one has ended, and only the first one reports errors
MOST_COLUMNS = 100  # of help


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process at once: during imports, where an exception may surface as anything."""
    def end(number: int, frame: object) -> None:
        os.write(2, b"\ninterrupted before anything had started\n")
        os._exit(130)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # leave it alone where it is ignored
        signal.signal(signal.SIGINT, end)


def raise_on_interrupt() -> None:
    """Ctrl-C raises KeyboardInterrupt again, after end_on_interrupt()."""
    if getattr(signal.getsignal(signal.SIGINT), "__module__", "") == __name__:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave(code: int) -> NoReturn:
    """End the process without tearing torch down, which takes long enough to be killed after all work is done."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed by its reader, or never open
            stream.flush()
    os._exit(code)


class Parser(argparse.ArgumentParser):
    """argparse with examples before everything else, exact flags only, --version, and UsageError in place of the long
    usage.
    """

    def __init__(self, examples: str, **options: Any) -> None:
        width = min(MOST_COLUMNS, shutil.get_terminal_size().columns - 2)
        super().__init__(allow_abbrev=False, **options, formatter_class=lambda prog: (
            argparse.RawDescriptionHelpFormatter(prog, width=width)))
        self.examples = examples
        self.add_argument("--version", action="version", version=project_version(), help="print the version and exit")

    def format_help(self) -> str:
        return f"{self.examples}\n{super().format_help()}"

    def error(self, message: str) -> NoReturn:
        hint = ""
        if message.startswith("unrecognized arguments"):
            flags, known = [word for word in message.split() if word.startswith("-")], self._option_string_actions
            near = [match for flag in flags for match in difflib.get_close_matches(flag, known, n=1)]
            hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"{message}{hint} (see --help)")


def exit_code(work: Callable[[], None], on_interrupt: str) -> int:
    """Run `work`; errors that a user can cause become one line on stderr and a code: 2 usage, 1 failure, 130 Ctrl-C.

    An interruption with its own `exit_code`, such as SIGTERM's, ends with that code.  Under torchrun only the first
    process prints; the others show nothing except the traceback of a bug.
    """
    if os.environ.get("RANK", "0") != "0":
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            code = _exit_code(work, on_interrupt)
        time.sleep(OTHERS_WAIT if code else 0)
        return code
    return _exit_code(work, on_interrupt)


def _exit_code(work: Callable[[], None], on_interrupt: str) -> int:
    if sys.stderr is None:  # closed by the caller; messages then go nowhere
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        work()
    except (UsageError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        print(f"\ninterrupted; {str(error) or on_interrupt}", file=sys.stderr)
        return getattr(error, "exit_code", 130)
    except OSError as error:  # a full disk, a folder that went away
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise  # a bug, whose traceback helps
        print("error: out of memory: try smaller --widths or a smaller --batch-size", file=sys.stderr)
        return 1
    return 0
