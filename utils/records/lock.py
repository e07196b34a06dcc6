"""A lock file per run: names its holder and is released when the holder exits, however it exits."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.errors import RunError, UsageError
from utils.records.schema import utc_now

LOCKS = ".locks"  # its files are never deleted: deleting one under a waiting process would grant the lock twice


class Held(RunError):
    """Another process is training this run."""


@contextmanager
def held(path: Path, identity: str = "") -> Iterator[None]:
    """Hold the lock of the run whose record will be `path`.

    identity: what it is trained on and starts from.  Raises Held, naming the holder, where another process has it,
    UsageError where that trains another run of this name, and RunError where there can be no lock.
    """
    from filelock import FileLock, Timeout

    file = path.parent / LOCKS / f"{path.stem}.lock"
    holder = file.with_suffix(".holder")  # of its own: Windows lets nobody read a locked file
    try:
        mode = path.parent.stat().st_mode  # whoever may write into a shared folder may lock its runs
        if not file.parent.exists():
            file.parent.mkdir(exist_ok=True)
            file.parent.chmod(0o7777 & mode)
        lock = FileLock(file, timeout=0, mode=0o666 & mode, fallback_to_soft=False)
        lock.acquire()
    except Timeout:
        text = ""
        with suppress(OSError):
            text = holder.read_text()
        name, _, theirs = text.partition("\n")
        if theirs and identity and theirs != identity:
            raise UsageError(f"{path.name} is the name of another run, on other images or from another encoder, that "
                             f"is being trained by {name}; give another --results-dir") from None
        raise Held(f"{path.name} is being trained by {name or 'another process'}") from None
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        raise RunError(f"{file}: cannot lock the run ({getattr(error, 'strerror', None) or error}); where the file "
                       "system has no locks, give a --results-dir on another one") from None
    try:
        with suppress(OSError):  # on a full disk the lock holds without the name of its holder
            holder.write_text(f"process {os.getpid()} on {platform.node()}, since {utc_now()}\n{identity}")
            holder.chmod(0o666 & mode)  # whatever the umask: the next holder may be another user
        yield
    finally:
        with suppress(OSError):
            holder.write_text("")  # or the next holder would have this name and identity until it writes its own
        lock.release()
