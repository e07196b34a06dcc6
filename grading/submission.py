"""Copy what a submission may contain, from a student's folder or .zip file, and refuse the rest.

No name and no stated size is trusted.  Files are opened only to be copied; everything afterwards reads the copies.
"""

import errno
import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from utils.records.lock import LOCKS
from utils.records.schema import UNFINISHED

SUFFIXES = (".json", ".npz", ".safetensors")  # what is graded
IGNORED = (".html", ".pdf", ".md", ".txt", ".webp", ".png")  # allowed, but not copied
ARCHIVES = (".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".xz", ".bz2")
JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", ".git", ".gitignore", ".ipynb_checkpoints", "__pycache__", LOCKS)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +-]{0,120}")  # of a file or folder
MAX_DEPTH, MAX_ENTRIES, MAX_NAME = 5, 500, 300
MAX_FILE_BYTES, MAX_BYTES = 200 * 2**20, 600 * 2**20  # as written, whatever an archive states
MAX_READ = 2 * 2**20  # bytes of one read while opening an archive: a list of far more than MAX_ENTRIES entries
BLOCK = 2**20
Entry = tuple[str, Callable[[], IO[bytes]] | str]  # a name, and a function that opens it or why it is refused


@dataclass
class Taken:
    """What was copied and what was refused.  files: SHA-256 by path below the folder, with /."""

    files: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)  # "path: reason"
    unreadable: str = ""  # why there is nothing to grade, or ""

    @property
    def digest(self) -> str:
        """Digest of the submission; every byte that is graded and every refusal changes it."""
        lines = [f"{name}\0{digest}" for name, digest in sorted(self.files.items())] + self.refused + [self.unreadable]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Refused(Exception):
    """One entry is not accepted; the message says why."""


class TooMuch(Exception):
    """The whole submission is not accepted."""


def find_submissions(folder: Path) -> dict[str, Path]:
    """The folders and .zip files in a folder, by student: the name without .zip.  Hidden entries are skipped.

    If a folder and a .zip file would have the same name, the .zip file keeps its suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (path.suffix == ".zip", path.name)):
        zipped = path.suffix.lower() == ".zip" and not path.is_dir()
        if not path.name.startswith(".") and (zipped or path.is_dir()):
            student = path.stem if zipped else path.name
            found[student if student not in found else path.name] = path
    return dict(sorted(found.items()))


def take(source: Path, target: Path) -> Taken:
    """Copy a submission into the empty folder `target`.  Raises nothing that a student can cause.

    Raises OSError if this machine has no space left.
    """
    taken = Taken()
    try:
        if source.is_symlink():
            raise TooMuch("is a link")
        copy_entries(from_folder(source) if source.is_dir() else from_zip(source), target, taken)
    except TooMuch as error:
        taken.unreadable = str(error)
    except Exception as error:  # zipfile raises many kinds for a malformed archive
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        taken.unreadable = f"cannot be read: {reason}"
    if taken.unreadable:
        taken.files.clear()
    elif not taken.files:
        taken.unreadable = (f"contains nothing that is accepted ({taken.refused[0]})" if taken.refused else
                            "contains no record (.json)")
    return taken


def copy_entries(entries: Iterator[Entry], target: Path, taken: Taken) -> None:
    """Copy the accepted entries.  TooMuch if their number, or their bytes as written, exceed the limits."""
    total = 0
    seen: set[str] = set()
    for number, (name, opened) in enumerate(entries, start=1):
        if number > MAX_ENTRIES:
            raise TooMuch(f"contains more than {MAX_ENTRIES} entries")
        try:
            if isinstance(opened, str):
                raise Refused(opened)
            parts = checked_parts(name)
            if parts is None:
                continue
            own, place = "/".join(parts), target.joinpath(*parts)
            if own.lower() in seen:
                raise Refused("a duplicate, or differs from another name only in upper and lower case")
            seen.add(own.lower())
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with opened() as reader, place.open("xb") as writer:
                    taken.files[own], size = copy(reader, writer, min(MAX_FILE_BYTES, MAX_BYTES - total))
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                place.unlink(missing_ok=True)
                raise Refused(f"damaged: {' '.join(str(error).split()) or 'it ends too early'}") from None
            total += size
        except Refused as error:
            taken.refused.append(f"{ascii(name)[1:-1][:120]}: {error}")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            taken.refused.append(f"{ascii(name)[1:-1][:120]}: both a file and a folder")


def copy(reader: IO[bytes], writer: IO[bytes], most: int) -> tuple[str, int]:
    """Copy block by block; SHA-256 and size.  TooMuch as soon as more than `most` bytes are read."""
    digest, size = hashlib.sha256(), 0
    while block := reader.read(BLOCK):
        size += len(block)
        if size > most:
            raise TooMuch(f"is larger than allowed ({MAX_FILE_BYTES // 2**20} MiB per file, {MAX_BYTES // 2**20} MiB "
                          "in total)")
        digest.update(block)
        writer.write(block)
    return digest.hexdigest(), size


def checked_parts(name: str) -> tuple[str, ...] | None:
    """The parts of an entry's path; None for an entry that is ignored.  Refused for an unsafe or unexpected name."""
    path = PurePosixPath(name.replace("\\", "/"))  # some archivers on Windows write backslashes
    if len(name) > MAX_NAME:
        raise Refused(f"a path of more than {MAX_NAME} characters")
    if path.is_absolute() or re.match(r"[A-Za-z]:", name):
        raise Refused("an absolute path")
    if ".." in path.parts:
        raise Refused("a path that leaves its folder")
    if any(part in JUNK or part.startswith("._") or part.endswith(UNFINISHED) for part in path.parts):  # ._: macOS
        return None
    if len(path.parts) > MAX_DEPTH:
        raise Refused(f"deeper than {MAX_DEPTH} folders")
    if not path.parts or not all(NAME.fullmatch(part) and not part.endswith((".", " ")) for part in path.parts):
        raise Refused("a name with characters other than letters, digits, space and . _ + -")
    if path.suffix in IGNORED:
        return None
    if path.suffix.lower() in ARCHIVES:
        raise Refused("an archive inside the submission; submit its contents instead")
    if path.suffix not in SUFFIXES:
        raise Refused(f"not one of {', '.join(SUFFIXES)}")
    return path.parts


def from_folder(source: Path) -> Iterator[Entry]:
    """Every file in a folder and its sub-folders, in order; links and special files are refused."""
    for place, folders, files in os.walk(source, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in JUNK)
        for name in [*sorted(files), *(name for name in folders if os.path.islink(os.path.join(place, name)))]:
            path = Path(place, name)
            yield path.relative_to(source).as_posix(), refusal(path.lstat().st_mode) or partial(open_regular, path)


def refusal(mode: int) -> str:
    """Why a file of this type is refused; "" for a regular file."""
    return "" if stat.S_ISREG(mode) else "a link" if stat.S_ISLNK(mode) else "not a regular file"


def open_regular(path: Path, kind: type[io.FileIO] = io.FileIO) -> io.FileIO:
    """Open a file that is neither a link nor a pipe, even if it was replaced since it was listed."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused("not a regular file")
    return kind(descriptor)


class SmallReads(io.FileIO):
    """A file that is read in parts of limited size, because zipfile reads the whole list of entries at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_READ:
            raise TooMuch(f"contains more than {MAX_ENTRIES} entries")
        return super().read(MAX_READ if size is None or size < 0 else size) or b""


def from_zip(source: Path) -> Iterator[Entry]:
    """Every file of an archive, in its order; links, encrypted entries and duplicates are refused."""
    with open_regular(source, SmallReads) as file, zipfile.ZipFile(file) as archive:
        seen: set[str] = set()
        for entry in archive.infolist():
            if not entry.filename:
                yield "", "has no name"
                continue
            if entry.is_dir():
                continue
            mode = entry.external_attr >> 16
            reason = refusal(mode) if stat.S_IFMT(mode) else ""
            if entry.filename in seen:
                reason = "a duplicate"
            elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                reason = "compressed by an unsupported method"  # Python unpacks the others in one go, of any size
            elif entry.flag_bits & 1:
                reason = "encrypted"
            yield entry.filename, reason or partial(archive.open, entry)
            seen.add(entry.filename)
