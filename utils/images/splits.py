"""The four arrays of a data set, their split and digests, and small tools for the modules that read them."""

import contextlib
import hashlib
import mmap
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]  # one array for each of PARTS

PARTS = ("train_images", "train_labels", "test_images", "test_labels")
SPLIT_SEED = 0  # of every split, whatever the run's seed, so that all runs share their validation images
VALIDATION_FRACTION = 0.1  # of the training images
TEST_FRACTION = 0.2  # of a data set that comes without a test set


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices 0..N-1 of (N,) labels in two, both sorted: the rest, and `fraction` of each class.

    The fraction is rounded, to at least one image of each class.
    """
    random = np.random.RandomState(seed)  # its stream is frozen; that of default_rng may change with NumPy's version
    chosen = []
    for label in np.unique(labels):
        index = np.flatnonzero(labels == label)
        chosen.append(random.permutation(index)[:max(1, round(fraction * len(index)))])
    part = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), part), part


def digests(arrays: Arrays) -> dict[str, str]:
    """SHA-256 in hex of the bytes of each of PARTS, in C order."""
    return {part: hashlib.sha256(np.ascontiguousarray(arrays[part]).data).hexdigest() for part in PARTS}


def read_ahead(images: np.ndarray, rows: np.ndarray) -> None:
    """Have the system read these rows of a memory-mapped array from the disk, in the background and all at once.

    Otherwise using them waits for one page at a time, or for megabytes of guessed read-ahead around each of them, which
    drive needed pages out of memory.  Does nothing to an array in memory.
    """
    file = images.base
    if not isinstance(images, np.memmap) or not isinstance(file, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return
    size, before = images.strides[0], images.offset % mmap.ALLOCATIONGRANULARITY
    for row in rows.tolist():
        start = before + row * size
        page = start // mmap.PAGESIZE * mmap.PAGESIZE
        file.madvise(mmap.MADV_WILLNEED, page, start + size - page)


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder, removed afterwards.  The caller's lock keeps its name free, so a killed run left any content."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
