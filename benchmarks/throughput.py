"""Images per second of this project's training beside what a user would write or install instead, on CIFAR-10.

    python benchmarks/throughput.py --json throughput.json     about twenty minutes on two cores
    python benchmarks/throughput.py --images 500 --rounds 2    a first look
    python benchmarks/throughput.py --recipe                   time to equal accuracy, beside SimCLR with a ResNet18

The first form trains the same network three ways, in turn, and with as many threads:

    this project   the task's own train(), in the number format that it chooses here; while it trains, and only
                   then, malloc keeps freed memory (allocator.py); in a process of its own, so that the others
                   have nothing of that
    tutorial loop  torchvision transforms of one PIL image at a time, DataLoader, float32, AdamW
    lightly        (1.2.3) its SimCLR transform, head and loss in such a loop; left out where it is not installed

The other two have torch's own convolutions, and whichever of 0, 1 and 2 worker processes is fastest.  All are warmed
up: of this project the third epoch counts.  An epoch is short here: with workers its first batch, which none could
prepare during an earlier step, weighs more than in a long one (1 of 6 or 12 batches by default).

--recipe compares whole recipes: the seconds of both are measured here, but how many epochs SimCLR with a ResNet18 needs
for an accuracy is read off published figures (PUBLISHED, below), and this project's accuracy off its own records.
"""

import argparse
import importlib.util
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the project, wherever this is called from

from benchmarks.common import (
    Contestant,
    Timed,
    add_json_flag,
    add_run_flags,
    check_output,
    even_recipe,
    print_table,
    round_robin,
    spread,
    whole,
    write_json,
)
from training.tasks import TASKS
from utils.command_line import Parser, exit_code
from utils.errors import RunError, UsageError
from utils.recipe import as_json

if TYPE_CHECKING:  # torch is imported only when something is timed, so that --help and errors are quick
    from benchmarks.contestants import Conventional
    from training.loop import Setup
    from utils.images.on_device import DeviceData
    from utils.recipe import Recipe

EXAMPLES = """examples:
  python benchmarks/throughput.py --json throughput.json   both tasks, about twenty minutes on two cores
  python benchmarks/throughput.py --task 1.2.2 --images 500 --rounds 2
  python benchmarks/throughput.py --recipe                 time to equal accuracy, beside SimCLR with a ResNet18
  python benchmarks/throughput.py --recipe --conventional-epochs 200

"""
DATASET = "cifar10"
COMPARED = ("1.2.2", "1.2.3")
WORKERS = (0, 1, 2)  # of the DataLoaders
RESNET_BATCH, RESNET_STEPS = 128, 3  # lightly's benchmark has 128; so few steps a round, since each takes seconds

# this project's scores that are compared: all of them on the frozen 128-d latent
SCORES = {"classifier_top1": "MLP on the latent (headline)", "linear_top1": "linear on the latent"}
# SimCLR on CIFAR-10, ResNet18 with the stem for small images, two views: epochs, test accuracy, how it was scored, and
# source.  All of them were trained on 50,000 images and scored in 512 dimensions, not in 128.
PUBLISHED = (
    (1, 0.282, "linear", "README of github.com/tsb0601/EMP-SSL"),
    (10, 0.565, "linear", "README of github.com/tsb0601/EMP-SSL"),
    (30, 0.663, "linear", "README of github.com/tsb0601/EMP-SSL"),
    (200, 0.847, "kNN, best epoch on test, batch 128", "docs.lightly.ai, benchmarks"),
    (1000, 0.9074, "online linear", "README of github.com/vturrisi/solo-learn"),
)


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python benchmarks/throughput.py [options]", description="Time this project's "
                    "training on CIFAR-10 against a tutorial's loop and against lightly, in turn.")
    parser.add_argument("--task", nargs="+", choices=COMPARED, help="which to compare (default: both)")
    parser.add_argument("--images", type=whole(1), default=3000, metavar="N",
                        help="images that each contestant trains on in a round (default 3000)")
    parser.add_argument("--rounds", type=whole(1), default=3, metavar="N",
                        help="rounds that count; one more warms up (default 3)")
    parser.add_argument("--recipe", action="store_true",
                        help="compare time to equal accuracy with SimCLR and a ResNet18 instead; takes minutes")
    parser.add_argument("--conventional-epochs", type=whole(1), metavar="N",
                        help="of --recipe: epochs that SimCLR gets (default: what published figures say it needs)")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), metavar="DIR",
                        help="of --recipe: where this project's records lie (default: results)")
    add_run_flags(parser)
    add_json_flag(parser)
    arguments = parser.parse_args(argv)
    if arguments.conventional_epochs and not arguments.recipe:
        raise UsageError("--conventional-epochs belongs to --recipe")
    if arguments.task and arguments.recipe:
        raise UsageError("--task has no part in --recipe, which compares 1.2.3")
    arguments.task = ["1.2.3"] if arguments.recipe else list(dict.fromkeys(arguments.task or COMPARED))
    least = max(even_recipe(task).batch_size for task in arguments.task)
    if arguments.images < least:
        raise UsageError(f"--images {arguments.images}: must be at least one batch, {least}")
    check_output(arguments.json, "--json", (".json",))
    return arguments


def main(argv: list[str]) -> None:
    """Measure, print the table, write the JSON.  Raises UsageError and RunError."""
    arguments = parse(argv)
    own: dict[str, Any] = {}
    if arguments.recipe:  # what can be wrong with the published figures or the records is said before anything is timed
        own = own_record(arguments.results_dir)
        for accuracy in own["accuracies"].values():
            accuracy_after(arguments.conventional_epochs or epochs_for(accuracy))

    import torch.nn.functional as F

    from benchmarks.contestants import first_images, measure_apart, set_up
    from utils.images.datasets import load_dataset
    from utils.images.on_device import DeviceData
    from utils.records.environment import describe

    setup = set_up(arguments.device, arguments.precision)
    whole_data = DeviceData.load(load_dataset(DATASET, arguments.data_dir), setup.device)
    data = first_images(whole_data, arguments.images)
    measured: dict[str, Any] = {"images": arguments.images, "rounds": arguments.rounds}
    if arguments.recipe:
        measured["recipe"] = compare_recipes(own, data, setup, arguments.rounds, len(whole_data.train),
                                             arguments.conventional_epochs)
    else:
        torchs = partial(F.conv2d, padding=1)
        before = measure_apart(setup.device, torchs)
        tables = {task: compare_speed(task, even_recipe(task), data, setup, arguments.rounds)
                  for task in arguments.task}
        # torch's convolution is timed again at the end, and the faster time counts: a peak is what the machine can do
        after = measure_apart(setup.device, torchs)
        peak = {name: max(speed, after[name]) for name, speed in before.items()}
        for task, table in tables.items():
            table["share_of_conv_peak"] = table["gflops_per_second"] / peak[setup.precision]
            show_speed(task, table, peak[setup.precision])
        measured |= {"tasks": tables, "conv_peak_gflops": peak}
    measured["machine"] = describe(setup.device, setup.precision, setup.conv_gflops).model_dump()
    write_json(arguments.json, measured)


# The same network, three ways


def compare_speed(task: str, recipe: "Recipe", data: "DeviceData", setup: "Setup", rounds: int,
                  workers: tuple[int, ...] = WORKERS) -> dict[str, Any]:
    """Images/s of one task for each contestant, and GFLOP/s of this project's; one round is one epoch of the data."""
    from benchmarks import contestants as make

    print(f"\n{task} {TASKS[task].title}: batches of {recipe.batch_size}", flush=True)
    others = [make.tutorial_classification if task == "1.2.2" else make.tutorial_contrastive]
    if task == "1.2.3" and importlib.util.find_spec("lightly") is None:
        print("  lightly is not installed: its row is left out (requirements-test.txt has it)")
    elif task == "1.2.3":
        others.append(make.lightly_contrastive)
    ours = make.this_project(task, recipe, data, setup)
    timings = round_robin([ours, *(fastest(other(recipe, data, setup), workers) for other in others)], rounds)
    speeds = {name: spread(timed) for name, timed in timings.items()}
    own_speed = speeds[ours.name]["images_per_second"]
    for row in speeds.values():
        row["this_project_is_times_as_fast"] = own_speed / row["images_per_second"]
    return {"batch_size": recipe.batch_size, "contestants": speeds,
            "gflops_per_second": median(timed.flops / timed.seconds for timed in timings[ours.name]) / 1e9}


def fastest(loop: "Conventional", workers: tuple[int, ...]) -> Contestant:
    """A conventional loop with the number of workers that is fastest in one epoch each."""
    loop.warm_up()
    timed: dict[int, Timed] = {number: loop.with_workers(number).run() for number in workers}
    speeds = ", ".join(f"{number}: {timed[number].images_per_second:.1f}" for number in workers)
    print(f"  {loop.name}, images/s by number of workers: {speeds}", flush=True)
    return loop.with_workers(max(workers, key=lambda number: timed[number].images_per_second))


def show_speed(task: str, table: dict[str, Any], peak: float) -> None:
    """The table of one task on the screen.  peak: GFLOP/s of torch's convolution in the project's number format."""
    rows = [[name, f"{row['images_per_second']:.1f}", f"{row['lowest']:.1f} to {row['highest']:.1f}",
             f"{row['this_project_is_times_as_fast']:.2f} x as fast"] for name, row in table["contestants"].items()]
    views = ", two views each" if task == "1.2.3" else ""
    rounds = len(next(iter(table["contestants"].values()))["rounds"])
    print_table(f"{task} {TASKS[task].title}, CIFAR-10, batches of {table['batch_size']}, median of {rounds} rounds",
                ["", f"images/s{views}", "lowest to highest", "this project is"], rows)
    print(f"this project's step: {table['gflops_per_second']:.0f} GFLOP/s, {100 * table['share_of_conv_peak']:.0f} % "
          f"of the {peak:.0f} GFLOP/s of torch's convolution with a norm; both counted as of direct ones", flush=True)


# Time to equal accuracy


def compare_recipes(own: dict[str, Any], data: "DeviceData", setup: "Setup", rounds: int, epoch_images: int,
                    conventional_epochs: int | None) -> dict[str, Any]:
    """Minutes of this project's recipe and of SimCLR with a ResNet18 until it is as accurate.

    own: of own_record(); epoch_images: in a whole epoch of either.
    """
    from benchmarks import contestants as make

    recipe = TASKS["1.2.3"].default_recipe(DATASET)
    resnet = replace(even_recipe("1.2.3", encoder="resnet18"), batch_size=RESNET_BATCH)
    few = make.first_images(data, RESNET_BATCH * RESNET_STEPS)
    print(f"\ntime to equal accuracy; a ResNet18 takes {RESNET_STEPS} steps of {RESNET_BATCH} a round", flush=True)
    ours = make.this_project("1.2.3", recipe, data, setup)
    loop = make.tutorial_contrastive(resnet, few, setup, side=data.image_shape[-1])  # as published: views of full size
    loop.name = "ResNet18 in a tutorial loop"
    theirs = fastest(loop, WORKERS)
    timings = round_robin([ours, theirs], rounds)
    speeds = {name: spread(timed) for name, timed in timings.items()}
    epoch_seconds = epoch_images / speeds[theirs.name]["images_per_second"]
    # today's recipe at the speed of this run; it is no time to the accuracy of records of another recipe
    here = recipe.epochs * epoch_images / speeds[ours.name]["images_per_second"] if own["today"] else None

    print(f"\nthis project, measured: {own['seconds'] / 60:.1f} min in the records (mean of {own['n']}; "
          f"{own['machine']})")
    if here:
        print(f"this project, measured: {here / 60:.1f} min for its {recipe.epochs} epochs at the speed of this run")
    else:
        print("note: the default recipe has changed since the records were made, so only their own time is compared")
    print(f"ResNet18, measured: {epoch_seconds / 60:.1f} min for an epoch of {epoch_images} images "
          f"({speeds[theirs.name]['lowest']:.1f} to {speeds[theirs.name]['highest']:.1f} images/s)")
    print("ResNet18, epochs: published, not measured here:")
    for epochs, accuracy, protocol, source in PUBLISHED:
        print(f"  {epochs:5d} epochs  {100 * accuracy:5.2f} %  {protocol}  [{source}]")
    rows, scores = [], {}
    for score, accuracy in own["accuracies"].items():
        epochs = conventional_epochs or epochs_for(accuracy)
        reached, seconds = accuracy_after(epochs), epochs * epoch_seconds
        scores[score] = {"accuracy": accuracy, "conventional_epochs": epochs, "conventional_accuracy": reached,
                         "conventional_seconds": seconds, "ratio_to_records": seconds / own["seconds"],
                         "ratio_here": seconds / here if here else None}
        rows.append([SCORES[score], f"{100 * accuracy:.2f}", f"{epochs:.1f}", f"{100 * reached:.2f}",
                     f"{seconds / 60:.0f}", f"{own['seconds'] / 60:.1f}", f"{seconds / own['seconds']:.1f} x",
                     f"{seconds / here:.1f} x" if here else "-"])
    print_table("minutes of training to equal accuracy", [
        "this project's", "test %", "their epochs", "published %", "their min", "our min (records)", "ratio",
        "ratio, both timed here"], rows)
    if conventional_epochs:
        print(f"their {conventional_epochs} epochs were asked for; the accuracy after them is read off the published "
              "figures, linearly in the logarithm of the epochs")
    else:
        print("their epochs are read off the published figures, linearly in the logarithm of the epochs")
    return {"speeds": speeds, "own": own, "own_epochs": recipe.epochs, "own_seconds_here": here,
            "conventional_epoch_seconds": epoch_seconds, "epoch_images": epoch_images, "scores": scores,
            "published": [dict(zip(("epochs", "accuracy", "protocol", "source"), row, strict=True))
                          for row in PUBLISHED]}


def epochs_for(accuracy: float) -> float:
    """Epochs that SimCLR with a ResNet18 needs for a test accuracy, from PUBLISHED, linear in log(epochs).

    Raises RunError outside of what is published.
    """
    for (e0, a0, *_), (e1, a1, *_) in zip(PUBLISHED, PUBLISHED[1:], strict=False):
        if a0 <= accuracy <= a1:
            return e0 * (e1 / e0) ** ((accuracy - a0) / (a1 - a0))
    raise RunError(f"no published figure says after how many epochs SimCLR reaches {100 * accuracy:.2f} %: "
                   "give --conventional-epochs")


def accuracy_after(epochs: float) -> float:
    """The other way round.  Raises RunError outside of what is published."""
    for (e0, a0, *_), (e1, a1, *_) in zip(PUBLISHED, PUBLISHED[1:], strict=False):
        if e0 <= epochs <= e1 * (1 + 1e-9):
            return a0 + (a1 - a0) * math.log(epochs / e0) / math.log(e1 / e0)
    raise RunError(f"no published figure says what SimCLR reaches after {epochs:g} epochs: choose 1 to "
                   f"{PUBLISHED[-1][0]}")


def own_record(folder: Path) -> dict[str, Any]:
    """Mean test accuracies and training seconds of the default recipe of task 1.2.3 on CIFAR-10, over its seeds.

    A record counts that is complete, of the default method, and made without a recipe flag and without --init; where
    the defaults have changed meanwhile, those of the newest recipe.  Raises RunError where there is none.
    """
    from utils.records.schema import RecordError, read_record, recipe_hash

    default, records = TASKS["1.2.3"].default_recipe(DATASET), []
    for path in sorted(folder.glob(f"1.2.3_{DATASET}_{default.method}_seed*.json")):
        try:
            record = read_record(path)
        except RecordError as error:
            raise RunError(f"{path}: {error}") from None
        if record.run.status == "complete" and record.run.init is None and not record.recipe.overridden:
            records.append((path, record))
    if not records:
        raise RunError(f"--results-dir {folder}: no record of the default recipe; python _main.py --task 1.2.3 "
                       f"--dataset {DATASET} makes one")
    newest = max((record for _, record in records), key=lambda record: record.run.started)
    records = [(path, record) for path, record in records if record.recipe.hash == newest.recipe.hash]
    accuracies = {name: fmean(record.metrics[f"test/{name}"].value for _, record in records)
                  for name in SCORES}
    for path, record in records:
        print(f"record: {path.name}, {100 * record.headline.value:.2f} % test, trained in "
              f"{record.history[-1].seconds / 60:.1f} min")
    environment = newest.environment
    return {"records": [path.name for path, _ in records], "n": len(records), "accuracies": accuracies,
            "seconds": fmean(record.history[-1].seconds for _, record in records),
            "today": newest.recipe.hash == recipe_hash(as_json(default)),
            "machine": f"{environment.cpu}, {environment.threads} threads, {environment.precision}"}


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "nothing was written"))
