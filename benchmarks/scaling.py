"""How the time and the memory of training grow with the number of images, the batch size and the latent.

    python benchmarks/scaling.py --out scaling.png --json scaling.json     three to four minutes on two cores

Four sweeps, each of one size while the others stay; on noise in CIFAR-10's shape, since the content costs nothing:

    images       an epoch of the task, batches of the recipe's size
    batch size   a step of the task: an epoch of STEPS steps, divided by them
    latent size  the same
    pairs        the loss NT-Xent alone, forward and backward: its 2N x 2N similarities grow with the square of N

Every point is measured in a process of its own, since the largest memory of a process never falls.  The memory is
what that grew by (ru_maxrss of getrusage) after everything was imported.  An exponent is the slope of a least-squares
line through the logarithms, with its standard error: 1 is linear, 2 quadratic, 0 no growth.  Where a fixed cost and a
growing one add up the points bend, so the slope between the last two stands beside it.
"""

import argparse
import importlib.util
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the project, wherever this is called from

# No torch in this process: on Linux a child's ru_maxrss starts from that of its parent.
from benchmarks.common import add_json_flag, check_output, even_recipe, print_table, whole, write_json
from training.tasks import TASKS
from utils.command_line import Parser, exit_code
from utils.errors import RunError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = """examples:
  python benchmarks/scaling.py                      three to four minutes on two cores, to scaling.png
  python benchmarks/scaling.py --out out.svg --json scaling.json
  python benchmarks/scaling.py --task 1.2.1 --points 3

"""
CHOICES = tuple(name for name in TASKS if name != "control")  # which trains nothing
IMAGE_SHAPE = (3, 32, 32)
STEPS = 3  # of one point, where a step is measured; one more step warms up
REPEATS = 2  # of an epoch; the fastest counts, since other work can only slow it down
LOSS_DIM, LOSS_REPEATS = 128, 5
# the first point of each sweep; each further one is twice the one before
FIRST = {"images": 500, "batch size": 32, "latent size": 128, "pairs": 512}
MIB = 2**20


@dataclass(frozen=True)
class Job:
    """One point before it is measured.  x: the size that is varied; measure(*given): in a fresh process."""

    x: int
    measure: Callable[..., tuple[float, int]]
    given: tuple[Any, ...]


@dataclass(frozen=True)
class Point:
    """One measurement.  seconds: of one epoch, step or loss; bytes: what the process's largest memory grew by."""

    x: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Exponent:
    """Of a power law through some points.  error: the slope's standard error; last: slope between the last two."""

    slope: float
    error: float
    last: float


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python benchmarks/scaling.py [options]", description="Measure how time and memory "
                    "of training grow with the number of images, the batch size and the latent, on the CPU.")
    parser.add_argument("--task", default="1.2.3", metavar="TASK", help=f"{', '.join(CHOICES)} (default 1.2.3)")
    parser.add_argument("--points", type=whole(3), default=4, metavar="N",
                        help="points of each sweep, each twice the one before (default 4, at least 3)")
    parser.add_argument("--out", type=Path, default=Path("scaling.png"), metavar="FILE",
                        help="the plot, .png, .svg or .pdf (default: scaling.png in the current folder)")
    add_json_flag(parser)
    arguments = parser.parse_args(argv)
    if arguments.task not in CHOICES:
        raise UsageError(f"--task {arguments.task}: choose from {', '.join(CHOICES)}")
    check_output(arguments.out, "--out", (".png", ".svg", ".pdf"))
    check_output(arguments.json, "--json", (".json",))
    return arguments


def main(argv: list[str]) -> None:
    """Measure every point, print the table, draw the plot, write the JSON.  Raises UsageError and RunError."""
    arguments = parse(argv)
    if importlib.util.find_spec("resource") is None:
        raise RunError("this system does not tell a process's largest memory (it has no getrusage)")
    alone = multiprocessing.get_context("spawn")
    points: dict[str, list[Point]] = {}
    with ProcessPoolExecutor(max_workers=1, mp_context=alone, max_tasks_per_child=1) as fresh_processes:
        try:
            machine = fresh_processes.submit(look_at_machine).result()
            print(f"task {arguments.task}, {machine['threads']} threads, {machine['precision']}", flush=True)
            for name, jobs in sweeps(arguments.task, arguments.points, machine).items():
                points[name] = []
                for job in jobs:
                    seconds, growth = fresh_processes.submit(job.measure, *job.given).result()
                    points[name].append(Point(job.x, seconds, max(growth, MIB)))
                    print(f"  {name} {job.x}: {seconds:.3f} s, {growth / MIB:.0f} MiB", flush=True)
        except BrokenProcessPool:
            raise RunError("a measuring process was ended, probably for want of memory: give fewer --points") from None
    fits = {name: {"seconds": fit([point.x for point in sweep], [point.seconds for point in sweep]),
                   "bytes": fit([point.x for point in sweep], [point.bytes for point in sweep])}
            for name, sweep in points.items()}
    show(points, fits)
    from utils.files import write_atomically

    figure = draw(points, fits)
    write_atomically(arguments.out, lambda file: figure.savefig(file, format=arguments.out.suffix[1:], dpi=150))
    print(f"written: {arguments.out}")
    write_json(arguments.json, {
        "task": arguments.task, "machine": machine,
        "sweeps": {name: {"points": [asdict(point) for point in points[name]],
                          "exponents": {key: asdict(exponent) for key, exponent in fits[name].items()}}
                   for name in points}})


def sweeps(task: str, count: int, machine: dict[str, Any]) -> dict[str, list[Job]]:
    """Every point of every sweep, by the name of what is varied."""
    recipe = even_recipe(task)
    batch, latent = recipe.batch_size, recipe.latent_dim
    x = {name: [first * 2**i for i in range(count)] for name, first in FIRST.items()}
    how = (task, machine["precision"], machine["conv_gflops"])
    return {
        "images": [Job(n, epoch, (*how, n, batch, latent)) for n in x["images"]],
        "batch size": [Job(b, step, (*how, STEPS * b, b, latent)) for b in x["batch size"]],
        "latent size": [Job(d, step, (*how, STEPS * batch, batch, d)) for d in x["latent size"]],
        "pairs": [Job(n, loss, (n,)) for n in x["pairs"]],
    }


# What runs in a process of its own: each returns seconds, and bytes by which the peak grew


def look_at_machine() -> dict[str, Any]:
    """The machine and the number format that a run would choose on it, in plain types."""
    from benchmarks.contestants import set_up
    from utils.records.environment import describe

    setup = set_up("cpu", "auto")
    return describe(setup.device, setup.precision, setup.conv_gflops).model_dump()


def epoch(task: str, precision: str, conv_gflops: dict[str, float], images: int, batch: int,
          latent: int) -> tuple[float, int]:
    """One epoch of the task's own train() on so many images, after a warm-up step; the faster of two."""
    import torch

    from benchmarks.contestants import first_images, random_data, train_timed
    from training.loop import Setup

    setup = Setup(torch.device("cpu"), precision, conv_gflops, seed=0)
    recipe = replace(even_recipe(task), batch_size=batch, latent_dim=latent)
    # what a first step of any size takes is no growth
    train_timed(task, replace(recipe, batch_size=8), random_data(8, IMAGE_SHAPE, setup.device), setup)
    before = largest_memory()
    data = random_data(images, IMAGE_SHAPE, setup.device)
    train_timed(task, recipe, first_images(data, batch), setup)
    seconds = min(train_timed(task, recipe, data, setup).seconds for _ in range(REPEATS))
    return seconds, largest_memory() - before


def step(task: str, precision: str, conv_gflops: dict[str, float], images: int, batch: int,
         latent: int) -> tuple[float, int]:
    """The same, a step."""
    seconds, growth = epoch(task, precision, conv_gflops, images, batch, latent)
    return seconds / (images // batch), growth


def loss(pairs: int) -> tuple[float, int]:
    """NT-Xent of so many pairs of views, forward and backward, median of a few times."""
    import torch

    from training.losses import nt_xent

    generator = torch.Generator().manual_seed(0)

    def once(n: int) -> float:
        z0, z1 = (torch.randn(n, LOSS_DIM, generator=generator).requires_grad_() for _ in range(2))
        start = time.perf_counter()
        nt_xent(z0, z1, 0.2).backward()
        return time.perf_counter() - start

    once(8)
    before = largest_memory()
    once(pairs)
    return median(once(pairs) for _ in range(LOSS_REPEATS)), largest_memory() - before


def largest_memory() -> int:
    """The most memory that this process has had so far, resident, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, all others KiB


# What comes out


def fit(x: Sequence[float], y: Sequence[float]) -> Exponent:
    """The exponent of y = c x^slope by least squares through the logarithms, with its standard error.

    Raises ValueError for fewer than three points or one that is not above 0.
    """
    if len(x) != len(y) or len(x) < 3 or min(*x, *y) <= 0:
        raise ValueError("three points or more are needed, all of them above 0")
    log_x, log_y = [math.log(value) for value in x], [math.log(value) for value in y]
    mean_x, mean_y = fmean(log_x), fmean(log_y)
    variation = sum((a - mean_x) ** 2 for a in log_x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(log_x, log_y, strict=True)) / variation
    residuals = [b - mean_y - slope * (a - mean_x) for a, b in zip(log_x, log_y, strict=True)]
    error = math.sqrt(sum(r * r for r in residuals) / (len(x) - 2) / variation)
    return Exponent(slope, error, (log_y[-1] - log_y[-2]) / (log_x[-1] - log_x[-2]))


MEASURED = {"images": "an epoch", "batch size": "a step", "latent size": "a step", "pairs": "NT-Xent alone"}


def show(points: dict[str, list[Point]], fits: dict[str, dict[str, Exponent]]) -> None:
    """The table on the screen."""
    rows = []
    for name, sweep in points.items():
        seconds, memory = fits[name]["seconds"], fits[name]["bytes"]
        rows.append([f"{MEASURED[name]}, by {name}", f"{sweep[0].x} to {sweep[-1].x}",
                     f"{sweep[0].seconds:.3g} to {sweep[-1].seconds:.3g}",
                     f"{seconds.slope:.2f} +- {seconds.error:.2f}", f"{seconds.last:.2f}",
                     f"{sweep[0].bytes / MIB:.0f} to {sweep[-1].bytes / MIB:.0f}",
                     f"{memory.slope:.2f} +- {memory.error:.2f}", f"{memory.last:.2f}"])
    print_table("exponents, with the standard error of the fit", [
        "", "size", "seconds", "exponent", "last two", "MiB", "exponent", "last two"], rows)


def draw(points: dict[str, list[Point]], fits: dict[str, dict[str, Exponent]]) -> "Figure":
    """Seconds above, memory below, a column a sweep; both axes logarithmic, with the fitted lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(points), 5.6), layout="constrained")
    axes = figure.subplots(2, len(points))
    for column, (name, sweep) in enumerate(points.items()):
        x = [point.x for point in sweep]
        values = {"seconds": [point.seconds for point in sweep], "bytes": [point.bytes / MIB for point in sweep]}
        for row, (key, y) in enumerate(values.items()):
            ax, exponent = axes[row][column], fits[name][key]
            centre = math.exp(fmean(map(math.log, x))), math.exp(fmean(map(math.log, y)))
            ax.plot(x, [centre[1] * (value / centre[0]) ** exponent.slope for value in x], color="0.6", linewidth=1)
            ax.plot(x, y, "o", color="C0" if row == 0 else "C1")
            ax.set(xscale="log", yscale="log", title=f"exponent {exponent.slope:.2f} ± {exponent.error:.2f}")
            ax.set_xticks(x, [str(value) for value in x])
            marks = [max(y)] if max(y) < 1.3 * min(y) else [min(y), max(y)]
            ax.set_yticks(marks, [f"{value:.3g}" for value in marks])
            ax.minorticks_off()
            ax.set_ylim(min(y) / 2, max(y) * 2)  # so that noise around a constant does not look like growth
            ax.set_ylabel(f"seconds, {MEASURED[name]}" if row == 0 else "memory, MiB")
        axes[1][column].set_xlabel(name)
    return figure


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "nothing was written"))
