"""A folder of images as a data set: one sub-folder a class, decoded once into a memory-mapped cache.

    path/cat/*.png  path/dog/*.jpg            split here: a fifth of each class is the test set
    path/train/cat/...  path/test/cat/...     split by the folders

Images become 32x32 RGB.  Those that cannot be read are named and left out.  The arrays stay on the disk, so that a set
larger than memory can be trained on.
"""

import contextlib
import hashlib
import json
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from utils.data_parts import (
    PARTS,
    SPLIT_SEED,
    TEST_FRACTION,
    Arrays,
    digests,
    reason,
    say,
    scratch,
    stratified_split,
)
from utils.errors import RunError, UsageError

Listed = tuple[str, int, Path]  # an image file of a folder: split ("" where the folder names none), label, file

FOLDER_SIDE = 32  # pixels
FOLDER_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
FOLDER_MIN_IMAGES = {"": 10, "train": 9, "test": 1}  # a class; fewer do not fill training, validation and test
FOLDER_MAX_CLASSES = 1000  # what a record holds


def scan(path: Path) -> tuple[tuple[str, ...], list[Listed], str]:
    """Class names, images and a key that changes with them.  Raises UsageError where the folder does not fit."""
    try:
        classes, images = _scan(path)
        key = _listing_digest(path, images)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}") from error
    _check_counts(path, classes, images)
    return classes, images, key


def read_or_build(path: Path, classes: tuple[str, ...], images: list[Listed], key: str,
                  cache: Path) -> tuple[Arrays, dict[str, str]]:
    """The memory-mapped arrays, decoded first where the cache does not hold them, and their SHA-256.

    The caller holds the lock.  Raises UsageError where too few images can be read, RunError on a full disk.
    """
    if not _is_current(cache, key):
        _build_folder_cache(path, classes, images, cache, key)
    facts = _read_facts(cache)
    if facts["unreadable"]:
        say(f"{path.name}: {_unreadable_text(facts['unreadable'])}")
    return _read_parts(cache), facts["sha256"]


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")))


def images_in(folder: Path) -> list[Path]:
    """All image files below a folder, sorted, without hidden ones such as those that macOS leaves."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in FOLDER_SUFFIXES and file.is_file()
                  and not any(part.startswith(".") for part in file.relative_to(folder).parts))


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
        raise UsageError(f"{path} has {len(classes)} class folders; the images must lie in 2 to {FOLDER_MAX_CLASSES} "
                         "sub-folders, one a class")
    return classes, [(split, label, file) for split, root in roots.items() for label, name in enumerate(classes)
                     for file in images_in(root / name)]


def _check_counts(path: Path, classes: tuple[str, ...], images: list[Listed], note: str = "") -> None:
    """UsageError, which ends with the note, unless each class has enough images in each split."""
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


def _listing_digest(path: Path, images: list[Listed]) -> str:
    """Changes when an image of the folder comes, goes or is written anew."""
    rows = [[file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns] for _, _, file in images]
    return hashlib.sha256(json.dumps([str(path), FOLDER_SIDE, rows]).encode()).hexdigest()


def decode_image(path: Path, height: int = FOLDER_SIDE, width: int = FOLDER_SIDE, channels: int = 3) -> np.ndarray:
    """(height, width, channels) uint8: the image as RGB or grey, scaled to fill that size, its centre cropped.

    Raises whatever Pillow raises where it cannot be read, ValueError for 32-bit pixels, whose range nobody knows.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if image.mode in ("I", "F"):
            raise ValueError("32-bit pixels")
        if image.mode.startswith("I;16"):  # which Pillow would clip to 255, that is to white
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image.draft(None, (2 * width, 2 * height))  # a large JPEG is decoded at a fraction of its size
        image = image.convert("RGB" if channels == 3 else "L")
        fitted = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC))
        return fitted.reshape(height, width, channels)


def _is_current(cache: Path, key: str) -> bool:
    """Whether the cache is whole and holds the folder as it now is.  Says so where it is there but is not."""
    if not cache.exists():
        return False
    try:
        facts = _read_facts(cache)
        if facts["key"] != key:
            say(f"the images have changed; the cache {cache} is made anew")
            return False
        if digests(_read_parts(cache)) == facts["sha256"]:
            return True
    except Exception:  # a damaged file raises half a dozen kinds; what to do about it is the same
        pass
    say(f"the cache {cache} is damaged; it is deleted and made anew")
    return False


def _read_parts(cache: Path) -> Arrays:
    """The arrays of a folder's cache, memory-mapped."""
    return {part: np.load(cache / f"{part}.npy", mmap_mode="r", allow_pickle=False) for part in PARTS}


def _read_facts(cache: Path) -> dict[str, Any]:
    """What a folder's cache says of itself: key, sha256 of the arrays, and the names of unreadable images."""
    return json.loads((cache / "cache.json").read_text(encoding="utf-8"))


def _build_folder_cache(path: Path, classes: tuple[str, ...], images: list[Listed], cache: Path, key: str) -> None:
    """Decode all images into a temporary folder, then rename it to `cache`.  UsageError where too few are readable."""
    need = 2 * len(images) * FOLDER_SIDE * FOLDER_SIDE * 3  # bytes: as decoded, and once more while they are split
    if shutil.disk_usage(cache.parent).free < need:  # writing to mapped memory on a full disk would kill the process
        raise RunError(f"{cache.parent} has less than the {need / 1e9:.1f} GB left that {path} takes")
    with scratch(cache.with_name(f".{cache.name}.tmp")) as temporary:
        readable = _decode_all(path.name, images, temporary / "all.npy")
        unreadable = [images[i][2].relative_to(path).as_posix() for i in np.flatnonzero(~readable)]
        _check_counts(path, classes, [images[i] for i in np.flatnonzero(readable)], _unreadable_text(unreadable))
        _write_splits(temporary, images, readable, len(classes))
        (temporary / "all.npy").unlink()
        facts = {"key": key, "sha256": digests(_read_parts(temporary)), "unreadable": unreadable}
        (temporary / "cache.json").write_text(json.dumps(facts), encoding="utf-8")
        shutil.rmtree(cache, ignore_errors=True)
        temporary.rename(cache)


def _decode_all(title: str, images: list[Listed], file: Path) -> np.ndarray:
    """Decode the images into the rows of one .npy file.  Returns (N,) bool: which could be read."""
    from tqdm import tqdm

    readable = np.zeros(len(images), bool)
    shape = (len(images), FOLDER_SIDE, FOLDER_SIDE, 3)
    pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata and transparency
        for i, (_, _, image) in enumerate(tqdm(images, desc=f"decoding {title}", unit="image", disable=None)):
            with contextlib.suppress(Exception):  # a damaged image raises anything, DecompressionBombError too
                pixels[i] = decode_image(image)
                readable[i] = True
    return readable


def _write_splits(folder: Path, images: list[Listed], readable: np.ndarray, classes: int) -> None:
    """Write PARTS from the readable rows of all.npy."""
    rows = np.flatnonzero(readable)
    splits, labels = (np.array([image[column] for image in images])[rows] for column in (0, 1))
    chosen = {split: np.flatnonzero(splits == split) for split in ("train", "test")}
    if not splits[0]:
        chosen = dict(zip(("train", "test"), stratified_split(labels, TEST_FRACTION, SPLIT_SEED), strict=True))
    pixels = np.load(folder / "all.npy", mmap_mode="r")
    for split, index in chosen.items():
        np.save(folder / f"{split}_labels.npy", labels[index].astype(np.min_scalar_type(classes - 1)))
        part = np.lib.format.open_memmap(folder / f"{split}_images.npy", mode="w+", dtype=np.uint8,
                                         shape=(len(index), *pixels.shape[1:]))
        for start in range(0, len(index), 4096):  # 12 MB at a time
            part[start:start + 4096] = pixels[rows[index[start:start + 4096]]]
