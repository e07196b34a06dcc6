"""Shared by the modules that read data: the four arrays of a data set, their split and digests, small tools."""

import contextlib
import hashlib
import mmap
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]  # one array per entry of PARTS

PARTS = ("train_images", "train_labels", "test_images", "test_labels")
SPLIT_SEED = 0  # of every split, independent of the run's seed: all runs share their validation images
VALIDATION_FRACTION = 0.1  # of the training images
TEST_FRACTION = 0.2  # for a data set without a test set


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices 0..N-1 of (N,) labels into two sorted parts: the rest, and `fraction` of each class.

    The number per class is rounded, and at least one.
    """
    random = np.random.RandomState(seed)  # RandomState's stream is frozen; default_rng's may change with NumPy
    chosen = []
    for label in np.unique(labels):
        index = np.flatnonzero(labels == label)
        chosen.append(random.permutation(index)[:max(1, round(fraction * len(index)))])
    part = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), part), part


def digests(arrays: Arrays) -> dict[str, str]:
    """SHA-256 in hex of the bytes of each array, in C order."""
    return {part: hashlib.sha256(np.ascontiguousarray(arrays[part]).data).hexdigest() for part in PARTS}


def read_ahead(images: np.ndarray, rows: np.ndarray) -> None:
    """Ask the system to read these rows of a memory-mapped array in the background, all at once.

    Otherwise each access waits for one page, or for megabytes of readahead that evict pages still needed.  Does nothing
    for an array in memory.
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
    """An empty folder, removed afterwards.  Existing content is from a killed run: the caller holds the lock."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


