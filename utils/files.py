"""Files that survive a crash: written beside their name, flushed, then renamed; and their digests."""

import contextlib
import glob
import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any], owner: str = "") -> None:
    """Call write(file) on a temporary file in path's folder, flush it to the disk, then rename it to path.

    Whoever reads path sees the old bytes or the new ones, never a part; a failure leaves no file behind, and kill -9
    one that remove_temporary() finds.  owner: the stem of the record that the file belongs to, where path's is another.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{owner or path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp makes files that only their owner reads
        os.replace(name, path)
        flush_folder(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def flush_folder(folder: Path) -> None:
    """Have the disk know of a renaming in this folder, where the system lets a folder be flushed."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems do not
                os.fsync(handle)
        finally:
            os.close(handle)


def remove_temporary(path: Path) -> None:
    """Remove what killed processes left of writing `path` or a file beside it, when nobody else is writing them.

    Beside it: other suffixes, and _run2, _failed and the like at the end of its name.
    """
    for left in path.parent.glob(f".{glob.escape(path.stem)}*.tmp"):
        if re.fullmatch(r"(_run\d+|_failed)?\..+\.tmp", left.name.removeprefix(f".{path.stem}")):
            left.unlink(missing_ok=True)
