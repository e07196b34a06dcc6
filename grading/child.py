"""The isolated process: read a copied submission, predict with its checkpoints, and write both down for the parent.

    python -m grading.child     reads one job (JSON) per line of standard input, answers with one line when it is done

The process imports torch once and forks for every job, so each submission gets a fresh process.  The fork sets its
limits before it reads any of the student's bytes, and is killed when its time is up.  It has the test images but no
labels.  The parent only parses what it writes: a JSON report on each record, with its predictions.
"""

import codecs
import ctypes
import errno
import json
import math
import multiprocessing.connection
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from evaluation import rescore
from evaluation.figure_arrays import to_uint8
from evaluation.scores import predict
from grading.score import LONGEST, SKETCH, STARTED, losses_digest, shipped_records
from models.saved import Saved, load_saved
from report.load import check_known
from training.tasks import TASKS
from utils.command_line import is_out_of_memory
from utils.errors import RunError, UsageError
from utils.files import write_bytes
from utils.images.on_device import evenly_spaced, to_float
from utils.recipe import FIXED_ENCODERS
from utils.records.arrays import read_arrays
from utils.records.schema import Record, RecordError, read_record

MEMORY_BYTES, FILE_BYTES = 2**30, 64 * 2**20  # limits of a job: memory on top of torch's own, size of one file
COMPARED = 1000  # test images whose latents are summarised
RANK = 1e-6  # of the largest singular value: directions of the latent with less are float32's rounding errors
CLOSER = 0.9  # error of a decoder that has learned something, relative to that of the best constant image
DECODED_ALIKE = 2.0  # levels of 255, mean: another processor may round differently
RECORD = "the record"  # name of a record's copy; no artifact can have it, since their names contain no space
PR_SET_PDEATHSIG = 1  # of Linux's prctl
DECODED_AT_ONCE = 50  # images, for a decoder's activations to fit the memory limit
Images = dict[str, torch.Tensor]  # (N, H, W, C) uint8, by name: 'mnist', 'mnist/holdout'


def main() -> None:
    """Say that it has started, then serve jobs (run) until standard input ends."""
    torch.set_num_threads(1)  # no other thread may be running when this process forks
    torch.set_grad_enabled(False)
    torch.set_flush_denormal(True)  # weights of 1e-39 would take a hundred times as long
    shipped_records()  # once, for every fork
    print(STARTED, flush=True)
    for line in sys.stdin:
        print(fork(json.loads(line)), flush=True)


def fork(job: dict[str, Any]) -> str:
    """Do a job in a fork, which is killed when its time is up, with whatever it started.  "done", or what went wrong.

    Standard input is readable during a job only if the grader has ended; then the fork ends as well.
    """
    seconds = job["seconds"]
    process = multiprocessing.get_context("fork").Process(target=run, args=(job,))
    process.start()
    assert process.pid  # it has started
    ready = multiprocessing.connection.wait([process.sentinel, sys.stdin.fileno()], seconds)
    if process.sentinel in ready:
        process.join()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # which may have no group yet
    process.join()
    if process.sentinel not in ready:
        return "was stopped" if ready else f"took longer than {seconds:g} s"
    if process.exitcode and process.exitcode > 0:  # no fault of the submission's, or examine() would have reported it
        return "failed on this machine, perhaps because its temporary folder (TMPDIR) is full"
    return "done" if process.exitcode == 0 else "needed more memory or processor time than allowed"


def run(job: dict[str, Any]) -> None:
    """In the fork: do a job.  Only its exit code, and what it writes to `out`, leave this process.

    job: submission (folder), files ({name: (SHA-256, name in the submission)}), images ({name: .npy}), out, seconds.
    Writes out/NAME: a score.ChildReport on each record, under the record's name.
    """
    os.setsid()  # a process group of its own, which is killed as a whole
    if sys.platform == "linux":  # and die with the parent, which is not in that group
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    set_limits(job["seconds"])
    folder, out = Path(job["submission"]), Path(job["out"])
    images = {name: torch.from_numpy(np.load(path)) for name, path in job["images"].items()}
    names = sorted(file for file in job["files"] if file.endswith(".json"))
    handed_in = records_by_weights(folder, names)
    for name in names:
        report, own = dict[str, Any](), folder / f"{name}.own"
        try:
            examine(own_folder(folder, name), job["files"], handed_in, images, report)
        except Exception as error:  # a student's file can cause anything; only this sentence is reported
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # this machine's fault: grading again retries
            report["reason"] = sentence(error, own)
        report = {key: value[:LONGEST] if isinstance(value, str) else value for key, value in report.items()}
        write_bytes(out / name, json.dumps(report).encode())  # atomically: this process can be killed


def sentence(error: Exception, folder: Path) -> str:
    """What is wrong with a record, for its student.  folder: of the record, which is not shown."""
    if is_out_of_memory(error):
        return "needs more memory than one submission may use"
    text = " ".join(str(error).split()).replace(f"{folder}/", "").removeprefix(f"{RECORD}: ").rstrip(": ")
    return text if isinstance(error, RecordError | RunError) else f"{type(error).__name__}: {text}"


def own_folder(folder: Path, name: str) -> Path:
    """Copy a record into a folder of its own, as UTF-8 without a byte order mark, and return the copy's path."""
    own = folder / f"{name}.own"
    own.mkdir(exist_ok=True)
    data = (folder / name).read_bytes()
    if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # of an editor on Windows
        data = data.decode("utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-16", "replace").encode()
    (own / RECORD).write_bytes(data)
    return own / RECORD


def records_by_weights(folder: Path, names: list[str]) -> dict[str, Record]:
    """The valid records of a submission by the SHA-256 of their weights, to find the run that another started from."""
    found = {}
    for name in names:
        with suppress(Exception):  # its own examination reports what is wrong with it
            record = read_record(own_folder(folder, name))
            found[record.artifacts["checkpoint"].sha256] = record
    return found


def gather(path: Path, record: Record, files: dict[str, tuple[str, str]]) -> None:
    """Link a record's artifacts next to it: the submitted files of their digests, whatever these are called.

    Raises RecordError if one is missing.  The thumbnails only serve the report.
    """
    for kind, artifact in sorted(record.artifacts.items()):
        target = path.parent / artifact.name
        source = next((name for name, (digest, _) in files.items() if digest == artifact.sha256), None)
        if source and not target.exists():
            target.symlink_to(path.parent.parent / source)
        elif kind != "thumbnails":
            alike = any(PurePosixPath(name).name == artifact.name for _, name in files.values())
            raise RecordError(f"{artifact.name} is not the file that the run wrote (its SHA-256 is another)" if alike
                              else f"{artifact.name} is missing; submit it with the record")


def set_limits(seconds: float) -> None:
    """Limit CPU time, the size of a written file, and memory on top of what torch itself uses.

    A lower limit that this machine already sets is kept: no process may raise it.
    """
    limits = {resource.RLIMIT_CPU: max(1, math.ceil(seconds)), resource.RLIMIT_FSIZE: FILE_BYTES,
              resource.RLIMIT_CORE: 0}
    size = Path("/proc/self/statm")
    if size.exists():  # Linux; elsewhere only the time limit stops a memory bomb
        limits[resource.RLIMIT_AS] = MEMORY_BYTES + int(size.read_text().split()[0]) * resource.getpagesize()
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard),) * 2)


def examine(path: Path, files: dict[str, tuple[str, str]], handed_in: dict[str, Record], images: Images,
            report: dict[str, Any]) -> None:
    """Fill `report` (score.ChildReport) with what the record says and what its checkpoint gives.

    Raises RecordError and RunError; what was found until then counts.
    """
    record = read_record(path)
    check_known(record, path.name)
    run = record.run
    report |= {"task": run.task, "dataset": run.dataset, "method": run.method, "seed": run.seed,
               "recipe": record.recipe.hash, "history": losses_digest(record), "epochs": len(record.history)}
    check_trained(record)
    if run in [shipped.run for shipped in shipped_records().values()]:
        raise RecordError("this run comes with the repository; hand in one of your own")
    check_origin(record, handed_in)
    if run.dataset not in images:
        raise RecordError(f"{run.dataset} is not a data set of this assignment")
    gather(path, record, files)
    arrays = read_arrays(record, path.parent)
    labels_used = bool(record.recipe.fields.get("finetune")) or (
        run.init is not None and (run.init.labels > 0 or run.init.task == "1.2.2"))
    report |= {"claimed": record.headline.correct, "n": record.headline.n,
               "labelled": labels_used and run.task != "1.2.2"}
    saved = load_saved(path)
    check_norms_moved(saved)
    classifier = rescore.load_classifier(saved)
    latents = {name: rescore.latents_of(saved.encoder, stack) for name, stack in images.items()
               if name.split("/")[0] == run.dataset}
    predicted = {name: predict(classifier, z) for name, z in latents.items()}
    report["predictions"] = {name: classes.tolist() for name, classes in predicted.items()}
    z = latents[run.dataset]  # the predictions count even if what follows fails
    report |= {"clustered": clustered(z, predicted[run.dataset]), "latents": sketch(z)}
    if "reconstruction_index" in arrays:
        report["reason"] = reconstructions_wrong(saved, z, images[run.dataset], arrays)
        report["reconstructions"] = not report["reason"]


def check_origin(record: Record, handed_in: dict[str, Record]) -> None:
    """RecordError unless every run that the encoder comes from (--init) is the student's own, and one of its task
    trained it.

    handed_in: the records of the submission, by the SHA-256 of their weights.
    """
    task, trained, seen = record.run.task, False, set[str]()
    while (init := record.run.init) and init.sha256 not in seen:
        trained = trained or record.recipe.number("epochs") > 0
        if init.sha256 in [one.sha256 for shipped in shipped_records().values() for one in shipped.artifacts.values()]:
            raise RecordError("its encoder comes with the repository (--init); train one of your own")
        if not trained and task != "control" and init.task != task:
            raise RecordError(f"its encoder was trained by task {init.task} (--init, 0 epochs), not by {task}")
        if init.sha256 not in handed_in:
            raise RecordError(f"it started from {init.record} (--init), which was not handed in with it")
        seen.add(init.sha256)
        record = handed_in[init.sha256]


def check_trained(record: Record) -> None:
    """RecordError unless the record is of a complete run that trained an encoder by one of the task's methods."""
    run = record.run
    if run.status != "complete":
        raise RecordError(f"the run is {run.status}, not complete")
    if run.task not in TASKS or run.method not in TASKS[run.task].all_methods:
        raise RecordError(f"{run.method} is not a method of task {run.task}")
    encoder = record.recipe.fields["encoder"]
    if run.task != "control" and encoder in FIXED_ENCODERS:
        raise RecordError(f"nothing in an encoder {encoder} is trained, so this is no run of task {run.task}")


def check_norms_moved(saved: Saved) -> None:
    """RecordError for an encoder, outside control, whose norms all have the weights that each of them begins with."""
    norms = [module for module in saved.encoder.modules()
             if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm) and module.weight is not None]
    if saved.record.run.task != "control" and norms and all(
            bool((norm.weight == 1).all()) and not norm.bias.any() for norm in norms):
        raise RecordError("its encoder was not trained: all its norms have the weights that they begin with")


def clustered(z: torch.Tensor, predicted: torch.Tensor) -> int:
    """How many of (N, D) latents are nearest, by cosine, to the mean latent of their predicted class, (N,).

    Nearly all are when the latent was learned with labels (neural collapse: Papyan, Han and Donoho 2020).
    """
    z, classes = F.normalize(z, dim=1), predicted.unique()
    means = F.normalize(torch.stack([z[predicted == k].mean(0) for k in classes]), dim=1)
    return int((classes[(z @ means.T).argmax(1)] == predicted).sum())


def reconstructions_wrong(saved: Saved, z: torch.Tensor, images: torch.Tensor, arrays: dict[str, np.ndarray]) -> str:
    """Why the record's reconstructions do not count, or "": they must be what the checkpoint's decoder gives for this
    machine's test images, and clearly closer to these than the best constant image is, their median.

    z: (N, D) latents of images, (N, H, W, C) uint8; arrays: of the record (utils.records.arrays).
    """
    try:
        decoder = rescore.load_decoder(saved)
    except (RunError, UsageError) as error:
        return f"its reconstructions cannot be verified: {sentence(RunError(str(error)), saved.checkpoint.parent)}"

    def decode(index: torch.Tensor) -> torch.Tensor:
        return torch.cat([decoder(z[part]) for part in index.split(DECODED_AT_ONCE)])

    index = torch.from_numpy(arrays["reconstruction_index"]).long()
    if len(index) == 0 or not np.array_equal(images[index].numpy(), arrays["reconstruction_inputs"]):
        return "its reconstructions are not of this data set's test images"
    if np.abs(to_uint8(decode(index)) - arrays["reconstruction_outputs"].astype(float)).mean() > DECODED_ALIKE:
        return "its reconstructions are not what its decoder gives"
    sample = evenly_spaced(len(images), COMPARED)
    true = to_float(images[sample])
    if (decode(sample) - true).abs().mean() >= CLOSER * (true.median(0).values - true).abs().mean():
        return "its decoder is hardly closer to the test images than one constant image, their median"
    return ""


def sketch(z: torch.Tensor) -> list[float]:
    """SKETCH random projections of what is left of (N, D) latents when any invertible affine map is disregarded.

    That is the projector onto the columns' span, centred (the linear case of SVCCA: Raghu et al. 2017).  Permuting,
    shifting, scaling or mixing the latent's dimensions does not change it; distances between projectors are kept.
    """
    z = z[evenly_spaced(len(z), COMPARED)].double()
    z = z - z.mean(0)
    z = z / z.std(0).clamp(min=1e-30)
    left, values, _ = torch.linalg.svd(z, full_matrices=False)
    left = left[:, values > RANK * values.max()]
    if 2 * left.shape[1] > len(z):  # of so many directions any two spans are close
        return []
    projector = (left @ left.T).flatten().numpy()
    padded = np.pad(projector, (0, -projector.size % SKETCH))
    signs = np.random.RandomState(0).randint(0, 2, len(padded)) * 2 - 1
    total = (padded * signs).reshape(-1, SKETCH).sum(0)  # each entry goes into one sum, with a random sign
    return [float(f"{value:.6g}") for value in total]


if __name__ == "__main__":
    main()
