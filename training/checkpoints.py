"""Checkpoints of a running training, so that it survives Ctrl-C, kill -9, a full disk and a truncated file.

The folder NAME.unfinished, next to the future record, holds the last two of each stage (training, then --finetune
or a decoder's):

    stage1-step000000432.safetensors   every tensor: weights, master copies, optimiser, averages, random generators
    stage1-step000000432.json          the progress, the identity of the run, and the SHA-256 of the tensors

Both are written to a temporary file, flushed and renamed, the JSON last: tensors without their JSON are ignored.  A run
resumed from a checkpoint gives the same record, bit for bit on the same machine, as an uninterrupted one; only wall
times differ.  No pickle is written or read.
"""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from utils.compute import distributed
from utils.console import discard_output_without_reader, say
from utils.errors import UsageError
from utils.files import write_bytes
from utils.records.schema import Count, Digest, Epoch, RecordError, Seconds, Strict, Text, read_strictly

KEPT = 2  # checkpoints per stage: the newest, and the previous one in case it is damaged
LAST = "the same command resumes from the last checkpoint"
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Progress(Strict, frozen=False):
    """The state of a training between two steps, which the loop updates."""

    epoch: Count  # the current epoch, from 1; the number of epochs plus one when all are done
    position: Count  # batches of it that are finished
    step: Count
    losses: list[float]  # of the finished batches of the current epoch
    correct: Count
    seen: Count
    learning_rate: float
    history: list[Epoch]
    seconds: Seconds  # of training up to the last checkpoint, without interruptions


class Checkpoint(Strict):
    """The JSON next to the tensors.  identity: what must be equal for the run to resume, see Checkpoints."""

    identity: dict[str, Any]
    started: Text  # of the run, UTC
    resumed: Count  # how often the run has been resumed, also since this checkpoint was written
    commit: Text  # of the code that wrote it
    progress: Progress
    tensors: Digest


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP, after the checkpoint was written.  The message says how to resume."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + number  # the shells' convention: 130, 143 for SIGTERM, 129 for SIGHUP


@dataclass
class Checkpoints:
    """The checkpoints of one run.

    identity: everything that makes it this run (task, data, recipe, seed, number format, device, ...), as JSON.
    started: when the run first started, UTC; taken from the checkpoint that it resumes from, like `resumed`.
    every: seconds between two checkpoints within an epoch; each epoch also ends with one.
    stop: set by the signals STOPPING; a checkpoint is then due, and the run ends after it.
    """

    folder: Path
    identity: dict[str, Any]
    started: str
    commit: str
    every: float
    resumed: int = 0
    lost: float = 0.0  # seconds that earlier processes trained
    stage: int = 0
    stop: bool = False
    stopped_by: int = signal.SIGINT
    written: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether it is time for a checkpoint, by the first process's clock, or the run was asked to stop."""
        return self.stop or (distributed.is_first() and time.monotonic() - self.written >= self.every)

    def save(self, progress: Progress, tensors: dict[str, Tensor]) -> None:
        """Write a checkpoint and drop older ones.  A full disk costs the checkpoint, not the training.

        Of several processes the first one writes, and all stop if one was asked to.
        """
        if distributed.is_first():
            self._write(progress, tensors)
        self.written = time.monotonic()
        if any(distributed.gather_objects(self.stop)):
            kept = newest(self.folder)[1]
            if kept is None:
                raise Interrupted("no checkpoint could be written; the same command starts over", self.stopped_by)
            raise Interrupted(f"the checkpoint of step {kept.progress.step} is in {self.folder}; the same command "
                              "resumes from it", self.stopped_by)

    def _write(self, progress: Progress, tensors: dict[str, Tensor]) -> None:
        stem = self.folder / f"stage{self.stage}-step{progress.step:09d}"
        data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        facts = Checkpoint(identity=self.identity, started=self.started, resumed=self.resumed, commit=self.commit,
                           progress=progress, tensors=hashlib.sha256(data).hexdigest())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(stem.with_suffix(".safetensors"), data)
            write_bytes(stem.with_suffix(".json"), facts.model_dump_json().encode())
        except OSError as error:
            say(f"checkpoint {stem.name} could not be written ({error.strerror}); the training continues without it")
        else:
            for path in _newest_first(self.folder, self.stage)[KEPT:]:
                path.unlink(missing_ok=True)  # the JSON first: tensors alone are not a checkpoint
                path.with_suffix(".safetensors").unlink(missing_ok=True)

    def load(self) -> tuple[Progress, dict[str, Tensor]] | None:
        """The newest intact checkpoint of this stage, or None.  Reports damaged ones and the one that is used."""
        for path in _newest_first(self.folder, self.stage):
            try:
                facts: Checkpoint = read_strictly(path, Checkpoint)
                data = path.with_suffix(".safetensors")
                if hashlib.sha256(data.read_bytes()).hexdigest() != facts.tensors:
                    raise RecordError(f"{data.name}: its SHA-256 is not the one in {path.name}")
                tensors = load_file(data)
            except (RecordError, OSError, SafetensorError) as error:
                say(f"skipping a damaged checkpoint: {error}")
                continue
            self.lost += facts.progress.seconds
            say(f"resuming from {path.with_suffix('').name}, after {facts.progress.seconds:.0f} s of training"
                + ("" if facts.commit == self.commit else f"; its code was {facts.commit[:7]}, this is "
                                                          f"{self.commit[:7]}"))
            return facts.progress, tensors
        return None

    def adopt(self) -> None:
        """Adopt the start time of the existing checkpoint, and count the interruption in it.

        Otherwise interruptions of the scoring, which writes no checkpoint, would not be counted.  UsageError if the
        checkpoint belongs to another run.
        """
        path, found = newest(self.folder)
        if found is None:
            if _newest_first(self.folder):
                say(f"no checkpoint in {self.folder} can be read; starting over")
            self.remove()
            return
        if found.identity != self.identity:
            same = all(found.identity.get(part) == self.identity.get(part) for part in ("images", "init"))
            remedy = "--fresh starts over" if same else (
                "finish it with its own command, or give another --results-dir; --fresh deletes it")
            raise UsageError(f"{self.folder} holds an unfinished run that differs: "
                             f"{differences(found.identity, self.identity)}; {remedy}")
        self.started, self.resumed = found.started, found.resumed + 1
        with suppress(OSError):  # a full disk
            write_bytes(path, found.model_copy(update={"resumed": self.resumed}).model_dump_json().encode())

    def remove(self) -> None:
        """Remove the checkpoints: the run is over, or starts over.  The newest JSON goes last: it identifies the run.

        Files of other origin in the folder are kept.  Of several processes, only the first calls this (run.py).
        """
        last = _newest_first(self.folder)[:1]
        others = {*self.folder.glob(".stage*.tmp"), *self.folder.glob("stage*-step*")}.difference(last)
        with suppress(OSError):
            for path in (*others, *last):
                path.unlink()
            self.folder.rmdir()

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let Ctrl-C, SIGTERM or SIGHUP stop the run after a checkpoint, and a second Ctrl-C stop it at once.

        SIGTERM and SIGHUP often come twice, from a scheduler and torchrun or from a terminal and its shell.  Ignored
        signals, as under nohup, stay ignored.  Raises Interrupted at the end if the training was over before the next
        checkpoint.
        """
        if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
            yield
            return

        def ask(number: int, _frame: object) -> None:
            if self.stop and number == signal.SIGINT:
                raise Interrupted(LAST, number)
            if self.stop:
                return
            self.stop, self.stopped_by = True, number
            discard_output_without_reader()
            if distributed.is_first():  # not print: the signal may have interrupted one
                os.write(2, f"\n{signal.Signals(number).name}: stopping after this step and its checkpoint; "
                            "Ctrl-C: at once\n".encode())

        before = {number: signal.signal(number, ask) for number in STOPPING
                  if signal.getsignal(number) is not signal.SIG_IGN}
        try:
            yield
            if self.stop:
                raise Interrupted(LAST, self.stopped_by)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def newest(folder: Path, stage: int | None = None) -> tuple[Path, Checkpoint | None]:
    """The newest readable checkpoint of an unfinished run, or of one stage, and its JSON file; without one None."""
    for path in _newest_first(folder, stage):
        with suppress(RecordError):  # load() reports damage
            return path, read_strictly(path, Checkpoint)
    return folder, None


def _newest_first(folder: Path, stage: int | None = None) -> list[Path]:
    """The JSON files of checkpoints, of one stage or of all."""
    return sorted(folder.glob(f"stage{stage or '*'}-step*.json"), reverse=True)


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """`epochs 60 there, 80 here; seed 0 there, 1 here`, nested dictionaries included."""
    found = []
    for key in [*theirs, *(key for key in ours if key not in theirs)]:
        there, here = theirs.get(key), ours.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            found += [differences(there, here)] if there != here else []
        elif there != here:
            found.append(f"{key} {there} there, {here} here")
    return "; ".join(found)
