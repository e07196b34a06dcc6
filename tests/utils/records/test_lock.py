"""The lock of a run."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from utils.errors import RunError, UsageError
from utils.records.lock import LOCKS, Held, held


def test_whoever_may_write_into_a_shared_folder_may_lock_its_runs(tmp_path: Path) -> None:
    for name, mode in (("shared", 0o2775), ("own", 0o755)):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(mode)
        umask = os.umask(0o077)
        try:
            with held(folder / "x.json"):
                pass
        finally:
            os.umask(umask)
        assert (folder / LOCKS / "x.holder").stat().st_mode & 0o777 == mode & 0o666
        assert (folder / LOCKS).stat().st_mode & 0o777 == mode & 0o777
        assert (folder / LOCKS / "x.lock").stat().st_mode & 0o777 == mode & 0o666


def test_the_holder_is_named_without_reading_the_locked_file(tmp_path: Path) -> None:
    """On Windows nobody else can read a file that is locked."""
    with held(tmp_path / "x.json"):
        assert (tmp_path / LOCKS / "x.lock").read_bytes() == b""
        with pytest.raises(Held, match=r"is being trained by process \d+ on "), held(tmp_path / "x.json"):
            pass
        (tmp_path / LOCKS / "x.holder").unlink()
        (tmp_path / LOCKS / "x.holder").mkdir()  # or whatever else cannot be read
        with pytest.raises(Held, match="is being trained by another process"), held(tmp_path / "x.json"):
            pass


def test_another_run_of_the_same_name_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """Two folders called pets, or two encoders to start from: the second run must not count as being trained."""
    with held(tmp_path / "x.json", "pets"):
        for identity, error in (("pets", Held), ("other pets", UsageError)):
            with pytest.raises(error, match="is being trained by process"), held(tmp_path / "x.json", identity):
                pass


def test_a_file_system_without_locks_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file of another kind would outlive a killed process."""
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    remedy = "cannot lock the run .* give a --results-dir on another one"
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(RunError, match=remedy), held(tmp_path / "x.json"):
        pass
