"""Grade a folder of submissions: score what is new or has changed, compute every grade, write the files."""

import queue
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from tqdm import tqdm

from grading.flags import hidden_gap
from grading.manifest import Assignment, read_assignment
from grading.output import folder_name, write_grades
from grading.points import grade
from grading.rubric import Rubric
from grading.score import MANY, Evidence, Scorer, Truth, evidence_of, load_truth
from grading.submission import METADATA, Source, find_submissions
from report import show
from utils.errors import RunError, UsageError
from utils.files import write_bytes

ABSENT = "is missing: nothing was submitted"


class Graded(NamedTuple):
    """ungraded: "name: reason" for each submission that could not be graded; notes: what the teacher should know."""

    ungraded: list[str]
    notes: list[str]


def grade_all(submissions: Path, rubric_file: Path, out: Path, *, jobs: int, timeout: float, data_dir: Path,
              holdout: Path | None, manifest: Path | None, overrides: Path | None) -> Graded:
    """Grade every submission in a folder.

    Raises UsageError for the teacher's files and RunError if the grades cannot be written.
    """
    if not submissions.is_dir() and not submissions.is_file():
        raise UsageError(f"{submissions}: no such folder or .zip file")
    found, others = find_submissions(
        submissions, {path.resolve() for path in (rubric_file, manifest, overrides, holdout) if path})
    if not found:
        raise UsageError(f"{submissions}: contains no submission (one folder or .zip file per student)")
    assignment = read_assignment(rubric_file, manifest, overrides, list(found))
    students = sorted([*found, *assignment.absent])
    check_out(out, submissions, students)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="grading-") as scratch:
            truth = load_truth(assignment.rubric.datasets, data_dir, holdout, Path(scratch))
            check_hidden(assignment.rubric, truth)
            evidence = score_all(found, truth, out, jobs, timeout)
        evidence = {student: evidence.get(student) or Evidence(submission="", against="", trouble=ABSENT)
                    for student in students}
        grades = {student: grade(student, evidence[student], assignment.rubric, assignment.days_late.get(student, 0),
                                 assignment.overrides.get(student, [])) for student in students}
        write_grades(grades, evidence, assignment, out)
    except OSError as error:
        raise RunError(f"{error.filename or out}: cannot be written: {error.strerror}; finished submissions are kept, "
                       "and the same command resumes") from None
    return Graded(others + [f"{student}: {show.plain(one.trouble or one.ended)}" for student, one in evidence.items()
                            if one.trouble not in ("", ABSENT) or one.ended],
                  notes(assignment, evidence, manifest))


def notes(assignment: Assignment, evidence: dict[str, Evidence], manifest: Path | None) -> list[str]:
    """What is no fault of a submission, but may be a slip of the teacher's."""
    hidden = {run.dataset: run.holdout_n for one in evidence.values() for run in one.runs if run.holdout_n}
    found = [hidden_gap(evidence), *(f"there are only {n} hidden images of {dataset}; each is {100 / n:.1f} percentage "
                                     "points" for dataset, n in hidden.items() if n < MANY)]
    if len(evidence) == 1:
        found.append(f"one submission only, {min(evidence)}: is this the folder of the whole class?")
    found += [f"the scale of criterion {one.id} ends at {one.scale[-1][1]:g} of its {one.points:g} points"
              for one in assignment.rubric.criteria if one.scale and one.scale[-1][1] < one.points]
    if assignment.absent:
        found.append(f"no submission, 0 points: {', '.join(assignment.absent)}")
    if not manifest and assignment.rubric.late:
        found.append(f"nobody is late without a manifest (--manifest; of a Gradescope export its {METADATA})")
    return [note for note in found if note]


def check_out(out: Path, submissions: Path, students: list[str]) -> None:
    """UsageError if a student's folder of the grades would be the one with the submissions, or around it."""
    place = submissions.resolve()
    for student in students:
        if (out / folder_name(student)).resolve() in (place, *place.parents):
            raise UsageError(f"--out {out}: the grades of {student} would be written into the folder with the "
                             "submissions; choose another folder")


def check_hidden(rubric: Rubric, truth: Truth) -> None:
    """UsageError if a criterion needs hidden images that are not there."""
    for criterion in rubric.criteria:
        if criterion.metric == "holdout_accuracy" and f"{criterion.dataset}/holdout" not in truth.images:
            raise UsageError(f"criterion {criterion.id} needs hidden images: --holdout FILE with "
                             f"{criterion.dataset}_images and {criterion.dataset}_labels")


def score_all(found: dict[str, list[Source]], truth: Truth, out: Path, jobs: int,
              timeout: float) -> dict[str, Evidence]:
    """Evidence on every submission, by student; each is saved as soon as it is complete, so that a restart resumes."""
    idle: queue.SimpleQueue[Scorer] = queue.SimpleQueue()

    def score_one(student: str, sources: list[Source]) -> Evidence:
        file = out / folder_name(student) / "evidence.json"
        known, scorer = None, idle.get()
        with suppress(OSError, ValidationError):  # an earlier grading's, if there is any
            known = Evidence.model_validate_json(file.read_bytes())
        try:
            evidence = evidence_of(sources, truth, scorer, known)
        except Exception as error:  # whatever a submission causes affects its own student only
            reason = getattr(error, "strerror", None) or type(error).__name__
            evidence = Evidence(submission="", against="", settled=False, trouble=f"could not be copied: {reason}")
        finally:
            idle.put(scorer)
        if evidence is not known and not scorer.stopped:  # a stopped scorer says nothing about the submission
            file.parent.mkdir(exist_ok=True)
            write_bytes(file, (evidence.model_dump_json(indent=1) + "\n").encode())
        return evidence

    with ExitStack() as stack:
        scorers = [stack.enter_context(Scorer(timeout)) for _ in range(min(jobs, len(found)))]
        pool = ThreadPoolExecutor(jobs)
        # in the end, in reverse order: drop what has not begun, end the scorers, wait for the threads
        stack.callback(pool.shutdown)
        for scorer in scorers:
            idle.put(scorer)
            stack.callback(scorer.stop)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        futures = {student: pool.submit(score_one, student, sources) for student, sources in found.items()}
        for done in tqdm(as_completed(futures.values()), total=len(futures), unit="student", disable=None,
                         file=sys.stderr):
            done.result()  # raises if evidence could not be written
    return {student: future.result() for student, future in futures.items()}
