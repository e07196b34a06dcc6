"""What is copied from a submission and what is refused; the whole hostile class is in tests/faults."""

import io
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from grading import submission
from grading.submission import MAX_DEPTH, METADATA, UNUSED, find_submissions, open_regular, take
from tests.grading.helpers import ROOT, run_grading
from tests.hostile import CORPUS, TARGET
from utils.errors import UsageError


def taken_from(*sources: Path) -> submission.Taken:
    target = sources[0].with_name(sources[0].name + " copy")
    target.mkdir()
    taken = take(sources, target)
    assert sorted(path.name for path in target.iterdir()) == sorted(taken.files)  # nothing else is left there
    assert all(name.split(".")[0].isdecimal() for name in taken.files)
    return taken


def paths(taken: submission.Taken) -> list[str]:
    """Of what was taken, in the submission."""
    return [path for _, path in taken.files.values()]


def write(folder: Path, *names: str) -> Path:
    """A folder with files of distinct contents."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def zip_of(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return data.getvalue()


def test_links_are_refused_and_leftovers_of_a_results_folder_are_ignored(honest: Path, tmp_path: Path) -> None:
    shutil.copytree(honest, tmp_path / "s")
    CORPUS["link-to-neighbour"](tmp_path / "s")
    (tmp_path / "s" / "a.unfinished").mkdir()
    (tmp_path / "s" / "a.unfinished" / "stage1-step000000001.json").write_text("{}")
    assert (tmp_path / "s" / ".locks").is_dir()
    taken = taken_from(tmp_path / "s")
    assert taken.refused == [f"{TARGET}.safetensors: a link"]
    assert f"{TARGET}.safetensors" not in paths(taken)


@pytest.mark.parametrize("name", [
    "Assignment 1 (final)/results/a.json", "Ergebnisse_\xdcbung/a.json", "x (1).json", "\u732b/\u5b66\u751f.json",
    "a&b,c'd[e]#f~g/h.json", "1/2/3/4/5/6/7/8/a.json", "n" * 120 + "/" + "m" * 120 + ".json", "a.JSON",
    " leading/trailing /a .json", "$(touch executed).json", "a\nb.json", "\u202ea.json"])
def test_names_of_any_spelling_are_taken_and_shown_in_one_printable_line(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "s", name)
    (tmp_path / "s.zip").write_bytes(zip_of(name))
    for source in (folder, tmp_path / "s.zip"):
        taken = taken_from(source)
        assert len(taken.files) == 1 and not taken.refused, taken
        assert all(shown.isprintable() and len(shown) <= submission.SHOWN for shown in paths(taken))


def test_names_that_are_not_utf_8_are_taken_and_can_be_written_in_a_manifest(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"J\xf6rg")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system only has UTF-8 names")
    (folder / os.fsdecode(b"\xe9.json")).write_text("{}")
    found, others, _ = find_submissions(tmp_path)
    assert list(found) == ["J\\udcf6rg"] and not others
    assert paths(taken_from(folder)) == ["\\udce9.json"]


def test_one_level_of_zip_inside_a_student_s_folder_is_unpacked_within_the_same_limits(tmp_path, monkeypatch) -> None:
    folder = write(tmp_path / "s", "a.json")
    (folder / "handin (1).zip").write_bytes(zip_of("results/b.json", "__MACOSX/._b.json", "inner.zip"))
    (folder / "broken.ZIP").write_bytes(b"PK")
    taken = taken_from(folder)
    assert sorted(paths(taken)) == ["a.json", "handin (1).zip/results/b.json"]
    assert len(taken.refused) == 2 and "broken.ZIP: damaged" in taken.refused[0]
    assert taken.refused[1] == "handin (1).zip/inner.zip: an archive that is not unpacked; submit its contents"
    monkeypatch.setattr(submission, "MAX_BYTES", 19)  # of both files together
    shutil.rmtree(tmp_path / "s copy")
    assert "is larger than" in taken_unreadable(folder)
    monkeypatch.setattr(submission, "MAX_BYTES", 10**6)
    monkeypatch.setattr(submission, "MAX_LISTED", 3)
    shutil.rmtree(tmp_path / "s copy")
    assert "contains more than" in taken_unreadable(folder)


def taken_unreadable(folder: Path) -> str:
    target = folder.with_name(folder.name + " copy")
    target.mkdir()
    return take([folder], target).unreadable


def test_one_file_that_is_too_large_does_not_cost_the_others(tmp_path: Path, monkeypatch) -> None:
    folder = write(tmp_path / "s", "a.json", "data/much-too-large.npz")
    monkeypatch.setitem(submission.SUFFIXES, ".npz", 10)
    taken = taken_from(folder)
    assert paths(taken) == ["a.json"] and "data/much-too-large.npz: larger than" in taken.refused[0]


def test_identical_records_count_once_and_refusals_are_one_line_per_reason(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", "a.json", *(f"{i}.py" for i in range(30)))
    for i in range(40):
        shutil.copy(folder / "a.json", folder / f"copy{i}.json")
    taken = taken_from(folder)
    assert len(taken.files) == 1
    assert taken.refused == ["0.py, 1.py, 10.py and 27 more: not one of .json, .npz, .safetensors",
                             "a.json: submitted 41 times, counted once"]


def test_a_whole_repository_is_taken_without_its_environment(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", "repo/results/a.json", *(f"repo/.venv/{i}.json" for i in range(600)),
                   *(f"repo/venv/lib/site-packages/{i}.json" for i in range(600)))
    assert paths(taken_from(folder)) == ["repo/results/a.json"]


def test_an_environment_in_an_archive_does_not_cost_the_submission(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(submission, "MAX_LISTED", 20)
    (tmp_path / "s.zip").write_bytes(zip_of(*(f"repo/venv/lib/{i}.py" for i in range(100)), "repo/results/a.json"))
    assert paths(taken_from(tmp_path / "s.zip")) == ["s.zip/repo/results/a.json"]
    monkeypatch.setattr(submission, "MAX_READ", 1000)
    shutil.rmtree(tmp_path / "s.zip copy")
    unreadable = taken_unreadable(tmp_path / "s.zip")
    assert unreadable == "is an archive with too many files; leave out virtual environments and data sets"


def test_a_record_that_was_saved_as_text_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", "a.json", "1.2.3_mnist.json.txt", "b.NPZ.TXT", "notes.txt")
    assert taken_from(folder).refused == ["1.2.3_mnist.json.txt, b.NPZ.TXT: not one of .json, .npz, .safetensors"]


def test_a_link_that_leads_to_itself_does_not_stop_the_class(tmp_path: Path, rubric_file: Path) -> None:
    folder = write(tmp_path / "class", "ada/a.json")
    (folder / "loop").symlink_to("loop")
    assert find_submissions(folder)[:2] == ({"ada": [folder / "ada"]}, ["loop: neither a folder nor a .zip file"])
    for place, rubric, expected in ((folder / "loop", rubric_file, "no such folder"),
                                    (folder, folder / "loop", "cannot be read: Too many levels of symbolic links")):
        with pytest.raises(UsageError, match=f"loop: {expected}"):
            run_grading(place, rubric, tmp_path / "out")


def test_the_documented_limits_are_those_that_hold() -> None:
    text = " ".join((ROOT / "docs" / "grading.md").read_text(encoding="utf-8").split())
    record, other = (submission.SUFFIXES[suffix] / 1e6 for suffix in (".json", ".npz"))
    assert submission.SUFFIXES[".safetensors"] == other * 1e6
    assert (f"{submission.MAX_FILES} records, arrays and checkpoints; {record:.0f} MB per record, {other:.0f} MB per "
            f"other file, {submission.MAX_BYTES / 1e6:.0f} MB in total; {submission.MAX_LISTED:,} entries") in text
    assert f"as deep as {MAX_DEPTH} folders" in text


def test_folders_deeper_than_any_submission_are_refused_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write(folder, "a.json", "/".join(["d"] * (MAX_DEPTH + 60)) + "/b.json")
    taken = taken_from(folder)
    assert paths(taken) == ["a.json"] and f"deeper than {MAX_DEPTH} folders" in taken.refused[0]


def test_a_folder_that_is_swapped_for_a_link_while_it_is_copied_is_not_followed(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "victim", "b.json")
    folder = write(tmp_path / "s", "sub/a.json", "sub/b.json", "z/b.json")
    original = submission.copy

    def swap(*args):
        monkeypatch.setattr(submission, "copy", original)
        for name in ("sub", "z"):
            (folder / name).rename(tmp_path / f"away {name}")
            (folder / name).symlink_to(tmp_path / "victim")
        return original(*args)

    monkeypatch.setattr(submission, "copy", swap)
    (tmp_path / "copy").mkdir()
    take([folder], tmp_path / "copy")
    contents = {path.read_text() for path in (tmp_path / "copy").iterdir()}
    assert contents == {"sub/a.json", "sub/b.json"}  # of the folder that was open, not of the victim
    with pytest.raises(OSError):
        open_regular(folder / "sub")


def test_each_folder_and_archive_is_a_student_and_other_files_are_not(tmp_path: Path) -> None:
    write(tmp_path, "ada/a.json", "eve.ZIP", ".hidden/a.json", "ada.zip", "notes.txt", "__MACOSX/x/._a.json", METADATA,
          ".DS_Store", "Desktop.ini", "@eaDir/x/a.json", "$RECYCLE.BIN/a.json", "System Volume Information/a.json",
          "lost+found/a.json", "._ada.zip", "Mu\u0308ller/a.json", "x.tar.gz")
    teams = ("team_3_1_final", "team_3_2_final", "lab_03_2026_kim", "lab_03_2026_lee",  # not as Canvas calls them
             "sheet_03_1234567_kim", "sheet_03_1234568_lee")
    write(tmp_path, "rubric.yaml", "doejane_22_9876_hw.zip", *(f"{team}.zip" for team in teams))  # 9876: as Canvas does
    found, others, _ = find_submissions(tmp_path, {tmp_path / "rubric.yaml"})
    assert {student: [path.name for path in paths] for student, paths in found.items()} == {
        "M\xfcller": ["Mu\u0308ller"], "ada": ["ada"], "ada.zip": ["ada.zip"], "eve": ["eve.ZIP"],
        "doejane_22": ["doejane_22_9876_hw.zip"],
        **{team: [f"{team}.zip"] for team in teams}}
    assert others == [".hidden: hidden", "notes.txt: neither a folder nor a .zip file",
                      "x.tar.gz: neither a folder nor a .zip file", UNUSED]


@pytest.mark.parametrize("names, students", [
    (["Ada Lovelace_1234567_assignsubmission_file_/handin.zip", "Ada Lovelace_1234567_assignsubmission_onlinetext_/"
      "onlinetext.html", "\xc9va N_2_assignsubmission_file/a.json"], {"Ada Lovelace_1234567": 2, "\xc9va N_2": 1}),
    (["Ada Lovelace_1_assignsubmission_file_a.json", "Ada Lovelace_1_assignsubmission_file_a (1).npz",
      "Participant_2_assignsubmission_file_x.zip"], {"Ada Lovelace_1": 2, "Participant_2": 1}),
    (["lovelaceada_12345_67890_handin-1.zip", "doejane_LATE_22_67891_a.json", "doejane_LATE_22_67892_a.npz",
      "doejane_LATE_22_text.html", "van_der_bob_LATE_23_67893_my_12_34567_x.json", "van_der_bob_LATE_23_link.html"],
     {"lovelaceada_12345": 1, "doejane_22": 3, "van_der_bob_23": 2}),
    (["anon_x9f2K_67890_handin-1.zip", "LATE_anon_12345_67891_a.json", "LATE_anon_12345_67892_a (1).npz",
      "LATE_anon_12345_text.html", "anonymous_54321_67893_a_LATE_22_67891_b.json"],
     {"anon_x9f2K": 1, "anon_12345": 3, "anonymous_54321": 1}),
    ([f"Homework 1_{name}" for name in (
        "ada_l_attempt_2026-12-01-10-00-00.txt", "ada_l_attempt_2026-12-01-10-00-00_handin.zip",
        "jdoe_attempt_2026-11-30-09-00-00.txt", "jdoe_attempt_2026-11-30-09-00-00_a.json",
        "jdoe_attempt_2026-12-01-10-00-00.txt",
        "jdoe_attempt_2026-12-01-10-00-00_ada_l_attempt_2026-12-01-10-00-00_b.npz")],
     {"ada_l": 2, "jdoe": 4}),
    (["gradebook_CS-7_HW_1_ada_attempt_2026-12-01-10-00-00.txt"], {"ada": 1}),
    (["HW_attempt_2026_al_attempt_2026-12-01-10-00-00_a.json", "HW_attempt_2026_al_b_attempt_2026-12-01-10-00-00.txt"],
     {"al": 1, "al_b": 1}),
    (["doejane_22_67891_Doe_7_assignsubmission_file_x.zip", "lee_23_67892_hw_attempt_2026-12-01-10-00-00_a.json",
      "roe_24_67893_a.json"], {"doejane_22": 1, "lee_23": 1, "roe_24": 1}),  # Canvas; students chose the rest
    (["Default group_assignsubmission_file_/a.json", "Red team_17_assignsubmission_file_/a.json"],
     {"Default group": 1, "Red team_17": 1}),
    (["submission_1/a.json", "submission_2/b.zip", METADATA], {"submission_1": 1, "submission_2": 1})])
def test_exports_of_moodle_canvas_blackboard_and_gradescope_are_read_as_they_come(tmp_path, names, students) -> None:
    write(tmp_path / "class", *names)
    for around in ("", "assignment_7_export/", "Downloads/./class (1)/"):  # as they come, and packed again
        (tmp_path / "class.zip").write_bytes(zip_of(*(around + name for name in (*names, "__MACOSX/._x", "@eaDir/a"))))
        found, others, _ = find_submissions(tmp_path / "class.zip")
        assert {student: len(members) for student, members in found.items()} == students, around
        assert others == [UNUSED] * (METADATA in names and around.startswith("Downloads")), around
    (tmp_path / "class.zip").unlink()
    found, others, _ = find_submissions(tmp_path / "class")
    assert {student: len(paths) for student, paths in found.items()} == students and not others
    with pytest.raises(UsageError, match="holds the submissions of a class"):
        find_submissions(tmp_path)
    write(tmp_path, "eve/a.json")  # next to a student it is a submission, since a student may have written these names
    assert set(find_submissions(tmp_path)[0]) == {"class", "eve"}


def test_a_student_s_file_is_not_taken_for_gradescope_s(tmp_path: Path) -> None:
    own = ("runs/a.json", "submission_1/a.json", METADATA)
    for around, used in (("alice/", False), ("assignment_7_export/", True)):
        (tmp_path / "class.zip").write_bytes(zip_of(*(around + name for name in own[1:])))
        assert (find_submissions(tmp_path / "class.zip")[2] is not None) == used
        assert find_submissions(tmp_path / "class.zip")[1] == ([] if used else [UNUSED])
    write(tmp_path / "class", *own)
    assert find_submissions(tmp_path / "class")[1:] == ([UNUSED], None)
    assert find_submissions(tmp_path / "class", {tmp_path / "class" / METADATA})[1:] == ([], None)  # given: --manifest
    write(tmp_path / "one", "alice/run_10_20261101_x.json")  # looks like Canvas's, in a class of one
    assert set(find_submissions(tmp_path / "one")[0]) == {"alice"}


def test_loose_files_of_one_student_are_one_submission(tmp_path: Path) -> None:
    write(tmp_path, "doejane_22_10001_a.json", "doejane_22_10002_a.npz", "doejane_22_10003_b.txt")
    (tmp_path / "doejane_22_10004_c.zip").write_bytes(zip_of("c.json"))
    (tmp_path / "doejane_22_10005_d.zip").write_bytes(b"damaged")
    taken = taken_from(*find_submissions(tmp_path)[0]["doejane_22"])
    assert sorted(paths(taken)) == ["doejane_22_10001_a.json", "doejane_22_10002_a.npz",
                                            "doejane_22_10004_c.zip/c.json"]
    assert "doejane_22_10005_d.zip: damaged" in taken.refused[0]


def test_the_zip_of_a_class_gives_what_its_unpacked_folder_gives(tmp_path: Path) -> None:
    """Students in folders and archives, one level of archives inside, system litter, links, encrypted and odd names."""
    folder = write(tmp_path / "class", "ada/results/a.json", "ada/b.npz", "ada/notes.docx", "empty/.keep", "notes.txt",
                   "__MACOSX/ada/._a.json", "Mu\u0308ller/x (1).json")
    for name in ("ada/handin.zip", "eve.ZIP"):
        (folder / name).write_bytes(zip_of("c.json", "../../d.json", "inner.zip"))
    (folder / "ada" / "broken.zip").write_bytes(b"PK")
    (folder / "bob.zip").write_bytes(b"no archive")
    with zipfile.ZipFile(tmp_path / "class.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("class/empty")
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != ".keep":
                archive.write(path, f"class\\{path.relative_to(folder)}" if "eve" in path.name else path.relative_to(
                    tmp_path))
    found, others, _ = find_submissions(folder)
    packed, packed_others, _ = find_submissions(tmp_path / "class.zip")
    assert list(found) == list(packed) == ["M\xfcller", "ada", "bob", "empty", "eve"] and others == packed_others
    for student, sources in found.items():
        taken = []
        for number, source in enumerate((sources, packed[student])):
            (tmp_path / f"{student}{number}").mkdir()
            taken.append(take(source, tmp_path / f"{student}{number}"))
        unpacked, zipped = taken
        assert sorted(unpacked.files.values()) == sorted(zipped.files.values()), student
        assert sorted(unpacked.refused) == sorted(zipped.refused) and unpacked.unreadable == zipped.unreadable


def test_the_zip_of_a_class_is_read_within_the_limits_of_each_student(tmp_path: Path, monkeypatch) -> None:
    with zipfile.ZipFile(tmp_path / "class.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/big.json", bytes(2_000_000))
        archive.writestr("outer-bomb/handin.zip", bytes(4_000_000))
        archive.writestr("ada/a.json", "{}")
        archive.writestr("../../escaped.json", "{}")
        archive.writestr("/root.json", "{}")
        for name in ("ada/link.json", "link.zip"):
            link = zipfile.ZipInfo(name)
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
    monkeypatch.setitem(submission.SUFFIXES, ".json", 1_000_000)
    monkeypatch.setattr(submission, "MAX_BYTES", 3_000_000)
    found, others, _ = find_submissions(tmp_path / "class.zip")
    assert list(found) == ["ada", "bomb", "link", "outer-bomb"]
    assert others == ["..: hidden", "root.json: neither a folder nor a .zip file"]
    results = {}
    for student, sources in found.items():
        (tmp_path / student).mkdir()
        results[student] = take(sources, tmp_path / student)
    assert paths(results["ada"]) == ["a.json"] and results["ada"].refused == ["link.json: a link"]
    assert "larger than" in results["bomb"].unreadable and "is larger than" in results["outer-bomb"].unreadable
    assert "a link" in results["link"].unreadable
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ada", "bomb", "class.zip", "link", "outer-bomb"]


@pytest.mark.parametrize("raw, student", [
    ("Ren\xe9e".encode(), "Ren\xe9e"), ("Ren\xe9e".encode("cp850"), "Ren\xe9e"), (b"\xff\xfe\xe9", "\xa0\u25a0\u0398")])
def test_names_in_a_zip_that_do_not_say_their_encoding_are_utf_8_or_code_page_437(tmp_path, raw, student) -> None:
    """macOS writes UTF-8 without the flag that says so, older archivers on Windows a code page."""
    data = zip_of("X" * len(raw) + "/a.json", "other/b.json")
    (tmp_path / "class.zip").write_bytes(data.replace(b"X" * len(raw), raw))
    found = find_submissions(tmp_path / "class.zip")[0]
    assert list(found)[0] == student.replace("\xa0", "\\xa0") or list(found)[1] == student.replace("\xa0", "\\xa0")


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive", zip_of("a/b.json")[:-30]],  # a zip holds the time
                         ids=["empty", "two bytes", "text", "cut off"])
def test_a_damaged_zip_of_a_class_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "class.zip").write_bytes(data)
    with pytest.raises(UsageError, match=r"class\.zip: cannot be read: "):
        find_submissions(tmp_path / "class.zip")
