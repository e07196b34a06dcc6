"""Files that survive a crash: written under a temporary name, flushed, then renamed; and their digests."""

import contextlib
import glob
import hashlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from utils.errors import RunError


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any], owner: str = "") -> None:
    """Call write(file) on a temporary file in path's folder, flush it to disk, then rename it to path.

    A reader of path sees the old bytes or the new ones, never a mixture.  A failure leaves no file behind; kill -9
    leaves one that remove_temporary() finds.  owner: the stem of the record that the file belongs to, if not path's.
    """
    temporary = path.with_name(f".{owner or path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:  # not tempfile's functions, whose files ignore the umask
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # once it is closed: Windows renames only closed files
        flush_folder(path.parent)
    except BaseException:  # on a full disk closing fails, too
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically.  Raises OSError."""
    write_atomically(path, lambda file: file.write(data))


def write_file(path: Path, data: bytes) -> None:
    """Write atomically.  RunError in one line where that fails."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise RunError(f"{path}: cannot be written: it is not a regular file")
    try:
        write_bytes(path.resolve(), data)  # through a link, not over it
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from None


def with_block(path: Path, name: str, block: str) -> bytes:
    """A file's bytes with `block` between its lines <!-- name:begin --> and <!-- name:end -->; the others are kept.

    RunError where it cannot be read or has not one of each, in this order.
    """
    begin, end = f"<!-- {name}:begin -->".encode(), f"<!-- {name}:end -->".encode()
    try:
        before = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    first, last = before.find(begin), before.find(end)
    if before.count(begin) != 1 or before.count(end) != 1 or first > last:
        raise RunError(f"{path}: needs one line {begin.decode()} and below it one line {end.decode()}; the table goes "
                       "between them")
    return before[:first] + begin + f"\n{block}".encode() + before[last:]


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a crash, where the system can do so."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems cannot
                os.fsync(handle)
        finally:
            os.close(handle)


def remove_temporary(path: Path) -> None:
    """Remove the temporary files that killed processes left for `path` and its companions; call it under path's lock.

    Companions have the same stem with another suffix, or with _run2, _failed and the like appended.
    """
    for left in path.parent.glob(f".{glob.escape(path.stem)}*.tmp"):
        if re.fullmatch(r"(_run\d+|_failed)?\..+\.tmp", left.name.removeprefix(f".{path.stem}")):
            left.unlink(missing_ok=True)
