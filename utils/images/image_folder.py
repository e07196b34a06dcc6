"""A folder of images as a data set: one sub-folder per class, decoded once into a memory-mapped cache.

    path/cat/*.png  path/dog/*.jpg            split here: a fifth of each class becomes the test set
    path/train/cat/...  path/test/cat/...     split by the folders

Images become RGB squares.  Unreadable ones are listed and left out.  The arrays stay on disk, so a set larger than
memory can be trained on.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from utils.console import say
from utils.errors import RunError, UsageError, reason
from utils.images.chunks import decode_all, finished_chunks, places, read_chunk, read_unreadable
from utils.images.splits import PARTS, SPLIT_SEED, TEST_FRACTION, Arrays, digests, scratch, stratified_split

Listed = tuple[str, int, Path]  # one image file: split ("" where there are no split folders), label, file

FOLDER_SIDE = 32  # pixels, unless --image-size is given
FOLDER_SIDES = range(8, 257, 4)  # decoders and transformers need multiples of 4; a sheet of thumbnails ends at 256
FOLDER_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
UNREADABLE = "unreadable.txt"  # in the cache: one line per image, with the reason
FOLDER_MIN_IMAGES = {"": 10, "train": 9, "test": 1}  # per class; fewer cannot fill training, validation and test
FOLDER_MAX_CLASSES = 1000  # the limit of a record


def scan(path: Path, side: int) -> tuple[tuple[str, ...], list[Listed], str]:
    """Class names, images and a key that changes with them and the side.  UsageError for an unsuitable folder."""
    try:
        classes, images = _scan(path)
        key = _listing_digest(path, images, side)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}") from error
    _check_counts(path, classes, images)
    return classes, images, key


def read_or_build(path: Path, classes: tuple[str, ...], images: list[Listed], key: str, side: int,
                  cache: Path) -> tuple[Arrays, dict[str, str]]:
    """The memory-mapped arrays, decoded first if the cache lacks them, and their SHA-256.

    side: of the decoded images, pixels.  The caller holds the lock.  Raises UsageError where too few images can be
    read, RunError on a full disk.
    """
    if not _is_current(cache, key):
        _build(path, classes, images, side, cache, key)
    for chunks in cache.parent.glob(f".{cache.name}.*.chunks"):  # replaced by the cache
        shutil.rmtree(chunks)
    facts = _read_facts(cache)
    if facts["unreadable"]:
        say(f"{path.name}: {_unreadable_text(list(facts['unreadable']))}; all with reasons: {cache / UNREADABLE}")
    return _read_parts(cache), facts["sha256"]


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")))


def images_in(folder: Path) -> list[Path]:
    """All paths below a folder with the suffix of an image, sorted, without hidden ones such as those of macOS.

    They include dead links, sub-folders with such a name and sub-folders that cannot be listed: decoding them fails and
    is reported.
    """
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=lambda error: found.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(Path(place, name) for name in (*folders, *files)
                     if not name.startswith(".") and os.path.splitext(name)[1].lower() in FOLDER_SUFFIXES)
    return sorted(set(found))


def _scan(path: Path) -> tuple[tuple[str, ...], list[Listed]]:
    """The class names and the images of a folder, sorted by split, class and file name.  Raises UsageError."""
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder" if path.exists() else f"there is no folder {path}")
    roots = {"train": path / "train", "test": path / "test"}
    if not all(root.is_dir() and _subfolders(root) for root in roots.values()):
        roots = {"": path}
    classes, *others = (_subfolders(root) for root in roots.values())
    differing = sorted(set(classes).symmetric_difference(*others)) if others else []
    if differing:
        raise UsageError(f"{path}: train and test must have the same classes, but only one has "
                         f"{', '.join(map(repr, differing[:5]))}")
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{path}: the folder name {name!r} is not UTF-8 text; rename it") from None
    if not 2 <= len(classes) <= FOLDER_MAX_CLASSES:
        raise UsageError(f"{path} has {len(classes)} class folders; the images must be in 2 to {FOLDER_MAX_CLASSES} "
                         "sub-folders, one per class")
    return classes, [(split, label, file) for split, root in roots.items() for label, name in enumerate(classes)
                     for file in images_in(root / name)]


def _check_counts(path: Path, classes: tuple[str, ...], images: list[Listed], note: str = "") -> None:
    """UsageError, ending with the note, unless each class has enough images in each split."""
    counts = Counter((split, label) for split, label, _ in images)
    splits = ("train", "test") if any(split for split, _, _ in images) else ("",)
    for split in splits:
        for label, name in enumerate(classes):
            if counts[split, label] < FOLDER_MIN_IMAGES[split]:
                where = f" in {split}" if split else ""
                raise UsageError(f"{path}: class {name!r} has {counts[split, label]} readable images{where}, but "
                                 f"at least {FOLDER_MIN_IMAGES[split]} are needed{note and '; '}{note}")


def _unreadable_text(names: list[str]) -> str:
    some = ", ".join(map(ascii, names[:3])) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} unreadable and left out: {some}" if names else ""


def _listing_digest(path: Path, images: list[Listed], side: int) -> str:
    """Changes when an image of the folder is added, removed or rewritten, or its permissions change."""
    rows = [[file.relative_to(path).as_posix(), *_state(file)] for _, _, file in images]
    return hashlib.sha256(json.dumps([str(path), side, rows]).encode()).hexdigest()


def _state(file: Path) -> tuple[int, ...]:
    """Size, modification time and permissions; () for a dead link."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns, status.st_mode


def _is_current(cache: Path, key: str) -> bool:
    """Whether the cache is intact and matches the folder as it is now; prints a line if it exists and does not."""
    if not cache.exists():
        return False
    try:
        facts = _read_facts(cache)
        if facts["key"] != key:
            say(f"the images have changed; the cache {cache} is rebuilt")
            return False
        if digests(_read_parts(cache)) == facts["sha256"]:
            return True
    except Exception:  # a damaged file raises half a dozen types, all handled alike
        pass
    say(f"the cache {cache} is damaged; it is deleted and rebuilt")
    return False


def _read_parts(cache: Path) -> Arrays:
    """The arrays of a folder's cache, memory-mapped."""
    return {part: np.load(cache / f"{part}.npy", mmap_mode="r", allow_pickle=False) for part in PARTS}


def _read_facts(cache: Path) -> dict[str, Any]:
    """The facts in a folder's cache: key, sha256 of the arrays, and the names of unreadable images."""
    return json.loads((cache / "cache.json").read_text(encoding="utf-8"))


def _build(path: Path, classes: tuple[str, ...], images: list[Listed], side: int, cache: Path, key: str) -> None:
    """Decode all images into chunks, which survive a kill, then move these into `cache`, atomically.

    Raises UsageError where too few images are readable, RunError on a full disk.
    """
    chunks = _chunks_folder(path, cache, key)
    kept = sum(file.stat().st_size for file in chunks.iterdir()) if chunks.exists() else 0
    need = 2 * len(images) * side * side * 3 - kept  # bytes: decoded, and again while they are split
    if shutil.disk_usage(cache.parent).free < need:
        raise RunError(f"{cache.parent} has less than the {need / 1e9:.1f} GB free that {path} needs")
    chunks.mkdir(exist_ok=True)
    files = decode_all(path.name, [file for _, _, file in images], side, chunks,
                       _whole_chunks(path, chunks, len(images), side))
    unreadable = {images[places(number, len(images))[place]][2].relative_to(path).as_posix(): why
                  for number in sorted(files) for place, why in sorted(read_unreadable(files[number]).items())}
    readable = np.array([file.relative_to(path).as_posix() not in unreadable for _, _, file in images])
    try:
        _check_counts(path, classes, [images[i] for i in np.flatnonzero(readable)], _unreadable_text(list(unreadable)))
    except UsageError:
        shutil.rmtree(chunks)
        raise
    with scratch(cache.with_name(f".{cache.name}.tmp")) as temporary:
        _write_splits(temporary, images, readable, len(classes), files, side)
        facts = {"key": key, "sha256": digests(_read_parts(temporary)), "unreadable": unreadable}
        (temporary / "cache.json").write_text(json.dumps(facts), encoding="utf-8")
        if unreadable:
            lines = "".join(f"{name}: {why}\n" for name, why in unreadable.items())
            (temporary / UNREADABLE).write_text(lines, encoding="utf-8", errors="backslashreplace")
        shutil.rmtree(cache, ignore_errors=True)
        temporary.rename(cache)


def _chunks_folder(path: Path, cache: Path, key: str) -> Path:
    """The folder for the chunks of these images.  Chunks of an earlier state of the folder are deleted."""
    chunks = cache.with_name(f".{cache.name}.{key[:16]}.chunks")
    for other in cache.parent.glob(f".{cache.name}.*.chunks"):
        if other != chunks:
            say(f"{path.name}: the images have changed since an interrupted start, whose chunks are deleted")
            shutil.rmtree(other)
    return chunks


def _whole_chunks(path: Path, chunks: Path, count: int, side: int) -> dict[int, Path]:
    """The verified chunks of an interrupted start, by number; prints a line if there are any."""
    whole, damaged = finished_chunks(chunks, count, side)
    for file in damaged:
        file.unlink()
    if whole or damaged:
        done = sum(len(places(number, count)) for number in whole)
        say(f"{path.name}: resuming an interrupted start: {done:,} of {count:,} images are decoded"
            + (f"; {len(damaged)} chunks are damaged and decoded again" if damaged else ""))
    return whole


def _write_splits(folder: Path, images: list[Listed], readable: np.ndarray, classes: int, files: dict[int, Path],
                  side: int) -> None:
    """Write PARTS from the chunks, one split after the other.  readable: (N,) bool."""
    rows = np.flatnonzero(readable)
    splits, labels = (np.array([image[column] for image in images])[rows] for column in (0, 1))
    chosen = {split: np.flatnonzero(splits == split) for split in ("train", "test")}
    if not splits[0]:
        chosen = dict(zip(("train", "test"), stratified_split(labels, TEST_FRACTION, SPLIT_SEED), strict=True))
    belongs = np.zeros(len(images), bool)  # to the current split
    for split, index in chosen.items():
        np.save(folder / f"{split}_labels.npy", labels[index].astype(np.min_scalar_type(classes - 1)))
        belongs[:] = False
        belongs[rows[index]] = True
        with (folder / f"{split}_images.npy").open("wb") as part:
            np.lib.format.write_array_header_1_0(
                part, {"descr": "|u1", "fortran_order": False, "shape": (len(index), side, side, 3)})
            for number in sorted(files):
                here = np.array(places(number, len(images)))
                pixels = _read_chunk(files[number], len(here), side)
                part.write(pixels[belongs[here[readable[here]]]])
            part.flush()
            os.fsync(part.fileno())


def _read_chunk(file: Path, count: int, side: int) -> np.ndarray:
    """The pixels of a chunk.  RunError where it was damaged after it was written."""
    try:
        return read_chunk(file, count, side)[1]
    except ValueError as error:
        raise RunError(f"{reason(error)}; start again to decode it again") from None
