"""Turn result records into one HTML page and one PDF.  `python _report_evaluation.py --help` shows how."""

import argparse
import datetime
import sys
from functools import partial
from pathlib import Path

from utils.command_line import Parser, exit_code
from utils.errors import RunError, UsageError

EXAMPLES = """examples:
  python _report_evaluation.py                      report.html and report.pdf
  python _report_evaluation.py --results-dir other  use another folder's records
  python _report_evaluation.py --author "A. Name"   name an author
  python _report_evaluation.py --verify results     score every checkpoint again
  python _report_evaluation.py --readme README.md   only rewrite README's table
  python _report_evaluation.py --playground p.html  a page that runs the models
  python _report_evaluation.py grade --help         grade a class
  python _report_evaluation.py grade --check handin   check your own submission

"""


def iso_date(text: str) -> str:
    """A date as YYYY-MM-DD, as --date takes it."""
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2025-11-28") from None


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python _report_evaluation.py [options]", description="Turn the result records "
                    "into one HTML page and one PDF.\nFiles that are not valid records are listed, with the reason.")
    parser.add_argument("--results-dir", type=Path, metavar="DIR",
                        help="folder with the records, including its sub-folders (default: results)")
    parser.add_argument("--verify", type=Path, metavar="DIR", help="like --results-dir, but also score the checkpoint "
                        "next to each record again; the report shows both accuracies")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="with --verify and --playground: the folder "
                        "with the data sets; missing ones are downloaded to it (default: data)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="the page to write (default: report.html)")
    parser.add_argument("--pdf", type=Path, metavar="FILE", help="the PDF to write (default: report.pdf)")
    parser.add_argument("--author", default="", metavar="NAME", help="author line below the title (default: none)")
    parser.add_argument("--date", type=iso_date, metavar="YYYY-MM-DD", help="date below the title (default: date of "
                        "the newest run, so that the same records give the same bytes)")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="write the table between the lines "
                        "<!-- results:begin --> and <!-- results:end --> of FILE, and do nothing else")
    parser.add_argument("--playground", type=Path, metavar="FILE", help="only write one HTML file that runs trained "
                        "models in the browser: those of MNIST, unless more tasks have weights for digits")
    parser.add_argument("--dataset", choices=("mnist", "digits"), help="with --playground: the data set of its models")
    args = parser.parse_args(argv)
    if args.readme and (args.html or args.pdf or args.verify or args.author or args.date):
        raise UsageError("--readme writes neither a page nor a PDF; leave out --html, --pdf, --author, --date and "
                         "--verify")
    if args.verify and args.results_dir:
        raise UsageError("--verify names the folder with the records; leave out --results-dir")
    if args.playground and (args.html or args.pdf or args.verify or args.readme or args.author or args.date):
        raise UsageError("--playground only writes that page; leave out --html, --pdf, --author, --date, --verify and "
                         "--readme")
    if args.data_dir and not (args.verify or args.playground):
        raise UsageError("--data-dir belongs to --verify and --playground")
    if args.dataset and not args.playground:
        raise UsageError("--dataset belongs to --playground")
    args.results_dir = args.verify or args.results_dir or Path("results")
    args.html, args.pdf = args.html or Path("report.html"), args.pdf or Path("report.pdf")
    for flag, path, suffix in (("--html", args.html, ".html"), ("--pdf", args.pdf, ".pdf"),
                               ("--playground", args.playground, ".html")):
        if path and path.suffix.lower() != suffix:  # a slip must not replace a record or a script
            raise UsageError(f"{flag} {path}: the name must end in {suffix}")
    return args


def main(argv: list[str]) -> None:
    """Do what the command line asks and print what was done.  Raises UsageError and RunError."""
    if argv[:1] == ["grade"]:
        from grading.command import main as grade

        grade(argv[1:])
        return
    args = parse(argv)
    from report.render import write_readme, write_report  # here, so that --help does not wait for matplotlib
    from theory.chapter import theory_chapter

    broken = 0
    if args.readme:
        used, rejected = write_readme(args.results_dir, args.readme)
        print(f"table: {args.readme}")
    elif args.playground:
        from playground.build import write_playground  # here, since it needs torch, and the report does not

        used, rejected = write_playground(args.results_dir, args.data_dir or Path("data"), args.playground,
                                          args.dataset)
        print(f"playground: {args.playground}; open it in a browser, for example with\n"
              f"            python -m webbrowser {args.playground.resolve().as_uri()}")
    else:
        verify = None
        if args.verify:
            from grading.verify import verify_and_print  # here, since it needs torch, and the report does not

            verify = partial(verify_and_print, folder=args.results_dir, data_dir=args.data_dir or Path("data"))
        print(f"reading {args.results_dir}", flush=True)
        used, rejected, finding, broken = write_report(args.results_dir, args.html, args.pdf, verify, theory_chapter,
                                                       args.author, args.date or "")
        print(f"HTML:  {args.html}\nPDF:   {args.pdf}\nopen:  {args.html.resolve().as_uri()}")
        if finding:
            print(f"found: {finding}")
    for item in rejected:
        print(f"rejected {item.name}: {item.reason}", file=sys.stderr)
    print(f"records used: {used}, rejected: {len(rejected)}")
    if broken:
        raise RunError(f"claims that do not hold: {broken}; the report has them first in its table of verification")


if __name__ == "__main__":
    grading = sys.argv[1:2] == ["grade"] and not any(word.startswith("--check") for word in sys.argv)
    kept = "scores so far are kept; the same command resumes" if grading else "no file was changed"
    sys.exit(exit_code(lambda: main(sys.argv[1:]), kept))
