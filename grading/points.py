"""From evidence to points: each criterion with a sentence that explains it, the teacher's overrides, then lateness."""

from collections import defaultdict
from dataclasses import dataclass

from grading.flags import one_seed
from grading.rubric import Criterion, Override, Rubric, points_for
from grading.score import Evidence, ScoredRun
from report import show
from report.verification import agree

SEEDS = 3  # that three_seeds asks for


@dataclass(frozen=True)
class Award:
    """Points for one criterion.  points: None until the teacher enters them; overridden: set by the teacher."""

    criterion: Criterion
    points: float | None
    reason: str
    overridden: bool


@dataclass(frozen=True)
class Grade:
    """A student's grade.  lost: points deducted for lateness; total: after that, in [0, rubric.points]."""

    student: str
    evidence: Evidence
    awards: tuple[Award, ...]
    days_late: int
    lost: float
    total: float

    @property
    def waiting(self) -> bool:
        """Whether the teacher still has to enter points."""
        return any(award.points is None for award in self.awards)


def grade(student: str, evidence: Evidence, rubric: Rubric, days_late: int, overrides: dict[str, Override]) -> Grade:
    """Points of every criterion.  overrides: of this student, by criterion."""
    awards = []
    for criterion in rubric.criteria:
        points, reason = judge(criterion, evidence)
        override = overrides.get(criterion.id)
        if override:
            before = "no points before" if points is None else f"{points:g} by the rubric"
            points, reason = override.points, f"set by the teacher ({before}): {override.reason}"
        awards.append(Award(criterion, points, reason, bool(override)))
    reached = sum(award.points or 0.0 for award in awards)
    lost = reached * (rubric.late.share(days_late) if rubric.late else 0)
    return Grade(student, evidence, tuple(awards), days_late, lost, min(max(0.0, reached - lost), rubric.points))


def judge(criterion: Criterion, evidence: Evidence) -> tuple[float | None, str]:
    """Points and the reason, from verified results only."""
    if criterion.manual:
        return (0.0, "nothing was submitted") if evidence.absent else (
            None, "graded by hand; no points entered yet")
    if evidence.trouble and not evidence.runs:
        return 0.0, f"the submission {evidence.trouble}"
    runs = [run for run in evidence.runs if (run.task, run.dataset) == (criterion.task, criterion.dataset)]
    unlabelled = [run for run in runs if not run.labelled]
    if runs and not unlabelled:
        return 0.0, (f"{runs[0].file}: the encoder was trained with labels (--finetune, or --init from a run that "
                     f"was), but task {criterion.task} learns without labels")
    verified = [run for run in unlabelled if run.correct_verified is not None]
    if verified:
        return judge_metric(criterion, verified) if criterion.metric else judge_artefact(criterion, verified)
    wanted = f"{criterion.task} on {criterion.dataset}"
    unread = [run for run in evidence.runs if not run.task]  # one of these may have been the record
    why = next((f"{run.file}: {run.reason}" for run in runs or unread if run.reason), "")
    if runs:
        return 0.0, f"no run of {wanted} could be verified: {why or 'no checkpoint'}"
    return 0.0, f"no record of {wanted} was submitted" + (f" ({why})" if why else "")


def judge_metric(criterion: Criterion, verified: list[ScoredRun]) -> tuple[float, str]:
    """The points of the best run by the metric."""
    hidden = criterion.metric == "holdout_accuracy"
    measured = [(value, run.file, run) for run in verified
                if (value := run.holdout_accuracy if hidden else run.accuracy) is not None]
    if not measured:
        return 0.0, "there are no hidden images of this data set to score on"
    value, file, run = max(measured, key=lambda entry: entry[:2])
    reason = f"{file}: {show.percent(value)} % of the {'hidden' if hidden else 'test'} images, verified"
    if not claim_holds(run):
        claimed = "no accuracy" if run.claimed_accuracy is None else f"{show.percent(run.claimed_accuracy)} %"
        reason += f" (the record claims {claimed}; the verified accuracy counts)"
    if not hidden and run.holdout_accuracy is not None:
        reason += f"; on hidden images {show.percent(run.holdout_accuracy)} %"
    assert criterion.scale is not None  # a criterion with a metric has one
    scale = ", ".join(f"{points:g} points at {show.percent(accuracy)} %" for accuracy, points in criterion.scale)
    return points_for(value, criterion.scale), f"{reason}; {scale}"


def claim_holds(run: ScoredRun) -> bool:
    """Whether the record's count of correct images agrees with the verified one, within the tolerance of --verify."""
    if run.claimed is None or run.correct_verified is None or run.n is None:
        return False
    return agree(run.claimed, run.correct_verified, run.n)


def may_earn(run: ScoredRun) -> bool:
    """Whether a verified run can earn points: a control and a latent that labels have shaped cannot."""
    return not run.labelled and run.task != "control"


def outcome(run: ScoredRun) -> str:
    """What became of a record, for its student: whether it was verified, and what does not count."""
    if run.accuracy is None:
        return run.reason
    found = ["its accuracy is confirmed" if claim_holds(run) else
             "its accuracy is not confirmed; the verified one counts, and the record earns points for accuracy only"]
    if not may_earn(run):
        found.append(f"{'trained with labels' if run.labelled else 'a control'}, so it earns nothing")
    if run.reason or run.reconstructions:
        found.append(run.reason or "its reconstructions are verified")
    return "; ".join(found)


def judge_artefact(criterion: Criterion, verified: list[ScoredRun]) -> tuple[float, str]:
    """All points or none, for an artefact.  Only records whose claim holds count."""
    valid = [run for run in verified if claim_holds(run)]
    if not valid:
        return 0.0, "no record's claim agrees with its checkpoint"
    if criterion.requires == "reconstructions":
        found, what = [run for run in valid if run.reconstructions][:1], "reconstructions"
        missing = next((run.reason for run in valid if run.reason), "no verified record has reconstructions")
    elif criterion.requires == "complete_record":
        return criterion.points, f"a complete record whose claim holds: {valid[0].file}"
    else:
        groups: dict[tuple[str, str], list[ScoredRun]] = defaultdict(list)
        for run in sorted(valid, key=lambda run: (run.seed, run.file)):
            group = groups[run.method, run.recipe]
            if not any(one_seed(run, other) for other in group):
                group.append(run)
        found, what = max(groups.values(), key=len, default=[]), "three seeds"
        missing = f"runs of one method and recipe with distinct seeds, trained separately: {len(found)} of {SEEDS}"
        found = found if len(found) >= SEEDS else []
    return (criterion.points, f"{what}: {', '.join(run.file for run in found)}") if found else (0.0, missing)
