"""Data sets: splits, names, the order of sources, the cache."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.images.helpers import Trap, empty, leftovers, sha256_of, truncate
from utils.errors import RunError, UsageError
from utils.images import datasets
from utils.images.datasets import DATASETS, DatasetSpec, check_dataset, load_dataset
from utils.images.sources import Source
from utils.images.splits import PARTS, Arrays, stratified_split

ROOT = Path(__file__).parents[2]


# A small data set with sources that count how often they are asked


def tiny_arrays(seed: int = 0) -> Arrays:
    """60 training and 12 test images of 2x3 pixels with one channel, three classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(60, dtype=np.uint8) % 3
    return {"train_images": random.integers(0, 256, (60, 2, 3), np.uint8), "train_labels": labels,
            "test_images": random.integers(0, 256, (12, 2, 3), np.uint8), "test_labels": labels[:12]}


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


# Import


def test_import_loads_nothing_heavy() -> None:
    heavy = ["torch", "torchvision", "sklearn", "PIL", "filelock", "tqdm", "pydantic"]
    code = f"import sys, utils.images.datasets; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


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
