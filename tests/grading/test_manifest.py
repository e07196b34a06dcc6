"""The class list, its times and extensions, Gradescope's metadata, and the teacher's decisions."""

import re
import shutil
import zipfile
from pathlib import Path

import pytest

from grading.batch import notes
from grading.manifest import read_assignment
from grading.submission import METADATA, find_submissions
from tests.grading.helpers import EXAMPLE, ROOT, run_grading
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
  - :name: "Zo\\xEB"
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
    with pytest.raises(UsageError, match="line 1: timezone: invalid timezone: Europe/Berlni; write one"):
        days(tmp_path, manifest, f"timezone: Europe/Berlni\n{BERLIN}")


def test_a_deadline_in_utc_is_checked_for_the_change_of_clocks_unless_utc_is_its_time_zone(tmp_path: Path) -> None:
    rubric = EXAMPLE.read_text().replace("2026-12-01T23:59:00+01:00", "2026-11-01T03:59:59Z")  # midnight in New York
    manifest = "ada: {submitted: 2026-11-01T23:30:00-05:00}"
    with pytest.raises(UsageError, match="the clocks change .* 1 or 2 days late; .*timezone"):
        days(tmp_path, manifest, rubric)
    assert days(tmp_path, manifest, f"timezone: UTC\n{rubric}").days_late == {"ada": 2}


def test_a_class_list_names_who_submitted_nothing(tmp_path: Path) -> None:
    found = days(tmp_path, "ada: {days_late: 1, name: Ada L.}\nzoe:\nkim: {}\n", students=("ada",))
    assert found.absent == ("zoe", "kim") and found.names["ada"] == "Ada L." and found.days_late["ada"] == 1
    decomposed = days(tmp_path, "Mu\u0308ller: {days_late: 1}", students=("M\xfcller",))
    assert decomposed.days_late == {"M\xfcller": 1} and not decomposed.absent


@pytest.mark.parametrize("manifest, expected", [
    ("ada: {submitted: 2026-12-02T00:00:00+01:00}", r"no entry for eve; .*in time$"),
    ("ada: {days_late: 0}\nevee: {days_late: 9}", r"no entry for eve; did you mean evee\?; days_late: 0 means in time"),
    ("Ada: {days_late: 0}\neve: {days_late: 0}", r"no entry for ada; did you mean Ada\?"),
    ("ada: {}\neve: {days_late: 0}", "line 1: ada: needs either submitted or days_late"),
    ("ada: {submitted: 2026-12-01T10:00:00Z, days_late: 0}\neve: {days_late: 0}", "line 1: ada: .*not both"),
    ("eve: {days_late: 0}\nada: {submitted: 2025-12-02T10:00:00Z}", r"line 2: ada: .* \d+ days before .*year"),
    ("ada: {days_late: 1.5}", "line 1: ada.days_late: should be a valid integer$"),  # and not "write 1.5"
    ("ada: {days_late: 2%}", "line 1: ada.days_late: should be a valid integer; write 2 without other signs"),
    ("ada: {days_late: 3600}", "line 1: ada.days_late: should be less than or equal to 200$"),
    ("ada: {days_late: one}", "line 1: ada.days_late: should be a valid integer$"),
    ("ada: {submitted: 2.12.2026 10:00}", "line 1: ada.submitted: should be a time, for example"),
    ("ada: {submitted: 2026-12-02 10:00}", "line 1: ada.submitted: should have timezone info, for example"),
    ("ada: {extension_days: -1}", "line 1: ada.extension_days: should be greater"),
    ("ada: {submited: 2026-12-01T10:00:00Z}", "line 1: ada.submited: there is no such field"),
    ("ada:\n- 0", "line 1: ada: should be a valid dict"), ("", "no entry for ada"),
    ("ada: {days_late: 0}\nada: {days_late: 1}", "line 2: invalid YAML: duplicate key ada"),
    ("M\xfcller: {days_late: 0}\nMu\u0308ller: {days_late: 9}", "line 2: Mu\u0308ller: is listed twice")])
def test_a_mistake_in_the_class_list_is_named_with_its_line(tmp_path: Path, manifest: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        days(tmp_path, manifest, students=("ada", "eve"))


def test_names_that_yaml_would_convert_stay_names(tmp_path: Path) -> None:
    students = ("0012345", "1e5", "no", "2026-12-01")
    found = days(tmp_path, "\n".join(f"{name}: {{days_late: 010}}" for name in students), students=students)
    assert found.days_late == dict.fromkeys(students, 10)


@pytest.mark.parametrize("line", [
    "{0},2026-12-02T10:00:00+01:00,1,{1}", "{0};2026-12-02 10:00:00 +01:00;1;{1}", "{0}\t2026-12-02T09:00Z\t1\t{1}",
    '"{0}","2026-12-02T10:00:00+01:00","1","{1}"'])
def test_a_class_list_is_a_table_as_spreadsheets_save_it(tmp_path: Path, line: str) -> None:
    head = line[3] if '"' not in line else ","
    names = [" Student", "Submitted ", "extension days", "name"]
    text = "\r\n".join([head.join(names), line.format("0012345", "Ada"), "", f"zoe{head * 3}", head * 3, ""])
    text = text.replace("name\r\n", f"name{head * 2}\r\n")  # empty columns at the end
    (tmp_path / "class.CSV").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = read_assignment(EXAMPLE, tmp_path / "class.CSV", None, ["0012345"])
    assert found.days_late == {"0012345": 0, "zoe": 0} and found.absent == ("zoe",)
    assert found.names == {"0012345": "Ada", "zoe": ""}


@pytest.mark.parametrize("text, expected", [
    ("student,days late\n12345,0\n", r"no entry for 0012345; did you mean 12345\?"),  # a spreadsheet ate the zeros
    ("student,days_late\n0012345,0\n0012345,1\n", "line 3: 0012345 is listed twice"),
    ("student,days_late\n\n0012345,x\n", "line 3: 0012345.days_late: should be a valid integer"),
    ("student,submitted\n0012345,02.12.2026 10:00\n", "line 2: 0012345.submitted: should be a time, for example"),
    ("student,submitted\n0012345,2026-12-02 10:00\n", "line 2: 0012345.submitted: should have timezone info"),
    ("student,submitted\n0012345,\n", "line 2: 0012345: needs either submitted or days_late"),
    ("student,days_late,name\n0012345,0,Lovelace, Ada\n", "line 2: 0012345.cells_beyond_the_last_column: there is no"),
    ("student,days_late\n,1\n", "line 2: nothing in a column student"),
    ("Name,Mail\na,b\n", "line 2: nothing in a column student"), ("", "no entry for 0012345"),
    ("student\n0012345,0\n", "line 2: 0012345.cells_beyond"), ("0012345,0\neve,1\n", "line 2: nothing in a column stu"),
    ("student,days_late,Days late\n0012345,3,0\n", "line 1: two columns are called days_late"),
    ("student,name,name\n0012345,Ada,Bob\n", "line 1: two columns are called name"),
    ("student,days_late,,\n0012345,0,x,\n", "line 2: 0012345.column_3_without_a_name: there is no such field"),
    ('student,name\n0012345,"Ada\n', "line 1: unexpected end of data"),
    ("student,daays_late\n0012345,1\n", "line 2: 0012345.daays_late: there is no such field")])
def test_a_mistake_in_a_table_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "class.csv").write_text(text)
    with pytest.raises(UsageError, match=expected):
        read_assignment(EXAMPLE, tmp_path / "class.csv", None, ["0012345"])


def test_the_class_lists_in_the_documentation_say_the_same(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for suffix, begin in (("csv", "student,"), ("yaml", "Ada Lovelace_")):
        (tmp_path / f"class.{suffix}").write_text(next(block for block in blocks if block.startswith(begin)))
    students = ["Ada Lovelace_1234567", "bob", "doejane_22"]
    found = read_assignment(EXAMPLE, tmp_path / "class.csv", None, students)
    assert found == read_assignment(EXAMPLE, tmp_path / "class.yaml", None, students)
    assert found.days_late == {"Ada Lovelace_1234567": 1, "doejane_22": 0, "bob": 0, "zoe": 0}


@pytest.mark.parametrize("name", [METADATA, "submission_metadata (1).yml"])
def test_gradescope_s_metadata_is_a_manifest(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(GRADESCOPE.replace("\n", "\r\n").encode())
    found = read_assignment(EXAMPLE, path, None, ["submission_1"])
    assert found.days_late == {"submission_1": 1, "submission_2": 0} and found.absent == ("submission_2",)
    assert found.names == {"submission_1": "Ada Lovelace", "submission_2": "Bob One, Zo\xeb"}
    for text, expected in ((GRADESCOPE.replace("  :created_at: 2026", "  :at: 2026"), "line 3: submission_1.:sub"),
                           ("a: 1", "line 1: a: should be a valid dict")):
        path.write_text(text)
        with pytest.raises(UsageError, match=expected):
            read_assignment(EXAMPLE, path, None, ["submission_1"])


def test_gradescope_s_metadata_among_the_submissions_is_the_manifest_unless_one_is_given(tmp_path: Path) -> None:
    for name, text in ((METADATA, GRADESCOPE), ("submission_1/a.json", "{}"), ("submission_2/b.json", "{}")):
        (tmp_path / "class" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "class" / name).write_bytes(text.replace("\n", "\r\n").encode())
    shutil.make_archive(str(tmp_path / "class"), "zip", tmp_path / "class")
    shutil.copytree(tmp_path / "class", tmp_path / "assignment_7_export")
    shutil.make_archive(str(tmp_path / "around"), "zip", tmp_path, "assignment_7_export")
    (tmp_path / "m.csv").write_text("student,days_late\nsubmission_1,5\nsubmission_2,0\n")
    no_lateness = re.sub("(deadline|late|  percent_a_day|  at_most_percent|  free_days):.*\n", "", EXAMPLE.read_text())
    (tmp_path / "r.yaml").write_text(no_lateness)
    for name in ("class", "class.zip", "around.zip"):
        students, others, metadata = find_submissions(tmp_path / name)
        found = read_assignment(EXAMPLE, None, None, list(students), metadata)
        assert found.days_late == {"submission_1": 1, "submission_2": 0} and not others
        assert found.names == {"submission_1": "Ada Lovelace", "submission_2": "Bob One, Zo\xeb"}
        note, = notes(found, {})
        assert note.startswith(f"times and names of submitters come from {tmp_path / name / METADATA}; --manifest")
        given = read_assignment(EXAMPLE, tmp_path / "m.csv", None, list(students), metadata)
        assert given.days_late["submission_1"] == 5 and not notes(given, {})
        assert read_assignment(tmp_path / "r.yaml", None, None, list(students), metadata).names == found.names
        with pytest.raises(UsageError, match=rf"{name}/{METADATA}: no entry for eve"):
            read_assignment(EXAMPLE, None, None, [*students, "eve"], metadata)


def test_gradescope_s_metadata_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        archive.writestr("submission_1/a.json", "{}")
        archive.writestr(METADATA, GRADESCOPE)
    data = (tmp_path / "class.zip").read_bytes()
    (tmp_path / "damaged.zip").write_bytes(data.replace(b"Ada Lovelace", b"Eve Lovelace", 1))
    (tmp_path / "class" / "submission_1").mkdir(parents=True)
    (tmp_path / "class" / METADATA).symlink_to("/etc/hostname")
    for name, reason in (("damaged.zip", "Bad CRC-32"), ("class", "Too many levels of symbolic links")):
        with pytest.raises(UsageError, match=f"{name}/{METADATA}: cannot be read: {reason}"):
            read_assignment(EXAMPLE, None, None, ["submission_1"], find_submissions(tmp_path / name)[2])


@pytest.mark.parametrize("submitters", [" Ada", "\n  - :name: [Ada]", "\n  - :email: a"])
def test_gradescope_s_metadata_may_name_nobody(tmp_path: Path, submitters: str) -> None:
    (tmp_path / METADATA).write_text(f"submission_1:\n  :submitters:{submitters}\n"
                                     "  :created_at: 2026-12-01 10:00:00 Z\n")
    assert read_assignment(EXAMPLE, tmp_path / METADATA, None, ["submission_1"]).days_late["submission_1"] == 0


@pytest.mark.parametrize("override, expected", [
    ("{student: ada, criterion: discussion, points: 5, reason: x}", "line 2: there is no submission of ada$"),
    ("{student: EVE, criterion: discussion, points: 5, reason: x}", r"no submission of EVE; did you mean eve\?"),
    ("{student: 0012, criterion: discussion, points: 5, reason: x}", "line 2: there is no submission of 0012$"),
    ("{student: eve, criterion: essay, points: 5, reason: x}", "line 2: no criterion essay; choose from autoencoder"),
    ("{student: eve, criterion: discussion, points: 50, reason: x}", "line 2: .* the criterion has 20"),
    ("{student: eve, criterion: discussion, points: '5,5', reason: x}", "line 2: 2.points: .*; write 5.5 without"),
    ("{student: eve, criterion: discussion, points: '1,000', reason: x}", "2.points: should be a valid number$"),
    ("{student: eve, criterion: discussion, points: 5}", "line 2: 2.reason: is missing"),
    ("{student: eve, criterion: seeds, points: 5, reason: x}", "line 2: seeds of eve was set above; keep one")])
def test_a_mistake_in_the_overrides_is_reported_before_anything_is_scored(rubric_file, tmp_path, override,
                                                                         expected) -> None:
    (tmp_path / "subs" / "eve").mkdir(parents=True)
    (tmp_path / "o.yaml").write_text(f"- {{student: eve, criterion: seeds, points: 1, reason: y}}\n- {override}\n")
    with pytest.raises(UsageError, match=expected):
        run_grading(tmp_path / "subs", rubric_file, tmp_path / "out", overrides=tmp_path / "o.yaml")
    assert not (tmp_path / "out").exists()
