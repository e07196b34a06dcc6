"""The class list, its times and extensions, Gradescope's metadata, and the teacher's decisions."""

from pathlib import Path

import pytest

from grading.manifest import read_assignment
from grading.submission import METADATA
from tests.grading.helpers import EXAMPLE, run_grading
from utils.errors import UsageError

BERLIN = EXAMPLE.read_text().replace("2026-12-01T23:59:00+01:00", "2026-10-24T23:59:00+02:00")
# as Gradescope writes it: symbols and tags of Ruby, groups, earlier submissions with results of their own
GRADESCOPE = """---
submission_1:
  :submitters:
  - :name: Ada Lovelace
    :sid: '0012'
    :email: ada@example.edu
  :created_at: 2026-12-02 10:00:00.586812000 Z
  :score:
  :results:
    tests:
    - :name: not a submitter
  :history:
  - :id: 1
    :created_at: 2020-01-01 10:00:00.000000000 Z
submission_2:
  :submitters:
  - :name: Bob One
  - :name: "Eve Two"
  :created_at: !ruby/object:ActiveSupport::TimeWithZone
    utc: &1 2026-12-01 10:00:00.000000000 Z
    time: *1
"""


def days(tmp_path: Path, manifest: str, rubric: str = EXAMPLE.read_text(), students: tuple[str, ...] = ("ada",)):
    (tmp_path / "r.yaml").write_text(rubric)
    (tmp_path / "m.yaml").write_text(manifest)
    return read_assignment(tmp_path / "r.yaml", tmp_path / "m.yaml", None, list(students))


@pytest.mark.parametrize("entry, late", [
    ("submitted: 2026-12-01T23:59:00+01:00", 0), ("submitted: 2026-12-01T23:59:01+01:00", 1),  # no grace
    ("submitted: 2026-12-02T22:59:00Z", 1), ("submitted: 2026-12-03T00:00:00+01:00", 2),
    ("submitted: 2026-12-03T00:00:00+01:00, extension_days: 1", 1), ("days_late: 3, extension_days: 7", 0),
    ("days_late: 3, extension_days: 1", 2), ("days_late: -2", 0)])
def test_each_day_that_has_begun_counts_and_an_extension_moves_the_deadline(tmp_path, entry, late) -> None:
    assert days(tmp_path, f"ada: {{{entry}}}").days_late == {"ada": late}


def test_across_the_change_of_clocks_a_day_ends_at_the_deadline_s_time_by_the_clock(tmp_path: Path) -> None:
    manifest = "ada: {submitted: 2026-10-25T23:30:00+01:00}"  # 24.5 hours later, but within one day by the clock
    with pytest.raises(UsageError, match="line 1: ada: the clocks change .* 1 or 2 days late; .*timezone"):
        days(tmp_path, manifest, BERLIN)
    for zone, late in (("Europe/Berlin", 1), ("Africa/Johannesburg", 2)):
        assert days(tmp_path, manifest, f"timezone: {zone}\n{BERLIN}").days_late == {"ada": late}
    assert days(tmp_path, "ada: {submitted: 2026-10-25T12:00:00+01:00}", BERLIN).days_late == {"ada": 1}
    with pytest.raises(UsageError, match="line 1: timezone: Europe/Berlni is not a time zone"):
        days(tmp_path, manifest, f"timezone: Europe/Berlni\n{BERLIN}")


def test_a_class_list_names_who_submitted_nothing(tmp_path: Path) -> None:
    found = days(tmp_path, "ada: {days_late: 1, name: Ada L.}\nzoe:\nkim: {}\n", students=("ada",))
    assert found.absent == ("zoe", "kim") and found.names["ada"] == "Ada L." and found.days_late["ada"] == 1
    decomposed = days(tmp_path, "Mu\u0308ller: {days_late: 1}", students=("M\xfcller",))
    assert decomposed.days_late == {"M\xfcller": 1} and not decomposed.absent


@pytest.mark.parametrize("manifest, expected", [
    ("ada: {submitted: 2026-12-02T00:00:00+01:00}", r"no entry for eve; .*in time$"),
    ("ada: {days_late: 0}\nevee: {days_late: 9}", r"no entry for eve; .*Entries without a submission: evee"),
    ("ada: {}\neve: {days_late: 0}", "line 1: ada: needs either submitted or days_late"),
    ("ada: {submitted: 2026-12-01T10:00:00Z, days_late: 0}\neve: {days_late: 0}", "not both"),
    ("eve: {days_late: 0}\nada: {submitted: 2025-12-02T10:00:00Z}", r"line 2: ada: .* \d+ days before .*year"),
    ("ada: {days_late: 010}", "line 1: 010 means 8 in YAML; write 10"), ("", "no entry for ada")])
def test_a_mistake_in_the_class_list_is_named_with_its_line(tmp_path: Path, manifest: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        days(tmp_path, manifest, students=("ada", "eve"))


def test_gradescope_s_metadata_is_a_manifest(tmp_path: Path) -> None:
    (tmp_path / METADATA).write_text(GRADESCOPE)
    found = read_assignment(EXAMPLE, tmp_path / METADATA, None, ["submission_1"])
    assert found.days_late == {"submission_1": 1, "submission_2": 0} and found.absent == ("submission_2",)
    assert found.names == {"submission_1": "Ada Lovelace", "submission_2": "Bob One, Eve Two"}
    for text, expected in ((GRADESCOPE.replace("  :created_at: 2026", "  :created: 2026"), "line 2: submission_1 has"),
                           ("a: 1", "lists no submission")):
        (tmp_path / METADATA).write_text(text)
        with pytest.raises(UsageError, match=expected):
            read_assignment(EXAMPLE, tmp_path / METADATA, None, ["submission_1"])


@pytest.mark.parametrize("override, expected", [
    ("{student: ada, criterion: discussion, points: 5, reason: x}", "line 1: there is no submission of ada"),
    ("{student: 0012, criterion: discussion, points: 5, reason: x}", "line 1: 0012 means 10 in YAML; .*'0012' in quo"),
    ("{student: no, criterion: discussion, points: 5, reason: x}", "line 1: no means false in YAML; .*'no' in quotes"),
    ("{student: 12, criterion: discussion, points: 5, reason: x}", "1.student: .* valid string; put it in quotes"),
    ("{student: eve, criterion: essay, points: 5, reason: x}", "no criterion essay"),
    ("{student: eve, criterion: discussion, points: 50, reason: x}", "the criterion has 20")])
def test_a_mistake_in_the_overrides_is_reported_before_anything_is_scored(rubric_file, tmp_path, override,
                                                                         expected) -> None:
    (tmp_path / "subs" / "eve").mkdir(parents=True)
    (tmp_path / "o.yaml").write_text(f"- {override}\n")
    with pytest.raises(UsageError, match=expected):
        run_grading(tmp_path / "subs", rubric_file, tmp_path / "out", overrides=tmp_path / "o.yaml")
    assert not (tmp_path / "out").exists()
