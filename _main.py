"""Learn a 128-dimensional latent, score it, write a record.  `python _main.py --help` shows how.

The way through the code: this file -> training/run_all.py (which runs) -> training/run.py (one run) ->
training/<task>.py (its train()) -> evaluation/scores.py (the scores) -> utils/records/schema.py (what is written).
"""

from utils.command_line import Parser, end_on_interrupt, exit_code, leave, raise_on_interrupt

if __name__ == "__main__":
    end_on_interrupt()  # while all the rest is imported

import argparse
import dataclasses
import difflib
import sys
import tempfile
from pathlib import Path

from training.tasks import TASKS, Planned, Task
from utils.errors import RunError, UsageError
from utils.images.datasets import DATASETS, FOLDER, check_dataset, folder_path, recipe_family, short_name
from utils.recipe import (
    ENCODER_FIELDS,
    ENCODER_WIDTHS,
    LatentRecipe,
    add_flags,
    as_json,
    check_methods_have,
    flag_values,
)
from utils.records.schema import Record, RecordError, read_record, recipe_hash

EXAMPLES = f"""\
examples:
  python _main.py --task 1.2.3 --dataset cifar10            learn, score and record one latent
  python _main.py --task 1.2.1 --dataset mnist --quick      the same in seconds, on a few images; no headline counts it
  python _main.py --task all --dataset digits --seed 0 1 2  every task three times on the embedded set
  python _main.py --task 1.2.3 --dataset mnist --method all every contrastive method in turn
  python _main.py --task 1.2.2 --dataset folder:PATH        images of your own, one sub-folder a class
  python _main.py --task 1.2.3 --dataset mnist --temperature 0.5 --epochs 20
  python _main.py --task 1.2.3 --dataset mnist --labels 0.01 --finetune
                                                            train the encoder on, with a hundredth of the labels
  python _main.py --task 1.2.1 --dataset mnist --init results/1.2.3_mnist_simclr_seed0.json
                                                            start from the encoder of another run
  python _main.py --embed results/1.2.3_mnist_simclr_seed0.json --images folder:PATH --out latents.npz
                                                            latents of images of your own

tasks and their methods:
{chr(10).join(f"  {name:10}{task.title}: {', '.join(task.all_methods)}" for name, task in TASKS.items())}
  all       every one of them

datasets:
  {', '.join(DATASETS)}, folder:PATH, all ({', '.join(DATASETS)})
"""


def build_parser() -> argparse.ArgumentParser:
    """Flags of the run, then one for every field of every recipe."""
    parser = Parser(EXAMPLES, usage="python _main.py --task TASK --dataset DATASET [options]")
    parser.add_argument("--task", help=f"{', '.join(TASKS)} or all")
    parser.add_argument("--dataset", help=f"{', '.join(DATASETS)}, folder:PATH or all")
    parser.add_argument("--image-size", type=int, metavar="N",
                        help="of folder:PATH: the side that its images are scaled to, pixels (default 32)")
    parser.add_argument("--method", nargs="+", metavar="METHOD",
                        help="one or more methods of the task (see above), or all; default: its first, on "
                             "CIFAR-10 patches in 1.2.1 and cmc in 1.2.3, of control both")
    parser.add_argument("--init", type=Path, metavar="RECORD",
                        help="start from the encoder of this record's run, instead of random weights; it also sets "
                             "--encoder, --widths, --pooling and --latent-dim")
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
    going_on = parser.add_mutually_exclusive_group()
    going_on.add_argument("--resume", action="store_true",
                          help="go on with the unfinished run, as is done anyway where there is one; refuse where it "
                               "has another recipe")
    going_on.add_argument("--fresh", action="store_true",
                          help="start over what is unfinished; of several runs, also train those that have a complete "
                               "record already")
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0, metavar="M",
                        help="time between two checkpoints within an epoch; one more ends each epoch (default 5)")
    parser.add_argument("--embed", type=Path, metavar="RECORD",
                        help="no run: write the latents of --images under this record's encoder to --out")
    parser.add_argument("--images", metavar="folder:PATH", help="of --embed: all images below a folder")
    parser.add_argument("--out", type=Path, metavar="FILE.npz",
                        help="of --embed: latents (N, 128) float32 and files (N,), their paths below the folder")
    add_flags(parser, {name: task.recipe for name, task in TASKS.items()})
    return parser


def main(argv: list[str]) -> None:
    """Check everything that the command line asks for, then run it.  Raises UsageError and RunError."""
    arguments = build_parser().parse_args(argv)
    if arguments.embed or arguments.images or arguments.out:
        embed(arguments, argv)
        return
    for flag in ("task", "dataset"):
        if getattr(arguments, flag) is None:
            raise UsageError(f"--{flag} is needed; see --help for examples")
    tasks = choose_tasks(arguments.task)
    datasets = list(DATASETS) if arguments.dataset == "all" else [arguments.dataset]
    for name in datasets:
        check_dataset(name, arguments.image_size)
    for seed in arguments.seed:
        if not 0 <= seed < 2**63:
            raise UsageError(f"--seed {seed}: must be 0 or more, and below 2**63")
    if arguments.quick and "epochs" in arguments:
        raise UsageError("--quick trains one epoch; leave out --epochs")
    if not 0 <= arguments.checkpoint_minutes < 1e6:
        raise UsageError(f"--checkpoint-minutes {arguments.checkpoint_minutes:g}: must be 0 or more")
    if arguments.method and len(tasks) > 1:
        raise UsageError("--method belongs to one task; name that with --task")
    check_flags_fit(arguments, tasks)
    init = read_init(arguments.init, arguments.quick) if arguments.init else None
    plans = {name: plan(arguments, tasks, name, init) for name in datasets}
    check_writable(arguments.results_dir, "--results-dir")
    words = [word.encode("utf-8", "backslashreplace").decode()[:1000] for word in ["_main.py", *argv]]
    from training.run_all import Options, run_all  # torch is imported only now, so that --help and errors are quick

    raise_on_interrupt()
    run_all(plans, Options(
        argv=words, data_dir=arguments.data_dir, image_size=arguments.image_size, device=arguments.device,
        precision=arguments.precision, quick=arguments.quick, fresh=arguments.fresh, resume=arguments.resume,
        checkpoint_seconds=60 * arguments.checkpoint_minutes, init=arguments.init))


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
        if foreign and not (name == "control" and len(tasks) > 1):  # of all tasks, the controls alone train nothing
            raise UsageError(f"--{foreign[0].replace('_', '-')} is no part of the recipe of task {name}")


def check_writable(folder: Path, flag: str) -> None:
    """RunError, before anything is trained, unless files can be made in the folder that the flag names."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RunError(f"{flag} {folder}: cannot write there ({error.strerror})") from None


def plan(arguments: argparse.Namespace, tasks: dict[str, Task], dataset: str, init: Record | None) -> list[Planned]:
    """The runs on one data set: every task, method and seed.  Raises UsageError for a recipe value out of range."""
    runs = []
    for name, task in tasks.items():
        if init and name == "control":
            raise UsageError("--init: a control starts from no other run")
        methods = arguments.method or task.default_methods(recipe_family(dataset))
        methods = list(dict.fromkeys(task.all_methods if "all" in methods else methods))
        check_methods_have(task.recipe, methods, set(flag_values(arguments, task.recipe)))
        for method in methods:
            default = task.default_recipe(recipe_family(dataset), method)
            recipe, overridden = changed_recipe(arguments, task, recipe_family(dataset), default, init)
            stem = f"{name}_{short_name(dataset, arguments.image_size)}_{method}"
            suffix = "" if recipe == default else f"_{recipe_hash(as_json(recipe, overridden))}"
            if init:
                suffix += f"_from-{init.run.task}-{init.run.method}"
            if arguments.quick:
                recipe = dataclasses.replace(recipe, epochs=1) if recipe.epochs else recipe
                suffix += "_quick"
            for seed in dict.fromkeys(arguments.seed):
                path = arguments.results_dir / f"{stem}_seed{seed}{suffix}.json"
                runs.append(Planned(name, recipe, overridden, seed, path))
    return runs


def changed_recipe(arguments: argparse.Namespace, task: Task, family: str, default: LatentRecipe,
                   init: Record | None) -> tuple[LatentRecipe, list[str]]:
    """The recipe that the command line asks for, and the fields in which it asked for another than the default."""
    given = flag_values(arguments, task.recipe)
    given = {field: value for field, value in given.items() if default.uses(field)}
    inherited = {field: init.recipe.fields[field] for field in ENCODER_FIELDS} if init else {}
    for field, value in inherited.items():
        inherited[field] = tuple(value) if isinstance(value, list) else value
        if field in given and given[field] != inherited[field]:
            raise UsageError(f"--{field.replace('_', '-')}: {arguments.init} has {init.recipe.fields[field]}; leave it "
                             "out")
    encoder = (inherited | given).get("encoder")
    recipe = dataclasses.replace(task.default_recipe(family, default.method, encoder), **(inherited | given))
    if recipe.epochs == 0 and not init and default.epochs > 0:
        raise UsageError("--epochs 0 trains nothing; give --init RECORD to score that run's encoder as it is")
    if recipe.epochs == 0 and recipe.method == "joint":
        raise UsageError("--epochs 0: task 1.2.2 is the joint training; score the encoder under the task it came from")
    return recipe, sorted(field for field, value in given.items() if value != getattr(default, field))


def read_init(path: Path, quick: bool) -> Record:
    """The record of --init.  Raises UsageError where it is none that a run, quick or not, can start from."""
    try:
        record = read_record(path)
    except RecordError as error:
        raise UsageError(f"--init {path}: {error}") from None
    if record.run.status == "quick" and not quick:
        raise UsageError(f"--init {path}: this was a quick run; a run that counts starts from one that counts")
    if "checkpoint" not in record.artifacts:
        raise UsageError(f"--init {path}: this run has no checkpoint")
    if record.recipe.fields.get("encoder") not in ENCODER_WIDTHS:
        raise UsageError(f"--init {path}: starts from a trained encoder: {', '.join(ENCODER_WIDTHS)}")
    return record


def embed(arguments: argparse.Namespace, argv: list[str]) -> None:
    """Write the latents of a folder of images.  Raises UsageError and RunError."""
    flags = [word.partition("=")[0] for word in argv if word.startswith("--")]
    foreign = sorted(set(flags) - {"--embed", "--images", "--out", "--device"})
    if foreign:
        raise UsageError(f"{foreign[0]} has no part in --embed, which takes --images, --out and --device")
    for flag in ("embed", "images", "out"):
        if getattr(arguments, flag) is None:
            raise UsageError(f"--{flag} is needed: --embed RECORD --images folder:PATH --out FILE.npz")
    if not arguments.images.startswith(FOLDER) or arguments.images == FOLDER:
        raise UsageError(f"--images {arguments.images}: write {FOLDER}PATH")
    if arguments.out.suffix != ".npz":
        raise UsageError(f"--out {arguments.out}: name it FILE.npz")
    from evaluation.embed import embed_folder  # torch is imported only now
    from utils.records.environment import choose_device

    raise_on_interrupt()
    check_writable(arguments.out.absolute().parent, "--out")
    count = embed_folder(arguments.embed, folder_path(arguments.images), arguments.out,
                         choose_device(arguments.device))
    print(f"latents of {count} images -> {arguments.out}")


def command(argv: list[str]) -> int:
    """The command line with its exit code; what a user can cause ends in one line."""
    return exit_code(lambda: main(argv), "the same command goes on from the last checkpoint")


if __name__ == "__main__":
    leave(command(sys.argv[1:]))
