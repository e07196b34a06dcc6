"""How long grading a class takes: N ordinary submissions of three tasks, graded twice from scratch, then once more.

    python benchmarks/grading.py --json grading.json          100 students on MNIST, two at a time
    python benchmarks/grading.py --students 10 --results-dir results

A submission has one run per task with the encoder of the default recipe.  They are derived from one run per task: from
--results-dir if that has a checkpoint, otherwise trained here briefly (an epoch on 2,000 images).  Every student gets
different weights (noise of a tenth of their standard deviation) and records that match them; every tenth student claims
the accuracy of the run without noise, which their checkpoint does not reach.  How long a run was trained does not
affect the cost of grading it.

Reported are seconds, CPU seconds and the memory of all processes together (Linux; shared pages are counted once),
whether the second grading gave the same bytes, and the seconds of a grading that has nothing to score.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the project, wherever this is called from

from benchmarks.common import add_json_flag, print_table, whole, write_json
from utils.command_line import Parser, check_output, exit_code
from utils.errors import RunError

EXAMPLES = """examples:
  python benchmarks/grading.py --json grading.json           100 students on MNIST, two at a time; half an hour
  python benchmarks/grading.py --students 10 --results-dir results

"""
ROOT = Path(__file__).resolve().parent.parent
TASKS = ("1.2.1", "1.2.2", "1.2.3")
NOISE = 0.1  # relative to the standard deviation of the tensor; far more than between flagged near copies
EVERY = 10  # one student in this many claims more than the checkpoint gives
SAMPLE = 0.25  # seconds between samples of the memory


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python benchmarks/grading.py [options]",
                    description="Time the grading of a generated class.")
    parser.add_argument("--students", type=whole(1), default=100, metavar="N", help="default: 100")
    parser.add_argument("--jobs", type=whole(1), default=2, metavar="N", help="submissions at a time (default: 2)")
    parser.add_argument("--dataset", choices=("digits", "mnist", "cifar10"), default="mnist", help="default: mnist")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), metavar="DIR",
                        help="runs with checkpoints to start from; missing ones are trained (default: results)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: data")
    add_json_flag(parser)
    arguments = parser.parse_args(argv)
    check_output(arguments.json, "--json", (".json",))
    return arguments


def main(argv: list[str]) -> None:
    """Generate the class, grade it, print the table, write the JSON.  Raises UsageError and RunError."""
    arguments = parse(argv)
    import torch

    from utils.records.environment import describe

    with tempfile.TemporaryDirectory(prefix="grading-benchmark-") as name:
        scratch = Path(name)
        bases = [base_run(task, arguments.dataset, arguments.results_dir, scratch / "runs", arguments.data_dir)
                 for task in TASKS]
        make_class(bases, scratch / "submissions", arguments.students, arguments.data_dir)
        measured = grade_thrice(scratch, arguments.dataset, arguments.jobs, arguments.data_dir)
    show(measured)
    measured["machine"] = describe(torch.device("cpu"), "float32", {}).model_dump()
    write_json(arguments.json, measured)


# The class


def base_run(task: str, dataset: str, results: Path, folder: Path, data_dir: Path) -> Path:
    """The record of a run of the task's default recipe that has a checkpoint: an existing one, or a short one."""
    for path in sorted(results.glob(f"{task}_{dataset}_*_seed*.json")):
        if path.with_suffix(".safetensors").exists() and path.stem.count("_") == 3:  # more parts mean another recipe
            print(f"{task}: {path}", flush=True)
            return path
    command = [sys.executable, str(ROOT / "_main.py"), "--task", task, "--dataset", dataset, "--epochs", "1",
               "--subset", "1000" if dataset == "digits" else "2000", "--results-dir", str(folder), "--data-dir",
               str(data_dir)]
    if subprocess.run(command, check=False).returncode:
        raise RunError(f"{task} on {dataset} could not be trained")
    return next(folder.glob(f"{task}_{dataset}_*.json"))


def make_class(bases: list[Path], folder: Path, students: int, data_dir: Path) -> None:
    """Create a folder for each student in `folder`, with a run per task."""
    from tqdm import tqdm

    from evaluation.rescore import load_device_data
    from utils.records.schema import read_record

    data = load_device_data(read_record(bases[0]).run.dataset, data_dir)
    for number in tqdm(range(students), unit="student", desc="made", disable=None):
        for base in bases:
            submit(base, folder / f"student{number:03d}", np.random.default_rng(number), data,
                    true=number % EVERY < EVERY - 1)


def submit(base: Path, folder: Path, rng: np.random.Generator, data: Any, *, true: bool) -> Path:
    """Copy the run at `base` with noise in its encoder's weights; the record is valid in either case.

    true: the record says what these weights give; data: a DeviceData with the test images.  Returns the record's path.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from evaluation.rescore import predict_again
    from evaluation.scores import confusion_of
    from utils.files import sha256_file
    from utils.records.arrays import read_arrays, write_arrays
    from utils.records.schema import HEADLINE, Artifact, read_record, write_record

    record, target = read_record(base), folder / base.name
    checkpoint = target.with_suffix(".safetensors")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = load_file(base.with_name(record.artifacts["checkpoint"].name))
    for name, value in tensors.items():
        if name.startswith("encoder.") and name.endswith("weight") and value.ndim > 1:
            noise = rng.standard_normal(tuple(value.shape), np.float32)
            tensors[name] = value + torch.from_numpy(noise) * (NOISE * value.std())
    save_file(tensors, checkpoint)
    arrays = read_arrays(record, base.parent)
    arrays.pop("map_images", None)  # in a separate file, which a submission does not need
    artifacts = {"arrays": write_arrays(target.with_suffix(".npz"), arrays),
                 "checkpoint": Artifact(name=checkpoint.name, sha256=sha256_file(checkpoint))}
    record = record.model_copy(update={"artifacts": artifacts})
    write_record(record, target)
    if true:
        predicted = predict_again(target, data)
        headline, protocol = record.headline, record.headline.protocol
        arrays["test_predictions"] = predicted.astype(np.uint16)
        correct = int((predicted == arrays["test_labels"]).sum())
        confusion, per_class = confusion_of(HEADLINE, torch.from_numpy(predicted), data.test_labels,
                                            tuple(record.data.classes), protocol)
        claim = headline.model_copy(update={"correct": correct, "value": correct / headline.n})
        artifacts["arrays"] = write_arrays(target.with_suffix(".npz"), arrays)
        write_record(record.model_copy(update={"artifacts": artifacts, "confusion": confusion,
                                               "metrics": record.metrics | {HEADLINE: claim} | per_class}), target)
    return target


# Grading it


def grade_thrice(scratch: Path, dataset: str, jobs: int, data_dir: Path) -> dict[str, Any]:
    """Grade scratch/submissions into two folders, then into the second again.  RunError if a grading fails."""
    rubric = scratch / "rubric.yaml"
    text = (ROOT / "grading" / "example_rubric.yaml").read_text(encoding="utf-8")
    rubric.write_text(text.replace("mnist", dataset), encoding="utf-8")
    runs = {name: timed([sys.executable, str(ROOT / "_report_evaluation.py"), "grade", str(scratch / "submissions"),
                         "--rubric", str(rubric), "--out", str(scratch / out), "--jobs", str(jobs), "--data-dir",
                         str(data_dir)])
            for name, out in (("from scratch", "first"), ("from scratch, again", "second"),
                              ("nothing to score", "second"))}
    first, second = (every_byte(scratch / out) for out in ("first", "second"))
    rows = (scratch / "first" / "grades.csv").read_text().splitlines()[1:]
    return {"students": len(rows), "dataset": dataset, "jobs": jobs, "runs": runs, "same_bytes": first == second,
            "files": len(first), "distinct_grades": len({row.split(",", 3)[3] for row in rows})}


def timed(command: list[str]) -> dict[str, Any]:
    """Seconds, CPU seconds and bytes of a command and all processes it starts.  RunError if it fails."""
    clock, peak = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        peak = max(peak, memory_of(process.pid))
        time.sleep(SAMPLE)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RunError(f"grading ended with exit code {process.returncode}")
    return {"seconds": time.monotonic() - clock, "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_bytes": peak or None}


def memory_of(pid: int) -> int:
    """Proportional set size of a process and its descendants, in bytes; 0 on systems other than Linux."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # has just ended
    family, grew = {pid}, True
    while grew:
        more = {child for child, parent in parents.items() if parent in family} - family
        family, grew = family | more, bool(more)
    total = 0
    for member in family:
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def every_byte(folder: Path) -> dict[str, bytes]:
    """The contents of every file in a folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def show(measured: dict[str, Any]) -> None:
    """Print the table."""
    rows = [[name, f"{run['seconds']:.1f}", f"{run['cpu_seconds']:.1f}",
             f"{run['peak_bytes'] / 2**20:.0f}" if run["peak_bytes"] else "-"]
            for name, run in measured["runs"].items()]
    print_table(f"{measured['students']} submissions of {len(TASKS)} tasks on {measured['dataset']}, "
                f"{measured['jobs']} at a time", ["grading", "seconds", "CPU seconds", "peak MiB"], rows)
    print("the second grading gave " + ("the same bytes" if measured["same_bytes"] else "DIFFERENT BYTES"), flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "nothing was written"))
