"""Grade a folder of submissions: score what is new, compute every grade, write the files.  See the README.

    python _report_evaluation.py grade SUBMISSIONS/ --rubric rubric.yaml --out grades/
"""

import csv
import hashlib
import io
import json
import math
import queue
import re
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError
from tqdm import tqdm

from grading.flags import find_flags
from grading.output import class_page, student_page
from grading.points import Grade, Override, grade
from grading.rubric import Rubric, read_rubric
from grading.score import Evidence, Scorer, Truth, evidence_of, without_network
from grading.strict_yaml import Moment, NotBool, Strict, read_yaml
from grading.submission import PART, find_submissions
from report import show
from utils.errors import RunError, UsageError
from utils.files import write_atomically
from utils.images.datasets import load_dataset

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # a cell that begins so is run by spreadsheets


class Handed(Strict):
    """One student's line of the manifest: when it was handed in, or how many days late it counts."""

    submitted: Moment | None = None
    days_late: Annotated[int, NotBool, Field(ge=-36500, le=36500)] | None = None


@dataclass(frozen=True)
class Assignment:
    """What the teacher gives: the rubric, each student's days late and overrides."""

    rubric: Rubric
    days_late: dict[str, int]
    overrides: dict[str, list[Override]]


def read_assignment(rubric_file: Path, manifest: Path | None, overrides_file: Path | None,
                    students: list[str]) -> Assignment:
    """Read and check the teacher's files against each other and the students.  Raises UsageError."""
    rubric = read_rubric(rubric_file)
    days = {}
    if manifest:
        handed = read_yaml(manifest, dict[str, Handed])
        check_students(manifest, handed, students)
        missing = [student for student in students if student not in handed]
        if missing:
            raise UsageError(f"{manifest}: has no line for {missing[0]}; who is in time has {{days_late: 0}}")
        days = {student: days_of(manifest, student, one, rubric) for student, one in handed.items()}
    overrides: dict[str, list[Override]] = {}
    if overrides_file:
        most = {criterion.id: criterion.points for criterion in rubric.criteria}
        for one in read_yaml(overrides_file, list[Override]):
            check_students(overrides_file, [one.student], students)
            if one.criterion not in most:
                raise UsageError(f"{overrides_file}: {one.criterion} is no criterion; choose from {', '.join(most)}")
            if one.points > most[one.criterion]:
                raise UsageError(f"{overrides_file}: {one.points:g} points for {one.criterion} of {one.student}, which "
                                 f"has {most[one.criterion]:g}")
            overrides.setdefault(one.student, []).append(one)
    return Assignment(rubric, days, overrides)


def check_students(file: Path, named: object, students: list[str]) -> None:
    """UsageError for a student who has handed nothing in."""
    for student in named:
        if student not in students:
            raise UsageError(f"{file}: there is no submission of {student}")


def days_of(file: Path, student: str, handed: Handed, rubric: Rubric) -> int:
    """Days late, each that has begun.  UsageError unless the manifest has exactly one way to tell."""
    if (handed.submitted is None) == (handed.days_late is None):
        raise UsageError(f"{file}: {student} needs either submitted or days_late")
    if handed.days_late is not None:
        return max(0, handed.days_late)
    if rubric.deadline is None:
        raise UsageError(f"{file}: submitted needs a deadline in the rubric")
    if handed.submitted.tzinfo is None:
        raise UsageError(f"{file}: submitted of {student} needs a time zone, as 2026-12-01T23:59:00+01:00")
    return max(0, math.ceil((handed.submitted - rubric.deadline).total_seconds() / 86400))


def gather_truth(rubric: Rubric, data_dir: Path, holdout: Path | None, folder: Path) -> Truth:
    """Test images as .npy files in `folder`, labels in memory.  Raises RunError and UsageError."""
    names = sorted({criterion.dataset for criterion in rubric.criteria if criterion.dataset})
    images, labels = {}, {}
    for name in names:
        dataset = load_dataset(name, data_dir)
        images[name], labels[name] = dataset.test_images, dataset.test_labels
    if holdout:
        for name, (hidden, truth) in read_holdout(holdout, {name: images[name].shape[1:] for name in names}).items():
            images[f"{name}/holdout"], labels[f"{name}/holdout"] = hidden, truth
    for criterion in rubric.criteria:
        if criterion.metric == "holdout_accuracy" and f"{criterion.dataset}/holdout" not in images:
            raise UsageError(f"criterion {criterion.id} is on hidden images of {criterion.dataset}: give --holdout "
                             f"FILE with {criterion.dataset}_images and {criterion.dataset}_labels")
    digest, files = hashlib.sha256(), {}
    for name, stack in sorted(images.items()):
        files[name] = folder / f"{name.replace('/', '.')}.npy"
        np.save(files[name], stack)
        digest.update(name.encode() + stack.tobytes() + labels[name].astype("<i8").tobytes())
    return Truth(files, labels, digest.hexdigest())


def read_holdout(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of the hidden split: NAME_images (N, H, W, C) uint8 and NAME_labels (N,) in an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        raise UsageError(f"--holdout {path}: no .npz file of arrays: {' '.join(str(error).split())}") from None
    found = {}
    for name, shape in shapes.items():
        if f"{name}_images" not in arrays and f"{name}_labels" not in arrays:
            continue
        images, labels = arrays.get(f"{name}_images"), arrays.get(f"{name}_labels")
        if images is None or labels is None or images.shape[1:] != shape or images.dtype != np.uint8 \
                or labels.shape != (len(images),) or not len(images) or labels.dtype.kind not in "iu":
            raise UsageError(f"--holdout {path}: needs {name}_images (N, {', '.join(map(str, shape))}) uint8, as many "
                             f"whole numbers in {name}_labels")
        found[name] = images, labels
    if not found:
        raise UsageError(f"--holdout {path}: has images of none of the rubric's data sets, {', '.join(shapes)}")
    return found


def grade_all(submissions: Path, rubric_file: Path, out: Path, *, jobs: int, timeout: float, data_dir: Path,
              holdout: Path | None, manifest: Path | None, overrides: Path | None) -> list[str]:
    """Grade every submission below a folder.  Returns those that could not be graded, each with its reason.

    Raises UsageError for the teacher's own files, RunError where nothing can be written.
    """
    if not submissions.is_dir():
        raise UsageError(f"{submissions}: no such folder")
    found = find_submissions(submissions)
    if not found:
        raise UsageError(f"{submissions}: holds no submission, a folder or a .zip file a student")
    assignment = read_assignment(rubric_file, manifest, overrides, list(found))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="grading-") as scratch:
            truth = gather_truth(assignment.rubric, data_dir, holdout, Path(scratch))
            evidence = score_all(found, truth, out, jobs, timeout)
        grades = {student: grade(student, evidence[student], assignment.rubric, assignment.days_late.get(student, 0),
                                 assignment.overrides.get(student, [])) for student in found}
        write_all(grades, evidence, assignment.rubric, out)
    except OSError as error:
        raise RunError(f"{error.filename or out}: cannot be written: {error.strerror}; what has been scored stays, and "
                       "another start goes on from there") from None
    others = [f"{show.plain(path.name)}: is neither a folder nor a .zip file" for path in sorted(submissions.iterdir())
              if not path.name.startswith(".") and path not in found.values()]
    return others + [f"{show.plain(student)}: {show.plain(one.trouble or one.ended)}"
                     for student, one in evidence.items() if one.trouble or one.ended]


def score_all(found: dict[str, Path], truth: Truth, out: Path, jobs: int, timeout: float) -> dict[str, Evidence]:
    """The evidence on every submission; it is kept as soon as it is there, so that a second start goes on."""
    scorers, stopping = queue.SimpleQueue(), threading.Event()

    def one(student: str, source: Path) -> Evidence:
        file = out / folder_name(student) / "evidence.json"
        known, scorer = read_evidence(file), scorers.get()
        try:
            evidence = evidence_of(source, truth, scorer, known)
        except Exception as error:  # whatever a submission manages to cause, it costs its own student alone
            reason = getattr(error, "strerror", None) or type(error).__name__
            evidence = Evidence(submission="", against="", settled=False, trouble=f"could not be taken: {reason}")
        finally:
            scorers.put(scorer)
        if evidence is not known and not stopping.is_set():  # then the scorer was ended, not the submission at fault
            file.parent.mkdir(exist_ok=True)
            write_text(file, evidence.model_dump_json(indent=1) + "\n")
        return evidence

    evidence: dict[str, Evidence] = {}
    with ExitStack() as stack:
        started = [stack.enter_context(Scorer(timeout)) for _ in range(min(jobs, len(found)))]
        for scorer in started:
            scorers.put(scorer)
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        waiting = {pool.submit(one, student, source): student for student, source in found.items()}
        try:
            for done in tqdm(as_completed(waiting), total=len(waiting), unit="student", disable=None, file=sys.stderr):
                evidence[waiting[done]] = done.result()
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for scorer in started:
                scorer.stop()
            raise
    return {student: evidence[student] for student in found}  # in one order, whoever was done first


def read_evidence(file: Path) -> Evidence | None:
    """What an earlier start found out; None where there is none that can be used."""
    try:
        return Evidence.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def folder_name(student: str) -> str:
    """The student's name where it is fit to be a folder's and nobody else's, else a name made of its digest."""
    taken = student.lower().startswith("student-") or student.lower() in ("grades.csv", "class.html")
    if PART.fullmatch(student) and not re.search(r"[. ]$", student) and not taken:
        return student
    return f"student-{hashlib.sha256(student.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def write_all(grades: dict[str, Grade], evidence: dict[str, Evidence], rubric: Rubric, out: Path) -> None:
    """results.json and an HTML page a student; grades.csv and an HTML page for the class."""
    flags = find_flags(evidence)
    isolated = bool(without_network())
    for student, one in grades.items():
        folder = out / folder_name(student)
        folder.mkdir(exist_ok=True)
        write_text(folder / "results.json", json.dumps(gradescope(one, evidence[student]), indent=1) + "\n")
        write_text(folder / "grade.html", student_page(one, evidence[student], rubric))
    write_text(out / "grades.csv", grades_csv(grades, evidence, rubric))
    write_text(out / "class.html", class_page(list(grades.values()), evidence, rubric, flags, isolated,
                                                {student: folder_name(student) for student in grades}))


def write_text(path: Path, text: str) -> None:
    """Atomically."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "backslashreplace")))


def gradescope(one: Grade, evidence: Evidence) -> dict[str, object]:
    """A student's grade in the format of Gradescope's autograders (results.json)."""
    tests = [{"name": line.criterion.title or line.criterion.id, "score": round(line.points or 0.0, 6),
              "max_score": line.criterion.points, "output": line.reason, "visibility": "visible"} for line in one.lines]
    told = [f"{one.days_late} days late: {one.lost:.2f} points less"] if one.lost else []
    told += [f"not taken: {refused}" for refused in evidence.refused]
    told += ["some criteria are still to be graded by hand"] if one.waiting else []
    return {"score": round(one.total, 6), "output": "\n".join(told), "visibility": "visible", "tests": tests}


def grades_csv(grades: dict[str, Grade], evidence: dict[str, Evidence], rubric: Rubric) -> str:
    """One line a student, one column a criterion; empty where a criterion waits for the teacher."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "total", "of", "days_late", "late_penalty",
                     *(criterion.id for criterion in rubric.criteria), "remarks"])
    for student, one in grades.items():
        remarks = [evidence[student].trouble, evidence[student].ended, *evidence[student].refused]
        remarks += [f"{line.criterion.id} {line.reason}" for line in one.lines if line.overridden]
        writer.writerow([name_cell(student)] + [safe_cell(str(cell)) for cell in (
            f"{one.total:.2f}", f"{rubric.points:g}", one.days_late, f"{one.lost:.2f}",
            *("" if line.points is None else f"{line.points:.2f}" for line in one.lines),
            " | ".join(filter(None, remarks)))])
    return text.getvalue()


def name_cell(student: str) -> str:
    """The student's name; where it cannot be shown as it is, with the folder of the grade, so that no two are alike."""
    cell = safe_cell(show.plain(student))
    return cell if cell.removeprefix("'") == student else f"{cell} ({folder_name(student)})"


def safe_cell(text: str) -> str:
    """The text on one line, with an apostrophe before what a spreadsheet would run, and no other column within."""
    text = " ".join(text.split()).replace(";", ",")
    return f"'{text}" if text.startswith(FORMULA) else text
