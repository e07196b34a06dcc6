"""Learn a 128-dimensional latent, score it and write a record.  `python _main.py --help` shows how.

To follow a run: this file -> training/plan.py (which runs) -> training/run.py (trains and records them) -> the task's
script, which training/tasks.py names, such as training/contrastive.py with contrastive_methods.py and losses.py ->
training/loop.py (its steps) -> evaluation/scoring.py, scores.py (its scores) -> utils/records/schema.py (the record).
"""

from utils.command_line import Parser, add_run_flags, exit_code, leave, prepare_imports, processes, raise_on_interrupt

if __name__ == "__main__":
    prepare_imports()  # during the other imports

import argparse
import sys
import tempfile
from pathlib import Path

from evaluation.embed import check_embedding, embed_folder
from training import long_recipes
from training.plan import check_flags_fit, choose_tasks, described, plan, read_init
from training.tasks import TASKS, tasks_in_words
from utils.console import plural
from utils.errors import RunError, UsageError
from utils.images.datasets import DATASETS, FOLDER, check_dataset, check_folder, fetch, folder_path
from utils.recipe import add_flags

EXAMPLES = f"""\
examples:
  print a run's hyper-parameters; try it in seconds on a few images; run it:
    python _main.py --task 1.2.3 --dataset cifar10 --show-recipe
    python _main.py --task 1.2.3 --dataset digits --quick
    python _main.py --task 1.2.3 --dataset cifar10
  every task with three seeds; every contrastive method:
    python _main.py --task all --dataset digits --seed 0 1 2
    python _main.py --task 1.2.3 --dataset digits --method all
  your own images, one sub-folder per class; other hyper-parameters:
    python _main.py --task 1.2.2 --dataset folder:PATH
    python _main.py --task 1.2.3 --dataset mnist --temperature 0.5 --epochs 20
  fine-tune with 1 % of the labels; start from the encoder of another run:
    python _main.py --task 1.2.3 --dataset mnist --labels 0.01 --finetune
    python _main.py --task 1.2.1 --dataset mnist --init RECORD.json
  write the latents of your own images:
    python _main.py --embed RECORD.json --images folder:PATH --out z.npz

tasks and their methods:
{tasks_in_words()}
  all       all of these tasks

data sets:
  {', '.join(DATASETS)}, folder:PATH, all ({', '.join(DATASETS)})

defaults of the hyper-parameters:
  "by recipe" means that the default depends on data set, method or encoder.
  utils/recipe.py has the shared ones, training/*_recipe.py those of each task;
  --show-recipe prints those of a run.
"""


def build_parser() -> argparse.ArgumentParser:
    """Flags of the run, then one for every field of every recipe."""
    parser = Parser(EXAMPLES, usage="python _main.py --task TASK --dataset DATASET [options]")
    parser.add_argument("--task", help=f"{', '.join(TASKS)} or all")
    parser.add_argument("--dataset", help=f"{', '.join(DATASETS)}, folder:PATH or all")
    parser.add_argument("--image-size", type=int, metavar="N",
                        help="for folder:PATH: scale its images to N x N pixels (default 32)")
    parser.add_argument("--method", nargs="+", metavar="METHOD",
                        help="one or more methods of the task, or all; the defaults are listed above")
    parser.add_argument("--recipe", default="default", choices=("default", "long"),
                        help=f"long: published settings for a GPU, with a ResNet18, not measured here; "
                             f"exists for {long_recipes.long_recipes_in_words()}. Other flags change it further")
    parser.add_argument("--init", type=Path, metavar="RECORD",
                        help="start from the encoder of this record's run instead of random weights; this also sets "
                             "--encoder, --widths, --pooling and --latent-dim")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], metavar="N",
                        help="one run per seed; seeds weights, shuffling and augmentation (default 0)")
    add_run_flags(parser)
    parser.add_argument("--cuda-graph", action=argparse.BooleanOptionalAction, default=True,
                        help="on CUDA, launch all kernels of a training step at once, as a captured graph (default)")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument("--quick", action="store_true",
                        help="train one epoch on a few images, to check that everything works; the report keeps "
                             "such runs out of its results")
    parser.add_argument("--show-recipe", action="store_true",
                        help="print every hyper-parameter, its value and where it comes from; train nothing")
    resuming = parser.add_mutually_exclusive_group()
    resuming.add_argument("--resume", action="store_true",
                          help="resume the unfinished run, as by default, but stop if its recipe differs")
    resuming.add_argument("--fresh", action="store_true",
                          help="start unfinished runs over; if the command names several, also repeat complete ones")
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0, metavar="M",
                        help="minutes between checkpoints; each epoch also ends with one (default 5)")
    parser.add_argument("--embed", type=Path, metavar="RECORD",
                        help="instead of a run, write the latents of --images from this record's encoder to --out")
    parser.add_argument("--images", metavar="folder:PATH", help="for --embed: use all images below this folder")
    parser.add_argument("--out", type=Path, metavar="FILE.npz",
                        help="for --embed: the output; latents (N, latent_dim) float32, and files (N,), their paths")
    add_flags(parser, {name: task.recipe for name, task in TASKS.items()}, {
        field for task in TASKS.values() for values in (*task.recipes.values(), *task.encoders.values())
        for field in values})
    return parser


def main(argv: list[str]) -> None:
    """Check everything that the command line asks for, then run it.  Raises UsageError and RunError."""
    arguments = build_parser().parse_args(argv)
    if arguments.embed or arguments.images is not None or arguments.out:
        embed(arguments, argv)
        return
    check_run_flags(arguments)
    tasks = choose_tasks(arguments.task)
    datasets = list(DATASETS) if arguments.dataset == "all" else [arguments.dataset]
    for name in datasets:
        check_dataset(name, arguments.image_size)
    if arguments.method and len(tasks) > 1:
        raise UsageError("--method belongs to one task; name that task with --task")
    check_flags_fit(arguments, tasks)
    init = read_init(arguments.init, arguments.quick) if arguments.init else None
    plans = {name: plan(arguments, tasks, name, init) for name in datasets}
    if arguments.show_recipe:
        print(described(plans))
        return
    for name in datasets:
        subsets = {planned.recipe.subset for planned in plans[name]}
        check_folder(name, subsets, arguments.data_dir, arguments.results_dir)
    names = [planned.path.name for runs in plans.values() for planned in runs]
    check_writable(arguments.results_dir, "--results-dir", f"{max(names, key=len)[:-5]}.safetensors")
    for name in datasets if processes() == 1 else ():  # under torchrun the processes load them in turn, in run_all()
        fetch(name, arguments.data_dir, arguments.image_size)
    words = [word.encode("utf-8", "backslashreplace").decode()[:1000] for word in ["_main.py", *argv]]
    print(f"loading PyTorch and {', '.join(plans)} for {plural(len(names), 'run')}", flush=True)
    from training.run import run_all  # imports torch, which --help and errors need not wait for

    raise_on_interrupt()
    run_all(plans, arguments, words)


def check_run_flags(arguments: argparse.Namespace) -> None:
    """UsageError where a flag of the run is missing or out of range."""
    for flag in ("task", "dataset"):
        if getattr(arguments, flag) is None:
            raise UsageError(f"--{flag} is needed; see --help for examples")
    for seed in arguments.seed:
        if not 0 <= seed < 2**63:
            raise UsageError(f"--seed {seed}: must be 0 or more, and below 2**63")
    if arguments.quick and "epochs" in arguments:
        raise UsageError("--quick trains one epoch; leave out --epochs")
    if not 0 <= arguments.checkpoint_minutes < 1e6:
        raise UsageError(f"--checkpoint-minutes {arguments.checkpoint_minutes:g}: must be 0 or more")


def check_writable(folder: Path, flag: str, name: str) -> None:
    """RunError, before anything is trained, unless files can be created in the folder that the flag names.

    name: of the file to be written; with its folder or in a temporary name it may be too long for the system.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", suffix=".tmp").close()
    except OSError as error:
        raise RunError(f"{flag} {folder}: cannot write there ({error.strerror})") from None


def embed(arguments: argparse.Namespace, argv: list[str]) -> None:
    """Write the latents of a folder of images.  Raises UsageError and RunError."""
    flags = [word.partition("=")[0] for word in argv if word.startswith("--")]
    foreign = sorted(set(flags) - {"--embed", "--images", "--out", "--device"})
    if foreign:
        raise UsageError(f"{foreign[0]} does not apply to --embed, which takes --images, --out and --device")
    for flag in ("embed", "images", "out"):
        if getattr(arguments, flag) is None:
            raise UsageError(f"--{flag} is needed: --embed RECORD --images folder:PATH --out FILE.npz")
    if not arguments.images.startswith(FOLDER) or arguments.images == FOLDER:
        raise UsageError(f"--images {arguments.images}: write {FOLDER}PATH")
    if arguments.out.suffix != ".npz":
        raise UsageError(f"--out {arguments.out}: name it FILE.npz")
    folder = folder_path(arguments.images)
    check_embedding(arguments.embed, folder, arguments.out)
    check_writable(arguments.out.absolute().parent, "--out", arguments.out.name)
    print(f"loading PyTorch and the encoder of {arguments.embed}", flush=True)
    from utils.records.environment import choose_device  # imports torch

    raise_on_interrupt()
    try:
        count = embed_folder(arguments.embed, folder, arguments.out, choose_device(arguments.device))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was written; the same command starts over") from None
    print(f"latents of {count} images -> {arguments.out}")


def command(argv: list[str]) -> int:
    """Run the command line and return its exit code; errors that a user can cause print one line."""
    return exit_code(lambda: main(argv), "the same command resumes from the last checkpoint")


if __name__ == "__main__":
    leave(command(sys.argv[1:]))
