"""A folder of images as a data set, decoded once into a memory-mapped cache.

folder_layout.py finds the classes and splits.  A test split that the folder lacks is a fifth of each class.  Images
become RGB squares.  Unreadable ones are listed and left out.  The arrays stay on the disk, so that a data set larger
than memory can be trained on.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from utils.console import plural, say
from utils.errors import RunError, UsageError, reason
from utils.images.decoding import DECODING, remarks_in_words
from utils.images.folder_layout import Layout, Listed, is_litter, read_layout
from utils.images.splits import PARTS, SPLIT_SEED, TEST_FRACTION, Arrays, digests, scratch, stratified_split

FOLDER_SIDE = 32  # pixels, unless --image-size is given
FOLDER_SIDES = range(8, 257, 4)  # decoders and transformers need multiples of 4; a sheet of thumbnails has a maximum
UNREADABLE = "unreadable.txt"  # in the cache: one line per image, with the reason
CACHE_FILES = {"cache.json", UNREADABLE, *(f"{part}.npy" for part in PARTS)}
FACTS = {"key", "decoding", "sha256", "validation", "unreadable", "notes"}  # what cache.json holds
MIN_TRAINING = 8  # images per class; one more for each of validation and test that is taken from them
DARK = 32  # data sets and classes without a value this bright are noted
NEARLY_EQUAL = 0.998  # correlation of the thumbnails of two images: the same picture saved again, perhaps smaller
COMPARED = 2000  # most images of a split that are compared so with all training images, since that takes a second
WRITTEN_AT_ONCE = 256  # images, which bounds the memory


def listed(path: Path) -> Layout:
    """The classes and images of a folder, none of them opened.  Raises UsageError if the folder does not fit."""
    try:
        layout = read_layout(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}") from error
    _check_counts(path, layout, layout.images)
    return layout


def read_or_build(path: Path, layout: Layout, key: str, side: int, cache: Path) -> tuple[Arrays, int, dict[str, str]]:
    """The memory-mapped arrays, decoded first unless the cache holds them, and their SHA-256.

    Also how many of the last training images are a validation split that the folder names.  side: of the decoded
    images, pixels.  The caller holds the lock.  Raises UsageError if too few images can be read, RunError or OSError on
    a full disk.
    """
    if not is_current(cache, key):
        _build(path, layout, side, cache, key)
    for chunks in cache.parent.glob(f".{cache.name}.*.chunks"):  # the cache has replaced them
        shutil.rmtree(chunks, ignore_errors=True)  # the folder may be read-only by now
    facts = _read_facts(cache)
    if facts["unreadable"]:
        say(f"{path.name}: {_unreadable_text(facts['unreadable'])}; all of them, and why: {cache / UNREADABLE}")
    for note in facts["notes"]:
        say(f"{path.name}: note: {note}")
    return _read_parts(cache), facts["validation"], facts["sha256"]


def _check_counts(path: Path, layout: Layout, images: list[Listed], note: str = "") -> None:
    """Raises UsageError, ending with the note, unless each class has enough images in each split."""
    counts = Counter((split, label) for split, label, _ in images)
    splits = {split for split, _ in layout.why_few}
    training = MIN_TRAINING + ("val" not in splits) + ("test" not in splits)
    for (split, label), why in layout.why_few.items():
        least = 1 if split in ("val", "test") else training
        if counts[split, label] < least:
            where = f" in {split}" if split else ""
            has = plural(counts[split, label], "readable image")
            raise UsageError(f"{path}: class {layout.classes[label]!r} has {has}{where}, but at least {least} are "
                             f"needed{why}{note and '; '}{note}")


def _unreadable_text(unreadable: dict[str, str]) -> str:
    """unreadable: why, by name."""
    if not unreadable:
        return ""
    some = ", ".join(map(ascii, list(unreadable)[:3])) + (", ..." if len(unreadable) > 3 else "")
    (why, _), *others = Counter(unreadable.values()).most_common(2)
    return f"{len(unreadable)} unreadable and left out: {some} ({why}{others and ', and other reasons' or ''})"


def listing_digest(path: Path, layout: Layout, side: int) -> str:
    """Changes when an image of the folder is added, removed, moved, written again or changes its permissions, and with
    the side and the rules of decoding.  Two equally old and large files that change places differ in their ctime."""
    rows: list[list[str | int]] = []
    for split, label, file in layout.images:
        rows.append([split, label, file.relative_to(path).as_posix()])
        with suppress(OSError):  # a dead link
            status = file.stat()
            rows[-1] += [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode]
    return hashlib.sha256(json.dumps([DECODING, str(path), side, rows]).encode()).hexdigest()


def is_current(cache: Path, key: str) -> bool:
    """Whether the cache is whole and holds the folder as it is now.  Prints why if it exists but does not.

    Raises RunError for what is no cache, but has its name.
    """
    if os.path.lexists(cache) and (cache.is_symlink() or not cache.is_dir() or not all(
            name in CACHE_FILES or is_litter(name) for name in os.listdir(cache))):  # is_litter: of a file browser
        raise RunError(f"{cache} is no cache of this program and is left unchanged; move it away")
    if not cache.exists():
        return False
    why = "is damaged"
    with suppress(Exception):  # a damaged file raises half a dozen kinds, all with the same remedy
        facts = _read_facts(cache)
        if facts["key"] == key and facts.keys() >= FACTS and digests(_read_parts(cache)) == facts["sha256"]:
            return True
        if facts["key"] != key:
            why = ("is out of date, because the images have changed" if facts.get("decoding") == DECODING else
                   "was decoded by the rules of another version")
    say(f"the cache {cache} {why}; it is built again")
    return False


def _read_parts(cache: Path) -> Arrays:
    """The arrays of a folder's cache, memory-mapped."""
    return {part: np.load(cache / f"{part}.npy", mmap_mode="r", allow_pickle=False) for part in PARTS}


def _read_facts(cache: Path) -> dict[str, Any]:
    """FACTS: key, decoding (its rules), sha256 of the arrays, validation (how many of the last training images),
    unreadable (image -> reason), notes (lines for the user)."""
    return json.loads((cache / "cache.json").read_text(encoding="utf-8"))


def _build(path: Path, layout: Layout, side: int, cache: Path, key: str) -> None:
    """Decode all images into chunks, which outlive a kill, and write these as `cache`, which appears whole.

    Raises UsageError if too few images are readable, RunError or OSError on a full disk.
    """
    from utils.images.chunks import PIXELS, decode_all

    chunks = cache.with_name(f".{cache.name}.{key[:16]}-pixels.chunks")  # earlier formats had no -pixels
    for other in cache.parent.glob(f".{cache.name}.*.chunks"):
        if other != chunks:
            say(f"{path.name}: the images or the format of the cache have changed since decoding was interrupted;"
                " it starts over")
            shutil.rmtree(other)
    kept = sum(file.stat().st_size for file in chunks.iterdir()) if chunks.exists() else 0
    need = 2 * len(layout.images) * side * side * 3 - kept  # bytes: as decoded, and once more as arrays
    if shutil.disk_usage(cache.parent).free < need:
        raise RunError(f"{cache.parent} has less than {-(-need // 10**6):,} MB free, which the cache of {path} needs")
    chunks.mkdir(exist_ok=True)
    notes = decode_all(path.name, [file for _, _, file in layout.images], side, chunks)
    names = [file.relative_to(path).as_posix() for _, _, file in layout.images]
    unreadable = {name: note for name, note in zip(names, notes, strict=True) if isinstance(note, str)}
    remarks = [(name, remark) for name, note in zip(names, notes, strict=True) if name not in unreadable
               for remark in note]
    rows = np.flatnonzero([name not in unreadable for name in names])
    readable = [layout.images[row] for row in rows]
    try:
        _check_counts(path, layout, readable, _unreadable_text(unreadable))
    except UsageError:
        shutil.rmtree(chunks)
        raise
    with scratch(cache.with_name(f".{cache.name}.tmp")) as temporary:
        pixels = np.memmap(chunks / PIXELS, np.uint8, "r", shape=(len(notes), side, side, 3))
        validation = _write_splits(temporary, readable, len(layout.classes), pixels, rows)
        arrays = _read_parts(temporary)
        facts = {"key": key, "decoding": DECODING, "sha256": digests(arrays), "validation": validation,
                 "unreadable": unreadable,
                 "notes": remarks_in_words(remarks) + suspicions(arrays, validation, layout.classes)}
        del arrays  # Windows renames no folder with a mapped file
        (temporary / "cache.json").write_text(json.dumps(facts), encoding="utf-8")
        if unreadable:
            lines = "".join(f"{name}: {why}\n" for name, why in unreadable.items())
            (temporary / UNREADABLE).write_text(lines, encoding="utf-8", errors="backslashreplace")
        with scratch(cache.with_name(f".{cache.name}.old")) as old:  # another run may still read it
            if cache.exists():
                cache.rename(old / cache.name)
            temporary.rename(cache)


def _write_splits(folder: Path, images: list[Listed], classes: int, pixels: np.ndarray, rows: np.ndarray) -> int:
    """Write PARTS.  images: the readable ones; rows: their numbers in pixels, which are (N, side, side, 3) uint8.

    The training part ends with the validation split that the folder names; returns how many images that has.
    """
    splits, labels = (np.array([image[column] for image in images]) for column in (0, 1))
    chosen = {"train": np.flatnonzero(splits != "test"), "test": np.flatnonzero(splits == "test")}
    if not len(chosen["test"]):
        own = np.flatnonzero(splits != "val")
        _, test = stratified_split(labels[own], TEST_FRACTION, SPLIT_SEED)
        chosen = {"train": np.setdiff1d(chosen["train"], own[test]), "test": own[test]}
    for split, index in chosen.items():
        np.save(folder / f"{split}_labels.npy", labels[index].astype(np.min_scalar_type(classes - 1)))
        # not through a memory map: on a full disk, writing to one kills the process
        with (folder / f"{split}_images.npy").open("wb") as part:
            np.lib.format.write_array_header_1_0(
                part, {"descr": "|u1", "fortran_order": False, "shape": (len(index), *pixels.shape[1:])})
            for start in range(0, len(index), WRITTEN_AT_ONCE):
                part.write(pixels[rows[index[start:start + WRITTEN_AT_ONCE]]].data)
            part.flush()
            os.fsync(part.fileno())
    return int((splits == "val").sum())


def suspicions(arrays: Arrays, validation: int, classes: tuple[str, ...]) -> list[str]:
    """One line for each sign that the images are not what the user believes: copies, dark images, images of one colour.

    Images are equal if all their pixels are, at the side of the arrays.  Few nearly equal ones are no sign: of MNIST's
    test images, 1 % have such a training image.  validation: how many of the last training images are a validation
    split that the folder names.
    """
    training = len(arrays["train_images"]) - validation
    marks, plain, brightest = zip(*(_marks(arrays[f"{split}_images"]) for split in ("train", "test")), strict=True)
    lines = []
    for name, images, mark, others in (  # a split, and how many of the first images it is compared with
            ("test", arrays["test_images"], marks[1], len(marks[0])),
            ("validation", arrays["train_images"][training:], marks[0][training:], training)):
        equal = np.isin(mark, marks[0][:others])
        left = np.flatnonzero(~equal)
        left = left[::max(1, -(-len(left) // COMPARED))]
        near = _nearly_equal(images[left], arrays["train_images"][:others])
        if equal.any():
            lines.append(f"{equal.sum():,} of {len(mark):,} {name} images are equal to a training image, so that the "
                         f"{name} accuracy is too high")
        if near >= max(1, len(left) / 50):
            lines.append(f"{near:,} of {len(left):,} {name} images are nearly equal to a training image; if they are "
                         f"copies of it, the {name} accuracy is too high")
    largest = np.concatenate(brightest)
    if (most := largest.max()) < DARK:
        lines.append(f"no pixel is brighter than {most} of 255; scale the images to 0 to 255")
    mark, one_colour = np.concatenate(marks), np.concatenate(plain)
    dark = (largest < DARK) & ~one_colour & (most >= DARK)  # of several colours, next to brighter images
    label = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
    pairs, number = np.unique(np.stack([mark, label.astype(np.uint64)]), axis=1, return_counts=True)
    pictures, classes_of = np.unique(pairs[0], return_counts=True)  # pairs: (2, P), pictures and a class that has each
    if several := int(number[np.isin(pairs[0], pictures[classes_of > 1])].sum()):
        lines.append(f"{plural(several, 'image')} are equal to an image of another class")
    copies = np.repeat(pairs[1].astype(int), number - 1)  # (C,), their classes
    for what, counts in (("copies of another image of the class", np.bincount(copies, minlength=len(classes))),
                         ("of one colour", np.bincount(label[one_colour], minlength=len(classes))),
                         (f"darker than {DARK} of 255", np.bincount(label[dark], minlength=len(classes)))):
        many = [f"{name!a} {count:,} of {total:,}" for name, count, total in
                zip(classes, counts.tolist(), np.bincount(label).tolist(), strict=True) if 3 * count >= total]
        if many:
            lines.append(f"many images are {what}: {', '.join(many[:3])}{', ...' * (len(many) > 3)}")
    return lines


def _marks(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (N, H, W, 3) images, (N,) each: a uint64, equal where all pixels are; whether of one colour; the maximum."""
    marks, plain, largest = np.empty(len(images), np.uint64), np.empty(len(images), bool), np.empty(len(images), int)
    for row, image in enumerate(images):
        marks[row] = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little")
        plain[row] = (image[0] == image[0, 0]).all() and (image == image[0, 0]).all()
        largest[row] = image.max()
    return marks, plain, largest


def _nearly_equal(images: np.ndarray, training: np.ndarray) -> int:
    """How many of (N, H, W, 3) images have a training image whose thumbnail correlates above NEARLY_EQUAL."""
    thumbnails, best = _thumbnails(images), np.zeros(len(images))
    for start in range(0, len(training) * bool(len(images)), 5000):
        best = np.maximum(best, (thumbnails @ _thumbnails(training[start:start + 5000]).T).max(1))
    return int((best > NEARLY_EQUAL).sum())


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) images, 8 (or 4) by 8 each, as (N, 192) rows of mean 0 and norm 1; below 1 for low contrast."""
    count, side = images.shape[:2]
    cells = 8 if side % 8 == 0 else 4
    blocks = images.reshape(count, cells, side // cells, cells, side // cells, 3)
    rows = blocks.mean((2, 4), dtype=np.float32).reshape(count, cells * cells * 3)
    rows -= rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 4 * cells)  # 4 levels of 255 are no picture
