"""What the grading tests share: a rubric on digits, made-up runs, and one call that grades a folder."""

import csv
import io
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from grading.batch import grade_all
from grading.rubric import Late, Rubric
from grading.score import Evidence, ScoredRun

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "grading" / "example_rubric.yaml"
# with scales that short runs on digits reach
DIGITS = EXAMPLE.read_text().replace("mnist", "digits").replace("three_seeds", "complete_record").replace(
    "[0.9864, 0], [0.99, 15], [0.9925, 20]", "[0.90, 0], [0.97, 15], [0.985, 20]").replace(
    "[0.9864, 0], [0.99, 15], [0.995, 25]", "[0.85, 0], [0.96, 15], [0.985, 25]")

accuracies = st.floats(0, 1, allow_nan=False)
scales = st.lists(st.tuples(accuracies, st.floats(0, 100)), min_size=1, max_size=6, unique_by=lambda pair: pair[0]).map(
    lambda pairs: [list(pair) for pair in zip(sorted(a for a, _ in pairs), sorted(p for _, p in pairs), strict=True)])


def run_grading(submissions: Path, rubric: Path, out: Path, **options: Any) -> list[str]:
    """Grade; returns what could not be graded."""
    defaults = {"jobs": 1, "timeout": 60.0, "data_dir": submissions, "holdout": None, "manifest": None,
                "overrides": None}
    return grade_all(submissions, rubric, out, **(defaults | options))[0]


def table(out: Path) -> dict[str, dict[str, str]]:
    """Rows of grades.csv by student's folder."""
    text = (out / "grades.csv").read_text(encoding="utf-8-sig")
    return {row["folder"]: row for row in csv.DictReader(io.StringIO(text))}


def scored(correct: int, **values: Any) -> ScoredRun:
    """A run of 1.2.3 on digits with 1,000 test images, `correct` of them claimed and verified."""
    return ScoredRun(**({"file": "a.json", "task": "1.2.3", "dataset": "digits", "method": "simclr",
                         "claimed": correct, "n": 1000, "correct_verified": correct} | values))


def evidence_with(*runs: ScoredRun) -> Evidence:
    return Evidence(runs=list(runs))


def rubric_of(scale: list[list[float]], most: float = 100.0, late: Late | None = None) -> Rubric:
    """Three criteria: a metric, a complete record (7 points) and one by hand (5 points)."""
    return Rubric.model_validate({"title": "t", "late": late, "criteria": [
        {"id": "one", "points": most, "task": "1.2.3", "dataset": "digits", "metric": "test_accuracy", "scale": scale},
        {"id": "two", "points": 7, "task": "1.2.3", "dataset": "digits", "requires": "complete_record"},
        {"id": "three", "points": 5, "manual": True}]})
