"""Run the experiments behind the report's chapter on theory.  `python _theory.py --help` shows how."""

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

from utils.command_line import Parser, check_output, exit_code

EXAMPLES = """examples:
  python _theory.py                        all experiments, half a minute on one core, to results/theory.json
  python _theory.py --out elsewhere.json

"""
SEED = 0


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python _theory.py [options]", description="Run the small experiments behind the "
                    "report's chapter on theory, on the embedded digits, and write what they measured as one JSON "
                    "file. The report reads theory.json in the folder of the records.")
    parser.add_argument("--out", type=Path, default=Path("results/theory.json"), metavar="FILE",
                        help="where the numbers go (default: results/theory.json)")
    args = parser.parse_args(argv)
    check_output(args.out, "--out", (".json",))
    return args


def main(argv: list[str]) -> None:
    """Run every experiment, print its processor time, and write theory.json.  Raises UsageError and RunError."""
    args = parse(argv)
    import scipy  # here, so that --help does not wait for them
    import sklearn
    import torch

    from theory.results import QUESTIONS, TheoryResults
    from utils.files import write_file
    from utils.records.environment import describe
    from utils.records.schema import utc_now

    torch.set_num_threads(1)  # small tensors: more threads only wait for each other
    started = utc_now()
    measured, seconds = {}, {}
    for name in QUESTIONS:
        experiment = import_module(f"theory.{name}.experiment")
        start = time.process_time()
        measured[name] = experiment.run(SEED)
        seconds[name] = round(time.process_time() - start, 2)
        print(f"{name}: {seconds[name]:.1f} s", flush=True)
    results = TheoryResults.model_validate({
        "schema": 3, "seed": SEED, "started": started, "seconds": seconds,
        "environment": describe(torch.device("cpu"), "float32", {}).model_dump(),
        "libraries": {"scikit-learn": sklearn.__version__, "scipy": scipy.__version__}, "experiments": measured})
    write_file(args.out, results.model_dump_json(by_alias=True, indent=1).encode())
    print(f"written: {args.out}")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "nothing was written"))
