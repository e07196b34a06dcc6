"""The rubric's arithmetic, and the teacher's files with their mistakes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.rubric import Late, Rubric, points_for
from grading.strict_yaml import read_yaml
from tests.grading.helpers import EXAMPLE, accuracies, scales
from training.tasks import TASKS
from utils.errors import UsageError
from utils.images.datasets import DATASETS


@given(scales, accuracies, accuracies)
def test_points_stay_on_the_scale_and_rise_with_the_accuracy(scale: list[list[float]], a: float, b: float) -> None:
    low, high = points_for(min(a, b), scale), points_for(max(a, b), scale)
    assert 0 <= low <= high <= scale[-1][1]


@given(scales)
def test_an_accuracy_on_the_scale_gives_exactly_its_points(scale: list[list[float]]) -> None:
    for accuracy, points in scale:
        assert points_for(accuracy, scale) == points


def test_points_are_linear_between_two_pairs_and_0_below_the_first() -> None:
    scale = [[0.6, 0], [0.7, 25], [0.75, 40]]
    assert points_for(0.65, scale) == pytest.approx(12.5)
    assert points_for(0.725, scale) == pytest.approx(32.5)
    assert (points_for(0.59, scale), points_for(0.9, scale)) == (0, 40)


@given(st.integers(-5, 400), st.integers(0, 400), st.integers(0, 100), st.integers(0, 100), st.integers(0, 10))
def test_lateness_takes_a_share_that_rises_with_the_days(days, more, a_day, most, free) -> None:
    late = Late(percent_a_day=a_day, at_most_percent=most, free_days=free)
    assert 0 <= late.share(days) <= late.share(days + more) <= most / 100
    assert late.share(free) == 0


def test_the_example_rubric_is_valid() -> None:
    rubric = read_yaml(EXAMPLE, Rubric)
    assert rubric.points == 100
    assert {criterion.task for criterion in rubric.criteria} == {"1.2.1", "1.2.2", "1.2.3", None}


def test_every_task_that_learns_and_every_data_set_can_be_graded() -> None:
    for task in set(TASKS) - {"control"}:
        for dataset in DATASETS:
            Rubric.model_validate({"title": "t", "criteria": [
                {"id": "a", "points": 1, "task": task, "dataset": dataset, "requires": "complete_record"}]})


@pytest.mark.parametrize("old, new, expected", [
    ("points: 20\n    task: 1.2.1", "points: many\n    task: 1.2.1", ["line 11", "criteria.1.points"]),
    ("    requires: reconstructions", "    requires: miracles", ["line 21", "criteria.2.requires"]),
    ("[0.97, 15]", "[0.80, 15]", ["criteria.1", "must rise"]), ("[0.985, 20]", "[0.985, 30]", ["up to 30 points"]),
    ("[0.985, 20]]", "[0.985, 2]]", ["must not fall"]), ("[0.90, 0]", "[0.90, -1]", ["must not be negative"]),
    ("id: seeds", "id: contrastive", ["used twice"]),
    ("title: Structured", "titel: x\ntitle: Structured", ["line 2", "titel"]),
    ("manual: true", "manual: 7", ["manual"]),
    ("title: Structured latent", "title: x\ntitle: latent", ["line 3", "duplicate key title"]),
    ("+01:00", "", ["deadline", "timezone"]), ("criteria:", "criteria: [", ["line", "YAML"]),
    ("dataset: mnist\n    requires: reconstructions", "requires: reconstructions", ["dataset"]),
    ("metric: test_accuracy\n    scale: [[0.90", "scale: [[0.90", ["exactly one of"]),
    ("[0.90, 0]", "[90, 0]", ["0.75"]),
    ("percent_a_day: 10", "percent_a_day: .nan", ["line 5", "percent_a_day"]),
    ("id: seeds", "id: total", ["name of a column"]),
    ("task: 1.2.1", "task: 1.2.9", ["line 9", "task should be one of 1.2.1, 1.2.2, 1.2.3, rotation"]),
    ("task: 1.2.1", "task: control", ["task should be one of"]),
    ("dataset: mnist", "dataset: imagenet", ["dataset should be one of digits, mnist, cifar10"])])
def test_a_mistake_in_the_rubric_is_reported_with_line_and_field(tmp_path: Path, old, new, expected) -> None:
    text = EXAMPLE.read_text()
    assert old in text
    (tmp_path / "r.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError) as error:
        read_yaml(tmp_path / "r.yaml", Rubric)
    assert "\n" not in str(error.value)
    for words in [str(tmp_path / "r.yaml"), *expected]:
        assert words in str(error.value)


@pytest.mark.parametrize("text, expected", [
    ("title: t\ndeadline: 20261201\ncriteria: []", "line 2: deadline: should be a time, for example 2026-12-01T23:59"),
    ("title: t\ndeadline: '20261202'", "line 2: deadline: should be a time, for example 2026-12-02T23:59:00+01:00"),
    ("title: t\ndeadline: '1e9'", "line 2: deadline: should be a time"), ("title: t\ndeadline: 1.12.2026", "be a time"),
    ("title: t\ndeadline: 1970-08-23T00:00:00Z", "line 2: deadline: is in the year 1970"),
    ("title: t\ndeadline: 2026-12-01", "line 2: deadline: should have timezone info, for example 2026-12-01T23:59"),
    ("title: t\nlate: {percent_a_day: 010}", "line 2: 010 means 8 in YAML; write 10, or '010' in quotes"),
    ("title: t\nlate: {percent_a_day: 0.1}", "is less than one percent; write 10 for"),
    ("title: t\nlate: {percent_a_day: 10%}", "should be a valid number; write 10 without quotes"),
    ("title: t\nlate: {percent_a_day: '7,5'}", "should be a valid number; write 7.5 without quotes"),
    ("title: t\nlate: {percent_a_day: 08}", "should be a valid number; write 8 without quotes"),
    ("title: t\ncriteria: [{id: a, points: 1:30}]", "line 2: 1:30 means 90 in YAML; write a number"),
    ("title: t\ncriteria: [{id: a, points: 1_000}]", "line 2: 1_000 means 1000 in YAML; write 1000"),
    ("title: t\ncriteria: [{id: a, points: 0x10}]", "line 2: 0x10 means 16 in YAML; write a number"),
    ("title: t\ncriteria: [{id: a, points: 1:30.5}]", "line 2: 1:30.5 means 90.5 in YAML"),
    ("title: t\ncriteria:\n- scale: [[0.5, no], [0.9, yes]]", "line 3: no means false in YAML; write false"),
    ("title: t\ncriteria:\n- id: on\n", "line 3: on means true in YAML; write true, or 'on' in quotes"),
    ("title: t\ncriteria: [{id: a, points: true, manual: true}]", "points: should be a valid number"),
    ("title: t\ncriteria: [{id: a, points: on, manual: true}]", "line 2: on means true"),
    ("title: !!bool maybe", "line 1: 'maybe' is not a valid value"), ("- 1", "line 1: the file"), ("", "the file")])
def test_yaml_converts_no_value_silently(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError) as error:
        read_yaml(tmp_path / "r.yaml", Rubric)
    assert expected in str(error.value) and "\n" not in str(error.value)
