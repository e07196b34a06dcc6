"""The files that a grading writes: a page and results.json per student, a page and grades.csv for the class.

Every value on a page is made printable (report.show.plain) and escaped by the templates' environment.
"""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Collection
from itertools import count
from pathlib import Path
from statistics import mean, median

import jinja2
import numpy as np
from markupsafe import Markup

from grading.flags import find_flags, hidden_gap
from grading.manifest import Assignment
from grading.points import Grade, outcome
from grading.rubric import Late, Rubric
from grading.score import ScoredRun, without_network
from report import show
from utils.files import sha256_file, write_bytes

NAME = re.compile(r"(?!(?i:student-|grades\.csv$|class\.html$))"  # the names of other files and folders there
                  r"[A-Za-z0-9_]([A-Za-z0-9._ +-]{0,119}[A-Za-z0-9_+-])?")  # of a student whose folder is called so
LONGEST_NAME, MOST_NAMES, MOST_FILES = 60, 10, 4  # of a student and of a flag, on the class page
MOST_REMARKS = 8  # on runs, in grades.csv
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # spreadsheets run a cell that begins like this
STYLES = [Path(__file__).parent.parent / "report" / "templates" / name for name in ("theme.css", "report.css")]
PAGES = jinja2.Environment(loader=jinja2.PackageLoader("grading"), autoescape=True, undefined=jinja2.StrictUndefined,
                           trim_blocks=True, lstrip_blocks=True,
                           finalize=lambda value: show.plain(value) if type(value) is str else value)  # not Markup
PAGES.filters |= {"percent": show.percent, "gap": show.points,
                  "points": lambda value: show.NOTHING if value is None else f"{value:.2f}",
                  "short": lambda name: show.shorten(show.plain(name), LONGEST_NAME)}
PAGES.globals |= {"outcome": outcome, "MOST_FILES": MOST_FILES, "MOST_NAMES": MOST_NAMES}


def folder_names(students: Collection[str]) -> dict[str, str]:
    """The name of each student's folder: the student's name, or its digest if the name is not safe as a folder's or
    differs from another student's only in case, since macOS and Windows take both for one folder.
    """
    alike = Counter(student.lower() for student in students)
    return {student: student if NAME.fullmatch(student) and alike[student.lower()] == 1 else
            f"student-{hashlib.sha256(student.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
            for student in students}


def write_grades(grades: list[Grade], assignment: Assignment, folders: dict[str, Path], out: Path) -> list[str]:
    """results.json and grade.html in each student's folder; grades.csv and class.html for the class.

    A grades.csv that was edited is kept under another name.  Returns notes for the teacher.
    """
    for grade in grades:
        folder, late = folders[grade.student], lateness(grade, assignment.rubric.late)
        folder.mkdir(exist_ok=True)
        page = render("student.html.j2", grade=grade, rubric=assignment.rubric, lateness=late,
                      hidden=any(run.correct_holdout is not None for run in grade.evidence.runs))
        write_bytes(folder / "results.json", (json.dumps(gradescope(grade, late), indent=1) + "\n").encode())
        write_bytes(folder / "grade.html", page)
    names = {student: folder.name for student, folder in folders.items()}
    table, digest, notes = out / "grades.csv", out / ".grades.sha256", list[str]()
    if table.exists() and (not digest.exists() or sha256_file(table) != digest.read_text()):
        free = next(name for n in count(1) if not (name := out / f"grades-edited-{n}.csv").exists())
        table.replace(free)
        notes.append(f"grades.csv had been edited; it is now {free.name}.  Points belong into a file of --overrides, "
                     "which every grading applies")
    write_bytes(table, grades_csv(grades, assignment, names).encode(errors="backslashreplace"))
    write_bytes(digest, sha256_file(table).encode())
    write_bytes(out / "class.html", class_page(grades, assignment.rubric, names))
    return notes


def lateness(grade: Grade, late: Late | None) -> str:
    """'2 days late, 10 % per day: 7.00 points deducted', or ""."""
    if not grade.days_late:
        return ""
    days = f"{show.plural(grade.days_late, 'day')} late"
    if late is None:
        return f"{days}; this assignment deducts nothing for that"
    free = f" after {show.plural(late.free_days, 'free day')}" if late.free_days else ""
    most = f", at most {late.at_most_percent:g} %" if late.at_most_percent < 100 else ""
    return f"{days}, {late.percent_a_day:g} % per day{free}{most}: {grade.lost:.2f} points deducted"


def gradescope(grade: Grade, late: str) -> dict[str, object]:
    """The grade in the format of Gradescope's autograders (results.json).  late: what lateness costs, in words."""
    tests = [{"name": award.criterion.title or award.criterion.id, "score": round(award.points or 0.0, 6),
              "max_score": award.criterion.points, "output": award.reason, "visibility": "visible"}
             for award in grade.awards]
    notes = [late, *remarks(grade), "some criteria are still to be graded by hand" if grade.waiting else ""]
    return {"score": round(grade.total, 6), "output": "\n".join(filter(None, notes)), "visibility": "visible",
            "tests": tests}


def grades_csv(grades: list[Grade], assignment: Assignment, folders: dict[str, str]) -> str:
    """One row per student, one column per criterion; a cell is empty until the teacher enters the points.

    Begins with a byte order mark, without which spreadsheets take UTF-8 for another encoding.
    """
    text, rubric = io.StringIO(), assignment.rubric
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["\ufeffstudent", "name", "folder", "total", "of", "days_late", "late_penalty",
                     *(criterion.id for criterion in rubric.criteria), "remarks"])
    for grade in grades:
        cells = [grade.student, assignment.names.get(grade.student, ""), folders[grade.student], f"{grade.total:.2f}",
                 f"{rubric.points:g}", str(grade.days_late), f"{grade.lost:.2f}",
                 *("" if award.points is None else f"{award.points:.2f}" for award in grade.awards),
                 " | ".join(remarks(grade))]
        writer.writerow([safe_cell(cell) for cell in cells])
    return text.getvalue()


def remarks(grade: Grade) -> list[str]:
    """What a teacher should know of a submission: why it or parts of it do not count, and what was set by hand."""
    evidence = grade.evidence
    runs = [f"{run.file}: {run.reason}" for run in evidence.runs if run.reason]
    runs[MOST_REMARKS:] = [f"and {len(runs) - MOST_REMARKS} more"] if len(runs) > MOST_REMARKS else []
    by_hand = [f"{award.criterion.id} {award.reason}" for award in grade.awards if award.overridden]
    return [show.plain(text) for text in (evidence.trouble, evidence.ended, *evidence.refused, *runs, *by_hand) if text]


def safe_cell(text: str) -> str:
    """The text on one line, without semicolons, and with an apostrophe before what a spreadsheet would run."""
    text = " ".join(text.split()).replace(";", ",")
    return f"'{text}" if text.startswith(FORMULA) else text


def class_page(grades: list[Grade], rubric: Rubric, folders: dict[str, str]) -> bytes:
    """Distribution and statistics of the points, every total, flags, and what could not be graded."""
    evidence, criteria = {grade.student: grade.evidence for grade in grades}, []
    for awards in zip(*(grade.awards for grade in grades), strict=True):
        given = [award.points for award in awards if award.points is not None]
        criteria.append((awards[0].criterion, [f(given) if given else None for f in (mean, median, min, max)],
                         len(given)))
    totals = [grade.total for grade in grades]
    return render("class.html.j2", rubric=rubric, grades=grades, criteria=criteria, folders=folders, totals=totals,
                  flags=find_flags(evidence), isolated=bool(without_network()), hidden_gap=hidden_gap(evidence),
                  hidden=[(student, run) for student, one in evidence.items() for run in best_runs(one.runs)],
                  median=median(totals), histogram=np.histogram(totals, 10, (0, rubric.points or 1))[0].tolist())


def best_runs(runs: list[ScoredRun]) -> list[ScoredRun]:
    """The best run of each task and data set, by public accuracy, of those scored on hidden images."""
    scored = [run for run in runs if run.holdout_accuracy is not None]
    best = {(run.task, run.dataset): run for run in sorted(scored, key=lambda run: run.accuracy or 0.0)}
    return [run for _, run in sorted(best.items())]


def render(template: str, **values: object) -> bytes:
    """A page that contains its style and loads nothing from the network."""
    style = Markup("".join(path.read_text(encoding="utf-8") for path in STYLES))
    return PAGES.get_template(template).render(style=style, **values).encode(errors="backslashreplace")
