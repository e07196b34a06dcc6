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
    a_day, most = sorted((a_day, most))
    late = Late(percent_a_day=a_day, at_most_percent=most, free_days=free)
    assert 0 <= late.share(days) <= late.share(days + more) <= most / 100
    assert late.share(free) == 0


def test_the_example_rubric_is_valid() -> None:
    rubric, _ = read_yaml(EXAMPLE, Rubric)
    assert rubric.points == 100
    assert {criterion.task for criterion in rubric.criteria} == {"1.2.1", "1.2.2", "1.2.3", None}


def test_every_task_that_learns_and_every_data_set_can_be_graded() -> None:
    for task in set(TASKS) - {"control"}:
        for dataset in DATASETS:
            Rubric.model_validate({"title": "t", "criteria": [
                {"id": "a", "points": 1, "task": task, "dataset": dataset, "requires": "complete_record"}]})


@pytest.mark.parametrize("old, new, expected", [
    ("points: 20\n    task: 1.2.1", "points: many\n    task: 1.2.1", ["line 12", "criteria.1.points"]),
    ("    requires: reconstructions", "    requires: miracles", ["line 22", "criteria.2.requires"]),
    ("[0.99, 15]", "[0.80, 15]", ["criteria.1", "must rise"]), ("[0.9925, 20]", "[0.9925, 30]", ["up to 30 points"]),
    ("[0.9925, 20]]", "[0.9925, 2]]", ["must not fall"]), ("[0.9864, 0]", "[0.9864, -1]", ["must not be negative"]),
    ("id: seeds", "id: contrastive", ["used twice"]),
    ("title: Structured", "titel: x\ntitle: Structured", ["line 3", "titel"]),
    ("manual: true", "manual: 7", ["manual"]),
    ("title: Structured latent", "title: x\ntitle: latent", ["line 4", "duplicate key title"]),
    ("+01:00", "", ["line 4", "deadline", "timezone"]), ("criteria:", "criteria: [", ["line", "YAML"]),
    ("dataset: mnist\n    requires: reconstructions", "requires: reconstructions", ["dataset"]),
    ("metric: test_accuracy\n    scale: [[0.9864", "scale: [[0.9864", ["exactly one of"]),
    ("[0.9864, 0]", "[98.64, 0]", ["0.75"]),
    ("percent_a_day: 10", "percent_a_day: .nan", ["line 6", "percent_a_day"]),
    ("id: seeds", "id: total", ["name of a column"]),
    ("task: 1.2.1\n    dataset: mnist\n    requires: reconstructions",
     "task: 1.2.2\n    dataset: mnist\n    requires: reconstructions", ["only task 1.2.1 has reconstructions"]),
    ("task: 1.2.1", "task: 1.2.9", ["line 10", "task should be one of 1.2.1, 1.2.2, 1.2.3, rotation"]),
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
    ("title: t\ndeadline: 12/02/2026 23:59", "line 2: deadline: should be a time"),
    ("title: t\ndeadline: 2026-12-01 23:59 CET", "unexpected extra characters at the end of the input, for example 20"),
    ("title: t\ndeadline: 1970-08-23T00:00:00Z", "line 2: deadline: should be a time, for example"),
    ("title: t\ndeadline: 2026-12-01", "line 2: deadline: should have timezone info, for example 2026-12-01T23:59"),
    ("title: t\ndeadline: 2026-12-01T24:00:00Z", "line 2: deadline: should be a valid datetime"),
    ("title: t\nlate: {percent_a_day: 0.9}", "is less than one percent; write 90 for"),
    ("title: t\nlate: {percent_a_day: 10, at_most_percent: 0.5}", "late.at_most_percent: is a percentage"),
    ("title: t\nlate: {percent_a_day: 10, at_most_percent: 5}", "line 2: late: at_most_percent is less than percent_"),
    ("title: t\nlate: {percent_a_day: 10%}", "should be a valid number; write 10 without other signs"),
    ("title: t\nlate: {percent_a_day: '7,5'}", "should be a valid number; write 7.5 without other signs"),
    ("title: t\nlate: {percent_a_day: -10}", "should be greater than or equal to 0"),
    ("title: t\ncriteria: [{id: a, points: 1:30}]", "line 2: criteria.1.points: should be a valid number"),
    ("title: t\ncriteria: [{id: a, points: 0x10}]", "should be a valid number"),
    ("title: t\ncriteria: [{id: a, points: .inf, manual: true}]", "should be a valid number"),
    ("title: t\ncriteria: [{id: a, points: nan, manual: true}]", "should be a finite number"),
    ("title: t\ncriteria:\n- {id: a, points: 1,\n  scale: [[0.5, no], [0.9, yes]]}", "line 4: criteria.1.scale.1.2: "),
    ("title: t\ncriteria:\n- {id: a, points: 1,\n  scale: [0.5, 0]}", "line 4: criteria.1.scale.1: should be a valid"),
    ("title: t\ncriteria:\n- {id: a, points: 1,\n  scale: [[0,5, 0]]}", "line 4: criteria.1.scale.1: List should have"),
    ("title: t\ncriteria: [{id: a, points: true, manual: true}]", "points: should be a valid number"),
    ("title: t\ncriteria: [{id: a, points: 1, manual: maybe}]", "criteria.1.manual: should be a valid boolean"),
    ("title: t\ncriteria: {id: a}", "line 2: criteria: should be a valid list"),
    ("title: t\ntitle: u", "line 2: invalid YAML: duplicate key title"), ("{{ title }}: t", "line 1: invalid YAML"),
    ("a: &a [*a]", "invalid YAML"), ("[" * 5000, "invalid YAML"), ("title: x\n\tb: 1", "line 2: invalid YAML"),
    ("- 1", "line 1: the file"), ("", "line 1: the file")])
def test_a_value_that_is_no_time_or_number_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError) as error:
        read_yaml(tmp_path / "r.yaml", Rubric)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_a_value_means_what_a_person_reads_and_not_what_yaml_1_1_makes_of_it(tmp_path: Path) -> None:
    """010 would be 8 there, 1_000 and '10' another type, no a truth value and on one in place of a word."""
    (tmp_path / "r.yaml").write_text("""\ufefftitle: no
deadline: 2026-12-01 23:59:00 +01:00
late: {percent_a_day: 010, at_most_percent: '50', free_days: 08}
criteria:
- {id: on, title: 007, points: 1e1, manual: no, task: 1.2.3, dataset: mnist, requires: complete_record}
- {id: b, title: !!bool yes, points: +5, manual: yes}
""", encoding="utf-8")
    rubric, where = read_yaml(tmp_path / "r.yaml", Rubric)
    assert rubric.late == Late(percent_a_day=10, at_most_percent=50, free_days=8)
    assert rubric.deadline and rubric.deadline.isoformat() == "2026-12-01T23:59:00+01:00"
    assert [(one.id, one.title, one.points, one.manual) for one in rubric.criteria] == [
        ("on", "007", 10, False), ("b", "yes", 5, True)] and rubric.title == "no"
    assert where("criteria", 1, "points").endswith("r.yaml, line 6") and where().endswith("line 1")


def test_nested_aliases_take_no_memory(tmp_path: Path) -> None:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 60))
    (tmp_path / "r.yaml").write_text(f"a0: &a0 [x]\n{levels}title: *a59\n")
    with pytest.raises(UsageError, match="a0: there is no such field|title: should be a valid string"):
        read_yaml(tmp_path / "r.yaml", Rubric)


@pytest.mark.parametrize("zone, month, offset, fits", [
    ("Europe/Berlin", 12, "+01:00", True), ("Europe/Berlin", 12, "Z", True), ("Europe/Berlin", 12, "+02:00", False),
    ("Europe/Berlin", 4, "+02:00", True), ("Europe/Berlin", 4, "Z", True), ("Europe/Berlin", 4, "+01:00", False),
    ("America/New_York", 12, "+05:00", False), ("America/New_York", 6, "Z", True), ("UTC", 6, "+00:00", True),
    *((zone, month, offset, (month == 12) == (offset == "+00:00")) for zone in ("Europe/London", "Europe/Lisbon")
      for month in (4, 6, 12) for offset in ("+00:00", "+01:00"))])
def test_the_deadline_s_offset_is_that_of_the_time_zone_on_that_day(tmp_path, zone, month, offset, fits) -> None:
    text = EXAMPLE.read_text().replace("-12-01T23:59:00+01:00", f"-{month:02}-01T12:00:00{offset}")
    text += f"timezone: {zone}\n"
    (tmp_path / "r.yaml").write_text(text)
    if fits:
        assert str(read_yaml(tmp_path / "r.yaml", Rubric)[0].timezone) == zone
        return
    with pytest.raises(UsageError, match=f"the deadline is not in {zone}'s time: there, it is 2026-{month:02}-01T"):
        read_yaml(tmp_path / "r.yaml", Rubric)
