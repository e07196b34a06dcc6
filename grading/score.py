"""Score one submission: the child predicts in isolation, the parent alone holds the labels and counts.

The child has limits on CPU, memory, file size and time, an environment without secrets and, where the system lets an
ordinary user make network namespaces (Linux's unshare), no network.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from grading.strict_yaml import Strict
from grading.submission import take

ROOT = Path(__file__).resolve().parent.parent
MEMORY_BYTES, FILE_BYTES = 2**30, 64 * 2**20  # of the child: beyond torch itself, and of one file
TOLD_BYTES = 5_000_000  # most of what a child may say
Text = Annotated[str, Field(max_length=400)]
Count = Annotated[int, Field(ge=0, le=10**7)]


class Told(Strict):
    """What the child says of one record.  All of it is the student's word, but for what it could not do."""

    reason: Text = ""
    task: Text = ""
    dataset: Text = ""
    method: Text = ""
    seed: Annotated[int, Field(ge=0, le=2**64)] = 0
    status: Text = ""
    recipe: Text = ""
    history: Text = ""
    epochs: Count = 0
    claimed: Count | None = None
    n: Count | None = None
    reconstructions: bool = False
    labelled: bool = False  # the encoder has seen labels although the task learns without
    clustered: Count | None = None  # test images whose latent lies nearest to the mean of the class they are given
    predictions: Annotated[str, Field(pattern=r"^[0-9]{1,4}$")] | None = None
    weights: Text = ""
    sketch: Annotated[list[float], Field(max_length=1000)] = []


class Scored(Told):
    """The same with the parent's counts: correct test images of n, and of the hidden split where there is one."""

    file: Text
    verified: Count | None = None
    holdout: Count | None = None
    holdout_n: Count | None = None

    @property
    def accuracy(self) -> float | None:
        """Verified test accuracy, a fraction."""
        return None if self.verified is None or not self.n else self.verified / self.n

    @property
    def holdout_accuracy(self) -> float | None:
        return None if self.holdout is None or not self.holdout_n else self.holdout / self.holdout_n


class Evidence(Strict):
    """All that was found out about one submission; points are computed from it alone.

    submission, against: digests of what was handed in and of what it was scored on; trouble: why there is nothing to
    grade, or ""; ended: what broke the scoring off, or ""; settled: another start need not try again.
    """

    submission: str
    against: str
    refused: list[str] = []
    trouble: str = ""
    ended: str = ""
    settled: bool = True
    runs: list[Scored] = []


@dataclass(frozen=True)
class Truth:
    """What submissions are scored on.  images: .npy files by name, 'mnist' or 'mnist/holdout'; labels: the parent's."""

    images: dict[str, Path]
    labels: dict[str, np.ndarray]
    digest: str


@cache
def without_network() -> tuple[str, ...]:
    """The words before a command that cut it off from the network; none where the system does not allow it."""
    words = ("unshare", "--user", "--map-current-user", "--net", "--")
    if shutil.which("unshare") is None:
        return ()
    done = subprocess.run([*words, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return words if done.returncode == 0 else ()


class Scorer:
    """The isolated process (grading/child.py), which serves one job after the other; `with` ends it."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.home = tempfile.TemporaryDirectory(prefix="grading-home-")
        self.process: subprocess.Popen | None = None
        self.stopped = False

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.home.cleanup()

    def stop(self) -> None:
        """End it for good: no further job is served."""
        self.stopped = True
        self.end()

    def end(self) -> None:
        """Kill the process and everything that it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            self.process = None

    def start(self) -> None:
        environment = {"PATH": os.defpath, "HOME": self.home.name, "TMPDIR": self.home.name, "OMP_NUM_THREADS": "1",
                       "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [*without_network(), sys.executable, "-s", "-m", "grading.child"], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)

    def run(self, job: Path) -> str:
        """Do a job; returns "" or what went wrong.  A process that is gone is started anew for the next job."""
        if self.stopped:
            return "was stopped"
        if self.process is None or self.process.poll() is not None:
            self.end()
            self.start()
        try:
            self.process.stdin.write(f"{job}\n")
            self.process.stdin.flush()
            told = self.process.stdout.readline().strip()
        except (OSError, ValueError, AttributeError):  # ended by another thread meanwhile
            told = ""
        if not told:
            self.end()
            return "ended without a word"
        return "" if told == "done" else told


def evidence_of(source: Path, truth: Truth, scorer: Scorer, known: Evidence | None) -> Evidence:
    """Take a submission in and score it.  known: earlier evidence, which is returned where nothing has changed."""
    with tempfile.TemporaryDirectory(prefix="grading-") as name:
        scratch = Path(name)
        (scratch / "submission").mkdir()
        (scratch / "out").mkdir()
        taken = take(source, scratch / "submission")
        if known and known.settled and (known.submission, known.against) == (taken.digest, truth.digest):
            return known
        evidence = Evidence(submission=taken.digest, against=truth.digest, refused=taken.refused,
                            trouble=taken.unreadable)
        records = [file for file in sorted(taken.files) if file.endswith(".json")]
        if evidence.trouble or not records:
            return evidence.model_copy(update={"trouble": evidence.trouble or "holds no record (.json)"})
        (scratch / "job.json").write_text(json.dumps({
            "submission": str(scratch / "submission"), "out": str(scratch / "out"), "files": records,
            "images": {name: str(path) for name, path in truth.images.items()},
            "limits": {"wall_seconds": scorer.timeout, "cpu_seconds": max(1, math.ceil(scorer.timeout)),
                       "memory_bytes": MEMORY_BYTES, "file_bytes": FILE_BYTES}}))
        ended = scorer.run(scratch / "job.json")
        told = read_told(scratch / "out" / "told.json", set(records))
        trouble = f"could not be scored: it {ended}" if ended and not told else ""
        for file in records:
            told.setdefault(file, Told(reason=f"scoring {ended or 'said nothing of it'}"))
        if not trouble and not any(one.status for one in told.values()):
            trouble = f"holds no record that can be believed ({records[0]}: {told[records[0]].reason})"
        runs = [count(file, one, scratch / "out", truth) for file, one in sorted(told.items())]
        return evidence.model_copy(update={"runs": runs, "trouble": trouble, "settled": not ended,
                                           "ended": f"scoring {ended}" if ended else ""})


def read_told(path: Path, records: set[str]) -> dict[str, Told]:
    """What the child wrote, strictly; {} where it wrote nothing that can be believed."""
    try:
        if path.stat().st_size > TOLD_BYTES:
            return {}
        told = TypeAdapter(dict[str, Told]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
    return {name: one for name, one in told.items() if name in records}


def count(name: str, told: Told, out: Path, truth: Truth) -> Scored:
    """The record with correct images counted against the parent's own labels."""
    found = told.model_dump() | {"file": name}
    public = truth.labels.get(told.dataset)
    if told.predictions is not None and public is not None:
        found |= {"verified": correct(out / f"{told.predictions}.{told.dataset}.u2", public), "n": len(public)}
        hidden = truth.labels.get(f"{told.dataset}/holdout")
        if hidden is not None:
            found |= {"holdout": correct(out / f"{told.predictions}.{told.dataset}.holdout.u2", hidden),
                      "holdout_n": len(hidden)}
    scored = Scored(**found)
    if told.predictions is not None and scored.verified is None:
        return scored.model_copy(update={"reason": "its predictions are not as many as there are test images"})
    return scored


def correct(path: Path, labels: np.ndarray | None) -> int | None:
    """Correct predictions in a file of 16-bit numbers; None unless it has exactly one for each label."""
    if labels is None or not path.is_file() or path.stat().st_size != 2 * len(labels):
        return None
    return int(np.sum(np.frombuffer(path.read_bytes(), "<u2") == labels))
