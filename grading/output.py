"""The pages: one that explains each point to a student, one for the class.  Everything of theirs is escaped."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import mean, median

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from grading.flags import Flag
from grading.points import Grade, Line, claim_stands
from grading.rubric import Late, Rubric
from grading.score import Evidence
from report import show
from report.drawing import BLUE, STYLE, inline_svg, save

LONGEST_NAME, MOST_FILES = 60, 4  # in the lists of the class
TEMPLATES = Path(__file__).parent / "templates"
STYLES = Path(__file__).parent.parent / "report" / "templates" / "report.css"


def student_page(grade: Grade, evidence: Evidence, rubric: Rubric) -> str:
    """Every criterion with its points and the reason, and what was found in each record."""
    lines = [{"name": line.criterion.title or line.criterion.id, "points": points_of(line),
              "most": f"{line.criterion.points:g}", "reason": show.plain(line.reason), "mark": mark(line)}
             for line in grade.lines]
    runs = [{"file": run.file, "run": f"{run.task} {run.dataset} {run.method}, seed {run.seed}" if run.task else "",
             "claimed": share(run.claimed, run.n), "verified": share(run.verified, run.n),
             "holdout": share(run.holdout, run.holdout_n), "gap": gap(run.accuracy, run.holdout_accuracy),
             "found": show.plain(run.reason) or ("the claim stands" if claim_stands(run) else
                                                 "the claim does not stand; what was verified counts")}
            for run in evidence.runs]
    return render("student.html.j2", title=rubric.title, student=show.plain(grade.student), lines=lines, runs=runs,
                  total=f"{grade.total:.2f}", most=f"{rubric.points:g}", waiting=grade.waiting,
                  trouble=show.plain(evidence.trouble), refused=[show.plain(text) for text in evidence.refused],
                  lateness=lateness(grade, rubric.late), hidden=any(run.holdout is not None for run in evidence.runs))


def points_of(line: Line) -> str:
    """'12.50', or a dash where the teacher's word is waited for."""
    return show.NOTHING if line.points is None else f"{line.points:.2f}"


def mark(line: Line) -> str:
    """Who gave the points."""
    return "teacher" if line.overridden or line.points is None else "verified"


def share(count: int | None, n: int | None) -> str:
    """'98.70' percent, or a dash."""
    return show.NOTHING if count is None or not n else show.percent(count / n)


def gap(public: float | None, hidden: float | None) -> str:
    """Public minus hidden accuracy, in points of a percent."""
    return show.NOTHING if public is None or hidden is None else show.points(public - hidden)


def lateness(grade: Grade, late: Late | None) -> str:
    """'2 days late, 10 % a day: 7.00 points less', or ""."""
    if not grade.days_late:
        return ""
    days = show.plural(grade.days_late, "day")
    if late is None:
        return f"{days} late; this assignment takes nothing for that"
    free = f" after {show.plural(late.free_days, 'free day')}" if late.free_days else ""
    return f"{days} late, {late.percent_a_day:g} % a day{free}: {grade.lost:.2f} points less"


def class_page(grades: Sequence[Grade], evidence: dict[str, Evidence], rubric: Rubric, flags: list[Flag],
               isolated: bool, folders: dict[str, str]) -> str:
    """Distributions, every student's total, flags, and what could not be graded.  folders: of the students' pages."""
    criteria = []
    for i, criterion in enumerate(rubric.criteria):
        given = [grade.lines[i].points for grade in grades if grade.lines[i].points is not None]
        criteria.append({"name": criterion.title or criterion.id, "most": f"{criterion.points:g}",
                         "numbers": [f"{value:.2f}" for value in (mean(given), median(given), min(given), max(given))]
                         if given else [show.NOTHING] * 4, "graded": f"{len(given)} of {len(grades)}"})
    troubles = [{"student": short(student), "reason": show.plain(one.trouble)}
                for student, one in evidence.items() if one.trouble]
    gaps = [{"student": short(student), "file": run.file, "public": share(run.verified, run.n),
             "hidden": share(run.holdout, run.holdout_n), "gap": gap(run.accuracy, run.holdout_accuracy)}
            for student, one in evidence.items() for run in one.runs if run.holdout_accuracy is not None]
    return render("class.html.j2", title=rubric.title, number=len(grades), criteria=criteria, troubles=troubles,
                  gaps=gaps, isolated=isolated, most=f"{rubric.points:g}", waiting=any(one.waiting for one in grades),
                  histogram=Markup(histogram([grade.total for grade in grades], rubric.points)),
                  totals=[{"student": short(one.student), "total": f"{one.total:.2f}", "folder": folders[one.student]}
                          for one in grades],
                  flags=[{"students": ", ".join(short(name) for name in flag.students), "what": flag.what,
                          "files": files_of(flag)} for flag in flags])


def short(name: str) -> str:
    """A student's name as a list of many can show it."""
    return show.shorten(show.plain(name), LONGEST_NAME)


def files_of(flag: Flag) -> str:
    """The first few records of a flag, and how many more there are."""
    more = len(flag.files) - MOST_FILES
    return "; ".join(show.plain(name) for name in flag.files[:MOST_FILES]) + (f" and {more} more" if more > 0 else "")


def histogram(totals: list[float], most: float) -> str:
    """How many students reached how many points, in tenths of the most."""
    edges = [most * i / 10 for i in range(11)] if most else [0.0, 1.0]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.2, 2.2))
        axes = figure.subplots()
        axes.hist(totals, bins=edges, color=BLUE, rwidth=0.92)
        axes.set(xlabel="points", ylabel="students", xlim=(edges[0], edges[-1]))
        axes.yaxis.get_major_locator().set_params(integer=True)
        data = save(figure)
    alt = (f"Totals of {len(totals)} students: lowest {min(totals):.2f}, median {median(totals):.2f}, highest "
           f"{max(totals):.2f} of {most:g} points")
    return inline_svg(data, "totals-", alt)


def render(template: str, **values: object) -> str:
    """A page with its style inside; it asks no network for anything."""
    return environment().get_template(template).render(style=Markup(STYLES.read_text(encoding="utf-8")), **values)


@cache
def environment() -> jinja2.Environment:
    """One for all pages, which compiles each template once."""
    return jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
                              undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
