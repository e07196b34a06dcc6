"""What is copied from a submission and what is refused; the whole hostile class is in tests/faults."""

import shutil
from pathlib import Path

from grading.submission import find_submissions, take
from tests.hostile import CORPUS, TARGET


def test_links_are_refused_and_leftovers_of_a_results_folder_are_ignored(honest: Path, tmp_path: Path) -> None:
    shutil.copytree(honest, tmp_path / "s")
    CORPUS["link-to-neighbour"](tmp_path / "s")
    (tmp_path / "s" / "a.unfinished").mkdir()
    (tmp_path / "s" / "a.unfinished" / "stage1-step000000001.json").write_text("{}")
    assert (tmp_path / "s" / ".locks").is_dir()
    (tmp_path / "t").mkdir()
    taken = take(tmp_path / "s", tmp_path / "t")
    assert taken.refused == [f"{TARGET}.safetensors: a link"]
    assert f"{TARGET}.safetensors" not in taken.files


def test_a_folder_and_an_archive_of_one_name_are_two_students(tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    (tmp_path / "eve.ZIP").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "ada.zip").touch()
    (tmp_path / "notes.txt").touch()
    assert {student: path.name for student, path in find_submissions(tmp_path).items()} == {
        "ada": "ada", "ada.zip": "ada.zip", "eve": "eve.ZIP"}
