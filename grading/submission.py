"""Take a student's folder or .zip in: copy what a submission may hold, refuse the rest, trust no name and no size.

Nothing is opened where it lies but to be copied; everything afterwards reads the copy.
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
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from utils.records.lock import LOCKS
from utils.records.schema import UNFINISHED

SUFFIXES = (".json", ".npz", ".safetensors")  # what is read
OTHERS = (".html", ".pdf", ".md", ".txt", ".webp", ".png")  # what may lie there as well, and is not looked at
ARCHIVES = (".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".xz", ".bz2")
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +-]{0,120}")
MAX_DEPTH, MAX_ENTRIES, MAX_NAME = 5, 500, 300
MAX_FILE_BYTES, MAX_BYTES = 200 * 2**20, 600 * 2**20  # as they are written, whatever an archive says
MAX_READ = 2 * 2**20  # bytes that opening an archive may read at once: the list of far more than MAX_ENTRIES entries
JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", ".git", ".gitignore", ".ipynb_checkpoints", "__pycache__", LOCKS)
BLOCK = 2**20


@dataclass
class Taken:
    """What was copied and what was refused.  files: by name below the folder, with /, their SHA-256."""

    files: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)  # sentences
    unreadable: str = ""  # why there is nothing to grade, or ""

    @property
    def digest(self) -> str:
        """Of the whole submission: it changes with every byte that is graded and every refusal."""
        told = [f"{name}\0{digest}" for name, digest in sorted(self.files.items())] + self.refused + [self.unreadable]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()


class Refused(Exception):
    """One entry that is not taken, with the reason."""


class TooMuch(Exception):
    """The whole submission is not taken."""


def find_submissions(folder: Path) -> dict[str, Path]:
    """The students' folders and .zip files, by student: the name without .zip.  Hidden entries are passed over.

    Where a folder and a .zip have one name, the latter keeps its suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (path.suffix == ".zip", path.name)):
        if not path.name.startswith(".") and (path.is_dir() or path.suffix.lower() == ".zip"):
            student = path.stem if path.suffix.lower() == ".zip" and not path.is_dir() else path.name
            found[student if student not in found else path.name] = path
    return dict(sorted(found.items()))


def take(source: Path, target: Path) -> Taken:
    """Copy a submission into the empty folder `target`.  Never raises for what a student can cause.

    OSError where this machine has no space left.
    """
    taken = Taken()
    try:
        if source.is_symlink():
            raise TooMuch("is a link")
        entries = from_folder(source) if source.is_dir() else from_zip(source)
        copy_entries(entries, target, taken)
    except TooMuch as error:
        taken.unreadable = str(error)
    except Exception as error:  # zipfile raises a dozen kinds on a malformed archive
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        taken.unreadable = f"cannot be read: {reason}"
    if taken.unreadable:
        taken.files.clear()
    elif not taken.files:
        taken.unreadable = (f"holds nothing that could be taken ({taken.refused[0]})" if taken.refused else
                            "holds no record (.json)")
    return taken


Entry = tuple[str, Callable[[], BinaryIO] | str]  # a name, and what opens it or why it is refused


def copy_entries(entries: Iterator[Entry], target: Path, taken: Taken) -> None:
    """Copy those that may be; TooMuch where their number or their bytes, as written, pass the limits."""
    total, seen = 0, set()
    for number, (name, opened) in enumerate(entries, start=1):
        if number > MAX_ENTRIES:
            raise TooMuch(f"holds more than {MAX_ENTRIES} entries")
        shown = ascii(name)[1:-1][:120]
        try:
            if isinstance(opened, str):
                raise Refused(opened)
            parts = checked_parts(name)
            if parts is None:
                continue
            own, place = "/".join(parts), target.joinpath(*parts)
            if own.lower() in seen:
                raise Refused("stands there twice, or differs from another in upper and lower case alone")
            seen.add(own.lower())
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with opened() as reader, place.open("xb") as writer:
                    digest, size = copy(reader, writer, min(MAX_FILE_BYTES, MAX_BYTES - total))
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                place.unlink(missing_ok=True)
                raise Refused(f"is damaged: {' '.join(str(error).split()) or 'it ends too early'}") from None
            total += size
            taken.files[own] = digest
        except Refused as error:
            taken.refused.append(f"{shown}: {error}")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            taken.refused.append(f"{shown}: is a file and a folder at once")


def copy(reader: BinaryIO, writer: BinaryIO, most: int) -> tuple[str, int]:
    """Copy in blocks; returns SHA-256 and size.  TooMuch as soon as more than `most` bytes come out."""
    digest, size = hashlib.sha256(), 0
    while block := reader.read(BLOCK):
        size += len(block)
        if size > most:
            raise TooMuch(f"holds more than is taken ({MAX_FILE_BYTES // 2**20} MiB a file, "
                          f"{MAX_BYTES // 2**20} MiB in all)")
        digest.update(block)
        writer.write(block)
    return digest.hexdigest(), size


def checked_parts(name: str) -> tuple[str, ...] | None:
    """The parts of an entry's path; None for what is passed over in silence.  Refused for a name that is not safe."""
    path = PurePosixPath(name.replace("\\", "/"))  # some of Windows' archivers write their own separator
    if len(name) > MAX_NAME:
        raise Refused(f"a path of more than {MAX_NAME} characters")
    if path.is_absolute() or re.match(r"[A-Za-z]:", name):
        raise Refused("an absolute path")
    if ".." in path.parts:
        raise Refused("a path that leaves its folder")
    # what begins with ._ is macOS's
    if any(part in JUNK or part.startswith("._") or part.endswith(UNFINISHED) for part in path.parts):
        return None
    if len(path.parts) > MAX_DEPTH:
        raise Refused(f"lies deeper than {MAX_DEPTH} folders")
    if not path.parts or not all(PART.fullmatch(part) and not part.endswith((".", " ")) for part in path.parts):
        raise Refused("a name with other characters than letters, digits, space and . _ + -")
    if path.suffix in OTHERS:
        return None
    if path.suffix.lower() in ARCHIVES:
        raise Refused("is an archive within the submission; hand in what it holds")
    if path.suffix not in SUFFIXES:
        raise Refused(f"is none of {', '.join(SUFFIXES)}")
    return path.parts


def from_folder(source: Path) -> Iterator[Entry]:
    """Every file below a folder, in order; links and everything that is no regular file come with a refusal."""
    for place, folders, files in os.walk(source, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in JUNK)
        for name in [*sorted(files), *(name for name in folders if os.path.islink(os.path.join(place, name)))]:
            path = Path(place, name)
            shown = path.relative_to(source).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield shown, "a link"
            elif not stat.S_ISREG(mode):
                yield shown, "no regular file"
            else:
                yield shown, lambda path=path: open_regular(path)


def open_regular(path: Path) -> BinaryIO:
    """Open a file that is no link and no pipe, even where it was swapped since it was looked at."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused("no regular file")
    return os.fdopen(descriptor, "rb")


class Careful(io.BufferedIOBase):
    """An archive's bytes, of which only a little is read at once: zipfile takes the list of entries in whole."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > MAX_READ:
            raise TooMuch(f"holds more than {MAX_ENTRIES} entries")
        return self.file.read(size if size >= 0 else MAX_READ)


def from_zip(source: Path) -> Iterator[Entry]:
    """Every file of an archive, in its order; links, encrypted entries and duplicates come with a refusal."""
    with open_regular(source) as file, zipfile.ZipFile(Careful(file)) as archive:
        seen: set[str] = set()
        for entry in archive.infolist():
            kind = entry.external_attr >> 16
            if not entry.filename:
                yield "", "has no name"
                continue
            if entry.is_dir():
                continue
            if entry.filename in seen:
                yield entry.filename, "stands there twice"
            elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # Python unpacks the others in one go, however much comes out
                yield entry.filename, "is compressed in a way that is not taken"
            elif entry.flag_bits & 1:
                yield entry.filename, "is encrypted"
            elif kind and stat.S_IFMT(kind) not in (0, stat.S_IFREG):
                yield entry.filename, "a link" if stat.S_ISLNK(kind) else "no regular file"
            else:
                yield entry.filename, lambda entry=entry: archive.open(entry)
            seen.add(entry.filename)
