"""Images per second on CIFAR-10: this project's training against a tutorial loop and lightly.

    python benchmarks/throughput.py --json throughput.json     about twenty minutes on two cores
    python benchmarks/throughput.py --images 500 --rounds 2    a first look
    python benchmarks/throughput.py --recipe                   time to equal accuracy, against two other recipes

The first form alternates between three training loops on the same network with the same number of threads:

    this project   the task's train(), in the number format that it chooses here; malloc keeps freed memory while
                   it trains (utils/compute/allocator.py), so it runs in a separate process
    tutorial loop  torchvision transforms of one PIL image at a time, DataLoader, float32, AdamW
    lightly        (1.2.3) its SimCLR transform, head and loss in such a loop; omitted if it is not installed

The other two use torch's convolutions, and the fastest of 0, 1 and 2 worker processes.  All are warmed up; for this
project the third epoch is timed.  With workers, the first batch cannot be prepared during an earlier step.  Epochs are
short here, so this batch has more weight than in a long epoch (1 of 6 or 12 batches by default).

--recipe compares whole recipes.  All seconds are measured here; this project's accuracy comes from its records.

    resnet18    SimCLR with a ResNet18; the number of epochs that it needs for an accuracy comes from published figures
                (PUBLISHED, below)
    coursework  the loop of a graded public solution of this coursework, with the number of epochs and the accuracy that
                it reports (COURSEWORK, below)
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
    even_recipe,
    print_table,
    round_robin,
    spread,
    whole,
    write_json,
)
from training.tasks import TASKS
from utils.command_line import Parser, add_run_flags, check_output, exit_code
from utils.errors import RunError, UsageError
from utils.recipe import Recipe, as_json

if TYPE_CHECKING:  # torch is imported only to time something, so that --help and errors are quick
    from benchmarks.contestants import Conventional
    from training.loop import Setup
    from utils.images.on_device import DeviceData

EXAMPLES = """examples:
  python benchmarks/throughput.py --json throughput.json   both tasks, about twenty minutes on two cores
  python benchmarks/throughput.py --task 1.2.2 --images 500 --rounds 2
  python benchmarks/throughput.py --recipe                 time to equal accuracy, against two rivals
  python benchmarks/throughput.py --recipe --against coursework
  python benchmarks/throughput.py --recipe --conventional-epochs 200

"""
DATASET = "cifar10"
COMPARED = ("1.2.2", "1.2.3")
WORKERS = (0, 1, 2)  # of the DataLoaders
RIVALS = {"resnet18": 3, "coursework": 24}  # of --recipe, and their steps per round: a ResNet18's take seconds each
RESNET_BATCH = 128  # of lightly's benchmark
# a graded public solution of this coursework, contrastive part on CIFAR-10: epochs, test accuracy as it reports them
COURSEWORK = (100, 0.72)

# scores of this project that are compared, all on the frozen 128-d latent
SCORES = {"classifier_top1": "MLP on the latent (headline)", "linear_top1": "linear on the latent"}
# SimCLR on CIFAR-10, ResNet18 with the stem for small images, two views: epochs, test accuracy, scoring protocol and
# source.  All were trained on 50,000 images and scored in 512 dimensions instead of 128.
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
                    "training on CIFAR-10 against a tutorial loop and lightly, alternately.")
    parser.add_argument("--task", nargs="+", choices=COMPARED, help="tasks to compare (default: both)")
    parser.add_argument("--images", type=whole(1), default=3000, metavar="N",
                        help="images per contestant and round (default 3000)")
    parser.add_argument("--rounds", type=whole(1), default=3, metavar="N",
                        help="rounds that count, after one that warms up (default 3)")
    parser.add_argument("--recipe", action="store_true",
                        help="compare time to equal accuracy with other recipes instead; takes minutes")
    parser.add_argument("--against", nargs="+", choices=RIVALS,
                        help="with --recipe: whom to compare with (default: all)")
    parser.add_argument("--conventional-epochs", type=whole(1), metavar="N",
                        help="with --recipe: epochs of SimCLR (default: as many as published figures say it needs)")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), metavar="DIR",
                        help="with --recipe: folder with this project's records (default: results)")
    add_run_flags(parser)
    add_json_flag(parser)
    arguments = parser.parse_args(argv)
    if arguments.conventional_epochs and not arguments.recipe:
        raise UsageError("--conventional-epochs needs --recipe")
    if arguments.against and not arguments.recipe:
        raise UsageError("--against needs --recipe")
    arguments.against = tuple(dict.fromkeys(arguments.against or RIVALS))
    if arguments.conventional_epochs and "resnet18" not in arguments.against:
        raise UsageError("--conventional-epochs needs --against resnet18")
    if arguments.task and arguments.recipe:
        raise UsageError("--task does not apply to --recipe, which compares 1.2.3")
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
    if arguments.recipe:  # problems with the published figures or the records are reported before anything is timed
        own = own_record(arguments.results_dir)
        for accuracy in own["accuracies"].values() if "resnet18" in arguments.against else ():
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
                                             arguments.conventional_epochs, arguments.against)
    else:
        torchs = partial(F.conv2d, padding=1)
        before = measure_apart(setup.device, torchs)
        tables = {task: compare_speed(task, even_recipe(task), data, setup, arguments.rounds)
                  for task in arguments.task}
        # torch's convolution is timed again at the end and the faster time counts, since it is a peak
        after = measure_apart(setup.device, torchs)
        peak = {name: max(speed, after[name]) for name, speed in before.items()}
        for task, table in tables.items():
            table["share_of_conv_peak"] = table["gflops_per_second"] / peak[setup.precision]
            show_speed(task, table, peak[setup.precision])
        measured |= {"tasks": tables, "conv_peak_gflops": peak}
    measured["machine"] = describe(setup.device, setup.precision, setup.conv_gflops).model_dump()
    write_json(arguments.json, measured)


# The same network in three loops


def compare_speed(task: str, recipe: "Recipe", data: "DeviceData", setup: "Setup", rounds: int,
                  workers: tuple[int, ...] = WORKERS) -> dict[str, Any]:
    """Images/s of each contestant on one task, and this project's GFLOP/s; a round is one epoch of the data."""
    from benchmarks import contestants as make

    print(f"\n{task} {TASKS[task].title}: batches of {recipe.batch_size}", flush=True)
    others = [make.tutorial_classification if task == "1.2.2" else make.tutorial_contrastive]
    if task == "1.2.3" and importlib.util.find_spec("lightly") is None:
        print("  lightly is not installed, so its row is omitted (it is in requirements-test.txt)")
    elif task == "1.2.3":
        others.append(make.lightly_contrastive)
    ours = make.this_project(task, recipe, data, setup)
    timings = round_robin([ours, *(fastest(other(recipe, data, setup), workers) for other in others)], rounds)
    speeds = {name: spread(timed) for name, timed in timings.items()}
    own_speed = speeds[ours.name]["images_per_second"]
    for row in speeds.values():
        row["this_project_is_times_as_fast"] = own_speed / row["images_per_second"]
    return {"batch_size": recipe.batch_size, "contestants": speeds,
            "gflops_per_second": median((timed.flops or 0) / timed.seconds for timed in timings[ours.name]) / 1e9}


def fastest(loop: "Conventional", workers: tuple[int, ...]) -> Contestant:
    """The loop with the number of workers that is fastest in one epoch."""
    loop.warm_up()
    timed: dict[int, Timed] = {number: loop.with_workers(number).run() for number in workers}
    speeds = ", ".join(f"{number}: {timed[number].images_per_second:.1f}" for number in workers)
    print(f"  {loop.name}, images/s by number of workers: {speeds}", flush=True)
    return loop.with_workers(max(workers, key=lambda number: timed[number].images_per_second))


def show_speed(task: str, table: dict[str, Any], peak: float) -> None:
    """Print the table of one task.  peak: GFLOP/s of torch's convolution in the project's number format."""
    rows = [[name, f"{row['images_per_second']:.1f}", f"{row['lowest']:.1f} to {row['highest']:.1f}",
             f"{row['this_project_is_times_as_fast']:.2f} x as fast"] for name, row in table["contestants"].items()]
    views = ", two views each" if task == "1.2.3" else ""
    rounds = len(next(iter(table["contestants"].values()))["rounds"])
    print_table(f"{task} {TASKS[task].title}, CIFAR-10, batches of {table['batch_size']}, median of {rounds} rounds",
                ["", f"images/s{views}", "lowest to highest", "this project is"], rows)
    print(f"this project's step: {table['gflops_per_second']:.0f} GFLOP/s, {100 * table['share_of_conv_peak']:.0f} % "
          f"of the {peak:.0f} GFLOP/s of torch's convolution with a norm; both count the FLOPs of direct convolutions",
          flush=True)


# Time to equal accuracy


def compare_recipes(own: dict[str, Any], data: "DeviceData", setup: "Setup", rounds: int, epoch_images: int,
                    conventional_epochs: int | None, against: tuple[str, ...] = tuple(RIVALS),
                    workers: tuple[int, ...] = WORKERS) -> dict[str, Any]:
    """Minutes of this project's recipe and of its rivals' until they are as accurate, all timed in turn.

    own: from own_record(); epoch_images: in a whole epoch of each; against: some of RIVALS.
    """
    from benchmarks import contestants as make

    recipe = TASKS["1.2.3"].default_recipe(DATASET)
    assert isinstance(recipe, Recipe)
    steps = ", ".join(f"{name} {RIVALS[name]}" for name in against)
    print(f"\ntime to equal accuracy; steps per round: {steps}", flush=True)
    ours = make.this_project("1.2.3", recipe, data, setup)
    rivals = {name: fastest(rival_loop(name, data, setup), workers) for name in against}
    timings = round_robin([ours, *rivals.values()], rounds)
    speeds = {name: spread(timed) for name, timed in timings.items()}
    # current recipe at the speed of this run; says nothing about the accuracy of records of another recipe
    here = recipe.epochs * epoch_images / speeds[ours.name]["images_per_second"] if own["today"] else None

    print(f"\nthis project, measured: {own['seconds'] / 60:.1f} min in the records (mean of {own['n']}; "
          f"{own['machine']})")
    if here:
        print(f"this project, measured: {here / 60:.1f} min for its {recipe.epochs} epochs at the speed of this run")
    else:
        print("note: the default recipe has changed since the records were made, so only their time is compared")
    measured = {"speeds": speeds, "own": own, "own_epochs": recipe.epochs, "own_seconds_here": here,
                "epoch_images": epoch_images}
    if "resnet18" in rivals:
        speed = speeds[rivals["resnet18"].name]
        measured |= against_resnet18(own, here, speed, epoch_images / speed["images_per_second"], conventional_epochs)
    if "coursework" in rivals:
        speed = speeds[rivals["coursework"].name]
        measured["coursework"] = against_coursework(own, here, speed, epoch_images / speed["images_per_second"])
    return measured


def rival_loop(name: str, data: "DeviceData", setup: "Setup") -> "Conventional":
    """The training loop of one of RIVALS, on as few images as a round takes."""
    from benchmarks import contestants as make

    if name == "coursework":
        return make.coursework_contrastive(make.first_images(data, make.COURSEWORK_BATCH * RIVALS[name]), setup)
    resnet = replace(even_recipe("1.2.3", encoder="resnet18"), batch_size=RESNET_BATCH)
    few = make.first_images(data, RESNET_BATCH * RIVALS[name])
    loop = make.tutorial_contrastive(resnet, few, setup, side=data.image_shape[-1])  # full size, as published
    loop.name = "ResNet18 in a tutorial loop"
    return loop


def against_coursework(own: dict[str, Any], here: float | None, speed: dict[str, Any],
                       epoch_seconds: float) -> dict[str, Any]:
    """Print and return the minutes of the coursework's loop against ours, which ends at its accuracy or above it."""
    epochs, accuracy = COURSEWORK
    seconds, score = epochs * epoch_seconds, own["accuracies"]["classifier_top1"]
    print(f"ResNet-style coursework loop, measured: {epoch_seconds / 60:.1f} min for an epoch "
          f"({speed['lowest']:.1f} to {speed['highest']:.1f} images/s)")
    print_table("minutes of training, a graded public solution of this coursework (its epochs and accuracy are its own "
                "figures)",
                ["", "test %", "epochs", "min", "this project is"],
                [["ResNet-style coursework loop", f"{100 * accuracy:.2f}", str(epochs), f"{seconds / 60:.0f}", ""],
                 ["this project (records)", f"{100 * score:.2f}", "", f"{own['seconds'] / 60:.1f}",
                  f"{seconds / own['seconds']:.1f} x as fast"],
                 *([["this project (timed here)", f"{100 * score:.2f}", "", f"{here / 60:.1f}",
                     f"{seconds / here:.1f} x as fast"]] if here else [])])
    return {"epochs": epochs, "accuracy": accuracy, "epoch_seconds": epoch_seconds, "seconds": seconds,
            "ratio_to_records": seconds / own["seconds"], "ratio_here": seconds / here if here else None}


def against_resnet18(own: dict[str, Any], here: float | None, speed: dict[str, Any], epoch_seconds: float,
                     conventional_epochs: int | None) -> dict[str, Any]:
    """Print and return the minutes of SimCLR with a ResNet18 until it is as accurate, by published figures."""
    print(f"ResNet18, measured: {epoch_seconds / 60:.1f} min for an epoch "
          f"({speed['lowest']:.1f} to {speed['highest']:.1f} images/s)")
    print("ResNet18, epochs: published, not measured here:")
    for published_epochs, accuracy, protocol, source in PUBLISHED:
        print(f"  {published_epochs:5d} epochs  {100 * accuracy:5.2f} %  {protocol}  [{source}]")
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
        print(f"the accuracy after their {conventional_epochs} epochs is interpolated from the published figures, "
              "linearly in the logarithm of the epochs")
    else:
        print("their epochs are interpolated from the published figures, linearly in the logarithm of the epochs")
    return {"conventional_epoch_seconds": epoch_seconds, "scores": scores,
            "published": [dict(zip(("epochs", "accuracy", "protocol", "source"), row, strict=True))
                          for row in PUBLISHED]}


def epochs_for(accuracy: float) -> float:
    """Epochs that SimCLR with a ResNet18 needs for a test accuracy, from PUBLISHED, linear in log(epochs).

    Raises RunError outside the published range.
    """
    for (e0, a0, *_), (e1, a1, *_) in zip(PUBLISHED, PUBLISHED[1:], strict=False):
        if a0 <= accuracy <= a1:
            return e0 * (e1 / e0) ** ((accuracy - a0) / (a1 - a0))
    raise RunError(f"no published figure says after how many epochs SimCLR reaches {100 * accuracy:.2f} %: "
                   "give --conventional-epochs")


def accuracy_after(epochs: float) -> float:
    """Test accuracy after this many epochs: the inverse of epochs_for().  Raises RunError outside that range."""
    for (e0, a0, *_), (e1, a1, *_) in zip(PUBLISHED, PUBLISHED[1:], strict=False):
        if e0 <= epochs <= e1 * (1 + 1e-9):
            return a0 + (a1 - a0) * math.log(epochs / e0) / math.log(e1 / e0)
    raise RunError(f"no published figure says what SimCLR reaches after {epochs:g} epochs: choose 1 to "
                   f"{PUBLISHED[-1][0]}")


def own_record(folder: Path) -> dict[str, Any]:
    """Mean test accuracies and training seconds of the default recipe of task 1.2.3 on CIFAR-10, over its seeds.

    Counts complete records of the default method made without recipe flags and without --init; if the defaults have
    changed since, those of the newest recipe.  Raises RunError if there are none.
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
