"""The command line of `python _report_evaluation.py grade`."""

import argparse
import os
from pathlib import Path

from utils.command_line import Parser
from utils.errors import PartlyDone, UsageError

EXAMPLES = """examples:
  python _report_evaluation.py grade submissions --rubric grading/example_rubric.yaml --out grades
  python _report_evaluation.py grade submissions --rubric rubric.yaml --out grades --manifest handed_in.yaml
  python _report_evaluation.py grade submissions --rubric rubric.yaml --out grades --overrides by_hand.yaml
  python _report_evaluation.py grade submissions --rubric rubric.yaml --out grades --holdout hidden.npz --jobs 8

"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python _report_evaluation.py grade SUBMISSIONS --rubric FILE --out DIR [options]",
                    description="Grade a folder of submissions, a folder or a .zip file a student: verify every "
                    "checkpoint, give the rubric's points, and explain each. Started again, it goes on where it was; "
                    "a submission that did not change is not scored again. Exit code 3: some were not gradable.")
    parser.add_argument("submissions", type=Path, metavar="SUBMISSIONS", help="folder with the submissions")
    parser.add_argument("--rubric", type=Path, required=True, metavar="FILE", help="what earns points (YAML)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the grades go")
    parser.add_argument("--manifest", type=Path, metavar="FILE",
                        help="when each was handed in (YAML); without it nobody is late")
    parser.add_argument("--overrides", type=Path, metavar="FILE", help="the teacher's own points (YAML), applied last")
    parser.add_argument("--holdout", type=Path, metavar="FILE",
                        help="images that students do not have (.npz: mnist_images, mnist_labels, ...)")
    parser.add_argument("--jobs", type=int, default=max(1, os.cpu_count() or 1), metavar="N",
                        help="submissions at once (default: one for each processor)")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="S",
                        help="seconds that scoring one submission may take (default 300)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: data")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: must be at least 1")
    if not 0 < args.timeout <= 86400:
        raise UsageError(f"--timeout {args.timeout:g}: must be above 0 and at most 86400 seconds")
    inside, outside = args.out.resolve(), args.submissions.resolve()
    if inside == outside or outside in inside.parents:
        raise UsageError(f"--out {args.out}: lies among the submissions; choose another folder")
    return args


def main(argv: list[str]) -> None:
    """Grade, and say where the grades are.  Raises UsageError, RunError, PartlyDone where some were not gradable."""
    args = parse(argv)
    from grading.batch import grade_all  # here, so that --help does not wait

    ungraded = grade_all(args.submissions, args.rubric, args.out, jobs=args.jobs, timeout=args.timeout,
                         data_dir=args.data_dir, holdout=args.holdout, manifest=args.manifest,
                         overrides=args.overrides)
    print(f"grades: {args.out / 'grades.csv'}\nclass:  {args.out / 'class.html'}")
    if ungraded:
        raise PartlyDone(f"not gradable: {'; '.join(ungraded)}")
