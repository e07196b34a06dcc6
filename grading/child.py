"""What runs in isolation: read a copied submission, predict with its checkpoints, write down both.

    python -m grading.child     one line of standard input a job, one line of standard output when it is done

The process imports torch once and forks for every job, so that each submission meets a fresh process; the fork sets its
limits before it reads the first of the student's bytes, and is killed when its time is over.  It has the test images
and no labels.  Whatever it writes is only looked at by the parent, never run: a JSON of what each record says, and the
predictions as raw numbers.
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
from utils.records.arrays import read_arrays
from utils.records.schema import RecordError, read_record

SKETCH = 256  # numbers that stand for an encoder's weights when students are compared
PR_SET_PDEATHSIG = 1  # of Linux's prctl
POLL = 0.01  # seconds between two looks at whether a job is done


def main() -> None:
    """Serve jobs until standard input ends.  A job: a JSON file's name."""
    torch.set_num_threads(1)  # no thread may run when this process forks
    torch.set_grad_enabled(False)
    torch.set_flush_denormal(True)  # weights of 1e-39 would take a hundred times as long
    for line in sys.stdin:
        job = json.loads(Path(line.strip()).read_text())
        child = os.fork()
        if child == 0:
            serve(job)
        print(wait(child, job["limits"]["wall_seconds"]), flush=True)


def serve(job: dict[str, Any]) -> None:
    """The fork: do one job and end."""
    os.setsid()  # a group of its own, which is killed whole
    if sys.platform == "linux":  # and with its parent, which is out of the group
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        run(job)
        os._exit(0)
    except BaseException:  # memory may be gone; nothing may leave but the exit code
        os._exit(1)


def wait(child: int, seconds: float) -> str:
    """What became of the fork: "done", or why not.  Nothing of its group is left afterwards."""
    end, told = time.monotonic() + seconds, ""
    while not told:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            told = "done" if status == 0 else "was ended for what it used"
        elif time.monotonic() > end:
            told = f"took longer than {seconds:g} s"
        else:
            time.sleep(POLL)
    try:
        os.killpg(child, signal.SIGKILL)
        if told.startswith("took"):
            os.waitpid(child, 0)
    except (ProcessLookupError, PermissionError, ChildProcessError):
        pass
    return told


def run(job: dict[str, Any]) -> None:
    """job: limits, submission (folder), files (records in it), images ({name: .npy}), out (folder)."""
    set_limits(job["limits"])
    folder, out = Path(job["submission"]), Path(job["out"])
    images = {name: torch.from_numpy(np.load(path)) for name, path in job["images"].items()}
    told: dict[str, Any] = {}
    for number, name in enumerate(job["files"]):
        try:
            told[name] = look_at(folder / name, images, out, str(number))
        except MemoryError:
            told[name] = {"reason": "takes more memory than it may"}
        except Exception as error:  # a student's file can cause anything; the sentence is all that leaves
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # this machine's fault: another start tries again
            told[name] = {"reason": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        write(out / "told.json", json.dumps(told))


def set_limits(limits: dict[str, int]) -> None:
    """CPU seconds, bytes of a file that is written, and bytes of memory beyond what torch itself has taken."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    size = Path("/proc/self/statm")
    if size.exists():  # Linux; elsewhere the limit of the wall clock alone holds a memory bomb
        now = int(size.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + limits["memory_bytes"],) * 2)


def look_at(path: Path, images: dict[str, torch.Tensor], out: Path, stem: str) -> dict[str, Any]:
    """What one record says and, where its checkpoint can be scored, where the predictions lie."""
    try:
        record = read_record(path)
        check_known(record, path.name)
    except RecordError as error:
        return {"reason": str(error)[:300]}
    run = record.run
    found: dict[str, Any] = {
        "task": run.task, "dataset": run.dataset, "method": run.method, "seed": run.seed, "status": run.status,
        "recipe": record.recipe.hash, "history": hashlib.sha256(
            json.dumps([[row.train_loss, row.val_loss] for row in record.history]).encode()).hexdigest(),
        "epochs": len(record.history)}
    if run.status != "complete":
        return found | {"reason": f"the run is {run.status}, not complete"}
    if run.task not in TASKS or run.method not in TASKS[run.task].all_methods:
        return found | {"reason": f"{run.method} is no method of task {run.task}"}
    fields = record.recipe.fields
    seen = bool(fields.get("finetune")) or (run.init is not None and (run.init.labels > 0 or run.init.task == "1.2.2"))
    found |= {"claimed": record.headline.correct, "n": record.headline.n, "labelled": seen and run.task != "1.2.2"}
    try:
        arrays = read_arrays(record, path.parent)
        found["reconstructions"] = are_reconstructions(arrays, images.get(run.dataset))
    except RecordError as error:
        found["reason"] = str(error)[:300]
        return found
    if run.dataset not in images:
        return found | {"reason": f"{run.dataset} is no data set of this assignment"}
    try:
        encoder, classifier = rescore.load_scorer(path)
    except RunError as error:
        return found | {"reason": str(error).replace(str(path.parent) + "/", "")[:300]}
    for name, stack in images.items():
        if name.split("/")[0] == run.dataset:
            z = rescore.latents_of(encoder, stack)
            predicted = predict(classifier, z)
            write(out / f"{stem}.{name.replace('/', '.')}.u2", predicted.numpy().astype("<u2").tobytes())
            if name == run.dataset:
                found["clustered"] = clustered(z, predicted)
    weights = {key: value.numpy() for key, value in encoder.state_dict().items() if value.is_floating_point()}
    digest = hashlib.sha256()
    for key, value in weights.items():
        digest.update(key.encode() + np.ascontiguousarray(value).tobytes())
    return found | {"predictions": stem, "weights": digest.hexdigest(), "sketch": sketch(weights)}


def clustered(z: torch.Tensor, predicted: torch.Tensor) -> int:
    """How many of (N, D) latents lie nearest, by cosine, to the mean of the class that the classifier gives them, (N,).

    Nearly all do where labels took part in learning the latent (neural collapse: Papyan, Han and Donoho 2020).
    """
    z, classes = F.normalize(z, dim=1), predicted.unique()
    means = F.normalize(torch.stack([z[predicted == k].mean(0) for k in classes]), dim=1)
    return int((classes[(z @ means.T).argmax(1)] == predicted).sum())


def are_reconstructions(arrays: dict[str, np.ndarray], images: torch.Tensor | None) -> bool:
    """Whether there are some, of this machine's own test images, and nearer to them than their mean image is."""
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
    """SKETCH random projections of all weights: distances between students survive, the weights do not leave."""
    total = np.zeros(SKETCH)
    for key, value in sorted(weights.items()):
        flat = value.ravel().astype(np.float64)
        padded = np.zeros(-(-len(flat) // SKETCH) * SKETCH)
        padded[: len(flat)] = flat
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little")
        signs = np.random.RandomState(seed).randint(0, 2, len(padded)) * 2 - 1
        total += (padded * signs).reshape(-1, SKETCH).sum(0)  # each number with a random sign into one of the sums
    return [float(f"{value:.6g}") for value in total]


def write(path: Path, content: str | bytes) -> None:
    """Whole or not at all, as the process may be ended at any moment."""
    temporary = path.with_suffix(".part")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


if __name__ == "__main__":
    main()
