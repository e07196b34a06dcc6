"""Run `_main.py` in separate processes, and check what must hold for a results folder whatever happened to them."""

import json
import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from report.load import load_results
from utils.files import sha256_file
from utils.records.schema import UNFINISHED

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 600.0  # seconds after which a process counts as hanging
TINY = ["--dataset", "digits", "--precision", "float32", "--batch-size", "400", "--checkpoint-minutes", "0"]
TASKS = {  # three epochs of three steps
    "1.2.1": ["--task", "1.2.1", "--widths", "4", "8", "--epochs", "3"],
    "1.2.2": ["--task", "1.2.2", "--widths", "4", "8", "--epochs", "3"],
    "1.2.3": ["--task", "1.2.3", "--widths", "4", "8", "--epochs", "3"],
    "rotation": ["--task", "rotation", "--widths", "4", "8", "--epochs", "3"],
}


def _enter(argv: list[str], log: str, fault: dict[str, Any]) -> None:
    from tests.faults import child  # there already, in the process that this one was forked from

    child.go(argv, log, child.Fault(**fault))


class Folder:
    """A results folder, with a data folder and a log of the output of its runs."""

    def __init__(self, path: Path) -> None:
        self.path, self.results, self.data, self.log = path, path / "results", path / "data", path / "log"
        path.mkdir(exist_ok=True)

    def start(self, argv: list[str], **fault: Any) -> BaseProcess:
        """Start a command of _main.py in a separate process.  fault: fields of child.Fault."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.child"])
        os.environ["PYTHONPATH"] = str(ROOT)  # of the server, which starts with the first process
        argv = [*argv, *TINY, "--results-dir", str(self.results), "--data-dir", str(self.data)]
        process = context.Process(target=_enter, args=(argv, str(self.log), fault))
        process.start()
        return process

    def run(self, argv: list[str], **fault: Any) -> int:
        """Run one command to its end.  Returns its exit code, or minus the number of the signal that killed it."""
        return ended(self.start(argv, **fault))

    def said(self) -> str:
        return self.log.read_text()

    def names(self) -> list[str]:
        """Everything in the results folder except the locks."""
        if not self.results.exists():  # killed before creating the folder
            return []
        return sorted(path.name for path in self.results.iterdir() if path.name != ".locks")


def ended(process: BaseProcess, seconds: float = DEADLINE) -> int:
    """Wait for its end and return its exit code; fail if it hangs."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"still running after {seconds:.0f} s")
    return process.exitcode


def stopped(process: BaseProcess) -> None:
    """Wait until it has stopped itself (SIGSTOP)."""
    until = time.monotonic() + DEADLINE
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < until and process.exitcode is None
        time.sleep(0.01)


def check_readable(folder: Folder) -> None:
    """Every file under a final name must be complete, wherever a process was killed."""
    if not folder.results.exists():
        return
    loaded, rejected = load_results(folder.results)
    assert not rejected, rejected
    for one in loaded:
        for artifact in one.record.artifacts.values():
            assert sha256_file(folder.results / artifact.name) == artifact.sha256


def check_complete(folder: Folder, records: int = 1) -> list[dict[str, Any]]:
    """The folder must contain so many records, all readable, with their files and nothing else.  Returns them."""
    check_readable(folder)
    names = folder.names()
    assert not [name for name in names if name.endswith((".tmp", UNFINISHED))], names
    stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    assert len(stems) == records, names
    files = {f"{stem}{suffix}" for stem in stems for suffix in (".json", ".npz", ".safetensors")}
    assert all(name.startswith("thumbnails_") for name in set(names) - files), names
    assert not folder.data.exists() or not list(folder.data.glob(".*.tmp"))
    return [json.loads((folder.results / f"{stem}.json").read_text()) for stem in stems]


def outcome(record: dict[str, Any]) -> dict[str, Any]:
    """What must be equal bit for bit: all except times, the number of interruptions, and the command line's folders.

    The SHA-256 of the artifacts represent every byte of weights and arrays.
    """
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in record["history"]]
    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))  # none lost, none twice
    return {key: record[key] for key in ("recipe", "derived", "selection", "metrics", "confusion", "artifacts")} | {
        "history": history, "data": {key: value for key, value in record["data"].items() if key != "source"}}
