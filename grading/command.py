"""The command line of `python _report_evaluation.py grade`."""

import argparse
import importlib.util
import os
from pathlib import Path

from utils.command_line import Parser
from utils.errors import PartlyDone, RunError, UsageError

EXAMPLES = """examples:
  python _report_evaluation.py grade submissions --rubric grading/example_rubric.yaml --out grades
  python _report_evaluation.py grade class.zip --rubric rubric.yaml --out grades --manifest class.csv
  python _report_evaluation.py grade submissions --rubric rubric.yaml --out grades --overrides by_hand.yaml
  python _report_evaluation.py grade submissions --rubric rubric.yaml --out grades --holdout hidden.npz --jobs 8
  python _report_evaluation.py grade --check handin             for students: what would be accepted, without points

"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python _report_evaluation.py grade SUBMISSIONS --rubric FILE --out DIR [options]",
                    description="Grade the submissions of a class (one folder or .zip file per student): verify every "
                    "checkpoint, award the rubric's points, and explain each. The same command resumes an interrupted "
                    "grading; unchanged submissions are not scored again. Exit code 3: some could not be graded. "
                    "Needs Unix.")
    parser.add_argument("submissions", type=Path, nargs="?", metavar="SUBMISSIONS",
                        help="folder or .zip file with the submissions, as Moodle, Canvas, Blackboard or Gradescope "
                        "export them, or your own")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="only say what a grader would accept of the "
                        "submission in FOLDER (or a .zip file); no SUBMISSIONS, --rubric or --out")
    parser.add_argument("--rubric", type=Path, metavar="FILE", help="what earns points (YAML)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the grades")
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="class list: who is in the class, when each "
                        "student submitted, and extensions (CSV, YAML, or Gradescope's submission_metadata.yml; "
                        "default: that file in SUBMISSIONS); without one nobody is late")
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
    needed = {"SUBMISSIONS": args.submissions, "--rubric": args.rubric, "--out": args.out}
    given = [name for name in needed if needed[name]]
    if args.check and given:
        raise UsageError(f"--check takes no {given[0]}; it gives no points")
    if not args.check and len(given) < len(needed):
        parser.error("the following arguments are required: " + ", ".join(name for name in needed if name not in given))
    return args


def main(argv: list[str]) -> None:
    """Grade and print where the grades are.  Raises UsageError, RunError; PartlyDone if some could not be graded."""
    args = parse(argv)
    if importlib.util.find_spec("resource") is None or not hasattr(os, "fork"):
        raise RunError("grading needs Unix (resource limits and fork keep submissions isolated); use Linux, macOS or "
                       "WSL on Windows")
    from grading.batch import check, grade_all  # here, so that --help is quick

    if args.check:
        check(args.check, args.data_dir, args.timeout)
        return
    ungraded, notes = grade_all(args.submissions, args.rubric, args.out, jobs=args.jobs, timeout=args.timeout,
                                data_dir=args.data_dir, holdout=args.holdout, manifest=args.manifest,
                                overrides=args.overrides)
    print("\n".join([f"grades: {args.out / 'grades.csv'}", f"class:  {args.out / 'class.html'}",
                     *(f"note:   {note}" for note in notes)]))
    if ungraded:
        raise PartlyDone("the grades were written, except for what could not be graded, or not completely: "
                         + "; ".join(ungraded))
