"""Copy what a submission may contain, from a student's folder, .zip file or loose files, and refuse the rest.

No name and no stated size is trusted.  The copies are numbered, so names of any spelling are accepted and only shown;
records find their artifacts by SHA-256 (child.py).  Files are opened only to be copied; everything afterwards reads
the copies.
"""

import errno
import hashlib
import io
import os
import re
import stat
import tempfile
import threading
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from report import show
from report.load import THEORY
from utils.errors import UsageError
from utils.images.folder_layout import LITTER
from utils.records.lock import LOCKS
from utils.records.schema import MAX_RECORD_BYTES, UNFINISHED

MAX_FILE_BYTES, MAX_BYTES = 200_000_000, 600_000_000  # as written, whatever an archive states
SUFFIXES = {".json": MAX_RECORD_BYTES, ".npz": MAX_FILE_BYTES, ".safetensors": MAX_FILE_BYTES}  # what is graded
IGNORED = (".html", ".pdf", ".md", ".txt", ".webp", ".png")  # allowed, but not copied
ARCHIVES = (".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".xz", ".bz2")
JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini", "__pycache__", "venv", "node_modules", "site-packages", LOCKS, THEORY)
PASSED_OVER = (*JUNK, ".DS_Store", ".git")  # next to the students
METADATA = "submission_metadata.yml"  # of Gradescope's export: who submitted, and when
UNUSED = f"{METADATA}: not used, because this is no export of Gradescope as it comes; --manifest can name it"
GRADESCOPE = re.compile(r"submission_\d+")  # its folders
# How "download all submissions" names files, and Moodle folders, too ("/" at the end); the groups are the student.
# Canvas's names are those of its lib/content_zipper.rb; a file's number there is no year.
BLACKBOARD = re.compile(r"(?P<who>.+?)_attempt_\d{4}(?:-\d\d){5}(?:\.txt|_[^/]+)")
CANVAS_FILE = r"_(?:(?!(?:19|20)\d\d_)\d{4,}_[^/]+|(?:text|link)\.html)"
MOODLE = re.compile(r"(?P<who>.+?(?:_\d+)?)_assignsubmission_[a-z]+(?:_.*)?/?")  # "Default group": no number
CANVAS = (re.compile(r"(?:LATE_)?(?P<who>anon(?:ymous)?_[^_]+)" + CANVAS_FILE),  # graded anonymously
          re.compile(r"(?P<who>.+?)(?:_LATE)?_(?P<id>[1-9]\d+)" + CANVAS_FILE))
EXPORTS = ((MOODLE,), (BLACKBOARD,), CANVAS)
MAX_DEPTH, MAX_FILES, MAX_LISTED = 40, 500, 20_000
SHOWN, MOST_LINES = 120, 20  # characters of a path and lines on what is refused that are shown
MAX_READ = 2 * 2**20  # bytes of one read while opening an archive: a list of about MAX_LISTED entries
BLOCK = 2**20
Opener = Callable[[], IO[bytes]]
Entry = tuple[str, Opener | str | None]  # a path, and a function that opens it, why it is refused, or None: passed over
Metadata = tuple[Path, Opener] | None  # a file's path, which may lead into an archive, and a function that opens it
Source = Path | list[Entry]  # a folder or file, or the student's part of a class's archive
ONE_AT_A_TIME = threading.Lock()  # what is copied: a class's archive is open once, and zipfile counts its readers


@dataclass
class Taken:
    """What was copied and what was refused.

    files: SHA-256 and path in the submission, by name of the copy; times: how many files were submitted, by SHA-256;
    reasons: paths by why they are refused; unreadable: why there is nothing to grade, or "".
    """

    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    unreadable: str = ""

    @property
    def refused(self) -> list[str]:
        """One line per reason, which names the first files; at most MOST_LINES."""
        lines = [f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}: {reason}"
                 for reason, names in self.reasons.items()]
        lines += [f"{path}: submitted {self.times[digest]} times, counted once"
                  for name, (digest, path) in self.files.items() if self.times[digest] > 1 and name.endswith(".json")]
        return lines[:MOST_LINES] + ([f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else [])

    @property
    def digest(self) -> str:
        """Digest of the submission; every byte that is graded, every name and every refusal changes it."""
        lines = ["\0".join([name, *self.files[name]]) for name in sorted(self.files)]
        return hashlib.sha256("\n".join([*lines, *self.refused, self.unreadable]).encode()).hexdigest()


class TooMuch(Exception):
    """The whole submission is not accepted."""


class Refused(Exception):
    """One file is not accepted."""


def find_submissions(place: Path, known: Collection[Path] = ()) -> tuple[dict[str, list[Source]], list[str], Metadata]:
    """Folders, .zip files and loose files of each student; "name: reason" for whatever else `place` holds; Gradescope's
    METADATA if it is there.

    place: the folder of a class, or a .zip file of one; known: the teacher's files, which may be among them.  A student
    is the name of a folder, of a .zip file without its suffix, or what an EXPORTS pattern finds; always as printable
    text in composed Unicode (NFC).  If a folder and a .zip file have the same name, the .zip file keeps its suffix.
    Raises UsageError if the export of a whole class is one folder deeper, or cannot be read.
    """
    found: dict[str, list[Source]] = {}
    others: list[str] = []
    lists: list[Opener | str | None] = []  # METADATA, at most one
    members = sorted(listed(place), key=lambda one: (is_archive(one[0]), one[0]))
    exported = students_of_export([name for name, _ in members])
    for original, source in members:
        name, is_folder = shown(original.rstrip("/")), original.endswith("/")
        if is_passed_over(original.rstrip("/")) or isinstance(source, Path) and real(source) in known:
            continue
        if original in exported:
            found.setdefault(exported[original], []).append(source)
        elif not name.startswith(".") and (is_folder or is_archive(name)):
            student = name if is_folder or name[:-len(".zip")] in found else name[:-len(".zip")]
            while student in found:  # two names that look the same
                student += " (2)"
            found[student] = [source]
        elif original == METADATA:
            lists.append(partial(open_regular, source) if isinstance(source, Path) else source[0][1])
        else:
            others.append(f"{name}: {'hidden' if name.startswith('.') else 'neither a folder nor a .zip file'}")
    metadata: Metadata = None
    for opened in lists:
        if callable(opened) and all(GRADESCOPE.fullmatch(student) for student in found):  # else it may be a student's
            metadata = place / METADATA, opened
        else:
            others.append(UNUSED)
    # all of them: one student's folder may look like an export without stopping the others
    around = [source for sources in found.values() for source in sources if holds_export(source)]
    if around and len(around) == len(found):
        raise UsageError(f"{around[0]}: holds the submissions of a class; give this folder instead of {place}")
    return dict(sorted(found.items())), others, metadata


def students_of_export(names: Iterable[str]) -> dict[str, str]:
    """The student by name of a folder (with "/" at its end) or file, for names that match one of EXPORTS.

    In Blackboard's, the assignment comes before the student: it is what all have in common, up to an underscore.
    """
    names = list(names)
    # of one system, that of most names: a student's own file may be called as in another's export
    matches = max(({name: match for name in names
                    if (match := next(filter(None, (pattern.fullmatch(shown(name)) for pattern in kind)), None))}
                   for kind in EXPORTS), key=len)
    begin = os.path.commonprefix([match["who"] for match in matches.values() if match.re is BLACKBOARD]).rfind("_") + 1
    return {name: match["who"][begin:] if match.re is BLACKBOARD else "_".join(match.groupdict().values())
            for name, match in matches.items()}


def listed(place: Path) -> list[tuple[str, Source]]:
    """Name, with "/" at the end of a folder's, and source of everything in the folder or the .zip file of a class.

    In an archive, a folder around the class is passed over.  UsageError if it cannot be read.
    """
    try:
        if place.is_dir():
            return [(path.name + "/" * path.is_dir(), path) for path in place.iterdir()]
        entries = list(entries_in(zipfile.ZipFile(place)))
    except Exception as error:  # zipfile raises many kinds
        raise UsageError(f"{place}: cannot be read: {why(error)}") from None
    while True:
        tops: dict[str, list[Entry]] = {}
        for path, opened in entries:
            top, slash, rest = path.partition("/")
            if top and not is_passed_over(top):
                tops.setdefault(top + slash, []).extend([(rest or top, opened)] if rest or not slash else ())
        only = min(tops, default="")
        inside = [path for path, _ in tops.get(only, ())]
        if len(tops) != 1 or not only.endswith("/") or students_of_export([only]) or not (
                students_of_export(inside) or any("/" in path or is_archive(path) for path in inside)):
            return list(tops.items())
        trusted = re.fullmatch(r"assignment_\d+_export/", only)  # and not one student's folder that imitates an export
        entries = [(path, opened if trusted or path != METADATA else None) for path, opened in tops[only]]


def real(path: Path) -> Path:
    """The path without links.  Path.resolve raises RuntimeError for a link that leads to itself."""
    return Path(os.path.realpath(path))


def name_of(entry: zipfile.ZipInfo) -> str:
    """An entry's path with slashes, the last of them at the end of a folder's.

    macOS writes UTF-8 without saying so, which zipfile takes for code page 437, and some on Windows write backslashes.
    """
    name = entry.filename
    with suppress(UnicodeError):
        name = name if entry.flag_bits & 0x800 else name.encode("cp437").decode()
    *folders, last = name.replace("\\", "/").split("/")
    return "/".join([*(part for part in folders if part not in ("", ".")), last])


def is_passed_over(name: str) -> bool:
    """Whether a file or folder next to the students is left by a system or a tool, or is the teacher's."""
    return name in PASSED_OVER or name.lower() in LITTER or name.startswith("._")


def is_archive(name: str) -> bool:
    return name.lower().endswith(".zip")


def holds_export(source: Source) -> bool:
    """Whether a folder looks like the export of a class and not like the submission of a student."""
    with suppress(OSError):  # of a link, or of what is no folder
        names = [] if isinstance(source, list) or source.is_symlink() else os.listdir(source)
        found = students_of_export(names)
        # Canvas's names have no word of their own: a student may call a file so
        return METADATA in names or len(set(found.values())) > 1 or any(
            word in name for word in ("_assignsubmission_", "_attempt_") for name in found)
    return False


def tops(source: Source) -> set[str]:
    """The names at the top of a submission, with "/" at the end of a folder's; of a loose file its own."""
    if isinstance(source, list):
        names = {top + slash for top, slash, _ in (path.partition("/") for path, _ in source)}
    elif source.is_symlink() or not source.is_dir():
        return {source.name}
    else:
        names = set()
        with suppress(OSError):  # of a folder that cannot be read
            names = {path.name + "/" * path.is_dir() for path in source.iterdir()}
    return {shown(name) for name in names if not name.startswith(".") and not is_passed_over(name.rstrip("/"))}


def shown(name: str) -> str:
    """A file's name as printable text: composed Unicode (macOS decomposes it), the rest escaped."""
    return show.plain(unicodedata.normalize("NFC", name))


def take(sources: Sequence[Source], target: Path) -> Taken:
    """Copy a submission into the empty folder `target`.  Raises nothing that a student can cause.

    Raises OSError if this machine has no space left.
    """
    taken = Taken()
    try:
        with ONE_AT_A_TIME:
            copy_entries((entry for source in sources for entry in entries_of(source)), target, taken)
    except Exception as error:
        taken.unreadable = str(error) if isinstance(error, TooMuch) else f"cannot be read: {why(error)}"
        taken.files.clear()
    if not taken.files and not taken.unreadable:
        taken.unreadable = (f"contains nothing that is accepted ({taken.refused[0]})" if taken.reasons else
                            "contains no record (.json)")
    return taken


def why(error: Exception) -> str:
    """An exception's reason in one line.  Raises it again if the disk is full, which is no student's fault."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise error
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def copy_entries(entries: Iterable[Entry], target: Path, taken: Taken) -> None:
    """Copy the accepted entries.  TooMuch if their number, or their bytes as written, exceed the limits."""
    left = MAX_BYTES
    for number, (path, opened) in enumerate((entry for entry in entries if not is_junk(entry[0])), start=1):
        if number > MAX_LISTED or taken.times.total() > MAX_FILES:
            raise TooMuch(f"contains more than {MAX_FILES} records, arrays and checkpoints, or {MAX_LISTED:,} entries")
        suffix, before = (PurePosixPath(name).suffix.lower() for name in (path, PurePosixPath(path).stem))
        if opened is None or callable(opened) and suffix in IGNORED and before not in SUFFIXES:  # run.json.txt is named
            continue
        copied, name = target / f"{number:05}{suffix if suffix in SUFFIXES else ''}", show.shorten(shown(path), SHOWN)
        try:
            if not callable(opened):
                raise Refused(opened)
            if suffix not in SUFFIXES:
                raise Refused("an archive that is not unpacked; submit its contents" if suffix in ARCHIVES else
                              f"not one of {', '.join(SUFFIXES)}")
            with opened() as reader, copied.open("xb") as writer:
                digest = copy(reader, writer, SUFFIXES[suffix], left)
        except TooMuch:
            raise
        except Exception as error:  # zipfile and zlib raise many kinds; the other files count
            reason = str(error) if isinstance(error, Refused) else f"damaged, or cannot be read: {why(error)}"
            taken.reasons.setdefault(reason, []).append(name)
            digest = ""
        left -= copied.stat().st_size if copied.exists() else 0
        if digest:
            taken.times[digest] += 1
        if taken.times[digest] == 1:
            taken.files[copied.name] = digest, name
        else:
            copied.unlink(missing_ok=True)


def copy(reader: IO[bytes], writer: IO[bytes], most: int, left: int) -> str:
    """Copy block by block; returns the SHA-256.  Refused above `most` bytes, TooMuch above `left`, as read."""
    digest, size = hashlib.sha256(), 0
    while block := reader.read(BLOCK):
        size += len(block)
        if size > left:
            raise TooMuch(f"is larger than the {MAX_BYTES / 1e6:.0f} MB that a submission may have")
        if size > most:
            raise Refused(f"larger than the {most / 1e6:.0f} MB that a file of this kind may have")
        digest.update(block)
        writer.write(block)
    return digest.hexdigest()


def is_junk(path: str) -> bool:
    """Whether a path contains what systems and tools leave behind; hidden files and folders are passed over too."""
    return any(part in JUNK or part.endswith(UNFINISHED) or part.startswith(".") and part != ".."
               for part in PurePosixPath(path).parts)


def entries_of(source: Source) -> Iterator[Entry]:
    """Every file of a submission, and in the .zip files there, one level deep.  TooMuch for a link."""
    for path, opened in source if isinstance(source, list) else from_path(source):
        if callable(opened) and is_archive(path) and not is_junk(path):
            yield path, None
            yield from from_zip(path, opened)
        else:
            yield path, opened


def from_path(source: Path) -> Iterator[Entry]:
    """Every file of a folder and its sub-folders, in order, or a file itself; no link is followed anywhere.

    Each folder is opened relative to the one above it (os.fwalk), so swapping a folder for a link has no effect.
    """
    mode = source.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise TooMuch("is a link")
    if not stat.S_ISDIR(mode):
        yield source.name, refusal(mode) or partial(open_regular, source)
        return
    failed: list[OSError] = []  # what went away or lost its rights since it was listed
    for place, folders, files, descriptor in os.fwalk(source, onerror=failed.append):
        inside = PurePosixPath(place).relative_to(PurePosixPath(source))
        modes = {name: os.lstat(name, dir_fd=descriptor).st_mode for name in sorted([*folders, *files])}
        folders[:] = [name for name, mode in modes.items() if stat.S_ISDIR(mode) and not is_junk(name)]
        for name in [name for name in folders if not os.access(name, os.R_OK | os.X_OK, dir_fd=descriptor)]:
            folders.remove(name)
            yield str(inside / name), "cannot be read: Permission denied"
        if len(inside.parts) >= MAX_DEPTH and folders:
            yield f"{inside}/{folders[0]}", f"deeper than {MAX_DEPTH} folders"
            folders.clear()
        for name, mode in modes.items():
            yield str(inside / name), None if stat.S_ISDIR(mode) else refusal(mode) or partial(
                open_regular, name, descriptor)
    for error in failed:
        yield str(error.filename), f"cannot be read: {why(error)}"


def refusal(mode: int) -> str:
    """Why a file of this type is refused; "" for a regular file."""
    return "" if stat.S_ISREG(mode) else "a link" if stat.S_ISLNK(mode) else "not a regular file"


def open_regular(path: str | Path, folder: int | None = None) -> io.FileIO:
    """Open a file that is neither a link nor a pipe, even if it was replaced since it was listed.

    folder: descriptor that `path` is relative to.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return io.FileIO(descriptor)


class SmallReads(io.FileIO):
    """A file that is read in parts of limited size, because zipfile reads the whole list of entries at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_READ:
            raise TooMuch("is an archive with too many files; leave out virtual environments and data sets")
        return super().read(MAX_READ if size is None or size < 0 else size) or b""


def from_zip(path: str, opened: Opener) -> Iterator[Entry]:
    """Every file of an archive in a submission; a damaged archive is refused.

    It is copied first, since it may be in the archive of a class, and an archive is not read from front to back.
    """
    try:
        with tempfile.TemporaryFile() as whole:
            with opened() as reader:
                copy(reader, whole, MAX_BYTES, MAX_BYTES)
            whole.flush()
            with SmallReads(os.dup(whole.fileno())) as file, zipfile.ZipFile(file) as archive:
                for inside, entry in entries_in(archive):
                    yield f"{path}/{inside}", entry
    except TooMuch:
        raise
    except Exception as error:  # zipfile raises many kinds
        yield path, f"damaged, or cannot be read: {why(error)}"


def entries_in(archive: zipfile.ZipFile) -> Iterator[Entry]:
    """Every file of an archive, in its order; links, encrypted entries and unusual compression are refused."""
    for entry in archive.infolist():
        name, mode = name_of(entry), entry.external_attr >> 16
        reason = refusal(mode) if stat.S_IFMT(mode) else ""
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            reason = "compressed by an unsupported method"  # Python unpacks others in one go, of any size
        elif entry.flag_bits & 1:
            reason = "encrypted"
        yield name, None if name.endswith("/") else reason or partial(archive.open, entry)
