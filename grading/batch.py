"""Grade a folder of submissions, or check one of them before it is handed in.

Grading scores what is new or has changed, computes every grade, and writes the files.
"""

import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from itertools import combinations
from pathlib import Path

from pydantic import ValidationError
from tqdm import tqdm

from grading.flags import hidden_gap, one_seed
from grading.manifest import Assignment, read_assignment
from grading.output import folder_names, write_grades
from grading.points import grade, may_earn, outcome
from grading.score import ABSENT, MANY, Evidence, Scorer, Truth, evidence_of, load_truth
from grading.submission import Source, find_submissions, is_archive, real, tops
from report import show
from utils.errors import PartlyDone, RunError, UsageError
from utils.files import write_bytes
from utils.images.datasets import DATASETS

WRITTEN = {"evidence.json", "results.json", "grade.html"}  # in each student's folder


def grade_all(submissions: Path, rubric_file: Path, out: Path, *, jobs: int, timeout: float, data_dir: Path,
              holdout: Path | None, manifest: Path | None, overrides: Path | None) -> tuple[list[str], list[str]]:
    """Grade every submission in a folder or .zip file.

    Returns "name: reason" for each that could not be graded, and notes for the teacher.  Raises UsageError for the
    teacher's files and RunError if the grades cannot be written.
    """
    if not submissions.is_dir() and not submissions.is_file():
        raise UsageError(f"{submissions}: no such folder or .zip file")
    if within(real(out), submissions):
        raise UsageError(f"--out {out}: is inside the folder with the submissions; choose another folder")
    found, others, metadata = find_submissions(
        submissions, {real(path) for path in (rubric_file, manifest, overrides, holdout) if path})
    if not found:
        raise UsageError(f"{submissions}: contains no submission (one folder or .zip file per student)")
    assignment = read_assignment(rubric_file, manifest, overrides, list(found), metadata)
    folders = {student: out / name for student, name in folder_names([*found, *assignment.absent]).items()}
    for student, folder in folders.items():
        if within(real(submissions), folder):
            raise UsageError(f"--out {out}: the grades of {student} would be written into the folder with the "
                             "submissions; choose another folder")
        kept = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
        if "grade.html" not in kept and (other := sorted(name for name in kept - WRITTEN if not name.startswith("."))):
            raise UsageError(f"--out {out}: {folder.name}/ in it holds {other[0]!a}, which no grading writes; choose "
                             "another folder, or move it away")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK | os.X_OK):  # before anything is scored
            raise RunError(f"--out {out}: cannot be written; choose a folder that you may write to")
        with tempfile.TemporaryDirectory(prefix="grading-") as scratch:
            truth = load_truth({one.dataset for one in assignment.rubric.criteria if one.dataset}, data_dir, holdout,
                               Path(scratch))
            for criterion in assignment.rubric.criteria:
                if criterion.metric == "holdout_accuracy" and f"{criterion.dataset}/holdout" not in truth.images:
                    raise UsageError(f"criterion {criterion.id} needs hidden images: --holdout FILE with "
                                     f"{criterion.dataset}_images and {criterion.dataset}_labels")
            evidence = score_all(found, truth, folders, jobs, timeout)
        evidence |= {student: Evidence(trouble="; ".join([ABSENT, *(  # with an eve.rar or eve.tar.gz, say
            line for line in others if re.match(rf"{re.escape(student)}(\.tar)?\.\w+: ", line))]))
            for student in assignment.absent}
        grades = [grade(student, evidence[student], assignment.rubric, assignment.days_late.get(student, 0),
                        assignment.overrides.get(student, {})) for student in sorted(evidence)]
        edited = write_grades(grades, assignment, folders, out)
    except OSError as error:
        raise RunError(f"{error.filename or out}: cannot be written: {error.strerror}; finished submissions are kept, "
                       "and the same command resumes") from None
    ungraded = [f"{student}: {show.plain(one.trouble or one.ended)}" for student, one in sorted(evidence.items())
                if one.trouble and not one.absent or one.ended]
    return others + ungraded, edited + doubts(found) + notes(assignment, evidence)


def within(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or inside it, also on systems that ignore the case of names."""
    return folder.exists() and any(one.exists() and one.samefile(folder) for one in (path, *path.parents))


def doubts(found: dict[str, list[Source]]) -> list[str]:
    """Where what was read as a student may be several."""
    names = {student: sorted(set().union(*map(tops, sources))) for student, sources in found.items()}
    several = {student: [name for name in names[student] if is_archive(name)] for student in found
               if len(found[student]) > 1}
    doubtful = [f"{student} is {len(archives)} archives ({', '.join(archives)}): is this one student?"
                for student, archives in several.items() if len(archives) > 1]
    first = max(names, key=lambda student: len(names[student]))
    if len(names[first]) > 1 and all(held and all(name.endswith("/") for name in held) for held in names.values()):
        doubtful.append(f"every submission holds only folders ({first}: {', '.join(names[first])}): are these the "
                        "students?")
    return doubtful


def notes(assignment: Assignment, evidence: dict[str, Evidence]) -> list[str]:
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
    if assignment.metadata:
        found.append(f"times and names of submitters come from {assignment.metadata}; --manifest FILE overrides it")
    elif not assignment.days_late and assignment.rubric.late:
        found.append("there is no class list (--manifest), so nobody is late")
    return [note for note in found if note]


def score_all(found: dict[str, list[Source]], truth: Truth, folders: dict[str, Path], jobs: int,
              timeout: float) -> dict[str, Evidence]:
    """Evidence on every submission, by student.

    Each is saved to the student's folder as soon as it is complete, so that a restart resumes.
    """
    idle: list[Scorer] = []  # one for each thread that is not scoring

    def score_one(student: str) -> Evidence:
        file = folders[student] / "evidence.json"
        known = None
        with suppress(OSError, ValidationError):  # an earlier grading's, if there is any
            known = Evidence.model_validate_json(file.read_bytes())
        scorer = idle.pop()
        try:
            evidence = evidence_of(found[student], truth, scorer, known)
        except RunError:  # the scoring process cannot start, which is no submission's fault
            raise
        except Exception as error:  # whatever a submission causes affects its own student only
            reason = getattr(error, "strerror", None) or type(error).__name__
            evidence = Evidence(trouble=f"could not be copied: {reason}")
        finally:
            idle.append(scorer)
        if evidence is not known and not scorer.stopped:  # a stopped scorer says nothing about the submission
            file.parent.mkdir(exist_ok=True)
            write_bytes(file, (evidence.model_dump_json(indent=1) + "\n").encode())
        return evidence

    threads = min(jobs, len(found))
    with ThreadPoolExecutor(threads) as pool, ExitStack() as ends:  # first ends the scorers, then waits for the threads
        idle += [ends.enter_context(Scorer(timeout)) for _ in range(threads)]
        ends.callback(pool.shutdown, wait=False, cancel_futures=True)
        futures = {student: pool.submit(score_one, student) for student in found}
        for done in tqdm(as_completed(futures.values()), total=len(futures), unit="student", disable=None,
                         file=sys.stderr):
            done.result()  # raises if evidence could not be written
    return {student: future.result() for student, future in futures.items()}


def check(submission: Path, data_dir: Path, timeout: float) -> None:
    """Print what a grader would accept of a submission and which files are left out, without points.

    It is copied and scored as in a grading, in isolation and by the same rules.  Raises UsageError if there is no such
    folder, RunError if nothing is accepted, PartlyDone if not every record is.
    """
    if not submission.exists():
        raise UsageError(f"--check {submission}: no such folder or .zip file")
    sources = [real(submission)]
    with tempfile.TemporaryDirectory(prefix="grading-") as scratch, Scorer(timeout) as scorer:
        # twice: the first time only to find out which data sets it needs
        evidence = evidence_of(sources, load_truth((), data_dir, None, Path(scratch)), scorer, None)
        if datasets := {run.dataset for run in evidence.runs} & set(DATASETS):
            evidence = evidence_of(sources, load_truth(datasets, data_dir, None, Path(scratch)), scorer, None)
    accepted = [run for run in evidence.runs if run.accuracy is not None and may_earn(run)]
    for run in evidence.runs:
        found = f"NOT accepted: {run.file}: "
        if run.accuracy is not None:
            found = (f"{'accepted' if may_earn(run) else 'verified, but earns nothing'}: {run.file}: {run.task} on "
                     f"{run.dataset}, {run.method}, seed {run.seed}: "
                     f"{run.correct_verified} of {run.n} test images correct; ")
        print(show.plain(found + outcome(run)))
    for run, other in combinations(accepted, 2):
        if (run.task, run.dataset, run.recipe) == (other.task, other.dataset, other.recipe) and one_seed(run, other):
            print(show.plain(f"count as one seed: {run.file} and {other.file}"))
    for line in evidence.refused:
        print(show.plain(f"left out: {line}"))
    if evidence.trouble or evidence.ended:
        words = f"the submission {evidence.trouble}" if evidence.trouble else evidence.ended
        raise RunError(f"{submission}: {show.plain(words)}")
    print(f"{len(accepted)} of {show.plural(len(evidence.runs), 'record')} accepted")
    if left := len(evidence.runs) - len(accepted):
        raise PartlyDone(f"{show.plural(left, 'record')} would earn nothing")
