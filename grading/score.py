"""Score one submission: a child process predicts in isolation; only the parent has the labels and counts.

The child runs under limits on CPU time, memory, file size and wall time, in an environment without secrets and, where
the system lets ordinary users create network namespaces (Linux's unshare), without a network.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from grading.submission import Source, take
from utils.errors import RunError, UsageError, reason
from utils.images.datasets import DATASETS, Dataset, load_dataset
from utils.records.schema import Record, RecordError, Strict, read_record
from utils.version import ROOT, commit_of, project_version

REPORT_BYTES = 5_000_000  # limit of the child's report on a record
BRIGHTEST, BRIGHTNESS = 0.5, 40  # of hidden images: brightest pixel relative to the public one, difference of the means
MANY = 100  # images, for their mean brightness to be that of their data set, and their accuracy to say something
LONGEST = 300  # characters of a reason
ABSENT = "is missing: no folder or .zip file has this name"  # start of `trouble` without a submission
STARTED = "started"  # the child's first line
SKETCH = 256  # numbers that summarise an encoder's latents for comparison between students
Text = Annotated[str, Field(max_length=400)]
Count = Annotated[int, Field(ge=0, le=10**7)]


class Claims(Strict):
    """What the child says of one record.  Everything except `reason` is as trustworthy as the student."""

    reason: Text = ""
    task: Text = ""
    dataset: Text = ""
    method: Text = ""
    seed: Annotated[int, Field(ge=0, le=2**64)] = 0
    recipe: Text = ""
    history: Text = ""  # losses_digest
    epochs: Count = 0
    claimed: Count | None = None  # correct test images by the record, of n
    n: Count | None = None
    reconstructions: bool = False
    labelled: bool = False  # the encoder was trained with labels although the task learns without
    clustered: Count | None = None  # test images whose latent is nearest to the mean of their predicted class
    latents: Annotated[list[float], Field(max_length=SKETCH)] = []  # their summary on the test images (child.sketch)


class ChildReport(Claims):
    """The child's report on one record: its claims, and the class predicted for each image of Truth.images."""

    predictions: dict[Text, list[Annotated[int, Field(ge=0, lt=2**16)]]] = {}


class ScoredRun(Claims):
    """A record's claims with the parent's counts: correct test images, of n, and correct hidden images, of holdout_n.

    outputs: digest of the predictions on all these images, errors included.
    """

    file: Text
    outputs: str = ""
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

    digest: of the submission and of the images and labels it was scored on, "" if there is nothing to compare;
    trouble: why nothing could be graded, or ""; ended: why scoring ended early, which another grading tries again.
    """

    digest: str = ""
    refused: list[str] = []
    trouble: str = ""
    ended: str = ""
    runs: list[ScoredRun] = []

    @property
    def absent(self) -> bool:
        return self.trouble.startswith(ABSENT)


@dataclass(frozen=True)
class Truth:
    """What submissions are scored on, by name ('mnist' or 'mnist/holdout').  images: .npy files; labels: (N,) ints."""

    images: dict[str, Path]
    labels: dict[str, np.ndarray]
    digest: str


def losses_digest(record: Record) -> str:
    """Digest of a record's training and validation losses, epoch by epoch."""
    losses = json.dumps([[row.train_loss, row.val_loss] for row in record.history])
    return hashlib.sha256(losses.encode()).hexdigest()


def load_truth(datasets: Collection[str], data_dir: Path, holdout: Path | None, folder: Path) -> Truth:
    """Data sets: test images as .npy files in `folder`, labels in memory.  Raises RunError, UsageError."""
    public = {name: load_dataset(name, data_dir) for name in sorted(datasets)}
    stacks = {name: (dataset.test_images, dataset.test_labels) for name, dataset in public.items()}
    if holdout:
        stacks |= read_holdout(holdout, public)
    version = f"{project_version()} {commit_of()[0]}"  # another may score differently
    digest, files = hashlib.sha256(version.encode()), {}
    for name, (images, labels) in sorted(stacks.items()):
        files[name] = folder / f"{name.replace('/', '.')}.npy"
        np.save(files[name], images)
        digest.update(name.encode() + images.tobytes() + labels.astype("<i8").tobytes())
    return Truth(files, {name: labels for name, (_, labels) in stacks.items()}, digest.hexdigest())


def read_holdout(path: Path, public: dict[str, Dataset]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Hidden images and labels from an .npz file: NAME_images (N, H, W, C) uint8, NAME_labels (N,) whole numbers.

    public: the data sets to look for, by name.  Returned under NAME/holdout.  Raises UsageError.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("it holds one array; save images and labels with np.savez")
        with loaded as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # numpy and zipfile raise many kinds
        raise UsageError(f"--holdout {path}: not an .npz file of arrays: {' '.join(str(error).split())}") from None
    found = {}
    has = ", ".join(f"{name} {value.shape} {value.dtype}" for name, value in arrays.items())
    names = {f"{name}_{part}" for name in DATASETS for part in ("images", "labels")}
    if foreign := sorted(arrays.keys() - names):
        raise UsageError(f"--holdout {path}: {foreign[0]} is none of {', '.join(sorted(names))}; it has {has}")
    for name, dataset in public.items():
        own = dataset.test_images
        images, labels = arrays.get(f"{name}_images"), arrays.get(f"{name}_labels")
        if images is None and labels is None:
            continue
        shape, classes = own.shape[1:], len(DATASETS[name].classes)
        if images is None or labels is None or images.shape[1:] != shape or images.dtype != np.uint8 \
                or labels.shape != (len(images),) or not len(images) or labels.dtype.kind not in "iu":
            raise UsageError(f"--holdout {path}: needs {name}_images (N, {', '.join(map(str, shape))}) uint8 and "
                             f"{name}_labels (N,) of whole numbers; it has {has}")
        if labels.min() < 0 or labels.max() >= classes:
            raise UsageError(f"--holdout {path}: {name}_labels are {labels.min()} to {labels.max()}; the {classes} "
                             "classes are numbered from 0")
        if images.max() < BRIGHTEST * own.max() or (
                len(images) >= MANY and abs(images.mean() - own.mean()) > BRIGHTNESS):
            raise UsageError(f"--holdout {path}: {name}_images have values up to {images.max()} and a mean of "
                             f"{images.mean():.0f}, the public test images {own.max()} and {own.mean():.0f}; pixels "
                             "are 0 to 255, as the data set's own (scikit-learn's digits, 0 to 16, times 255 / 16)")
        known = {image.tobytes() for stack in (own, dataset.train_images) for image in stack}
        if sum(image.tobytes() in known for image in images) > len(images) / 2:
            raise UsageError(f"--holdout {path}: most {name}_images are public images, so they are not hidden")
        found[f"{name}/holdout"] = images, labels
    if not found:
        needed = " or ".join(f"{name}_images and {name}_labels" for name in public)
        raise UsageError(f"--holdout {path}: no images of the rubric's data sets: needs {needed}; it has {has}")
    return found


@cache
def shipped_records() -> dict[str, Record]:
    """The records that come with the repository, by file name: those in results/ that git tracks.

    Somebody may have trained into that folder.  In a copy that git does not track, what is trained there knows no
    commit, and all other runs count.  Files that are no records are skipped.
    """
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "results"]
    tracked = subprocess.run(git, capture_output=True, text=True, check=False) if shutil.which("git") else None
    known = tracked.stdout.splitlines() if tracked else []  # empty where git does not know this folder
    found = {}
    for path in sorted((ROOT / "results").glob("*.json")):
        with contextlib.suppress(OSError, RecordError):
            record = read_record(path)
            if f"results/{path.name}" in known if known else record.environment.commit != "unknown":
                found[path.name] = record
    return found


@cache
def without_network() -> tuple[str, ...]:
    """Prefix of a command that runs it without a network; () where the system does not allow that."""
    words = ("unshare", "--user", "--map-current-user", "--net", "--")
    if shutil.which("unshare") is None:
        return ()
    done = subprocess.run([*words, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return words if done.returncode == 0 else ()


class Scorer(contextlib.AbstractContextManager["Scorer"]):
    """The isolated process (grading/child.py), which serves one job after another; `with` ends it."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.home = tempfile.TemporaryDirectory(prefix="grading-home-")
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False

    def __exit__(self, *_: object) -> None:
        """End the process and serve no further job."""
        self.stopped = True
        self.end()
        self.home.cleanup()

    def end(self) -> None:
        """Kill the process and everything it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            self.process = None

    def start(self) -> subprocess.Popen[str]:
        """Start the process, in place of one that has ended.  Raises RunError, with its last words, if that fails."""
        self.end()
        environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        environment |= {"HOME": self.home.name, "TMPDIR": self.home.name, "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8",
                        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with Path(self.home.name, "errors").open("w+") as errors:
            self.process = subprocess.Popen(
                [*without_network(), sys.executable, "-s", "-m", "grading.child"], cwd=ROOT, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
            assert self.process.stdout  # a pipe
            if self.process.stdout.readline().strip() != STARTED and not self.stopped:
                errors.seek(0)
                said = errors.read().strip() or "it was ended, perhaps for want of memory; lower --jobs"
                raise RunError(f"the process that scores cannot be started: {reason(OSError(said))}")
        return self.process

    def run(self, job: dict[str, Any]) -> str:
        """Do a job (child.run); "" or what went wrong."""
        if self.stopped:
            return "was stopped"
        process = self.process if self.process and self.process.poll() is None else self.start()
        assert process.stdin and process.stdout  # pipes
        try:
            process.stdin.write(f"{json.dumps(job)}\n")
            process.stdin.flush()
            answer = process.stdout.readline().strip()
        except (OSError, ValueError):  # ended by another thread meanwhile
            answer = ""
        if not answer:
            self.end()
            return "ended without an answer"
        return "" if answer == "done" else answer


def evidence_of(sources: Sequence[Source], truth: Truth, scorer: Scorer, known: Evidence | None) -> Evidence:
    """Copy a submission and score it.  known: earlier evidence, which is returned if nothing has changed.

    sources: the student's folders, .zip files and loose files.
    """
    with tempfile.TemporaryDirectory(prefix="grading-") as name:
        submission, out = Path(name, "submission"), Path(name, "out")
        submission.mkdir()
        out.mkdir()
        taken = take(sources, submission)
        digest = f"{taken.digest} {truth.digest}"
        if known and known.digest == digest and not known.ended:
            return known
        records = [file for file in sorted(taken.files) if file.endswith(".json")]
        trouble, ended, runs = taken.unreadable or ("" if records else "contains no record (.json)"), "", []
        if not trouble:
            ended = scorer.run({
                "submission": str(submission), "out": str(out), "files": taken.files, "seconds": scorer.timeout,
                "images": {name: str(path) for name, path in truth.images.items()}})
            if ended and not any(out.iterdir()):
                trouble = f"could not be scored: it {ended}"
            missing = f"scoring {ended or 'gave no result for it'}"
            runs = [count_correct(taken.files[file][1], read_child_report(out / file, missing), truth)
                    for file in records]
            if not trouble and not any(run.recipe for run in runs):
                trouble = f"contains no valid record ({runs[0].file}: {runs[0].reason})"
        return Evidence(digest=digest, refused=taken.refused, trouble=trouble, runs=runs,
                        ended=f"scoring {ended}" if ended else "")


def read_child_report(path: Path, missing: str) -> ChildReport:
    """The child's report on a record, strictly validated; or one with the reason why it does not count.

    missing: the reason if there is none.
    """
    try:
        return ChildReport.model_validate_json(path.read_bytes() if path.stat().st_size <= REPORT_BYTES else b"")
    except OSError:
        return ChildReport(reason=missing)
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        return ChildReport(reason=f"holds a value of {field} that no run gives"[:LONGEST])


def count_correct(file: str, report: ChildReport, truth: Truth) -> ScoredRun:
    """The claims with correct predictions counted against the parent's labels.  file: the record's name."""
    run = ScoredRun(**report.model_dump(exclude={"predictions"}), file=file)
    if not report.predictions:
        return run
    outputs, counts = hashlib.sha256(), dict[str, int | str]()
    for name, correct, n in ((report.dataset, "correct_verified", "n"),
                             (f"{report.dataset}/holdout", "correct_holdout", "holdout_n")):
        predicted, labels = np.array(report.predictions.get(name, ()), "<u2"), truth.labels.get(name)
        if labels is not None and len(predicted) == len(labels):
            counts |= {correct: int((predicted == labels).sum()), n: len(labels)}
            outputs.update(predicted.tobytes())
    if "correct_verified" not in counts:
        return run.model_copy(update={"reason": "the number of its predictions is not that of the test images"})
    return run.model_copy(update=counts | {"outputs": outputs.hexdigest()})
