"""The rubric: what earns how many points, and what lateness costs.  The README shows one; the file is YAML.

Every criterion is one of three: a verified metric with a scale, a required artefact, or graded by hand.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from grading.strict_yaml import Moment, NotBool, Strict, read_yaml

Points = Annotated[float, NotBool, Field(ge=0, le=1e6)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
RESERVED = ("student", "total", "of", "days_late", "late_penalty", "remarks")  # columns of grades.csv


class Criterion(Strict):
    """One line of the rubric.  id: its column in grades.csv; title: in words; points: the most it can give.

    metric, task, dataset, scale: points for a verified accuracy, [[accuracy, points], ...], linear in between.
    requires, task, dataset: all points for an artefact that is there: a complete record, reconstructions, three seeds.
    manual: points that only the teacher's overrides give.
    """

    id: Identifier
    title: Name = ""
    points: Points
    task: Literal["1.2.1", "1.2.2", "1.2.3", "rotation"] | None = None
    dataset: Literal["digits", "mnist", "cifar10"] | None = None
    metric: Literal["test_accuracy", "holdout_accuracy"] | None = None
    scale: list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None = None
    requires: Literal["complete_record", "reconstructions", "three_seeds"] | None = None
    manual: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Criterion":
        kinds = [self.metric is not None, self.requires is not None, self.manual]
        if sum(kinds) != 1:
            raise ValueError("a criterion has exactly one of metric, requires and manual: true")
        if self.manual and (self.task or self.dataset):
            raise ValueError("a criterion with manual: true has no task and no dataset")
        if not self.manual and not (self.task and self.dataset):
            raise ValueError("task and dataset are needed")
        if (self.scale is not None) != (self.metric is not None):
            raise ValueError("a metric needs a scale, and only a metric has one")
        if self.scale is not None:
            check_scale(self.scale, self.points)
        return self


def check_scale(scale: list[list[float]], most: float) -> None:
    """ValueError unless accuracies rise within [0, 1] and points rise, or stay, within [0, most]."""
    if not scale:
        raise ValueError("scale needs at least one pair [accuracy, points]")
    values, points = [pair[0] for pair in scale], [pair[1] for pair in scale]
    if not all(0 <= value <= 1 for value in values):
        raise ValueError("accuracies on a scale are fractions in [0, 1], as 0.75")
    if any(b <= a for a, b in zip(values, values[1:], strict=False)):
        raise ValueError("the accuracies on a scale must rise from pair to pair")
    if any(b < a for a, b in zip(points, points[1:], strict=False)) or points[0] < 0:
        raise ValueError("the points on a scale must not fall, and not be below 0")
    if points[-1] > most:
        raise ValueError(f"the scale gives up to {points[-1]:g} points, but the criterion has {most:g}")


class Late(Strict):
    """What each day that has begun after the deadline costs, in percent of the points reached, at most so much."""

    percent_a_day: Annotated[float, NotBool, Field(ge=0, le=100)]
    at_most_percent: Annotated[float, NotBool, Field(ge=0, le=100)] = 100.0
    free_days: Annotated[int, NotBool, Field(ge=0, le=365)] = 0


class Rubric(Strict):
    """title: of the assignment; deadline: with time zone, needed where the manifest has times."""

    title: Name
    deadline: Moment | None = None
    late: Late | None = None
    criteria: Annotated[list[Criterion], Field(min_length=1, max_length=100)]

    @field_validator("criteria")
    @classmethod
    def _unique(cls, criteria: list[Criterion]) -> list[Criterion]:
        seen: set[str] = set()
        for criterion in criteria:
            if criterion.id in seen or criterion.id.lower() in RESERVED:
                raise ValueError(f"id {criterion.id} stands twice or is a column's own name")
            seen.add(criterion.id)
        return criteria

    @field_validator("deadline")
    @classmethod
    def _zone(cls, deadline: datetime | None) -> datetime | None:
        if deadline is not None and deadline.tzinfo is None:
            raise ValueError("needs a time zone, as 2026-12-01T23:59:00+01:00")
        return deadline

    @property
    def points(self) -> float:
        """The most that a student can reach."""
        return sum(criterion.points for criterion in self.criteria)


def read_rubric(path: Path) -> Rubric:
    """UsageError, with line and field, where the file is no rubric."""
    return read_yaml(path, Rubric)


def points_for(accuracy: float, scale: list[list[float]]) -> float:
    """Points of an accuracy: linear between the pairs of a scale, 0 below the first, constant above the last."""
    if accuracy < scale[0][0]:
        return 0.0
    for (a0, p0), (a1, p1) in zip(scale, scale[1:], strict=False):
        if accuracy < a1:
            return min(max(p0 + (p1 - p0) * (accuracy - a0) / (a1 - a0), p0), p1)  # rounding stays in between
    return scale[-1][1]


def late_share(days: int, late: Late | None) -> float:
    """Share of the points that lateness takes, in [0, 1].  days: late by the manifest, each begun one counts."""
    if late is None:
        return 0.0
    return min(max(0, days - late.free_days) * late.percent_a_day, late.at_most_percent) / 100
