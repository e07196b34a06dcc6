"""The rubric: what earns how many points, and what lateness costs.  See example_rubric.yaml.

Every criterion is one of three kinds: a verified metric with a scale, a required artefact, or graded by hand.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from grading.strict_yaml import Moment, read_yaml
from training.tasks import TASKS
from utils.images.datasets import DATASETS
from utils.records.schema import Strict

GRADED_TASKS = tuple(name for name in TASKS if name != "control")  # the control learns nothing
Title = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
RESERVED = ("student", "total", "of", "days_late", "late_penalty", "remarks")  # columns of grades.csv


def one_of(*names: str) -> AfterValidator:
    """A pydantic validator that accepts these names only."""
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"should be one of {', '.join(names)}")
        return name
    return AfterValidator(check)


class Criterion(Strict):
    """One criterion.  id: its column in grades.csv; title: shown to students; points: the most it can give.

    metric, task, dataset, scale: points for a verified accuracy, [[accuracy, points], ...], linear in between.
    requires, task, dataset: all points for an artefact: a complete record, reconstructions or three seeds.
    manual: points are entered by the teacher, in the overrides file.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
    title: Title = ""
    points: Annotated[float, Field(ge=0, le=1e6)]
    task: Annotated[str, one_of(*GRADED_TASKS)] | None = None
    dataset: Annotated[str, one_of(*DATASETS)] | None = None
    metric: Literal["test_accuracy", "holdout_accuracy"] | None = None
    scale: list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None = None
    requires: Literal["complete_record", "reconstructions", "three_seeds"] | None = None
    manual: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Criterion":
        if (self.metric is not None) + (self.requires is not None) + self.manual != 1:
            raise ValueError("a criterion needs exactly one of metric, requires and manual: true")
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


def read_rubric(path: Path) -> Rubric:
    """Raises UsageError, with line and field, for an invalid rubric."""
    return read_yaml(path, Rubric)


def points_for(accuracy: float, scale: list[list[float]]) -> float:
    """Points of an accuracy: linear between the pairs of a scale, 0 below the first, constant above the last."""
    if accuracy < scale[0][0]:
        return 0.0
    for (a0, p0), (a1, p1) in pairwise(scale):
        if accuracy < a1:
            return min(max(p0 + (p1 - p0) * (accuracy - a0) / (a1 - a0), p0), p1)  # rounding must not leave the range
    return scale[-1][1]


def late_share(days: int, late: Late | None) -> float:
    """Share of the points that lateness takes, in [0, 1].  days: days late, each day begun counts."""
    if late is None:
        return 0.0
    return min(max(0, days - late.free_days) * late.percent_a_day, late.at_most_percent) / 100
