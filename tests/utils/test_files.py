"""Files are written whole or not at all, and what killed processes left is removed."""

import os
from pathlib import Path
from typing import IO

import pytest

from utils.console import duration_in_words
from utils.files import remove_temporary, write_atomically, write_bytes
from utils.version import commit_of, project_version


def test_an_interrupted_write_keeps_the_old_bytes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, lambda file: file.write(b"old"))

    def break_off(file: IO[bytes]) -> None:
        file.write(b"half of the new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, break_off)
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_disk_that_is_full_when_little_is_flushed_leaves_nothing_behind(tmp_path: Path) -> None:
    def fill(file: IO[bytes]) -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, file.fileno())
        os.close(full)
        file.write(b"fits into the buffer")  # so that flushing fails, and closing again

    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", fill)
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(os.name != "posix", reason="no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_that_the_umask_leaves(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


def test_only_the_leftovers_of_this_run_are_removed(tmp_path: Path) -> None:
    own = [".run_seed1.json.ab.tmp", ".run_seed1_run2.npz.ab.tmp", ".run_seed1_failed.json.ab.tmp", ".run_seed1.ab.tmp"]
    others = [".run_seed10.json.ab.tmp", ".run_seed1_0123abcd.json.ab.tmp", ".run_seed1.tmp", "run_seed1.json"]
    for name in own + others:
        (tmp_path / name).write_text("")
    remove_temporary(tmp_path / "run_seed1.json")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(others)


def test_durations_are_in_the_unit_that_fits() -> None:
    assert [duration_in_words(seconds) for seconds in (6.4, 59.9, 59.97, 754, 3600, 7320)] == [
        "6.4 s", "59.9 s", "1 min 00 s", "12 min 34 s", "1 h 00 min", "2 h 02 min"]


def test_the_version_is_a_number_and_a_folder_outside_git_has_no_commit(tmp_path: Path) -> None:
    assert [part.isdigit() for part in project_version().split(".")] == [True] * 3
    assert commit_of(tmp_path) == ("unknown", None)
