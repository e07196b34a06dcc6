"""Minutes until each task is as accurate on validation images as its reference, on MNIST and CIFAR-10.

    python benchmarks/time_to_reference.py --json time.json       all six cells, hours on two cores
    python benchmarks/time_to_reference.py --cell 1.2.2/mnist
    python benchmarks/time_to_reference.py --cell 1.2.3/cifar10 --epochs 4

The references are those of the report (report/summary.py).  The learning rate decays to 0 over a fixed number of
epochs, so a training cannot simply be stopped when it is good enough.  Each cell is therefore trained from scratch with
1, 2, 4, 8, ... epochs of its default recipe, up to the recipe's own number, until one passes.  Two times are printed,
both of training and scoring: of the attempt that passed, and of all attempts together.

The score is the accuracy on validation images of the MLP classifier on the frozen latent, from its best epoch on these
same images; in task 1.2.2, of the classifier that was trained with the encoder.  The test images are dropped as soon as
the data are loaded.  The references are test accuracies, so passing here does not prove passing there.
"""

import argparse
import importlib
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the project, wherever this is called from

from benchmarks.common import add_json_flag, print_table, whole, write_json
from report.summary import REFERENCE
from training.tasks import TASKS
from utils.command_line import Parser, add_run_flags, check_output, exit_code
from utils.errors import UsageError
from utils.recipe import Recipe

if TYPE_CHECKING:  # torch is imported only to train something, so that --help and errors are quick
    from training.loop import Setup, Trained
    from utils.images.on_device import DeviceData

EXAMPLES = """examples:
  python benchmarks/time_to_reference.py --json time.json      all six cells, hours on two cores
  python benchmarks/time_to_reference.py --cell 1.2.2/mnist 1.2.2/cifar10
  python benchmarks/time_to_reference.py --cell 1.2.3/cifar10 --epochs 4

"""
CELLS = {f"{task}/{dataset}": (task, dataset) for task, dataset in REFERENCE}


@dataclass(frozen=True)
class Attempt:
    """One training from scratch.  accuracy: on validation images; seconds: of training and scoring."""

    epochs: int
    accuracy: float
    training_seconds: float
    scoring_seconds: float

    @property
    def seconds(self) -> float:
        return self.training_seconds + self.scoring_seconds


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python benchmarks/time_to_reference.py [options]", description="Train each task "
                    "with an increasing number of epochs until its validation accuracy passes its reference, and "
                    "print how long that took.")
    parser.add_argument("--cell", nargs="+", default=list(CELLS), metavar="TASK/DATASET",
                        help=f"{', '.join(CELLS)} (default: all)")
    parser.add_argument("--epochs", type=whole(1), default=1, metavar="N",
                        help="epochs of the first attempt; each further attempt has twice as many (default 1)")
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="default 0")
    add_run_flags(parser)
    add_json_flag(parser)
    arguments = parser.parse_args(argv)
    for name in arguments.cell:
        if name not in CELLS:
            raise UsageError(f"--cell {name}: choose from {', '.join(CELLS)}")
        attempts(arguments.epochs, epochs_of(name), name)
    check_output(arguments.json, "--json", (".json",))
    return arguments


def epochs_of(cell: str) -> int:
    """Epochs of the cell's default recipe."""
    task, dataset = CELLS[cell]
    return TASKS[task].default_recipe(dataset).epochs


def attempts(first: int, most: int, cell: str) -> list[int]:
    """Numbers of epochs to try: first, twice that, ..., and finally `most`.  UsageError if first is above it."""
    if first > most:
        raise UsageError(f"--epochs {first}: the recipe of {cell} has {most}")
    numbers = []
    while first < most:
        numbers.append(first)
        first *= 2
    return [*numbers, most]


def main(argv: list[str]) -> None:
    """Train, print the table, write the JSON after every cell.  Raises UsageError and RunError."""
    arguments = parse(argv)

    from benchmarks.contestants import set_up
    from utils.images.datasets import load_dataset
    from utils.images.on_device import DeviceData
    from utils.records.environment import describe

    setup = set_up(arguments.device, arguments.precision, arguments.seed)
    machine = describe(setup.device, setup.precision, setup.conv_gflops).model_dump()
    tried: dict[str, list[Attempt]] = {}
    for cell in dict.fromkeys(arguments.cell):
        dataset = load_dataset(CELLS[cell][1], arguments.data_dir)
        dataset = replace(dataset, test_images=dataset.test_images[:0], test_labels=dataset.test_labels[:0])
        data = DeviceData.load(dataset, setup.device)
        tried[cell] = until_passed(cell, attempts(arguments.epochs, epochs_of(cell), cell), data, setup)
        write_json(arguments.json, {"seed": arguments.seed, "machine": machine,
                                    "cells": {name: in_json(name, done) for name, done in tried.items()}})
    show(tried)


def until_passed(cell: str, numbers: list[int], data: "DeviceData", setup: "Setup") -> list[Attempt]:
    """Train from scratch with each number of epochs until one passes the cell's reference; returns all attempts."""
    task, dataset = CELLS[cell]
    recipe = TASKS[task].default_recipe(dataset)
    assert isinstance(recipe, Recipe)
    done: list[Attempt] = []
    for epochs in numbers:
        print(f"\n{cell}, {epochs} of {recipe.epochs} epochs", flush=True)
        start = time.monotonic()
        trained = importlib.import_module(TASKS[task].script).train(replace(recipe, epochs=epochs), data, setup)
        trained_at = time.monotonic()
        accuracy = validation_accuracy(trained, data, setup)
        done.append(Attempt(epochs, accuracy, trained_at - start, time.monotonic() - trained_at))
        print(f"{cell}, {epochs} epochs: validation {100 * accuracy:.2f} %, reference "
              f"{100 * REFERENCE[CELLS[cell]]:.2f} %, {done[-1].seconds / 60:.1f} min", flush=True)
        if passed(cell, done[-1]):
            break
    return done


def passed(cell: str, attempt: Attempt) -> bool:
    """Whether an attempt is more accurate than the cell's reference."""
    return attempt.accuracy > REFERENCE[CELLS[cell]]


def validation_accuracy(trained: "Trained", data: "DeviceData", setup: "Setup") -> float:
    """Validation accuracy of the classifier that a run would report; a run selects its epoch by it as well."""
    from evaluation import scores
    from utils.compute.precision import DTYPES

    z = scores.encode(trained.modules["encoder"], data.images)  # train and validation, (N, latent_dim)
    latents = {part: scores.Latents(z[index], data.labels[index])
               for part, index in (("labelled", data.labelled), ("selection", data.selection))}
    classifier = trained.modules.get("classifier")
    if classifier is None:
        epochs = scores.classifier_epochs(len(data.labelled))
        classifier, _ = scores.train_classifier(latents, len(data.classes), setup.seed, epochs,
                                                    DTYPES[setup.precision])
    held_out = latents["selection"]
    return (scores.predict(classifier, held_out.z) == held_out.labels).float().mean().item()


def in_json(cell: str, done: list[Attempt]) -> dict[str, object]:
    """A cell's entry in the JSON file."""
    return {"reference": REFERENCE[CELLS[cell]], "passed": passed(cell, done[-1]),
            "seconds_of_the_last_attempt": done[-1].seconds, "seconds_of_all_attempts": sum(a.seconds for a in done),
            "attempts": [asdict(attempt) for attempt in done]}


def show(tried: dict[str, list[Attempt]]) -> None:
    """Print the table."""
    rows = []
    for cell, done in tried.items():
        last = done[-1]
        rows.append([cell, f"{100 * REFERENCE[CELLS[cell]]:.2f}", f"{100 * last.accuracy:.2f}",
                     str(last.epochs), f"{last.seconds / 60:.1f}" if passed(cell, last) else "not passed",
                     f"{sum(attempt.seconds for attempt in done) / 60:.1f}", str(len(done))])
    print_table("minutes until validation passes the reference", [
        "", "reference %", "validation %", "epochs", "minutes", "with failed attempts", "attempts"], rows)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "the JSON file has the finished cells"))
