"""A folder of images as a data set: one sub-folder per class, decoded once into a memory-mapped cache.

    path/cat/*.png  path/dog/*.jpg            split here: a fifth of each class is the test set
    path/train/cat/...  path/test/cat/...     split by the folders

Images become RGB squares.  Unreadable ones are listed and left out.  The arrays stay on the disk, so that a data set
larger than memory can be trained on.
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
from utils.images.splits import PARTS, SPLIT_SEED, TEST_FRACTION, Arrays, digests, scratch, stratified_split

Listed = tuple[str, int, Path]  # an image file: split ("" if the folder names none), label, file

FOLDER_SIDE = 32  # pixels, unless --image-size is given
FOLDER_SIDES = range(8, 257, 4)  # decoders and transformers need multiples of 4; a sheet of thumbnails has a maximum
FOLDER_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
UNREADABLE = "unreadable.txt"  # in the cache: one line per image, with the reason
FOLDER_MIN_IMAGES = {"": 10, "train": 9, "test": 1}  # per class; fewer do not fill training, validation and test
FOLDER_MAX_CLASSES = 1000  # what a record holds


def scan(path: Path, side: int) -> tuple[tuple[str, ...], list[Listed], str]:
    """Class names, images sorted by split, class and file name, and a key that changes with them and the side.

    Raises UsageError if the folder does not fit.
    """
    try:
        classes, images = _list(path)
        key = _listing_digest(path, images, side)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}") from error
    _check_counts(path, classes, images)
    return classes, images, key


def read_or_build(path: Path, classes: tuple[str, ...], images: list[Listed], key: str, side: int,
                  cache: Path) -> tuple[Arrays, dict[str, str]]:
    """The memory-mapped arrays, decoded first unless the cache holds them, and their SHA-256.

    side: of the decoded images, pixels.  The caller holds the lock.  Raises UsageError if too few images can be read,
    RunError or OSError on a full disk.
    """
    if not is_current(cache, key):
        _build(path, classes, images, side, cache, key)
    for chunks in cache.parent.glob(f".{cache.name}.*.chunks"):  # the cache has replaced them
        shutil.rmtree(chunks)
    facts = _read_facts(cache)
    if facts["unreadable"]:
        say(f"{path.name}: {_unreadable_text(list(facts['unreadable']))}; all of them, and why: {cache / UNREADABLE}")
    return _read_parts(cache), facts["sha256"]


def images_in(folder: Path) -> list[Path]:
    """All files below a folder with an image's suffix, sorted, without hidden ones such as those that macOS leaves.

    Includes dead links, and sub-folders that have such a name or cannot be listed: decoding them reports the problem.
    """
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=lambda error: found.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(Path(place, name) for name in (*folders, *files)
                     if not name.startswith(".") and os.path.splitext(name)[1].lower() in FOLDER_SUFFIXES)
    return sorted(set(found))


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")))


def _list(path: Path) -> tuple[tuple[str, ...], list[Listed]]:
    """Class names and images.  Raises UsageError or OSError."""
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
    """Raises UsageError, ending with the note, unless each class has enough images in each split."""
    counts = Counter((split, label) for split, label, _ in images)
    for split in ("train", "test") if any(split for split, _, _ in images) else ("",):
        for label, name in enumerate(classes):
            if counts[split, label] < FOLDER_MIN_IMAGES[split]:
                where = f" in {split}" if split else ""
                raise UsageError(f"{path}: class {name!r} has {counts[split, label]} readable images{where}, but "
                                 f"at least {FOLDER_MIN_IMAGES[split]} are needed{note and '; '}{note}")


def _unreadable_text(names: list[str]) -> str:
    some = ", ".join(map(ascii, names[:3])) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} unreadable and left out: {some}" if names else ""


def _listing_digest(path: Path, images: list[Listed], side: int) -> str:
    """Changes when an image of the folder is added, removed, written again or changes its permissions."""
    rows: list[list[str | int]] = []
    for _, _, file in images:
        rows.append([file.relative_to(path).as_posix()])
        try:
            status = file.stat()
            rows[-1] += [status.st_size, status.st_mtime_ns, status.st_mode]
        except OSError:  # a dead link
            pass
    return hashlib.sha256(json.dumps([str(path), side, rows]).encode()).hexdigest()


# The cache


def is_current(cache: Path, key: str) -> bool:
    """Whether the cache is whole and holds the folder as it is now.  Prints why if it exists but does not."""
    if not cache.exists():
        return False
    try:
        facts = _read_facts(cache)
        if facts["key"] != key:
            say(f"the images have changed; the cache {cache} is built again")
            return False
        if digests(_read_parts(cache)) == facts["sha256"]:
            return True
    except Exception:  # a damaged file raises half a dozen kinds, all with the same remedy
        pass
    say(f"the cache {cache} is damaged; it is deleted and built again")
    return False


def _read_parts(cache: Path) -> Arrays:
    """The arrays of a folder's cache, memory-mapped."""
    return {part: np.load(cache / f"{part}.npy", mmap_mode="r", allow_pickle=False) for part in PARTS}


def _read_facts(cache: Path) -> dict[str, Any]:
    """What a cache says of itself: key, sha256 of the arrays, and unreadable: image -> reason."""
    return json.loads((cache / "cache.json").read_text(encoding="utf-8"))


def _build(path: Path, classes: tuple[str, ...], images: list[Listed], side: int, cache: Path, key: str) -> None:
    """Decode all images into chunks, which outlive a kill, and write these as `cache`, which appears whole.

    Raises UsageError if too few images are readable, RunError or OSError on a full disk.
    """
    from utils.images.chunks import CHUNK_IMAGES, decode_all, places, read_unreadable

    chunks = cache.with_name(f".{cache.name}.{key[:16]}-{CHUNK_IMAGES}.chunks")
    for other in cache.parent.glob(f".{cache.name}.*.chunks"):
        if other != chunks:
            say(f"{path.name}: the images have changed since an interrupted start, whose chunks are deleted")
            shutil.rmtree(other)
    kept = sum(file.stat().st_size for file in chunks.iterdir()) if chunks.exists() else 0
    need = 2 * len(images) * side * side * 3 - kept  # bytes: as chunks, and once more as arrays
    if shutil.disk_usage(cache.parent).free < need:
        raise RunError(f"{cache.parent} has less than the {need / 1e9:.1f} GB left that {path} takes")
    chunks.mkdir(exist_ok=True)
    files = decode_all(path.name, [file for _, _, file in images], side, chunks)
    unreadable = {images[places(number, len(images))[place]][2].relative_to(path).as_posix(): why
                  for number, file in enumerate(files) for place, why in sorted(read_unreadable(file).items())}
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


def _write_splits(folder: Path, images: list[Listed], readable: np.ndarray, classes: int, files: list[Path],
                  side: int) -> None:
    """Write PARTS from the chunks, one after the other.  readable: (N,) bool."""
    from utils.images.chunks import places, read_chunk

    rows = np.flatnonzero(readable)
    splits, labels = (np.array([image[column] for image in images])[rows] for column in (0, 1))
    chosen = {split: np.flatnonzero(splits == split) for split in ("train", "test")}
    if not splits[0]:
        chosen = dict(zip(("train", "test"), stratified_split(labels, TEST_FRACTION, SPLIT_SEED), strict=True))
    for split, index in chosen.items():
        np.save(folder / f"{split}_labels.npy", labels[index].astype(np.min_scalar_type(classes - 1)))
        in_split = np.zeros(len(images), bool)
        in_split[rows[index]] = True
        with (folder / f"{split}_images.npy").open("wb") as part:
            np.lib.format.write_array_header_1_0(
                part, {"descr": "|u1", "fortran_order": False, "shape": (len(index), side, side, 3)})
            for number, file in enumerate(files):
                here = np.array(places(number, len(images)))
                part.write(read_chunk(file, side)[in_split[here[readable[here]]]])
            part.flush()
            os.fsync(part.fileno())
