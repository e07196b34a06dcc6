"""Grade a folder of submissions: score what is new or has changed, compute every grade, write the files."""

import queue
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from pathlib import Path

from pydantic import ValidationError
from tqdm import tqdm

from grading.output import folder_name, write_grades, write_text
from grading.points import grade
from grading.rubric import read_assignment
from grading.score import Evidence, Scorer, Truth, evidence_of, load_truth
from grading.submission import find_submissions
from report import show
from utils.errors import RunError, UsageError


def grade_all(submissions: Path, rubric_file: Path, out: Path, *, jobs: int, timeout: float, data_dir: Path,
              holdout: Path | None, manifest: Path | None, overrides: Path | None) -> list[str]:
    """Grade every submission in a folder.  Returns "name: reason" for each that could not be graded.

    Raises UsageError for the teacher's files and RunError if the grades cannot be written.
    """
    if not submissions.is_dir():
        raise UsageError(f"{submissions}: no such folder")
    found = find_submissions(submissions)
    if not found:
        raise UsageError(f"{submissions}: contains no submission (one folder or .zip file per student)")
    assignment = read_assignment(rubric_file, manifest, overrides, list(found))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="grading-") as scratch:
            truth = load_truth(assignment.rubric, data_dir, holdout, Path(scratch))
            evidence = score_all(found, truth, out, jobs, timeout)
        grades = {student: grade(student, evidence[student], assignment.rubric, assignment.days_late.get(student, 0),
                                 assignment.overrides.get(student, [])) for student in found}
        write_grades(grades, evidence, assignment.rubric, out)
    except OSError as error:
        raise RunError(f"{error.filename or out}: cannot be written: {error.strerror}; finished submissions are kept, "
                       "and the same command resumes") from None
    others = [f"{show.plain(path.name)}: neither a folder nor a .zip file" for path in sorted(submissions.iterdir())
              if not path.name.startswith(".") and path not in found.values()]
    return others + [f"{show.plain(student)}: {show.plain(one.trouble or one.ended)}"
                     for student, one in evidence.items() if one.trouble or one.ended]


def score_all(found: dict[str, Path], truth: Truth, out: Path, jobs: int, timeout: float) -> dict[str, Evidence]:
    """Evidence on every submission, by student; each is saved as soon as it is complete, so that a restart resumes."""
    idle: queue.SimpleQueue[Scorer] = queue.SimpleQueue()

    def score_one(student: str, source: Path) -> Evidence:
        file = out / folder_name(student) / "evidence.json"
        known, scorer = None, idle.get()
        with suppress(OSError, ValidationError):  # an earlier grading's, if there is any
            known = Evidence.model_validate_json(file.read_bytes())
        try:
            evidence = evidence_of(source, truth, scorer, known)
        except Exception as error:  # whatever a submission causes affects its own student only
            reason = getattr(error, "strerror", None) or type(error).__name__
            evidence = Evidence(submission="", against="", settled=False, trouble=f"could not be copied: {reason}")
        finally:
            idle.put(scorer)
        if evidence is not known and not scorer.stopped:  # a stopped scorer says nothing about the submission
            file.parent.mkdir(exist_ok=True)
            write_text(file, evidence.model_dump_json(indent=1) + "\n")
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
        futures = {student: pool.submit(score_one, student, source) for student, source in found.items()}
        for done in tqdm(as_completed(futures.values()), total=len(futures), unit="student", disable=None,
                         file=sys.stderr):
            done.result()  # raises if evidence could not be written
    return {student: future.result() for student, future in futures.items()}
