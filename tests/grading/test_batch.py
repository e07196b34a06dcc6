"""Grading a folder: faults of this machine are not the student's, and the command line."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import _report_evaluation
from grading.batch import doubts, notes
from grading.manifest import Assignment
from grading.rubric import Late
from grading.score import Evidence
from grading.submission import find_submissions
from tests.grading.helpers import ROOT, evidence_with, rubric_of, run_grading, scored, table
from utils.command_line import exit_code
from utils.errors import UsageError


def test_a_full_disk_is_not_the_student_s_fault(honest: Path, rubric_file: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    shutil.copytree(honest, tmp_path / "subs" / "ada")
    monkeypatch.setattr("grading.submission.copy", full)
    assert run_grading(tmp_path / "subs", rubric_file, tmp_path / "out") == [
        "ada: could not be copied: No space left on device"]
    evidence = Evidence.model_validate_json((tmp_path / "out" / "ada" / "evidence.json").read_bytes())
    assert not evidence.digest  # so that the next grading tries again


def test_what_may_be_a_slip_of_the_teacher_s_is_noted() -> None:
    assignment = Assignment(rubric_of([[0.5, 0], [1, 80]], late=Late(percent_a_day=10)), absent=("kim", "zoe"))
    assert notes(assignment, {}) == [
        "the scale of criterion one ends at 80 of its 100 points", "no submission, 0 points: kim, zoe",
        "there is no class list (--manifest), so nobody is late"]
    assert notes(Assignment(rubric_of([[0.5, 0], [1, 100]])), {}) == []
    assert notes(Assignment(rubric_of([[0.5, 0], [1, 100]])), {"subs": evidence_with()}) == [
        "one submission only, subs: is this the folder of the whole class?"]


def test_several_students_that_look_like_one_are_noted(tmp_path: Path) -> None:
    for name in ("one/ada/a.json", "one/bob/a.json", "two/kim/a.json", "sheet_11_1234567_kim.zip",
                 "sheet_11_1234568_lee.zip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_submissions(tmp_path)[0]
    assert doubts(found) == ["sheet_11 is 2 archives (sheet_11_1234567_kim.zip, sheet_11_1234568_lee.zip): is this one "
                             "student?"]
    sections = {student: found[student] for student in ("one", "two")}
    assert doubts(sections) == ["every submission holds only folders (one: ada/, bob/): are these the students?"]
    assert doubts({"two": found["two"]}) == []  # a folder around the files


def test_few_hidden_images_are_noted() -> None:
    evidence = {name: evidence_with(scored(900, holdout_n=8, correct_holdout=7)) for name in "ab"}
    assert notes(Assignment(rubric_of([[0.5, 0], [1, 100]])), evidence) == [
        "there are only 8 hidden images of digits; each is 12.5 percentage points"]


def test_grades_never_go_into_the_folder_with_the_submissions(rubric_file: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "subs" / "subs").mkdir(parents=True)  # a student called like the folder
    (tmp_path / "SUBS").symlink_to("subs")  # another name of it, as on systems that ignore the case
    with pytest.raises(UsageError, match="inside the folder with the submissions"):
        run_grading(tmp_path / "subs", rubric_file, tmp_path / "SUBS" / "out")
    with pytest.raises(UsageError, match="grades of subs would be written into the folder with the submissions"):
        run_grading(tmp_path / "subs", rubric_file, tmp_path)
    assert [path.name for path in (tmp_path / "subs").rglob("*")] == ["subs"]
    own = tmp_path / "class" / "ada" / "results.json"  # the archive has been unpacked
    own.parent.mkdir(parents=True)
    for name in ("results.json", "a.npz"):
        own.with_name(name).touch()
    packed = Path(shutil.make_archive(str(tmp_path / "class"), "zip", tmp_path, "class"))
    monkeypatch.setattr("grading.batch.load_truth", fail)
    with pytest.raises(UsageError, match="ada/ in it holds 'a.npz', which no grading writes"):
        run_grading(packed, rubric_file, tmp_path / "class")
    assert {path.name: path.read_bytes() for path in own.parent.iterdir()} == {"a.npz": b"", "results.json": b""}
    own.with_name("grade.html").touch()  # of an earlier grading; the teacher has added the other file
    with pytest.raises(UsageError, match="past these checks"):
        run_grading(packed, rubric_file, tmp_path / "class")


def fail(*_: object) -> None:
    raise UsageError("past these checks")


def test_read_only_submissions_are_graded_and_a_read_only_folder_for_the_grades_is_one_line(
        honest: Path, rubric_file: Path, tmp_path: Path) -> None:
    prefix = []
    if os.geteuid() == 0:  # root may write anywhere, by two capabilities
        dropped = "-dac_override,-dac_read_search"
        prefix = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
    shutil.copytree(honest, tmp_path / "subs" / "ada")
    for name in ("eve", "ada/private", "ada/runs/listed"):  # the last can be listed, but its files cannot be opened
        (tmp_path / "subs" / name).mkdir(parents=True)
    (tmp_path / "subs" / "ada" / "runs" / "listed" / "a.json").write_text("{}")
    (tmp_path / "closed").mkdir()
    for path in (*(tmp_path / "subs").rglob("*"), tmp_path / "subs", tmp_path / "closed"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for name, mode in (("eve", 0), ("ada/private", 0), ("ada/runs/listed", 0o444)):
        (tmp_path / "subs" / name).chmod(mode)
    if (not shutil.which("setpriv") and prefix) or subprocess.run(
            [*prefix, "test", "-w", tmp_path / "closed"], check=False).returncode == 0:
        pytest.skip("this system does not let root give up its right to write anywhere")
    for out, code, expected in (("closed", 1, "--out {}: cannot be written; choose"),
                                ("closed/new", 1, "{}: cannot be written: Permission denied"),
                                ("out", 3, "not completely: eve: cannot be read: Permission denied")):
        done = subprocess.run([*prefix, sys.executable, ROOT / "_report_evaluation.py", "grade", tmp_path / "subs",
                               "--rubric", rubric_file, "--out", tmp_path / out, "--jobs", "1"],
                              capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip().count("\n")) == (code, 0), done.stderr
        assert expected.format(tmp_path / out) in done.stderr
    row = table(tmp_path / "out")["ada"]
    assert float(row["total"]) > 0
    assert "private, runs/listed: cannot be read: Permission denied" in row["remarks"]
    for path in (tmp_path / "subs", *(tmp_path / "subs").rglob("*")):
        path.chmod(0o755)  # so that pytest can remove them


@pytest.mark.parametrize("words, code, expected", [
    (["grade"], 2, "required: SUBMISSIONS, --rubric, --out"),
    (["grade", "docs", "--rubric", "r", "--out", "docs/y"], 2, "inside the folder"),
    (["grade", "/nowhere", "--rubric", "r", "--out", "o"], 2, "no such folder or .zip file"),
    (["grade", "pyproject.toml", "--rubric", "r", "--out", "o"], 2, "pyproject.toml: cannot be read: File is not"),
    (["grade", "x", "--rubric", "r", "--out", "o", "--jobs", "0"], 2, "--jobs 0"),
    (["grade", "x", "--rubric", "r", "--out", "o", "--timeout", "-1"], 2, "--timeout")])
def test_wrong_use_is_one_line_and_exit_code_2(words: list[str], code: int, expected: str, capsys) -> None:
    assert exit_code(lambda: _report_evaluation.main(words), "") == code
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and expected in err[0]


def test_exit_code_3_lists_what_could_not_be_graded(rubric_file: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "subs").mkdir()
    (tmp_path / "subs" / "broken.zip").write_bytes(b"no archive")
    (tmp_path / "subs" / "eve.tar.gz").write_bytes(b"other archive")
    words = ["grade", str(tmp_path / "subs"), "--rubric", str(rubric_file), "--out", str(tmp_path / "out"),
             "--jobs", "1"]
    assert exit_code(lambda: _report_evaluation.main(words), "") == 3
    assert ("not completely: eve.tar.gz: neither a folder nor a .zip file; broken: contains nothing that is accepted "
            "(broken.zip: damaged, or cannot be read") in capsys.readouterr().err
    evidence = Evidence.model_validate_json((tmp_path / "out" / "broken" / "evidence.json").read_bytes())
    assert evidence.trouble
