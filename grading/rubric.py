"""The teacher's files: the rubric (see example_rubric.yaml), the manifest and the overrides, all YAML.

Every criterion of a rubric is one of three kinds: a verified metric with a scale, a required artefact, or graded by
hand.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from grading.strict_yaml import Moment, read_yaml
from training.tasks import TASKS
from utils.errors import UsageError
from utils.images.datasets import DATASETS
from utils.records.schema import Strict

CHOICES = {"task": [name for name in TASKS if name != "control"], "dataset": list(DATASETS)}
Title = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
RESERVED = ("student", "total", "of", "days_late", "late_penalty", "remarks")  # columns of grades.csv


class Criterion(Strict):
    """One criterion.  id: its column in grades.csv; title: shown to students; points: the most it can give.

    metric, task, dataset, scale: points for a verified accuracy, [[accuracy, points], ...], linear in between.
    requires, task, dataset: all points for an artefact: a complete record, reconstructions or three seeds.
    manual: points are entered by the teacher, in the overrides file.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
    title: Title = ""
    points: Annotated[float, Field(ge=0, le=1e6)]
    task: str | None = None
    dataset: str | None = None
    metric: Literal["test_accuracy", "holdout_accuracy"] | None = None
    scale: list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None = None
    requires: Literal["complete_record", "reconstructions", "three_seeds"] | None = None
    manual: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Criterion":
        if (self.metric is not None) + (self.requires is not None) + self.manual != 1:
            raise ValueError("a criterion needs exactly one of metric, requires and manual: true")
        for field, names in CHOICES.items():
            if getattr(self, field) not in (None, *names):
                raise ValueError(f"{field} should be one of {', '.join(names)}")
        if self.manual and (self.task or self.dataset):
            raise ValueError("a criterion with manual: true takes no task and no dataset")
        if not self.manual and not (self.task and self.dataset):
            raise ValueError("task and dataset are required")
        if (self.scale is not None) != (self.metric is not None):
            raise ValueError("metric and scale belong together")
        if self.scale is not None:
            check_scale(self.scale, self.points)
        return self


def check_scale(scale: list[list[float]], most: float) -> None:
    """ValueError unless accuracies rise within [0, 1] and points do not fall, within [0, most]."""
    if not scale:
        raise ValueError("scale needs at least one pair [accuracy, points]")
    if not all(0 <= accuracy <= 1 for accuracy, _ in scale):
        raise ValueError("accuracies on a scale are fractions in [0, 1], for example 0.75")
    for (a0, p0), (a1, p1) in pairwise(scale):
        if a1 <= a0:
            raise ValueError("the accuracies on a scale must rise from pair to pair")
        if p1 < p0:
            raise ValueError("the points on a scale must not fall")
    if scale[0][1] < 0:
        raise ValueError("the points on a scale must not be negative")
    if scale[-1][1] > most:
        raise ValueError(f"the scale gives up to {scale[-1][1]:g} points, but the criterion has {most:g}")


class Late(Strict):
    """What lateness costs: a percentage of the points reached per day begun after the deadline and the free days."""

    percent_a_day: Annotated[float, Field(ge=0, le=100)]
    at_most_percent: Annotated[float, Field(ge=0, le=100)] = 100.0
    free_days: Annotated[int, Field(ge=0, le=365)] = 0

    def share(self, days: int) -> float:
        """Share of the points that `days` days cost, in [0, 1]."""
        return min(max(0, days - self.free_days) * self.percent_a_day, self.at_most_percent) / 100


class Rubric(Strict):
    """title: of the assignment; deadline: with a time zone, required when the manifest gives times."""

    title: Title
    deadline: Moment | None = None
    late: Late | None = None
    criteria: Annotated[list[Criterion], Field(min_length=1, max_length=100)]

    @field_validator("criteria")
    @classmethod
    def _unique(cls, criteria: list[Criterion]) -> list[Criterion]:
        seen: set[str] = set()
        for criterion in criteria:
            if criterion.id in seen or criterion.id.lower() in RESERVED:
                raise ValueError(f"id {criterion.id} is used twice or is the name of a column of grades.csv")
            seen.add(criterion.id)
        return criteria

    @property
    def points(self) -> float:
        """The most that a student can reach."""
        return sum(criterion.points for criterion in self.criteria)


def points_for(accuracy: float, scale: list[list[float]]) -> float:
    """Points of an accuracy: linear between the pairs of a scale, 0 below the first, constant above the last."""
    if accuracy < scale[0][0]:
        return 0.0
    for (a0, p0), (a1, p1) in pairwise(scale):
        if accuracy < a1:
            return min(max(p0 + (p1 - p0) * (accuracy - a0) / (a1 - a0), p0), p1)  # rounding must not leave the range
    return scale[-1][1]


class Submitted(Strict):
    """The manifest's entry for one student: the time of submission, or the number of days late."""

    submitted: Moment | None = None
    days_late: Annotated[int, Field(ge=-36500, le=36500)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "Submitted":
        if (self.submitted is None) == (self.days_late is None):
            raise ValueError("needs either submitted or days_late")
        return self

    def days(self, deadline: datetime | None) -> int:
        """Days late; a day that has begun counts.  UsageError for a time of submission without a deadline."""
        if self.submitted is None:
            return max(0, self.days_late or 0)
        if deadline is None:
            raise UsageError("submitted in the manifest needs a deadline in the rubric")
        return max(0, math.ceil((self.submitted - deadline).total_seconds() / 86400))


class Override(Strict):
    """The teacher's decision on one criterion of one student."""

    student: Annotated[str, Field(min_length=1)]
    criterion: str
    points: Annotated[float, Field(ge=0)]
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Assignment:
    """The teacher's files.  days_late, overrides: by student; students who are not named have none."""

    rubric: Rubric
    days_late: dict[str, int]
    overrides: dict[str, list[Override]]


def read_assignment(rubric_file: Path, manifest: Path | None, overrides_file: Path | None,
                    students: list[str]) -> Assignment:
    """Read the teacher's files and check them against each other and the students.  Raises UsageError."""
    rubric = read_yaml(rubric_file, Rubric)
    submitted = read_yaml(manifest, dict[str, Submitted]) if manifest else {}
    decisions = read_yaml(overrides_file, list[Override]) if overrides_file else []
    for file, names in ((manifest, list(submitted)), (overrides_file, [one.student for one in decisions])):
        for student in names:
            if student not in students:
                raise UsageError(f"{file}: there is no submission of {student}")
    for student in students:
        if manifest and student not in submitted:
            raise UsageError(f"{manifest}: no entry for {student}; {{days_late: 0}} means in time")
    most = {criterion.id: criterion.points for criterion in rubric.criteria}
    overrides: dict[str, list[Override]] = {}
    for one in decisions:
        if one.criterion not in most:
            raise UsageError(f"{overrides_file}: no criterion {one.criterion}; choose from {', '.join(most)}")
        if one.points > most[one.criterion]:
            raise UsageError(f"{overrides_file}: {one.points:g} points for {one.criterion} of {one.student}; "
                             f"the criterion has {most[one.criterion]:g}")
        overrides.setdefault(one.student, []).append(one)
    return Assignment(rubric, {name: one.days(rubric.deadline) for name, one in submitted.items()}, overrides)
