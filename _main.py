"""Learn a 128-dimensional latent, score it, write a record.  `python _main.py --help` shows how.

The way through the code: this file -> training/run.py (one run) -> training/<task>.py (its train()) ->
training/evaluation.py (the scores) -> utils/record.py (what is written).
"""

import argparse
import dataclasses
import difflib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from training.tasks import TASKS, Task
from utils.command_line import Parser, exit_code
from utils.data import DATASETS, check_dataset, load_dataset, recipe_family, short_name
from utils.errors import RunError, UsageError
from utils.recipe import Recipe, add_flags, as_json, flag_values
from utils.record import RecordError, read_record, recipe_hash

EXAMPLES = f"""\
examples:
  python _main.py --task 1.2.3 --dataset cifar10            learn, score and record one latent
  python _main.py --task 1.2.1 --dataset mnist --quick      the same in seconds, on a few images; no headline counts it
  python _main.py --task all --dataset digits --seed 0 1 2  every task three times on the embedded set
  python _main.py --task 1.2.3 --dataset mnist --temperature 0.5 --epochs 20
  python _main.py --task 1.2.2 --dataset folder:PATH        images of your own, one sub-folder a class

tasks:
{chr(10).join(f"  {name:10}{task.title}" for name, task in TASKS.items())}
  all       every one of them

datasets:
  {', '.join(DATASETS)}, folder:PATH, all ({', '.join(DATASETS)})
"""


def build_parser() -> argparse.ArgumentParser:
    """Flags of the run, then one for every field of every recipe."""
    parser = Parser(EXAMPLES, usage="python _main.py --task TASK --dataset DATASET [options]")
    parser.add_argument("--task", required=True, help=f"{', '.join(TASKS)} or all")
    parser.add_argument("--dataset", required=True, help=f"{', '.join(DATASETS)}, folder:PATH or all")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], metavar="N",
                        help="one run each; seeds weights, shuffling and augmentation (default 0)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"),
                        help="auto takes CUDA, else MPS, else the CPU")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"),
                        help="number format of the training; auto takes what a start-up measurement finds faster")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: data")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument("--quick", action="store_true",
                        help="a few images, one epoch: shows that everything works; never part of a headline")
    parser.add_argument("--fresh", action="store_true",
                        help="of several runs, also train those that have a complete record already")
    add_flags(parser, {name: task.recipe for name, task in TASKS.items()})
    return parser


def main(argv: list[str]) -> None:
    """Check everything that the command line asks for, then run it.  Raises UsageError and RunError."""
    arguments = build_parser().parse_args(argv)
    tasks = choose_tasks(arguments.task)
    datasets = list(DATASETS) if arguments.dataset == "all" else [arguments.dataset]
    for name in datasets:
        check_dataset(name)
    for seed in arguments.seed:
        if not 0 <= seed < 2**63:
            raise UsageError(f"--seed {seed}: must be 0 or more, and below 2**63")
    if arguments.quick and "epochs" in arguments:
        raise UsageError("--quick trains one epoch; leave out --epochs")
    check_flags_fit(arguments, tasks)
    plans = {name: plan(arguments, tasks, name) for name in datasets}
    check_writable(arguments.results_dir)
    words = [word.encode("utf-8", "backslashreplace").decode()[:1000] for word in ["_main.py", *argv]]
    run_all(arguments, plans, words)


def choose_tasks(name: str) -> dict[str, Task]:
    """The tasks that a name stands for.  Raises UsageError, with the nearest valid choice."""
    if name == "all":
        return TASKS
    if name not in TASKS:
        close = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.3)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"--task {name}: no such task; {hint}choose from {', '.join(TASKS)}, all")
    return {name: TASKS[name]}


def check_flags_fit(arguments: argparse.Namespace, tasks: dict[str, Task]) -> None:
    """UsageError for a recipe flag that one of the chosen tasks does not have."""
    given = {name for task in TASKS.values() for name in flag_values(arguments, task.recipe)}
    for name, task in tasks.items():
        foreign = sorted(given - set(flag_values(arguments, task.recipe)))
        if foreign:
            raise UsageError(f"--{foreign[0].replace('_', '-')} is no part of the recipe of task {name}")


def check_writable(folder: Path) -> None:
    """RunError, before anything is trained, unless files can be made in the results folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RunError(f"--results-dir {folder}: cannot write there ({error.strerror})") from None


@dataclass(frozen=True)
class Planned:
    """One run that the command line asks for."""

    task: str
    recipe: Recipe
    overridden: list[str]  # recipe fields that the command line changed
    seed: int
    path: Path


def plan(arguments: argparse.Namespace, tasks: dict[str, Task], dataset: str) -> list[Planned]:
    """The runs on one data set: every task and seed.  Raises UsageError for a recipe value out of range."""
    runs = []
    for name, task in tasks.items():
        given = flag_values(arguments, task.recipe)
        default = task.default_recipe(recipe_family(dataset))
        recipe = dataclasses.replace(default, **given)
        overridden = sorted(field for field, value in given.items() if value != getattr(default, field))
        stem = f"{name}_{short_name(dataset)}_{recipe.method}"
        suffix = "" if recipe == default else f"_{recipe_hash(as_json(recipe))}"
        if arguments.quick:
            recipe, suffix = dataclasses.replace(recipe, epochs=1), f"{suffix}_quick"
        for seed in dict.fromkeys(arguments.seed):
            path = arguments.results_dir / f"{stem}_seed{seed}{suffix}.json"
            runs.append(Planned(name, recipe, overridden, seed, path))
    return runs


def run_all(arguments: argparse.Namespace, plans: dict[str, list[Planned]], argv: list[str]) -> None:
    """Every planned run, data set by data set.  Of several, those that are complete are skipped unless --fresh.

    A run that diverges does not stop the others; RunError at the end names it.
    """
    from training.loop import Diverged, Setup  # torch is imported only now, so that --help and errors are quick
    from training.run import QUICK_IMAGES, run
    from utils.environment import choose_device
    from utils.precision import choose_precision, measure_conv

    device = choose_device(arguments.device)
    conv_gflops = measure_conv(device)
    precision = choose_precision(conv_gflops) if arguments.precision == "auto" else arguments.precision
    speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in conv_gflops.items())
    print(f"device: {device.type}, precision: {precision} (convolution GFLOP/s: {speeds})", flush=True)
    if conv_gflops[precision] == 0:
        raise UsageError(f"--precision {precision}: {device.type} cannot compute in it here; take float32 or auto")
    failures: list[str] = []
    several = sum(len(runs) for runs in plans.values()) > 1
    for dataset_name, runs in plans.items():
        dataset = load_dataset(dataset_name, arguments.data_dir)
        if arguments.quick:
            dataset = dataset.head(**QUICK_IMAGES)
        for planned in runs:
            title = f"{planned.task} {dataset.name} {planned.recipe.method} seed {planned.seed}"
            done = complete_record(planned.path, planned.recipe, dataset.sha256)
            if done and several and not arguments.fresh and not arguments.quick:
                print(f"{title}: complete already in {done}, skipped (--fresh trains it again)", flush=True)
                continue
            print(f"\n{title} ({TASKS[planned.task].title})", flush=True)
            setup = Setup(device, precision, conv_gflops, planned.seed, arguments.quick)
            try:
                record, path = run(planned.task, dataset, planned.recipe, planned.overridden, setup, planned.path, argv)
            except Diverged as error:
                failures.append(f"{title}: {error}; {'; '.join(error.__notes__)}")
                print(failures[-1], flush=True)
                continue
            score = record.headline
            print(f"{title}: test accuracy {100 * score.value:.2f} % ({score.correct} of {score.n})"
                  f"{', a quick run' if arguments.quick else ''} -> {path}", flush=True)
    if failures:
        raise RunError("; ".join(failures))


def complete_record(path: Path, recipe: Recipe, sha256: dict[str, str]) -> Path | None:
    """A valid record of this complete run, on these images, under this name or with _run2, ...; None without one."""
    for candidate in [path, *sorted(path.parent.glob(f"{path.stem}_run*.json"))]:
        try:
            record = read_record(candidate)
        except RecordError:
            continue
        wanted = (recipe_hash(as_json(recipe)), sha256, "complete")
        if (record.recipe.hash, record.data.sha256, record.run.status) == wanted:
            return candidate
    return None


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "nothing of the unfinished run was kept"))
