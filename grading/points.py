"""From evidence to points: each criterion with a sentence that explains it or the teacher's word, then lateness."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from grading.flags import alike
from grading.rubric import Criterion, Rubric, late_share, points_for
from grading.score import Evidence, Scored
from grading.strict_yaml import NotBool, Strict
from report import show
from report.verification import agree

THREE = 3


class Override(Strict):
    """The teacher's last word on one criterion of one student."""

    student: Annotated[str, Field(min_length=1)]
    criterion: str
    points: Annotated[float, NotBool, Field(ge=0, allow_inf_nan=False)]
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Line:
    """One criterion's outcome.  points: None where it waits for the teacher; overridden: by the overrides file."""

    criterion: Criterion
    points: float | None
    reason: str
    overridden: bool = False


@dataclass(frozen=True)
class Grade:
    """A student's grade.  total: after lateness, in [0, rubric.points]; lost: points that lateness took."""

    student: str
    lines: tuple[Line, ...]
    days_late: int
    lost: float
    total: float

    @property
    def waiting(self) -> bool:
        """Whether a criterion still waits for the teacher."""
        return any(line.points is None for line in self.lines)


def grade(student: str, evidence: Evidence, rubric: Rubric, days_late: int, overrides: list[Override]) -> Grade:
    """Points of every criterion.  overrides: of this student; the last of several on one criterion counts."""
    told = {override.criterion: override for override in overrides}
    lines = []
    for criterion in rubric.criteria:
        line = judge(criterion, evidence)
        if criterion.id in told:
            word = told[criterion.id]
            before = "nothing yet" if line.points is None else f"{line.points:g} by the rubric"
            line = Line(criterion, word.points, f"set by the teacher ({before}): {word.reason}", overridden=True)
        lines.append(line)
    reached = sum(line.points or 0.0 for line in lines)
    lost = reached * late_share(days_late, rubric.late)
    return Grade(student, tuple(lines), days_late, lost, min(max(0.0, reached - lost), rubric.points))


def judge(criterion: Criterion, evidence: Evidence) -> Line:
    """Points and the reason, from what was verified alone."""
    if criterion.manual:
        return Line(criterion, None, "graded by hand; no points have been entered yet")
    if evidence.trouble and not evidence.runs:
        return Line(criterion, 0.0, f"the submission {evidence.trouble}")
    asked = [run for run in evidence.runs if (run.task, run.dataset) == (criterion.task, criterion.dataset)]
    without = [run for run in asked if not run.labelled]
    if asked and not without:
        return Line(criterion, 0.0, f"{asked[0].file}: its encoder has seen labels (--finetune, or --init from a run "
                    f"that had), which task {criterion.task} learns without")
    verified = [run for run in without if run.verified is not None]
    if not verified:
        return Line(criterion, 0.0, nothing_verified(criterion, asked, evidence))
    if criterion.metric:
        return judge_metric(criterion, verified)
    return judge_artefact(criterion, verified)


def nothing_verified(criterion: Criterion, asked: list[Scored], evidence: Evidence) -> str:
    """Why a criterion has no run to look at."""
    wanted = f"{criterion.task} on {criterion.dataset}"
    reasons = [f"{run.file}: {run.reason}" for run in asked or evidence.runs if run.reason]
    if not asked:
        return f"no record of {wanted} was handed in" + (f" ({reasons[0]})" if reasons else "")
    return f"no run of {wanted} could be verified: {reasons[0] if reasons else 'no checkpoint'}"


def judge_metric(criterion: Criterion, verified: list[Scored]) -> Line:
    """The run that was best by the metric, of those that were handed in and verified."""
    measured = [(run.accuracy if criterion.metric == "test_accuracy" else run.holdout_accuracy, run)
                for run in verified]
    measured = [(value, run) for value, run in measured if value is not None]
    if not measured:
        return Line(criterion, 0.0, "there is no hidden split of this data set to score on")
    value, run = max(measured, key=lambda pair: (pair[0], pair[1].file))
    points = points_for(value, criterion.scale)
    what = "hidden images" if criterion.metric == "holdout_accuracy" else "test images"
    reason = f"{run.file}: {show.percent(value)} % of the {what}, verified"
    if not claim_stands(run):
        claimed = "nothing that can be compared" if run.claimed is None else f"{show.percent(run.claimed / run.n)} %"
        reason += f" (the record claims {claimed}; what was verified counts)"
    if criterion.metric == "test_accuracy" and run.holdout_accuracy is not None:
        reason += f"; on hidden images {show.percent(run.holdout_accuracy)} %"
    return Line(criterion, points, f"{reason}; {scale_in_words(criterion.scale)}")


def scale_in_words(scale: list[list[float]]) -> str:
    """'0 points at 60.00 %, 25 at 70.00 %'."""
    return ", ".join(f"{points:g} points at {show.percent(value)} %" for value, points in scale)


def claim_stands(run: Scored) -> bool:
    """Whether a record's count agrees with the parent's, within the tolerance of --verify."""
    return run.claimed is not None and agree(run.claimed, run.verified, run.n)


def judge_artefact(criterion: Criterion, verified: list[Scored]) -> Line:
    """All points or none, for something that is there."""
    standing = [run for run in verified if claim_stands(run)]
    if criterion.requires == "reconstructions":
        found = [run.file for run in standing if run.reconstructions]
        return give(criterion, found[:1], "reconstructions", "no verified record comes with reconstructions")
    if criterion.requires == "complete_record":
        return give(criterion, [run.file for run in standing][:1], "a complete record whose claim stands",
                    "no record's claim agrees with its checkpoint")
    groups: dict[tuple[str, str], list[Scored]] = defaultdict(list)
    for run in sorted(standing, key=lambda run: (run.seed, run.file)):
        group = groups[run.method, run.recipe]
        if all(run.seed != other.seed and not alike(run, other) for other in group):
            group.append(run)
    best = max(groups.values(), key=len, default=[])
    return give(criterion, [run.file for run in best] if len(best) >= THREE else [], "three seeds",
                f"{show.plural(len(best), 'run')} of one method and recipe with seeds and weights of their own, not "
                f"{THREE}")


def give(criterion: Criterion, found: list[str], what: str, otherwise: str) -> Line:
    """All points where something was found."""
    if not found:
        return Line(criterion, 0.0, otherwise)
    return Line(criterion, criterion.points, f"{what}: {', '.join(found)}")
