"""One process a run: a lock beside the results, which says who holds it and ends with its holder, however that ends."""

import datetime
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.errors import RunError

LOCKS = ".locks"  # the files stay, as taking one away from under a waiting process would give two the same lock


class Held(RunError):
    """Another process trains this run now."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the run whose record is to be `path`.  Raises Held, which says by whom, where another process does.

    Raises RunError where no lock can be had.
    """
    from filelock import FileLock, Timeout

    file = path.parent / LOCKS / f"{path.stem}.lock"
    lock = FileLock(file, timeout=0)
    try:
        file.parent.mkdir(exist_ok=True)
        lock.acquire()
    except Timeout:
        raise Held(f"{path.name} is being trained by {file.read_text() or 'another process'}") from None
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise RunError(f"{file}: the lock of the run cannot be had ({getattr(error, 'strerror', None) or error})"
                       ) from None
    try:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        with suppress(OSError):  # a full disk: the lock holds without its holder's name
            file.write_text(f"process {os.getpid()} on {platform.node()}, since {now}")
        yield
    finally:
        lock.release()
