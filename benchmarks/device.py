"""Check that this project computes the same on a device as on the CPU, with equal bytes when repeated; and time it.

    python benchmarks/device.py --device cuda --json device.json     under five minutes on a current GPU
    python benchmarks/device.py --device cpu --smallest              what tests run
    python benchmarks/device.py --show a.json b.json                 write committed ones into docs/speed.md

The table has these lines for every method of every task, on the digits:

    losses   50 steps in float32 on the device and on the CPU, from the same weights, batches and random numbers, all
             drawn on the CPU (benchmarks/same_numbers.py): the largest relative difference of a step's loss, in the
             first ten steps and in all
    bytes    in the device's own precision: whether weights and losses of a run equal those of a repeated run, of an
             interrupted and resumed run and, on CUDA, of runs without the CUDA graph and with streamed images
    scored   a run of each of three tasks is scored and then embeds images on the device: the share of test images that
             its weights classify differently on the CPU, and the largest difference of a latent, relative to the
             largest number in any latent

and these for every task, on noise of CIFAR-10's size:

    speed    images/s in the device's own precision; the ratio to a tutorial loop and, if it is installed, to lightly;
             the share of the speed of a product of two matrices (8192 rows on a GPU, 2048 on a CPU) in that precision;
             peak memory

The exit code is 1 if something differs by more than the table allows, and 2 if there is no such device.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the project, wherever this is called from

from benchmarks.common import add_json_flag, print_table, write_json
from utils.command_line import Parser, add_run_flags, check_output, exit_code
from utils.errors import RunError, UsageError
from utils.files import with_block, write_bytes

DOCS = Path(__file__).resolve().parent.parent / "docs" / "speed.md"

EXAMPLES = """examples:
  python benchmarks/device.py --device cuda --json device.json   under five minutes on a current GPU
  python benchmarks/device.py --device mps
  python benchmarks/device.py --device cpu --smallest            under a minute; what tests run

"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python benchmarks/device.py [options]", description="Check this project's "
                    "training and scoring on a device against the CPU, and time it.")
    parser.add_argument("--smallest", action="store_true",
                        help="a few steps and tiny networks, to try it out; ignore its speeds")
    add_run_flags(parser)
    add_json_flag(parser)
    parser.add_argument("--show", type=Path, nargs="+", metavar="FILE.json",
                        help="measure nothing: write what earlier runs measured into docs/speed.md, as tables")
    arguments = parser.parse_args(argv)
    check_output(arguments.json, "--json", (".json",))
    return arguments


def in_markdown(path: Path) -> str:
    """What differs, and the speeds, of a file that --json wrote.  UsageError where it is none."""
    try:
        measured = json.loads(path.read_bytes())
        machine, lines = measured["machine"], measured["lines"]
        rows = [[line["name"], line["measured"]] for line in lines if line["differs"] or line["allowed"] == "-"]
        checks = [line["differs"] for line in lines if line["allowed"] != "-"]
        title = (f"{machine['device']}, {machine['cpu']}, threads: {machine['threads']}, torch {machine['torch']}: "
                 f"{sum(checks) or 'none'} of {len(checks)} comparisons with the CPU exceed what is allowed.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--show {path}: not a file that --json wrote ({type(error).__name__})") from None
    head = [["", "measured"], ["---"] * 2]
    return "\n".join([title, "", *(f"| {' | '.join(row)} |" for row in [*head, *rows]), ""])


def main(argv: list[str]) -> None:
    """Check, time, print the table, write the JSON.  Raises UsageError, and RunError where something differs."""
    arguments = parse(argv)
    if arguments.show:
        write_bytes(DOCS, with_block(DOCS, "device", "\n".join(map(in_markdown, arguments.show))))
        return

    from benchmarks import device_checks as checks
    from benchmarks.contestants import set_up
    from utils.images.datasets import load_dataset
    from utils.records.environment import describe

    setup = set_up(arguments.device, arguments.precision)
    dataset = load_dataset("digits", arguments.data_dir)
    size = checks.Size(50, 2 if setup.device.type == "cpu" else 20)
    if arguments.smallest:
        dataset, size = dataset.head(train=80, val=40, test=80), checks.Size(3, 1, tiny=True)
    lines = [*checks.compare_losses(dataset, setup, size), *checks.compare_runs(dataset, setup, size),
             *checks.compare_scores(dataset, setup, size), *checks.measure_speed(setup, size)]
    machine = describe(setup.device, setup.precision, setup.conv_gflops)
    print_table(f"{machine.device}, torch {machine.torch}", ["", "measured", "allowed", ""], [
        [line.name, line.measured, line.allowed, "DIFFERS" if line.differs else ""] for line in lines])
    write_json(arguments.json, {"machine": machine.model_dump(), "lines": [asdict(line) for line in lines]})
    differing = [line.name for line in lines if line.differs]
    if differing:
        raise RunError(f"{len(differing)} of {len(lines)} lines differ: {'; '.join(differing)}")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "nothing was written"))
