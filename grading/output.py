"""The files that a grading writes: a page and results.json per student, a page and grades.csv for the class.

Every value on a page is made printable (report.show.plain) and escaped by the templates' environment.
"""

import csv
import hashlib
import io
import json
import re
from functools import cache
from pathlib import Path
from statistics import mean, median

import jinja2
import numpy as np
from markupsafe import Markup

from grading.flags import find_flags, hidden_gap
from grading.manifest import Assignment
from grading.points import Grade, outcome
from grading.rubric import Late, Rubric
from grading.score import Evidence, ScoredRun, without_network
from report import show
from utils.files import write_bytes

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +-]{0,120}")  # of a student whose folder is called so
LONGEST_NAME, MOST_NAMES, MOST_FILES = 60, 10, 4  # of a student and of a flag, on the class page
MOST_REMARKS = 8  # on runs, in grades.csv
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # spreadsheets run a cell that begins like this
TEMPLATES = Path(__file__).parent / "templates"
STYLES = Path(__file__).parent.parent / "report" / "templates" / "report.css"


def write_grades(grades: dict[str, Grade], evidence: dict[str, Evidence], assignment: Assignment, out: Path) -> None:
    """results.json and grade.html in a folder per student; grades.csv and class.html for the class."""
    rubric = assignment.rubric
    for student, grade in grades.items():
        folder = out / folder_name(student)
        folder.mkdir(exist_ok=True)
        results = gradescope(grade, evidence[student], rubric.late)
        page = render("student.html.j2", grade=grade, evidence=evidence[student], rubric=rubric,
                      lateness=lateness(grade, rubric.late),
                      hidden=any(run.correct_holdout is not None for run in evidence[student].runs))
        write_bytes(folder / "results.json", (json.dumps(results, indent=1) + "\n").encode())
        write_bytes(folder / "grade.html", page.encode(errors="backslashreplace"))
    write_bytes(out / "grades.csv", grades_csv(grades, evidence, assignment).encode(errors="backslashreplace"))
    write_bytes(out / "class.html", class_page(grades, evidence, rubric).encode(errors="backslashreplace"))


def folder_name(student: str) -> str:
    """The student's name if it is a safe and unused folder name, otherwise a name made of its digest."""
    taken = student.lower().startswith("student-") or student.lower() in ("grades.csv", "class.html")
    if NAME.fullmatch(student) and not student.endswith((".", " ")) and not taken:
        return student
    return f"student-{hashlib.sha256(student.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def lateness(grade: Grade, late: Late | None) -> str:
    """'2 days late, 10 % per day: 7.00 points deducted', or ""."""
    if not grade.days_late:
        return ""
    days = f"{show.plural(grade.days_late, 'day')} late"
    if late is None:
        return f"{days}; this assignment deducts nothing for that"
    free = f" after {show.plural(late.free_days, 'free day')}" if late.free_days else ""
    return f"{days}, {late.percent_a_day:g} % per day{free}: {grade.lost:.2f} points deducted"


def gradescope(grade: Grade, evidence: Evidence, late: Late | None) -> dict[str, object]:
    """The grade in the format of Gradescope's autograders (results.json)."""
    tests = [{"name": award.criterion.title or award.criterion.id, "score": round(award.points or 0.0, 6),
              "max_score": award.criterion.points, "output": award.reason, "visibility": "visible"}
             for award in grade.awards]
    notes = [lateness(grade, late), *remarks(grade, evidence),
             "some criteria are still to be graded by hand" if grade.waiting else ""]
    return {"score": round(grade.total, 6), "output": "\n".join(filter(None, notes)), "visibility": "visible",
            "tests": tests}


def grades_csv(grades: dict[str, Grade], evidence: dict[str, Evidence], assignment: Assignment) -> str:
    """One row per student, one column per criterion; a cell is empty until the teacher enters the points.

    Begins with a byte order mark, without which spreadsheets take UTF-8 for another encoding.
    """
    text, rubric = io.StringIO(), assignment.rubric
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["\ufeffstudent", "name", "folder", "total", "of", "days_late", "late_penalty",
                     *(criterion.id for criterion in rubric.criteria), "remarks"])
    for student, grade in grades.items():
        cells = [student, assignment.names.get(student, ""), folder_name(student), f"{grade.total:.2f}",
                 f"{rubric.points:g}", str(grade.days_late), f"{grade.lost:.2f}",
                 *("" if award.points is None else f"{award.points:.2f}" for award in grade.awards),
                 " | ".join(remarks(grade, evidence[student]))]
        writer.writerow([safe_cell(cell) for cell in cells])
    return text.getvalue()


def remarks(grade: Grade, evidence: Evidence) -> list[str]:
    """What a teacher should know of a submission: why it or parts of it do not count, and what was set by hand."""
    runs = [f"{run.file}: {run.reason}" for run in evidence.runs if run.reason]
    runs[MOST_REMARKS:] = [f"and {len(runs) - MOST_REMARKS} more"] if len(runs) > MOST_REMARKS else []
    by_hand = [f"{award.criterion.id} {award.reason}" for award in grade.awards if award.overridden]
    return [show.plain(text) for text in (evidence.trouble, evidence.ended, *evidence.refused, *runs, *by_hand) if text]


def safe_cell(text: str) -> str:
    """The text on one line, without semicolons, and with an apostrophe before what a spreadsheet would run."""
    text = " ".join(text.split()).replace(";", ",")
    return f"'{text}" if text.startswith(FORMULA) else text


def class_page(grades: dict[str, Grade], evidence: dict[str, Evidence], rubric: Rubric) -> str:
    """Distribution and statistics of the points, every total, flags, and what could not be graded."""
    totals, criteria = [grade.total for grade in grades.values()], []
    for i, criterion in enumerate(rubric.criteria):
        points = [grade.awards[i].points for grade in grades.values()]
        given = [value for value in points if value is not None]
        criteria.append((criterion, [f(given) if given else None for f in (mean, median, min, max)], len(given)))
    return render("class.html.j2", rubric=rubric, grades=grades, evidence=evidence, criteria=criteria,
                  flags=find_flags(evidence), isolated=bool(without_network()),
                  folders={student: folder_name(student) for student in grades},
                  troubles=[(student, one.trouble) for student, one in evidence.items() if one.trouble],
                  hidden=[(student, run) for student, one in evidence.items() for run in best_runs(one.runs)],
                  hidden_gap=hidden_gap(evidence), totals=totals, median=median(totals),
                  histogram=np.histogram(totals, 10, (0, rubric.points or 1))[0].tolist())


def best_runs(runs: list[ScoredRun]) -> list[ScoredRun]:
    """The best run of each task and data set, by public accuracy, of those scored on hidden images."""
    scored = [run for run in runs if run.holdout_accuracy is not None]
    best = {(run.task, run.dataset): run for run in sorted(scored, key=lambda run: run.accuracy or 0.0)}
    return [run for _, run in sorted(best.items())]


def render(template: str, **values: object) -> str:
    """A page that contains its style and loads nothing from the network."""
    return environment().get_template(template).render(style=Markup(STYLES.read_text(encoding="utf-8")), **values)


@cache
def environment() -> jinja2.Environment:
    """One for all pages, so that each template is compiled once."""
    def printable(value: object) -> object:
        return show.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    made = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, finalize=printable,
                              undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"percent": show.percent, "gap": show.points,
                     "points": lambda value: show.NOTHING if value is None else f"{value:.2f}",
                     "short": lambda name: show.shorten(show.plain(name), LONGEST_NAME)}
    made.globals |= {"outcome": outcome, "MOST_FILES": MOST_FILES, "MOST_NAMES": MOST_NAMES}
    return made
