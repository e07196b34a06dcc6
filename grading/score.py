"""Score one submission: a child process predicts in isolation; only the parent has the labels and counts.

The child runs under limits on CPU time, memory, file size and wall time, in an environment without secrets and, where
the system lets ordinary users create network namespaces (Linux's unshare), without a network.
"""

import contextlib
import hashlib
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

from grading.rubric import Rubric
from grading.submission import take
from utils.errors import UsageError
from utils.images.datasets import load_dataset
from utils.records.schema import Strict

ROOT = Path(__file__).resolve().parent.parent
MEMORY_BYTES, FILE_BYTES = 2**30, 64 * 2**20  # limits of the child: memory on top of torch's own, size of one file
REPORT_BYTES = 5_000_000  # limit of the child's report
Text = Annotated[str, Field(max_length=400)]
Count = Annotated[int, Field(ge=0, le=10**7)]


class ChildReport(Strict):
    """What the child reports on one record.  Everything except `reason` is as trustworthy as the student."""

    reason: Text = ""
    task: Text = ""
    dataset: Text = ""
    method: Text = ""
    seed: Annotated[int, Field(ge=0, le=2**64)] = 0
    status: Text = ""
    recipe: Text = ""
    history: Text = ""  # digest of the losses
    epochs: Count = 0
    claimed: Count | None = None  # correct test images by the record, of n
    n: Count | None = None
    reconstructions: bool = False
    labelled: bool = False  # the encoder was trained with labels although the task learns without
    clustered: Count | None = None  # test images whose latent is nearest to the mean of their predicted class
    predictions: Annotated[str, Field(pattern=r"^[0-9]{1,4}$")] | None = None  # stem of the files with the predictions
    weights: Text = ""  # digest of the encoder's
    sketch: Annotated[list[float], Field(max_length=1000)] = []


class ScoredRun(ChildReport):
    """A report with the parent's counts: correct test images, of n, and correct hidden images, of holdout_n."""

    file: Text
    correct_verified: Count | None = None
    correct_holdout: Count | None = None
    holdout_n: Count | None = None

    @property
    def claimed_accuracy(self) -> float | None:
        """Test accuracy by the record, a fraction."""
        return None if self.claimed is None or not self.n else self.claimed / self.n

    @property
    def accuracy(self) -> float | None:
        """Verified test accuracy, a fraction."""
        return None if self.correct_verified is None or not self.n else self.correct_verified / self.n

    @property
    def holdout_accuracy(self) -> float | None:
        """Accuracy on the hidden images, a fraction."""
        return None if self.correct_holdout is None or not self.holdout_n else self.correct_holdout / self.holdout_n


class Evidence(Strict):
    """Everything found out about one submission; points are computed from this alone.

    submission, against: digests of the submission and of the images and labels it was scored on; trouble: why nothing
    could be graded, or ""; ended: why scoring ended early, or ""; settled: scoring again would change nothing.
    """

    submission: str
    against: str
    refused: list[str] = []
    trouble: str = ""
    ended: str = ""
    settled: bool = True
    runs: list[ScoredRun] = []


@dataclass(frozen=True)
class Truth:
    """What submissions are scored on, by name ('mnist' or 'mnist/holdout').  images: .npy files; labels: (N,) ints."""

    images: dict[str, Path]
    labels: dict[str, np.ndarray]
    digest: str


def load_truth(rubric: Rubric, data_dir: Path, holdout: Path | None, folder: Path) -> Truth:
    """The rubric's data sets: test images as .npy files in `folder`, labels in memory.  Raises RunError, UsageError."""
    images, labels = {}, {}
    for name in sorted({criterion.dataset for criterion in rubric.criteria if criterion.dataset}):
        dataset = load_dataset(name, data_dir)
        images[name], labels[name] = dataset.test_images, dataset.test_labels
    if holdout:
        for name, hidden in read_holdout(holdout, {name: images[name].shape[1:] for name in images}).items():
            images[f"{name}/holdout"], labels[f"{name}/holdout"] = hidden
    for criterion in rubric.criteria:
        if criterion.metric == "holdout_accuracy" and f"{criterion.dataset}/holdout" not in images:
            raise UsageError(f"criterion {criterion.id} needs hidden images: --holdout FILE with "
                             f"{criterion.dataset}_images and {criterion.dataset}_labels")
    digest, files = hashlib.sha256(), {}
    for name, stack in sorted(images.items()):
        files[name] = folder / f"{name.replace('/', '.')}.npy"
        np.save(files[name], stack)
        digest.update(name.encode() + stack.tobytes() + labels[name].astype("<i8").tobytes())
    return Truth(files, labels, digest.hexdigest())


def read_holdout(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Hidden images and labels from an .npz file: NAME_images (N, H, W, C) uint8, NAME_labels (N,) whole numbers.

    shapes: (H, W, C) of the data sets to look for, by name.  Raises UsageError.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # numpy and zipfile raise many kinds
        raise UsageError(f"--holdout {path}: not an .npz file of arrays: {' '.join(str(error).split())}") from None
    found = {}
    for name, shape in shapes.items():
        images, labels = arrays.get(f"{name}_images"), arrays.get(f"{name}_labels")
        if images is None and labels is None:
            continue
        if images is None or labels is None or images.shape[1:] != shape or images.dtype != np.uint8 \
                or labels.shape != (len(images),) or not len(images) or labels.dtype.kind not in "iu":
            raise UsageError(f"--holdout {path}: needs {name}_images (N, {', '.join(map(str, shape))}) uint8 and as "
                             f"many whole numbers in {name}_labels")
        found[name] = images, labels
    if not found:
        raise UsageError(f"--holdout {path}: no images of the rubric's data sets ({', '.join(shapes)})")
    return found


@cache
def without_network() -> tuple[str, ...]:
    """Prefix of a command that runs it without a network; () where the system does not allow that."""
    words = ("unshare", "--user", "--map-current-user", "--net", "--")
    if shutil.which("unshare") is None:
        return ()
    done = subprocess.run([*words, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return words if done.returncode == 0 else ()


class Scorer:
    """The isolated process (grading/child.py), which serves one job after another; `with` ends it."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.home = tempfile.TemporaryDirectory(prefix="grading-home-")
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.home.cleanup()

    def stop(self) -> None:
        """End the process and serve no further job."""
        self.stopped = True
        self.end()

    def end(self) -> None:
        """Kill the process and everything it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            self.process = None

    def start(self) -> subprocess.Popen[str]:
        environment = {"PATH": os.defpath, "HOME": self.home.name, "TMPDIR": self.home.name, "OMP_NUM_THREADS": "1",
                       "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [*without_network(), sys.executable, "-s", "-m", "grading.child"], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        return self.process

    def run(self, job: Path) -> str:
        """Do a job; "" or what went wrong.  A process that has ended is replaced."""
        if self.stopped:
            return "was stopped"
        process = self.process
        if process is None or process.poll() is not None:
            self.end()
            process = self.start()
        assert process.stdin and process.stdout  # pipes
        try:
            process.stdin.write(f"{job}\n")
            process.stdin.flush()
            answer = process.stdout.readline().strip()
        except (OSError, ValueError):  # ended by another thread meanwhile
            answer = ""
        if not answer:
            self.end()
            return "ended without an answer"
        return "" if answer == "done" else answer


def evidence_of(source: Path, truth: Truth, scorer: Scorer, known: Evidence | None) -> Evidence:
    """Copy a submission and score it.  known: earlier evidence, which is returned if nothing has changed."""
    with tempfile.TemporaryDirectory(prefix="grading-") as name:
        submission, out, job = (Path(name, part) for part in ("submission", "out", "job.json"))
        submission.mkdir()
        out.mkdir()
        taken = take(source, submission)
        if known and known.settled and (known.submission, known.against) == (taken.digest, truth.digest):
            return known
        records = [file for file in sorted(taken.files) if file.endswith(".json")]
        trouble, ended, runs = taken.unreadable, "", []
        if not trouble and not records:
            trouble = "contains no record (.json)"
        if not trouble:
            job.write_text(json.dumps({
                "submission": str(submission), "out": str(out), "files": records,
                "images": {name: str(path) for name, path in truth.images.items()},
                "limits": {"wall_seconds": scorer.timeout, "cpu_seconds": max(1, math.ceil(scorer.timeout)),
                           "memory_bytes": MEMORY_BYTES, "file_bytes": FILE_BYTES}}))
            ended = scorer.run(job)
            reports = read_child_report(out / "report.json", set(records))
            if ended and not reports:
                trouble = f"could not be scored: it {ended}"
            for file in records:
                reports.setdefault(file, ChildReport(reason=f"scoring {ended or 'gave no result for it'}"))
            if not trouble and not any(report.status for report in reports.values()):
                trouble = f"contains no valid record ({records[0]}: {reports[records[0]].reason})"
            runs = [count_correct(file, report, out, truth) for file, report in sorted(reports.items())]
        return Evidence(submission=taken.digest, against=truth.digest, refused=taken.refused, trouble=trouble,
                        ended=f"scoring {ended}" if ended else "", settled=not ended, runs=runs)


def read_child_report(path: Path, records: set[str]) -> dict[str, ChildReport]:
    """The child's reports on these records, strictly validated; {} if the file is missing or invalid."""
    try:
        if path.stat().st_size > REPORT_BYTES:
            return {}
        reports = TypeAdapter(dict[str, ChildReport]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
    return {name: report for name, report in reports.items() if name in records}


def count_correct(file: str, report: ChildReport, out: Path, truth: Truth) -> ScoredRun:
    """The report with correct predictions counted against the parent's labels.  out: folder with the predictions."""
    run = ScoredRun(**report.model_dump(), file=file)
    if report.predictions is None:
        return run
    public, hidden = truth.labels.get(report.dataset), truth.labels.get(f"{report.dataset}/holdout")
    stem = f"{report.predictions}.{report.dataset}"
    correct = matches(out / f"{stem}.u2", public)
    if public is None or correct is None:
        return run.model_copy(update={"reason": "the number of its predictions is not that of the test images"})
    counts: dict[str, int | None] = {"correct_verified": correct, "n": len(public)}
    if hidden is not None:
        counts |= {"correct_holdout": matches(out / f"{stem}.holdout.u2", hidden), "holdout_n": len(hidden)}
    return run.model_copy(update=counts)


def matches(path: Path, labels: np.ndarray | None) -> int | None:
    """Correct predictions in a file of 16-bit numbers; None unless it has exactly one per label."""
    if labels is None or not path.is_file() or path.stat().st_size != 2 * len(labels):
        return None
    return int(np.sum(np.frombuffer(path.read_bytes(), "<u2") == labels))
