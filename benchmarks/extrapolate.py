"""What a run costs at ImageNet's size and at a billion images, on paper, from this machine's own measurements.

    python benchmarks/extrapolate.py benchmarks/scaling.json --out benchmarks/SCALING.md

Nothing is trained here.  What was measured is read from the JSON of `benchmarks/scaling.py`; what was not (another
network, another machine, a network cable) stands in ASSUMED with its source, and on the page.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the project, wherever this is called from

from benchmarks.common import check_output, even_recipe
from utils.command_line import Parser, exit_code
from utils.errors import UsageError

EXAMPLES = """examples:
  python benchmarks/extrapolate.py benchmarks/scaling.json --out benchmarks/SCALING.md

"""
ASSUMED = {
    "ResNet-50, 224 pixels: multiply-adds of a forward pass": (4.09e9, "torchvision's model table"),
    "ResNet-50: parameters": (25.6e6, "torchvision's model table"),
    "ResNet-50: channels that have a norm": (26_560, "its 53 norms, added up"),
    "ImageNet-1k: training images": (1_281_167, "Russakovsky et al. 2015"),
    "one H100: FLOP/s in bfloat16, dense": (989e12, "its data sheet"),
    "share of that which a training reaches": (0.4, "an assumption; large trainings report 0.3 to 0.5"),
    "dimensions of a projection": (128, "Chen et al. 2020"),
}
RESNET_FLOPS, RESNET_PARAMETERS, RESNET_CHANNELS, IMAGENET, H100, UTILISED, PROJECTION = (
    value for value, _ in ASSUMED.values())
EPOCHS = 100  # of the ImageNet run
CABLES = {"1 Gbit/s": 1e9 / 8, "10 Gbit/s": 1e10 / 8, "100 Gbit/s": 1e11 / 8, "400 Gbit/s": 4e11 / 8}  # bytes/s
PAIRS = (256, 4096, 32_768, 1_000_000)  # images in a global batch
BLOCK = 1024  # rows of the similarities that are held at once, where they are cut
FLOAT = 4  # bytes
GIB = 2**30


@dataclass(frozen=True)
class Network:
    """What a step of contrastive training costs.  flops: of one image, two views, forward and backward."""

    name: str
    flops: float
    parameters: float
    channels: float  # that have a norm, whose statistics are synchronised
    rate: float  # FLOP/s of one process


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python benchmarks/extrapolate.py SCALING.json [--out FILE.md]",
                    description="Write what a run costs at other sizes, from measured exponents.")
    parser.add_argument("measured", type=Path, metavar="SCALING.json", help="what benchmarks/scaling.py --json wrote")
    parser.add_argument("--out", type=Path, default=Path("SCALING.md"), metavar="FILE.md", help="default: SCALING.md")
    arguments = parser.parse_args(argv)
    check_output(arguments.out, "--out", (".md",))
    return arguments


def main(argv: list[str]) -> None:
    """Write the page.  Raises UsageError where the measurements are none of contrastive training."""
    arguments = parse(argv)
    measured = read_measured(arguments.measured)
    from utils.files import write_atomically

    text = page(measured, own_network(measured))
    write_atomically(arguments.out, lambda file: file.write(text.encode()))
    print(f"written: {arguments.out}")


def read_measured(path: Path) -> dict[str, Any]:
    """The JSON of scaling.py.  Raises UsageError."""
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
        sweeps = measured["sweeps"]
        if measured["task"] != "1.2.3" or not {"images", "batch size", "latent size", "pairs"} <= sweeps.keys():
            raise KeyError
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: is no measurement of task 1.2.3; python benchmarks/scaling.py --json FILE makes "
                         "one") from None
    return measured


def own_network(measured: dict[str, Any]) -> Network:
    """This project's encoder and head on CIFAR-10, at the speed of the sweep's largest batch."""
    from torch import nn

    from models.encoders import build_encoder
    from models.heads import ProjectionHead
    from utils.compute.flops import forward_flops

    recipe = even_recipe("1.2.3")
    side = round(32 * recipe.view_scale)
    encoder = build_encoder(recipe.encoder, (3, 32, 32), recipe.widths, recipe.latent_dim, recipe.pooling)
    head = ProjectionHead(recipe.latent_dim, recipe.projection_hidden_dim, recipe.projection_dim)
    flops = 3 * 2 * (forward_flops(encoder, 3, side, side) + forward_flops(head, recipe.latent_dim))
    modules = [*encoder.modules(), *head.modules()]
    norms = sum(m.num_features for m in modules if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d))
    parameters = sum(p.numel() for module in (encoder, head) for p in module.parameters())
    largest = measured["sweeps"]["batch size"]["points"][-1]
    return Network("this project's, CIFAR-10", flops, parameters, norms, largest["x"] * flops / largest["seconds"])


def page(measured: dict[str, Any], own: Network) -> str:
    """The whole page, Markdown."""
    resnet = Network("ResNet-50, 224 pixels", 3 * 2 * 2 * RESNET_FLOPS, RESNET_PARAMETERS, RESNET_CHANNELS,
                     H100 * UTILISED)
    parts = ["# What a run costs at other sizes",
             "Written by `python benchmarks/extrapolate.py benchmarks/scaling.json --out benchmarks/SCALING.md` from "
             "what `benchmarks/scaling.py` measured; nothing below was trained at these sizes.",
             "## Measured here", machine_line(measured, own), measured_table(measured),
             "Time grows with the images, and a step's with its batch, in proportion; so FLOPs predict both. Memory "
             "does not grow with the images beyond the images themselves (memory-mapped they stay on the disk), and "
             "grows with the batch through its activations. NT-Xent's similarities have (2N)² entries: its time shows "
             "that, and where the exponent of its memory lies below 2, blocks that are used again still weigh at these "
             "sizes.",
             "## Assumed", assumed_table(),
             "## FLOPs and time", cost_table(own, resnet),
             "## The N x N matrix of NT-Xent", pairs_table(measured), CUTTING,
             "## Bytes over the network, a step", network_table(own, resnet), NETWORK,
             "## Where data parallelism stops paying", paying_table(own, resnet), PAYING]
    return "\n\n".join(parts) + "\n"


def machine_line(measured: dict[str, Any], own: Network) -> str:
    machine = measured["machine"]
    return (f"{machine['cpu']}, {machine['threads']} threads, {machine['precision']}; a step of 1.2.3 on CIFAR-10 runs "
            f"at {number(own.rate / 1e9)} GFLOP/s ({number(own.flops / 1e9)} GFLOP an image, two views, forward and "
            "backward).")


def measured_table(measured: dict[str, Any]) -> str:
    rows = []
    for name, what in (("images", "an epoch"), ("batch size", "a step"), ("latent size", "a step"),
                       ("pairs", "NT-Xent alone")):
        sweep = measured["sweeps"][name]
        x = [point["x"] for point in sweep["points"]]
        rows.append([f"{what}, by {name}", f"{x[0]} to {x[-1]}", *(
            f"{fit['slope']:.2f} ± {fit['error']:.2f} (last two points {fit['last']:.2f})"
            for fit in (sweep["exponents"]["seconds"], sweep["exponents"]["bytes"]))])
    return table(["", "sizes", "exponent of the time", "exponent of the memory"], rows)


def assumed_table() -> str:
    return table(["what", "figure", "source"],
                 [[what, number(value), source] for what, (value, source) in ASSUMED.items()])


def cost_table(own: Network, resnet: Network) -> str:
    """Whole runs: FLOPs, and the time on this machine and on one and many GPUs."""
    runs = [(f"{own.name}, 50,000 images, {EPOCHS} epochs", own.flops * 50_000 * EPOCHS),
            (f"{own.name} network, a billion images once", own.flops * 1e9),
            (f"{resnet.name}, ImageNet-1k, {EPOCHS} epochs", resnet.flops * IMAGENET * EPOCHS),
            (f"{resnet.name}, a billion images once", resnet.flops * 1e9)]
    return table(["run", "FLOP", "this machine", "one H100", "H100s for one day"],
                 [[name, number(flops), duration(flops / own.rate), duration(flops / resnet.rate),
                   number(max(1, flops / resnet.rate / 86400))] for name, flops in runs])


def pairs_table(measured: dict[str, Any]) -> str:
    """Memory of NT-Xent's similarities, whole and cut, from the largest measured point."""
    point = measured["sweeps"]["pairs"]["points"][-1]
    each = point["bytes"] / (2 * point["x"]) ** 2  # bytes of an entry, with what softmax and backward pass keep
    rows = [[f"{n:,}", size(each * (2 * n) ** 2), size(each * (2 * n) ** 2 / 64), size(each * 2 * n * BLOCK),
             size(2 * n * PROJECTION * FLOAT)] for n in PAIRS]
    return table(["images in the batch", "whole", "rows shared by 64 processes", f"{BLOCK} rows at a time",
                  "the projections themselves"], rows) + (
        f"\n\nMeasured: {each:.1f} bytes for each of the (2N)² entries at N = {point['x']:,}.")


CUTTING = """\
Two cuts, which combine. Each of P processes needs only the rows of its own views against the columns of all: a share
of 1/P of the matrix. And a row's loss is a log-sum-exp, so rows can be taken in blocks whose similarities are computed
again in the backward pass: memory falls from the square to 2N x block, for one more product of the projections. What
cannot be cut is the exchange of the projections themselves, the last column. VICReg needs D x D covariances instead,
MoCo N x K similarities to a queue; neither grows with the square of the batch. This project does neither cut: at its
batch sizes the matrix is small, and each process computes all of it."""


def step_bytes(network: Network, images: int, processes: int) -> tuple[float, float, float]:
    """What one process sends a step: gradients (ring all-reduce), projections and their gradients, norms' statistics.

    images: of the global batch.  The ring sends 2 (P - 1) / P of what is reduced, a gather (P - 1) / P of the result;
    norms reduce mean and mean square forward, and two sums backward.
    """
    share = (processes - 1) / processes
    return (2 * share * network.parameters * FLOAT, 2 * share * 2 * images * PROJECTION * FLOAT,
            2 * 2 * share * 2 * network.channels * FLOAT)


def network_table(own: Network, resnet: Network) -> str:
    rows = []
    for network, images, processes in ((own, 250, 2), (own, 2000, 16), (resnet, 4096, 64), (resnet, 32_768, 512)):
        parts = step_bytes(network, images, processes)
        rows.append([network.name, f"{images:,}", str(processes), *map(size, parts), size(sum(parts))])
    return table(["network", "global batch", "processes", "gradients", "projections", "norms", "each process sends"],
                 rows)


NETWORK = """\
Gradients do not depend on the batch; projections grow with it and overtake the gradients only at very large batches.
The norms' share is small in bytes, but each norm waits for an exchange of its own, forward and backward: what counts
there is the latency."""


def images_that_pay(network: Network, speed: float) -> float:
    """Images a process needs a step for its computing to take as long as sending the gradients, at `speed` bytes/s."""
    return 2 * network.parameters * FLOAT / speed * network.rate / network.flops


def paying_table(own: Network, resnet: Network) -> str:
    own_rows, resnet_rows = ([f"{number(images_that_pay(network, speed))}" for speed in CABLES.values()]
                             for network in (own, resnet))
    limit = [f"{number(250 / images_that_pay(own, speed))}" for speed in CABLES.values()]
    wide = [f"{number(4096 / images_that_pay(resnet, speed))}" for speed in CABLES.values()]
    return table(["", *CABLES], [
        [f"images a process, {own.name}, this machine", *own_rows],
        ["processes at a global batch of 250", *limit],
        [f"images a process, {resnet.name}, H100", *resnet_rows],
        ["processes at a global batch of 4,096", *wide]])


PAYING = """\
The number of images a process at which sending the gradients takes as long as computing them: below it a step waits
for the cable more than it computes, even if both overlap fully. With a fixed global batch that bounds the processes
(second and fourth line; below 2 even two do not pay). Past it only larger batches help, which cost epochs, or fewer
bytes: bfloat16 gradients halve them, and so does exchanging every second step."""


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)])


def number(value: float) -> str:
    """Three significant digits; powers of ten for what is large."""
    return f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:.3g}"


def size(count: float) -> str:
    """Bytes in words."""
    for unit, one in (("TiB", 2**40), ("GiB", GIB), ("MiB", 2**20)):
        if count >= one:
            return f"{count / one:.3g} {unit}"
    return f"{count / 1024:.3g} KiB"


def duration(seconds: float) -> str:
    """Seconds in words."""
    for unit, one in (("years", 86400 * 365.25), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= one:
            return f"{number(seconds / one)} {unit}"
    return f"{number(seconds)} s"


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "nothing was written"))
