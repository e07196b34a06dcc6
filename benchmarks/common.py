"""Shared by the benchmarks: flags, a printed table, a JSON file of the measurements.  Imports no torch."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from training.classification_recipe import ClassificationRecipe
from training.tasks import TASKS
from utils.files import write_bytes
from utils.recipe import Recipe


def even_recipe(task: str, family: str = "cifar10", encoder: str | None = None) -> Recipe:
    """The default recipe, changed so that every image costs equal work, the same as in the loops it is compared with.

    In 1.2.2 all images have full size from the start; 1.2.3 encodes both of its two views.
    family: the data set whose recipe is used.
    """
    recipe = TASKS[task].default_recipe(family, "dcl" if task == "1.2.3" else None, encoder)
    assert isinstance(recipe, Recipe)  # a control trains nothing
    return replace(recipe, resize_from=1.0) if isinstance(recipe, ClassificationRecipe) else recipe


@dataclass(frozen=True)
class Timed:
    """One timing.  images: trained on, regardless of the number of views; flops: counted by the project, or None."""

    seconds: float
    images: int
    flops: float | None = None

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds


@dataclass(frozen=True)
class Contestant:
    """Something that is timed repeatedly."""

    name: str
    run: Callable[[], Timed]


def round_robin(contestants: list[Contestant], rounds: int) -> dict[str, list[Timed]]:
    """Time each contestant once per round, alternating, so that a busy minute of the machine affects all of them.

    Returns the timings by name.  An additional first round warms up and is dropped.
    """
    timings: dict[str, list[Timed]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds + 1):
        speeds = []
        for contestant in contestants:
            timed = contestant.run()
            speeds.append(f"{contestant.name} {timed.images_per_second:.1f}")
            if number:
                timings[contestant.name].append(timed)
        print(f"  {f'round {number}/{rounds}' if number else 'warm-up'}, images/s: {'; '.join(speeds)}", flush=True)
    return timings


def spread(timings: list[Timed]) -> dict[str, Any]:
    """Median, lowest and highest images/s, and those of every round."""
    speeds = [timed.images_per_second for timed in timings]
    return {"images_per_second": median(speeds), "lowest": min(speeds), "highest": max(speeds), "rounds": speeds}


# The command line


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE.json",
                        help="also write all measurements; an existing file is replaced")


def whole(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least `least`."""
    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of at least {least}")
        return number
    return parse


# Output


def print_table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a table; the first column is left-aligned, the others right-aligned."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print(f"\n{title}")
    for number, line in enumerate(lines):
        cells = [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    print(flush=True)


def write_json(path: Path | None, measured: dict[str, Any]) -> None:
    """Write the file atomically; None writes nothing."""
    if path is None:
        return
    text = json.dumps(measured, indent=1, allow_nan=False) + "\n"
    write_bytes(path, text.encode())
    print(f"written: {path}")
