"""Shared by the entry points: help that starts with examples, one-line errors, exit codes."""

import argparse
import difflib
import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from utils.console import discard_output_without_reader
from utils.errors import RunError, UsageError, reason
from utils.version import ROOT, project_version

Arguments = argparse.Namespace
OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "size calculation overflowed",
                 "failed to map segment", "bad_alloc", "start new thread")
TOO_LARGE = "out of memory: try smaller --widths, or a smaller --batch-size, --latent-dim or --image-size"
NOT_LOADED = ("error: out of memory: a library could not be loaded ({}); raise the limit (ulimit -v), or free "
              "memory")
OTHERS_WAIT = 3.0  # seconds; torchrun ends all processes once one has ended, and only the first one reports errors
MOST_COLUMNS = 80  # of help
DASHES = "-\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"  # what word processors make of the hyphens of a flag
RENDEZVOUS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun for each process


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of Python, torch or another library says that memory was lacking."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def processes() -> int:
    """In how many processes torchrun, or a launcher that sets the same variables, started this command."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in RENDEZVOUS) else 1


def name_missing_package(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """sys.excepthook: one line for a package that is not installed or does not fit into memory, else a traceback."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if isinstance(error, ImportError | MemoryError) and is_out_of_memory(error):
        report_end(NOT_LOADED.format(reason(error)))
    elif not package or (ROOT / package).exists():
        sys.__excepthook__(kind, error, trace)
    else:
        activate = "source .venv/bin/activate" if os.name == "posix" else r".venv\Scripts\activate"
        report_end(f"error: {sys.executable} has no package {package}; activate the environment ({activate}), or: "
                   "python -m pip install -r requirements.txt")


def prepare_imports() -> None:
    """For slow imports: name a missing package, and let Ctrl-C, which they may turn into any exception, end at once."""
    sys.excepthook = name_missing_package

    def end(number: int, frame: object) -> None:
        os.write(2, b"\ninterrupted before anything had started\n")
        os._exit(130)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # leave it alone where it is ignored
        signal.signal(signal.SIGINT, end)


def raise_on_interrupt() -> None:
    """Ctrl-C raises KeyboardInterrupt again, after prepare_imports()."""
    if getattr(signal.getsignal(signal.SIGINT), "__module__", "") == __name__:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave(code: int) -> NoReturn:
    """End the process without tearing torch down, which takes long enough to be killed after all work is done."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed by its reader, or never open
            stream.flush()
    os._exit(code)


def flag_path(text: str) -> Path:
    """A flag's path.  An empty one, which an unset variable gives, would mean the current folder.

    No shell expands the ~ of --results-dir=~/results, which would make a folder called ~.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # an unknown ~user
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


class StoreOnce(argparse._StoreAction):
    """Refuses to repeat flags of many values, or of what a command works on: the last would replace the others."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Arguments, values: Any,
                 option_string: str | None = None) -> None:
        if getattr(namespace, self.dest, self.default) is not self.default:
            if self.nargs == "+":
                raise argparse.ArgumentError(self, "given twice; name all its values after one")
            if self.dest in ("task", "dataset", "init", "embed", "images", "out"):
                raise argparse.ArgumentError(self, "given twice; it takes one value")
        super().__call__(parser, namespace, values, option_string)


class Parser(argparse.ArgumentParser):
    """argparse with examples first, exact flags only, --version, no empty path, UsageError in place of usage."""

    def __init__(self, examples: str, **options: Any) -> None:
        width = min(MOST_COLUMNS, shutil.get_terminal_size().columns - 2)
        super().__init__(allow_abbrev=False, **options, formatter_class=lambda prog: (
            argparse.RawDescriptionHelpFormatter(prog, width=width)))
        self.examples = examples
        self.register("type", Path, flag_path)
        self.register("action", None, StoreOnce)
        self.add_argument("--version", action="version", version=project_version(), help="print the version and exit")

    def format_help(self) -> str:
        return f"{self.examples}\n{super().format_help()}"

    def error(self, message: str) -> NoReturn:
        hint = ""
        if message.startswith("unrecognized arguments"):
            flags = ["--" + word.strip(DASHES) for word in message.split() if word[0] in DASHES]
            known = self._option_string_actions
            near = [match for flag in flags for match in difflib.get_close_matches(flag, known, n=1)]
            hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"{message}{hint} (see --help)")


def exit_code(work: Callable[[], None], on_interrupt: str) -> int:
    """Run `work`; errors that a user can cause become one line on stderr and a code: 2 usage, 1 failure, 130 Ctrl-C.

    An interruption with its own `exit_code`, such as SIGTERM's, ends with that code.  Under torchrun only the first
    process prints; the others show nothing except the traceback of a bug.
    """
    if processes() > 1 and os.environ["RANK"] != "0":  # other programs set RANK alone
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            code = _exit_code(work, on_interrupt)
        if code:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # torchrun then lists the first one's failure alone
            time.sleep(OTHERS_WAIT)
        return code
    return _exit_code(work, on_interrupt)


def prepare_streams() -> None:
    """If the caller has closed stdout or stderr, discard what is printed, instead of writing it to the next file.

    Characters that the terminal or file cannot represent, as in a folder's name, are escaped; they do not end the run.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def report_end(text: str) -> None:
    """Say why the command ends: on stderr, and under torchrun as the reason at the end of its own failure report."""
    print(text, file=sys.stderr)
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        facts = {"message": text, "extraInfo": {"py_callstack": text.strip(), "timestamp": str(int(time.time()))}}
        with suppress(OSError):
            Path(file).write_text(json.dumps({"message": facts}), encoding="utf-8")


def _exit_code(work: Callable[[], None], on_interrupt: str) -> int:
    sys.excepthook = name_missing_package
    prepare_streams()
    try:
        work()
        sys.stdout.flush()
    except (UsageError, RunError) as error:
        report_end(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt as error:
        report_end(f"\ninterrupted; {str(error) or on_interrupt}")
        return getattr(error, "exit_code", 130)
    except OSError as error:  # a full disk, a folder that went away
        if isinstance(error, BrokenPipeError) and discard_output_without_reader():
            return 141  # 128 + SIGPIPE, as other commands end
        report_end(f"error: {error}")
        return 1
    except (MemoryError, RuntimeError, ImportError) as error:
        if not is_out_of_memory(error):
            raise  # a bug, whose traceback helps
        report_end(NOT_LOADED.format(reason(error)) if isinstance(error, ImportError) else f"error: {TOO_LARGE}")
        return 1
    return 0


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Data folder, device and number format."""
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: data")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"),
                        help="auto: CUDA, else MPS, else the CPU")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"),
                        help="number format of this project's training; auto: measure which is faster")


def check_output(path: Path | None, flag: str, suffixes: tuple[str, ...]) -> None:
    """UsageError, before anything is computed, unless a file of this name can be written."""
    if path is None:
        return
    if path.suffix not in suffixes:
        raise UsageError(f"{flag} {path}: must be a file whose name ends in {' or '.join(suffixes)}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{flag} {path}: is not a regular file")
    if not path.parent.is_dir():
        raise UsageError(f"{flag} {path}: there is no folder {path.parent}")
