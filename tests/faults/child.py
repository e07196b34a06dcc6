"""Code of a process with an injected fault: quick scores, the fault, then `_main.command`.

Imported once, by the server from which all these processes are forked, because importing torch takes seconds.
"""

import datetime
import importlib
import os
import resource
import signal
import sys
import threading
import time
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets  # noqa: F401  imported here and below only to have it before the fork
import sklearn.neighbors  # noqa: F401
import torch
from PIL import WebPImagePlugin  # noqa: F401
from tqdm import tqdm

import _main
from evaluation import figure_arrays, scores
from training import loop, run
from training.checkpoints import Checkpoints
from training.tasks import TASKS
from utils.images import datasets
from utils.images.sources import Source, decode_digits
from utils.records import environment, schema

for task in TASKS.values():
    importlib.import_module(task.script)
tqdm.set_lock(threading.RLock())  # its own is shared between processes, and would be left behind by those killed


def write_part(file: Path, array: np.ndarray) -> None:
    """Write one of the four files of the simulated download."""
    with file.open("wb") as out:
        np.save(out, array[: len(array) // 2])  # while a download is in progress
        out.seek(0)
        np.save(out, array)


PLACES: dict[str, tuple[Any, str]] = {  # a fault happens just before a call of one of these
    "replace": (os, "replace"), "fsync": (os, "fsync"), "unlink": (Path, "unlink"), "step": (loop.Loop, "step"),
    "validate": (loop.Loop, "validate"), "restore": (loop.Loop, "_restore"), "load": (run, "load_dataset"),
    "fit": (loop, "build_encoder"), "score": (run, "score"), "arrays": (run, "write_arrays"),
    "record": (schema, "write_record"), "remove": (Checkpoints, "remove"),
    "part": (sys.modules[__name__], "write_part"),
}


@dataclass(frozen=True)
class Fault:
    """A signal that the process sends itself at a place, a limit on file sizes, or a clock that runs backwards."""

    place: str = ""
    call: int = 1
    signal: int = signal.SIGKILL
    largest: int = 0  # limit on the size of a file in bytes; 0: none
    dies: bool = False  # exceeding the limit kills the process; otherwise it is an error, as on a full disk
    hours_back: int = 0  # the clock is set back by so many hours, and by a minute more at each reading
    downloads: bool = False  # digits come from a simulated download, and are cached


def go(argv: list[str], log: str, fault: Fault) -> None:
    """Run the command in this process, with the fault."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored, as under nohup
    quick_scores()
    if fault.downloads:
        datasets.DATASETS["digits"] = replace(datasets.DATASETS["digits"], cached=True, sources=(
            Source("a stand-in", fetch, decode, download="100 kB"),))
    if fault.hours_back:
        turn_back(fault.hours_back)
    if fault.place:
        strike(*PLACES[fault.place], fault.call, fault.signal)
    if fault.largest:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault.dies else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.largest, fault.largest))
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    _main.leave(_main.command(argv))


def quick_scores() -> None:
    """Make scoring quick and skip measurements: these tests check how a run ends, not its accuracy."""
    figure_arrays.tsne = figure_arrays.first_components
    scores.CLASSIFIER_EPOCHS, scores.CLASSIFIER_STEPS = 1, 3
    scores.linear_probe = lambda latents: lambda z: torch.zeros(len(z), dtype=torch.int64)
    run.measure_conv = lambda *_, **__: {"float32": 2.0, "bfloat16": 1.0}
    run.commit_of = environment.commit_of = lambda: ("0" * 40, False)


def strike(owner: Any, name: str, call: int, number: int) -> None:
    """Send this process the signal just before the n-th call of owner.name."""
    whole, calls = getattr(owner, name), [0]

    def struck(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), number)
        return whole(*arguments, **named)
    setattr(owner, name, struck)


def fetch(data_dir: Path, temporary: Path) -> Path:
    """A simulated download."""
    for part, array in decode_digits(temporary).items():
        sys.modules[__name__].write_part(temporary / f"{part}.npy", array)
    return temporary


def decode(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the simulated download."""
    return {part: np.load(folder / f"{part}.npy") for part in datasets.PARTS}


def turn_back(hours: int) -> None:
    """Set the wall clock back by so many hours and let it run backwards; the monotonic clock is unaffected."""
    begun, looks = time.time() - 3600 * hours, [0]

    def wall() -> float:
        looks[0] += 1
        return begun - 60 * looks[0]

    class Moment(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return cls.fromtimestamp(wall(), tz)

    time.time = wall
    schema.datetime = types.SimpleNamespace(datetime=Moment, UTC=datetime.UTC)
