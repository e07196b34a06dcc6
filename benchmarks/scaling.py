"""How time and memory of training grow with the number of images, the batch size and the latent size.

    python benchmarks/scaling.py --out scaling.png --json scaling.json     three to four minutes on two cores
    python benchmarks/scaling.py --extrapolate benchmarks/scaling.json --out benchmarks/SCALING.md

Four sweeps vary one size each, on noise in CIFAR-10's shape, since the content of images does not matter:

    images       an epoch of the task, with batches of the recipe's size
    batch size   a step of the task: an epoch of STEPS steps, divided by STEPS
    latent size  the same
    pairs        NT-Xent alone, forward and backward: its 2N x 2N similarities grow quadratically

Every point is measured in a fresh process, because the peak memory of a process never falls.  Memory is the growth of
that peak (ru_maxrss of getrusage) after all imports.  An exponent is the slope of a least-squares line through the
logarithms, with its standard error: 1 is linear, 2 quadratic, 0 constant.  If a constant and a growing cost add up, the
slope changes with the size, so the slope between the last two points is given as well.

--extrapolate trains nothing: it computes from an earlier measurement what larger runs cost.  Everything that was not
measured (another network, another machine, a network link) is listed in ASSUMED with its source, and on the page.
"""

import argparse
import importlib
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the project, wherever this is called from

# No torch in this process: on Linux a child's ru_maxrss starts at its parent's.
from benchmarks.common import add_json_flag, even_recipe, print_table, whole, write_json
from training.tasks import TASKS
from utils.command_line import Parser, check_output, exit_code
from utils.errors import RunError, UsageError
from utils.files import write_atomically, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = """examples:
  python benchmarks/scaling.py                      three to four minutes on two cores, to scaling.png
  python benchmarks/scaling.py --out out.svg --json scaling.json
  python benchmarks/scaling.py --task 1.2.1 --points 3
  python benchmarks/scaling.py --extrapolate benchmarks/scaling.json --out benchmarks/SCALING.md

"""
CHOICES = tuple(name for name in TASKS if name != "control")  # the control trains nothing
IMAGE_SHAPE = (3, 32, 32)
STEPS = 3  # per point, where a step is measured, after a warm-up step
REPEATS = 2  # of an epoch; the fastest counts, since other work can only slow it down
LOSS_DIM, LOSS_REPEATS = 128, 5
# first point of each sweep; each further point is twice the previous one
FIRST = {"images": 500, "batch size": 32, "latent size": 128, "pairs": 512}
MIB = 2**20


@dataclass(frozen=True)
class Job:
    """One point to be measured.  x: the size that is varied; measure(*given) runs in a fresh process."""

    x: int
    measure: Callable[..., tuple[float, int]]
    given: tuple[Any, ...]


@dataclass(frozen=True)
class Point:
    """One measurement.  seconds: of one epoch, step or loss; bytes: growth of the process's peak memory."""

    x: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Exponent:
    """A power law through some points.  error: the slope's standard error; last: slope between the last two."""

    slope: float
    error: float
    last: float


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python benchmarks/scaling.py [options]", description="Measure how time and memory "
                    "of training grow with the number of images, the batch size and the latent size, on the CPU.")
    parser.add_argument("--task", default="1.2.3", metavar="TASK", help=f"{', '.join(CHOICES)} (default 1.2.3)")
    parser.add_argument("--points", type=whole(3), default=4, metavar="N",
                        help="points per sweep, each twice the previous one (default 4, at least 3)")
    parser.add_argument("--extrapolate", type=Path, metavar="FILE.json", help="measure nothing; write as Markdown what "
                        "larger runs cost, from an earlier --json of task 1.2.3")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the plot, .png, .svg or .pdf (default: scaling.png); "
                        "with --extrapolate the page, .md (default: SCALING.md)")
    add_json_flag(parser)
    arguments = parser.parse_args(argv)
    if arguments.task not in CHOICES:
        raise UsageError(f"--task {arguments.task}: choose from {', '.join(CHOICES)}")
    arguments.out = arguments.out or Path("SCALING.md" if arguments.extrapolate else "scaling.png")
    check_output(arguments.out, "--out", (".md",) if arguments.extrapolate else (".png", ".svg", ".pdf"))
    check_output(arguments.json, "--json", (".json",))
    return arguments


def main(argv: list[str]) -> None:
    """Measure, print, draw and write the JSON, or extrapolate.  Raises UsageError and RunError."""
    arguments = parse(argv)
    if arguments.extrapolate:
        text = page(read_measured(arguments.extrapolate))
        write_bytes(arguments.out, text.encode())
        print(f"written: {arguments.out}")
        return
    if find_spec("resource") is None:
        raise RunError("this system cannot report a process's peak memory (it has no getrusage)")
    alone = multiprocessing.get_context("spawn")
    points: dict[str, list[Point]] = {}
    with ProcessPoolExecutor(max_workers=1, mp_context=alone, max_tasks_per_child=1) as fresh_processes:
        try:
            machine, network = fresh_processes.submit(look_at_machine, arguments.task).result()
            print(f"task {arguments.task}, {machine['threads']} threads, {machine['precision']}", flush=True)
            for name, jobs in sweeps(arguments.task, arguments.points, machine).items():
                points[name] = []
                for job in jobs:
                    seconds, growth = fresh_processes.submit(job.measure, *job.given).result()
                    points[name].append(Point(job.x, seconds, max(growth, MIB)))
                    print(f"  {name} {job.x}: {seconds:.3f} s, {growth / MIB:.0f} MiB", flush=True)
        except BrokenProcessPool:
            raise RunError("a measuring process was killed, probably out of memory: give fewer --points") from None
    fits = {name: {"seconds": fit([point.x for point in sweep], [point.seconds for point in sweep]),
                   "bytes": fit([point.x for point in sweep], [point.bytes for point in sweep])}
            for name, sweep in points.items()}
    show(points, fits)
    figure = draw(points, fits)
    write_atomically(arguments.out, lambda file: figure.savefig(file, format=arguments.out.suffix[1:], dpi=150))
    print(f"written: {arguments.out}")
    write_json(arguments.json, {
        "task": arguments.task, "machine": machine, "network": network,
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


# Run in a fresh process; each measurement returns seconds and the growth of peak memory in bytes


def look_at_machine(task: str) -> tuple[dict[str, Any], dict[str, float]]:
    """The machine with the number format that a run would choose on it, and the task's network, in plain types."""
    from torch.nn import BatchNorm1d, BatchNorm2d

    from benchmarks.contestants import random_data, set_up
    from utils.records.environment import describe

    setup, images = set_up("cpu", "auto"), 8
    recipe = replace(even_recipe(task), batch_size=images, epochs=1)
    trained = importlib.import_module(TASKS[task].script).train(recipe, random_data(images, IMAGE_SHAPE, setup.device),
                                                               setup)
    parts = [part for module in trained.modules.values() for part in module.modules()]
    return describe(setup.device, setup.precision, setup.conv_gflops).model_dump(), {
        "flops_per_image": trained.flops / (trained.steps * images),
        "parameters": sum(p.numel() for module in trained.modules.values() for p in module.parameters()),
        "norm_channels": sum(part.num_features for part in parts if isinstance(part, BatchNorm1d | BatchNorm2d))}


def epoch(task: str, precision: str, conv_gflops: dict[str, float], images: int, batch: int,
          latent: int) -> tuple[float, int]:
    """One epoch of the task's train() on this many images, after a warm-up step; the fastest of REPEATS."""
    import torch

    from benchmarks.contestants import first_images, random_data, train_timed
    from training.loop import Setup

    setup = Setup(torch.device("cpu"), precision, conv_gflops, seed=0)
    recipe = replace(even_recipe(task), batch_size=batch, latent_dim=latent)
    # what a first step of any size allocates is not growth
    train_timed(task, replace(recipe, batch_size=8), random_data(8, IMAGE_SHAPE, setup.device), setup)
    before = peak_memory()
    data = random_data(images, IMAGE_SHAPE, setup.device)
    train_timed(task, recipe, first_images(data, batch), setup)
    seconds = min(train_timed(task, recipe, data, setup).seconds for _ in range(REPEATS))
    return seconds, peak_memory() - before


def step(task: str, precision: str, conv_gflops: dict[str, float], images: int, batch: int,
         latent: int) -> tuple[float, int]:
    """epoch() per step."""
    seconds, growth = epoch(task, precision, conv_gflops, images, batch, latent)
    return seconds / (images // batch), growth


def loss(pairs: int) -> tuple[float, int]:
    """NT-Xent of this many pairs of views, forward and backward; the median of LOSS_REPEATS."""
    import torch

    from training.losses import nt_xent

    generator = torch.Generator().manual_seed(0)

    def once(n: int) -> float:
        z0, z1 = (torch.randn(n, LOSS_DIM, generator=generator).requires_grad_() for _ in range(2))
        start = time.perf_counter()
        nt_xent(z0, z1, 0.2).backward()
        return time.perf_counter() - start

    once(8)
    before = peak_memory()
    once(pairs)
    return median(once(pairs) for _ in range(LOSS_REPEATS)), peak_memory() - before


def peak_memory() -> int:
    """Peak resident memory of this process so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS reports bytes, other systems KiB


# Results


def fit(x: Sequence[float], y: Sequence[float]) -> Exponent:
    """The exponent of y = c x^slope by least squares through the logarithms, with its standard error.

    Raises ValueError for fewer than three points or one that is not positive.
    """
    if len(x) != len(y) or len(x) < 3 or min(*x, *y) <= 0:
        raise ValueError("at least three points are needed, all positive")
    log_x, log_y = [math.log(value) for value in x], [math.log(value) for value in y]
    mean_x, mean_y = fmean(log_x), fmean(log_y)
    variation = sum((a - mean_x) ** 2 for a in log_x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(log_x, log_y, strict=True)) / variation
    residuals = [b - mean_y - slope * (a - mean_x) for a, b in zip(log_x, log_y, strict=True)]
    error = math.sqrt(sum(r * r for r in residuals) / (len(x) - 2) / variation)
    return Exponent(slope, error, (log_y[-1] - log_y[-2]) / (log_x[-1] - log_x[-2]))


MEASURED = {"images": "an epoch", "batch size": "a step", "latent size": "a step", "pairs": "NT-Xent alone"}


def show(points: dict[str, list[Point]], fits: dict[str, dict[str, Exponent]]) -> None:
    """Print the table."""
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
    """Seconds above, memory below, one column per sweep; log-log axes with the fitted lines."""
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
            ax.set_ylim(min(y) / 2, max(y) * 2)  # noise around a constant must not look like growth
            ax.set_ylabel(f"seconds, {MEASURED[name]}" if row == 0 else "memory, MiB")
        axes[1][column].set_xlabel(name)
    return figure


# What larger runs cost


ASSUMED = {
    "ResNet-50 at 224 pixels: multiply-adds of a forward pass": (4.09e9, "torchvision's model table"),
    "ResNet-50: parameters": (25.6e6, "torchvision's model table"),
    "ResNet-50: channels that have a norm": (26_560, "its 53 norms, added up"),
    "ImageNet-1k: training images": (1_281_167, "Russakovsky et al. 2015"),
    "one H100: FLOP/s in bfloat16, dense": (989e12, "its data sheet"),
    "share of that reached in training": (0.4, "an assumption; large trainings report 0.3 to 0.5"),
    "dimensions of a projection": (128, "Chen et al. 2020"),
}
RESNET_FLOPS, RESNET_PARAMETERS, RESNET_CHANNELS, IMAGENET, H100, UTILISED, PROJECTION = (
    value for value, _ in ASSUMED.values())
EPOCHS = 100  # of the ImageNet run
LINKS = {f"{gbit} Gbit/s": gbit * 1e9 / 8 for gbit in (1, 10, 100, 400)}  # bytes/s
BATCHES = (256, 4096, 32_768, 1_000_000)  # images in a global batch
ROWS = 1024  # rows of the similarities computed at once in the blocked loss
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Network:
    """Costs of contrastive training.  flops: per image, two views, forward and backward; rate: FLOP/s per process.

    channels: that have a norm, whose statistics are synchronised.
    """

    name: str
    flops: float
    parameters: float
    channels: float
    rate: float


def read_measured(path: Path) -> dict[str, Any]:
    """The JSON of an earlier measurement of task 1.2.3.  Raises UsageError."""
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
        if measured["task"] != "1.2.3" or not {"machine", "network"} < measured.keys() \
                or measured["sweeps"].keys() != MEASURED.keys():
            raise KeyError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"--extrapolate {path}: not a measurement of task 1.2.3; python benchmarks/scaling.py --json "
                         "FILE makes one") from None
    return measured


def own_network(measured: dict[str, Any]) -> Network:
    """This project's encoder and head on CIFAR-10, at the speed of the sweep's largest batch."""
    network, largest = measured["network"], measured["sweeps"]["batch size"]["points"][-1]
    return Network("this project on CIFAR-10", network["flops_per_image"], network["parameters"],
                   network["norm_channels"], largest["x"] * network["flops_per_image"] / largest["seconds"])


def step_bytes(network: Network, images: int, processes: int) -> tuple[float, float, float]:
    """Bytes that one process sends per step: gradients, projections with their gradients, statistics of the norms.

    images: of the global batch.  A ring all-reduce sends 2 (P - 1) / P of what is reduced, a gather (P - 1) / P of the
    result; norms reduce mean and mean square forward, and two sums backward.
    """
    share = (processes - 1) / processes
    return (2 * share * network.parameters * FLOAT, 2 * share * 2 * images * PROJECTION * FLOAT,
            2 * 2 * share * 2 * network.channels * FLOAT)


def images_that_pay(network: Network, speed: float) -> float:
    """Images per process and step whose computation takes as long as sending the gradients at `speed` bytes/s."""
    return 2 * network.parameters * FLOAT / speed * network.rate / network.flops


def page(measured: dict[str, Any]) -> str:
    """The whole page, Markdown."""
    own, machine = own_network(measured), measured["machine"]
    resnet = Network("ResNet-50 at 224 pixels", 3 * 2 * 2 * RESNET_FLOPS, RESNET_PARAMETERS, RESNET_CHANNELS,
                     H100 * UTILISED)
    exponents = [[f"{MEASURED[name]}, by {name}", f"{sweep['points'][0]['x']} to {sweep['points'][-1]['x']}", *(
        f"{fit['slope']:.2f} ± {fit['error']:.2f} (last two points {fit['last']:.2f})"
        for fit in (sweep["exponents"]["seconds"], sweep["exponents"]["bytes"]))]
        for name, sweep in measured["sweeps"].items()]
    runs = [(f"{own.name}, 50,000 images, {EPOCHS} epochs", own.flops * 50_000 * EPOCHS),
            (f"{own.name}, a billion images once", own.flops * 1e9),
            (f"{resnet.name}, ImageNet-1k, {EPOCHS} epochs", resnet.flops * IMAGENET * EPOCHS),
            (f"{resnet.name}, a billion images once", resnet.flops * 1e9)]
    costs = [[name, number(flops), duration(flops / own.rate), duration(flops / resnet.rate),
              number(max(1, flops / resnet.rate / 86400))] for name, flops in runs]
    pairs = measured["sweeps"]["pairs"]["points"][-1]
    each = pairs["bytes"] / (2 * pairs["x"]) ** 2  # bytes per entry, with what softmax and backward pass keep
    memory = [[f"{n:,}", size(each * (2 * n) ** 2), size(each * (2 * n) ** 2 / 64), size(each * 2 * n * ROWS),
               size(2 * n * PROJECTION * FLOAT)] for n in BATCHES]
    traffic = []
    for network, images, processes in ((own, 250, 2), (own, 2000, 16), (resnet, 4096, 64), (resnet, 32_768, 512)):
        parts = step_bytes(network, images, processes)
        traffic.append([network.name, f"{images:,}", str(processes), *map(size, parts), size(sum(parts))])
    paying = []
    for network, where, batch in ((own, "this machine", 250), (resnet, "H100", 4096)):
        least = [images_that_pay(network, speed) for speed in LINKS.values()]
        paying += [[f"images per process, {network.name}, {where}", *map(number, least)],
                   [f"processes at a global batch of {batch:,}", *(number(batch / images) for images in least)]]
    return PAGE.format(
        cpu=machine["cpu"], threads=machine["threads"], precision=machine["precision"], rate=number(own.rate / 1e9),
        flops=number(own.flops / 1e9), each=f"{each:.1f}", pairs=f"{pairs['x']:,}", own_time=costs[1][2],
        own_h100=costs[1][3], most=memory[-1][0], most_size=memory[-1][1],
        exponents=table(["", "sizes", "exponent of time", "exponent of memory"], exponents),
        assumed=table(["what", "figure", "source"], [
            [what, number(value), source] for what, (value, source) in ASSUMED.items()]),
        costs=table(["run", "FLOP", "this machine", "one H100", "H100s for one day"], costs),
        memory=table(["images in the batch", "whole", "rows shared by 64 processes", f"{ROWS} rows at a time",
                      "the projections themselves"], memory),
        traffic=table(["network", "global batch", "processes", "gradients", "projections", "norms",
                       "total per process"], traffic),
        paying=table(["", *LINKS], paying))


PAGE = """\
# What a run costs at other sizes

Written by `python benchmarks/scaling.py --extrapolate benchmarks/scaling.json --out benchmarks/SCALING.md`. Only the
first section is measured; nothing was trained at the sizes of the other sections.

## How do time and memory grow?

**Time is proportional to the number of images and to the batch size, so FLOPs predict it.** Measured on
{cpu}, {threads} threads, {precision}. A step of 1.2.3 on CIFAR-10 runs at {rate} GFLOP/s
({flops} GFLOP per image: two views, forward and backward).

{exponents}

Memory does not grow with the number of images, except for the images themselves; memory-mapped images stay on disk. It
grows with the batch size, because of the activations. NT-Xent's similarities have (2N)² entries, as its time shows. If
the exponent of its memory is below 2, buffers of fixed size still dominate at these sizes.

## What is assumed?

**Another network, another machine, and the share of its speed that a training reaches.**

{assumed}

## What do larger runs cost?

**One pass of this project's network over a billion CIFAR-10 images takes {own_time} on the measured machine, and
{own_h100} on one H100.**

{costs}

## Does NT-Xent's 2N x 2N matrix fit into memory?

**Yes at this project's batch sizes. With {most} images in the batch it needs {most_size}.** Measured at N = {pairs}:
{each} bytes for each of the (2N)² entries.

{memory}

Two reductions can be combined. Each of P processes needs only the rows of its own views, 1/P of the matrix. And the
loss of a row is a log-sum-exp, so rows can be computed in blocks and recomputed in the backward pass. Memory then falls
to 2N x block, at the cost of one more product of the projections. The projections themselves (last column) must still
be exchanged. VICReg needs D x D covariances instead, and MoCo N x K similarities to a queue; neither is quadratic in
the batch size. This project uses neither reduction: at its batch sizes the matrix is small, and each process computes
all of it.

## How much does a process send per step?

**Mostly gradients, whose size does not depend on the batch size.**

{traffic}

Projections grow with the batch and exceed the gradients only in very large batches. The norms send few bytes, but each
norm waits for its own exchange, forward and backward, so their cost is latency.

## When does data parallelism stop paying?

**When a process has fewer images per step than the first or third row says.** With that number, sending the gradients
takes as long as computing them. With fewer, a step spends more time on the network than on computation, even if the two
overlap fully.

{paying}

At a fixed global batch this limits the number of processes (second and fourth row; below 2, even two do not pay).
Beyond this limit, larger batches help, at the cost of more epochs. Sending fewer bytes also helps: bfloat16 gradients
halve them, and so does exchanging gradients every second step.
"""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)])


def number(value: float) -> str:
    """Three significant digits, with a power of ten for large numbers."""
    return f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:.3g}"


def size(count: float) -> str:
    """Bytes with a binary prefix."""
    for unit, one in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= one:
            return f"{count / one:.3g} {unit}"
    return f"{count / 1024:.3g} KiB"


def duration(seconds: float) -> str:
    """Seconds in the largest fitting unit."""
    for unit, one in (("years", 86400 * 365.25), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= one:
            return f"{number(seconds / one)} {unit}"
    return f"{number(seconds)} s"


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "nothing was written"))
