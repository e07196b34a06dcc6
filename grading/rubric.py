"""The rubric (see example_rubric.yaml): what earns points and what lateness costs."""

from itertools import pairwise
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator

from grading.strict_yaml import Moment
from training.tasks import TASKS
from utils.images.datasets import DATASETS
from utils.records.schema import Strict, require

CHOICES = {"task": [name for name in TASKS if name != "control"], "dataset": list(DATASETS)}
Title = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
RESERVED = ("student", "name", "folder", "total", "of", "days_late", "late_penalty", "remarks")  # columns of grades.csv


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
        require((self.metric is not None) + (self.requires is not None) + self.manual == 1,
                "a criterion needs exactly one of metric, requires and manual: true")
        for field, names in CHOICES.items():
            require(getattr(self, field) in (None, *names), f"{field} should be one of {', '.join(names)}")
        require(not (self.manual and (self.task or self.dataset)),
                "a criterion with manual: true takes no task and no dataset")
        require(self.manual or bool(self.task and self.dataset), "task and dataset are required")
        require(self.requires != "reconstructions" or self.task == "1.2.1", "only task 1.2.1 has reconstructions")
        require((self.scale is None) == (self.metric is None), "metric and scale belong together")
        if self.scale is not None:
            check_scale(self.scale, self.points)
        return self


def check_scale(scale: list[list[float]], most: float) -> None:
    """ValueError unless accuracies rise within [0, 1] and points do not fall, within [0, most]."""
    require(len(scale) > 0, "scale needs at least one pair [accuracy, points]")
    accuracies, points = zip(*scale, strict=True)
    require(min(accuracies) >= 0 and max(accuracies) <= 1,
            "accuracies on a scale are fractions in [0, 1], for example 0.75")
    require(all(a < b for a, b in pairwise(accuracies)), "the accuracies on a scale must rise from pair to pair")
    require(all(a <= b for a, b in pairwise(points)), "the points on a scale must not fall")
    require(points[0] >= 0, "the points on a scale must not be negative")
    require(points[-1] <= most, f"the scale gives up to {points[-1]:g} points, but the criterion has {most:g}")


def as_percentage(value: float) -> float:
    """ValueError for 0.1, which probably means 10 %."""
    require(not 0 < value < 1, f"is a percentage: {value:g} is less than one percent; write {100 * value:g} for a "
                               f"share of {value:g}")
    return value


Percentage = Annotated[float, Field(ge=0, le=100), AfterValidator(as_percentage)]


class Late(Strict):
    """What lateness costs: a percentage of the points reached per day begun after the deadline and the free days."""

    percent_a_day: Percentage
    at_most_percent: Percentage = 100.0
    free_days: Annotated[int, Field(ge=0, le=365)] = 0

    @model_validator(mode="after")
    def _check(self) -> "Late":
        require(self.at_most_percent >= self.percent_a_day, "at_most_percent is less than percent_a_day")
        return self

    def share(self, days: int) -> float:
        """Share of the points that `days` days cost, in [0, 1]."""
        return min(max(0, days - self.free_days) * self.percent_a_day, self.at_most_percent) / 100


class Rubric(Strict):
    """title: of the assignment; deadline: with a UTC offset, required when the manifest gives times.

    timezone: whose days lateness is counted in, such as Europe/Berlin; without it a day has 24 hours.
    """

    title: Title
    deadline: Moment | None = None
    timezone: ZoneInfo | None = None
    late: Late | None = None
    criteria: Annotated[list[Criterion], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _same_clock(self) -> "Rubric":
        if self.timezone and self.deadline:
            local = self.deadline.astimezone(self.timezone)
            months = [local.replace(month=month, day=1).utcoffset() for month in range(1, 13)]
            # UTC is meant as such, unless it is the zone's own offset in the other half of the year
            require(local.utcoffset() == self.deadline.utcoffset() or not self.deadline.utcoffset() and all(months),
                    f"the deadline is not in {self.timezone}'s time: there, it is {local.isoformat()}")
        return self

    @field_validator("criteria")
    @classmethod
    def _unique(cls, criteria: list[Criterion]) -> list[Criterion]:
        ids = [criterion.id for criterion in criteria]
        for name in ids:
            require(ids.count(name) == 1 and name.lower() not in RESERVED,
                    f"id {name} is used twice or is the name of a column of grades.csv")
        return criteria

    @property
    def points(self) -> float:
        """The most that a student can reach."""
        return sum(criterion.points for criterion in self.criteria)


class Override(Strict):
    """The teacher's decision on one criterion of one student."""

    student: Annotated[str, Field(min_length=1)]
    criterion: str
    points: Annotated[float, Field(ge=0)]
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


def points_for(accuracy: float, scale: list[list[float]]) -> float:
    """Points of an accuracy: linear between the pairs of a scale, 0 below the first, constant above the last."""
    if accuracy < scale[0][0]:
        return 0.0
    for (a0, p0), (a1, p1) in pairwise(scale):
        if accuracy < a1:
            return min(max(p0 + (p1 - p0) * (accuracy - a0) / (a1 - a0), p0), p1)  # rounding must not leave the range
    return scale[-1][1]
