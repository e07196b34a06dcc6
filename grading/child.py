"""The isolated process: read a copied submission, predict with its checkpoints, and write both down for the parent.

    python -m grading.child     reads one job per line of standard input, answers each with one line when it is done

The process imports torch once and forks for every job, so each submission gets a fresh process.  The fork sets its
limits before it reads any of the student's bytes, and is killed when its time is up.  It has the test images but no
labels.  The parent only parses what it writes: a JSON report on the records, and predictions as raw numbers.
"""

import ctypes
import errno
import hashlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from evaluation import rescore
from evaluation.scores import predict
from report.load import check_known
from training.tasks import TASKS
from utils.errors import RunError
from utils.files import write_atomically
from utils.records.arrays import read_arrays
from utils.records.schema import RecordError, read_record

SKETCH = 256  # numbers that summarise an encoder's weights for comparison between students
LONGEST_REASON = 300
PR_SET_PDEATHSIG = 1  # of Linux's prctl
POLL = 0.01  # seconds between checks whether a job is done
Images = dict[str, torch.Tensor]  # (N, H, W, C) uint8, by name: 'mnist', 'mnist/holdout'


def main() -> None:
    """Serve jobs until standard input ends.  Each line is the name of a JSON file with a job (run)."""
    torch.set_num_threads(1)  # no other thread may be running when this process forks
    torch.set_grad_enabled(False)
    torch.set_flush_denormal(True)  # weights of 1e-39 would take a hundred times as long
    for line in sys.stdin:
        job = json.loads(Path(line.strip()).read_text())
        child = os.fork()
        if child == 0:
            serve(job)
        print(wait(child, job["limits"]["wall_seconds"]), flush=True)


def serve(job: dict[str, Any]) -> None:
    """In the fork: do one job and exit."""
    os.setsid()  # a process group of its own, which is killed as a whole
    if sys.platform == "linux":  # and die with the parent, which is not in that group
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        run(job)
        os._exit(0)
    except BaseException:  # memory may be exhausted; only the exit code leaves this process
        os._exit(1)


def wait(child: int, seconds: float) -> str:
    """Wait for the fork, at most `seconds`, and kill its process group.  "done", or what went wrong."""
    end, outcome = time.monotonic() + seconds, ""
    while not outcome:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            outcome = "done" if status == 0 else "was ended because it exceeded a limit"
        elif time.monotonic() > end:
            outcome = f"took longer than {seconds:g} s"
        else:
            time.sleep(POLL)
    try:
        os.killpg(child, signal.SIGKILL)
        if not ended:
            os.waitpid(child, 0)
    except (ProcessLookupError, PermissionError, ChildProcessError):
        pass
    return outcome


def run(job: dict[str, Any]) -> None:
    """job: limits, submission (folder), files (records in it), images ({name: .npy}), out (folder)."""
    set_limits(job["limits"])
    folder, out = Path(job["submission"]), Path(job["out"])
    images = {name: torch.from_numpy(np.load(path)) for name, path in job["images"].items()}
    reports: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(job["files"]):
        path = folder / name
        report = reports[name] = {}
        try:
            examine(path, images, out, str(number), report)
        except (RecordError, RunError) as error:
            report["reason"] = str(error).replace(f"{path.parent}/", "").removeprefix(f"{path.name}: ")[:LONGEST_REASON]
        except MemoryError:
            reports[name] = {"reason": "needs more memory than allowed"}
        except Exception as error:  # a student's file can cause anything; only this sentence is reported
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # this machine's fault: grading again retries
            reports[name] = {"reason": f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON]}
        write(out / "report.json", json.dumps(reports).encode())


def write(path: Path, content: bytes) -> None:
    """Atomically, since this process can be killed at any moment."""
    write_atomically(path, lambda file: file.write(content))


def set_limits(limits: dict[str, int]) -> None:
    """Limit CPU seconds, the bytes of a written file, and memory on top of what torch itself uses."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    size = Path("/proc/self/statm")
    if size.exists():  # Linux; elsewhere only the time limit stops a memory bomb
        now = int(size.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + limits["memory_bytes"],) * 2)


def examine(path: Path, images: Images, out: Path, stem: str, report: dict[str, Any]) -> None:
    """Fill `report` (score.ChildReport) with what the record says and what its checkpoint gives.

    Writes the predictions to out/STEM.NAME.u2.  Raises RecordError and RunError; what was found until then counts.
    """
    record = read_record(path)
    check_known(record, path.name)
    run = record.run
    losses = json.dumps([[row.train_loss, row.val_loss] for row in record.history])
    report |= {"task": run.task, "dataset": run.dataset, "method": run.method, "seed": run.seed, "status": run.status,
               "recipe": record.recipe.hash, "history": hashlib.sha256(losses.encode()).hexdigest(),
               "epochs": len(record.history)}
    if run.status != "complete":
        raise RecordError(f"the run is {run.status}, not complete")
    if run.task not in TASKS or run.method not in TASKS[run.task].all_methods:
        raise RecordError(f"{run.method} is not a method of task {run.task}")
    labels_used = bool(record.recipe.fields.get("finetune")) or (
        run.init is not None and (run.init.labels > 0 or run.init.task == "1.2.2"))
    report |= {"claimed": record.headline.correct, "n": record.headline.n,
               "labelled": labels_used and run.task != "1.2.2"}
    report["reconstructions"] = are_reconstructions(read_arrays(record, path.parent), images.get(run.dataset))
    if run.dataset not in images:
        raise RecordError(f"{run.dataset} is not a data set of this assignment")
    encoder, classifier = rescore.load_scorer(path)
    for name, stack in images.items():
        if name.split("/")[0] == run.dataset:
            z = rescore.latents_of(encoder, stack)
            predicted = predict(classifier, z)
            write(out / f"{stem}.{name.replace('/', '.')}.u2", predicted.numpy().astype("<u2").tobytes())
            if name == run.dataset:
                report["clustered"] = clustered(z, predicted)
    weights = {key: value.numpy() for key, value in encoder.state_dict().items() if value.is_floating_point()}
    digest = hashlib.sha256()
    for key, value in weights.items():
        digest.update(key.encode() + np.ascontiguousarray(value).tobytes())
    report |= {"predictions": stem, "weights": digest.hexdigest(), "sketch": sketch(weights)}


def clustered(z: torch.Tensor, predicted: torch.Tensor) -> int:
    """How many of (N, D) latents are nearest, by cosine, to the mean latent of their predicted class, (N,).

    Nearly all are when the latent was learned with labels (neural collapse: Papyan, Han and Donoho 2020).
    """
    z, classes = F.normalize(z, dim=1), predicted.unique()
    means = F.normalize(torch.stack([z[predicted == k].mean(0) for k in classes]), dim=1)
    return int((classes[(z @ means.T).argmax(1)] == predicted).sum())


def are_reconstructions(arrays: dict[str, np.ndarray], images: torch.Tensor | None) -> bool:
    """Whether there are reconstructions, of this machine's own test images, that beat the mean image.

    arrays: of the record (utils.records.arrays); images: (N, H, W, C) uint8 test images of its data set.
    """
    if images is None or not len(arrays.get("reconstruction_index", ())):
        return False
    index, inputs, outputs = (arrays[f"reconstruction_{name}"] for name in ("index", "inputs", "outputs"))
    if index.min() < 0 or index.max() >= len(images) or inputs.shape != outputs.shape:
        return False
    own = images.numpy()[index]
    if not np.array_equal(own, inputs):
        return False
    mean = images.numpy().mean(0)
    return bool(np.abs(outputs - own.astype(float)).mean() < np.abs(mean - own.astype(float)).mean())


def sketch(weights: dict[str, np.ndarray]) -> list[float]:
    """SKETCH random projections of all weights, which keep distances between encoders but not the weights."""
    total = np.zeros(SKETCH)
    for key, value in sorted(weights.items()):
        padded = np.pad(value.ravel().astype(np.float64), (0, -value.size % SKETCH))
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little")
        signs = np.random.RandomState(seed).randint(0, 2, len(padded)) * 2 - 1
        total += (padded * signs).reshape(-1, SKETCH).sum(0)  # each weight goes into one sum, with a random sign
    return [float(f"{value:.6g}") for value in total]


if __name__ == "__main__":
    main()
