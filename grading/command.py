"""The command line of `python _report_evaluation.py grade`."""

import argparse
import importlib.util
import os
from pathlib import Path

from utils.command_line import Parser
from utils.errors import PartlyDone, RunError, UsageError

EXAMPLES = """examples:
  python _report_evaluation.py grade submissions --rubric grading/example_rubric.yaml --out grades
  python _report_evaluation.py grade submissions --rubric rubric.yaml --out grades --manifest submitted.yaml
  python _report_evaluation.py grade submissions --rubric rubric.yaml --out grades --overrides by_hand.yaml
  python _report_evaluation.py grade submissions --rubric rubric.yaml --out grades --holdout hidden.npz --jobs 8

"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python _report_evaluation.py grade SUBMISSIONS --rubric FILE --out DIR [options]",
                    description="Grade a folder of submissions (one folder or .zip file per student): verify every "
                    "checkpoint, award the rubric's points, and explain each. The same command resumes an interrupted "
                    "grading; unchanged submissions are not scored again. Exit code 3: some could not be graded. "
                    "Needs Unix.")
    parser.add_argument("submissions", type=Path, metavar="SUBMISSIONS", help="folder with the submissions")
    parser.add_argument("--rubric", type=Path, required=True, metavar="FILE", help="what earns points (YAML)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the grades")
    parser.add_argument("--manifest", type=Path, metavar="FILE",
                        help="when each student submitted (YAML); without it nobody is late")
    parser.add_argument("--overrides", type=Path, metavar="FILE", help="points set by the teacher (YAML), applied last")
    parser.add_argument("--holdout", type=Path, metavar="FILE",
                        help="images that students do not have (.npz: mnist_images, mnist_labels, ...)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="submissions scored at the same time (default: one per processor)")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="S",
                        help="time limit for scoring one submission, seconds (default 300)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: data")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: must be at least 1")
    if not 0 < args.timeout <= 86400:
        raise UsageError(f"--timeout {args.timeout:g}: must be above 0 and at most 86400 seconds")
    out, submissions = args.out.resolve(), args.submissions.resolve()
    if submissions in (out, *out.parents):
        raise UsageError(f"--out {args.out}: is inside the folder with the submissions; choose another folder")
    return args


def main(argv: list[str]) -> None:
    """Grade and print where the grades are.  Raises UsageError, RunError; PartlyDone if some could not be graded."""
    args = parse(argv)
    if importlib.util.find_spec("resource") is None or not hasattr(os, "fork"):
        raise RunError("grading needs Unix (resource limits and fork keep submissions isolated); use Linux, macOS or "
                       "WSL on Windows")
    from grading.batch import grade_all  # here, so that --help is quick

    ungraded = grade_all(args.submissions, args.rubric, args.out, jobs=args.jobs, timeout=args.timeout,
                         data_dir=args.data_dir, holdout=args.holdout, manifest=args.manifest,
                         overrides=args.overrides)
    print(f"grades: {args.out / 'grades.csv'}\nclass:  {args.out / 'class.html'}")
    if ungraded:
        raise PartlyDone(f"not gradable: {'; '.join(ungraded)}")
