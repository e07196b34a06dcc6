"""The table of data sets, their names, the order of sources and the cache."""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.utils.images.samples import (
    ROOT,
    Answers,
    Trap,
    empty,
    leftovers,
    sha256_of,
    tiny_arrays,
    truncate,
    write_images,
)
from utils.errors import RunError, UsageError
from utils.images import datasets
from utils.images.datasets import DATASETS, check_dataset, load_dataset
from utils.images.splits import PARTS, Arrays


def test_import_loads_nothing_heavy() -> None:
    heavy = ["torch", "torchvision", "sklearn", "PIL", "filelock", "tqdm", "pydantic", "pebble"]
    code = f"import sys, utils.images.datasets; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_import_works_without_unix_modules() -> None:
    code = ("import os, sys; sys.modules['resource'] = sys.modules['fcntl'] = None; del os.fork\n"
            "from utils.images import chunks, datasets")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_class_counts_are_per_split(tmp_path: Path, tiny: Callable[..., None]) -> None:
    tiny(Answers(tiny_arrays()))
    dataset = load_dataset("tiny", tmp_path)
    assert dataset.class_counts() == {"train": [18, 18, 18], "val": [2, 2, 2], "test": [4, 4, 4]}


def test_head_keeps_splits_classes_and_labels_together(tmp_path: Path, tiny: Callable[..., None]) -> None:
    tiny(Answers(tiny_arrays()))
    dataset = load_dataset("tiny", tmp_path)
    small, repeated = dataset.head(20, 4, 5), dataset.head(20, 4, 5)
    assert small.class_counts() == {"train": [7, 7, 7], "val": [1, 1, 1], "test": [2, 2, 2]}  # rounded by class
    assert sorted([*small.train_index, *small.val_index]) == list(range(24)) == list(range(len(small.train_images)))
    for name, index in (("train_index", small.train_index), ("val_index", small.val_index)):
        whole = {dataset.train_images[i].tobytes(): dataset.train_labels[i] for i in getattr(dataset, name)}
        assert all(whole[small.train_images[i].tobytes()] == small.train_labels[i] for i in index)
    assert np.array_equal(small.train_images, repeated.train_images)
    assert np.array_equal(small.test_images, repeated.test_images)
    assert small.sha256 == dataset.sha256
    everything = dataset.head(10**6, 10**6, 10**6)
    assert np.array_equal(everything.train_images, dataset.train_images)
    assert np.array_equal(everything.val_index, dataset.val_index)


@pytest.mark.parametrize(("name", "near"), [("cifar-10", "cifar10"), ("CIFAR10", "cifar10"), ("mnits", "mnist"),
                                            ("digit", "digits"), ("folder", "folder:PATH"), ("folder:", "folder:PATH")])
def test_an_unknown_name_gets_a_suggestion(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_dataset(name)
    text = str(caught.value)
    assert f"did you mean {near}?" in text and repr(name) in text and "\n" not in text
    assert "digits, mnist, cifar10, folder:PATH" in text


def test_a_name_unlike_any_gets_the_choices() -> None:
    with pytest.raises(UsageError, match="unknown data set 'xyz'\\.  Choose from digits, mnist, cifar10, folder:PATH"):
        check_dataset("xyz")


def test_folder_without_prefix_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"did you mean folder:{tmp_path}"):
        load_dataset(str(tmp_path), tmp_path)


def test_every_known_name_is_accepted() -> None:
    for name in (*DATASETS, "folder:some/where"):
        check_dataset(name)


def test_short_names_are_safe_and_folders_use_cifar_recipes() -> None:
    for name in DATASETS:
        assert datasets.short_name(name) == datasets.recipe_family(name) == name
    assert datasets.short_name("folder:/some/where/my-pets/") == "folder-my-pets"
    assert datasets.short_name("folder:/some/where/my pets/") == "folder-my-pets-8d0df190"
    assert datasets.short_name("folder:/") == "folder-images"
    names = ["图像", "数据", "ü", "é", "a" * 61, "a" * 62, "cats & dogs", "cats+dogs", "cats-dogs"]
    assert len({datasets.short_name(f"folder:/some/{name}", 64) for name in names}) == len(names)
    assert all(datasets.short_name(f"folder:/{name}").isascii() for name in names)
    assert datasets.short_name("folder:/some/pets-64px") != datasets.short_name("folder:/some/pets", 64)
    assert datasets.recipe_family("folder:/some/where") == "cifar10"


def test_every_data_set_has_title_classes_and_digests() -> None:
    for name, spec in DATASETS.items():
        assert spec.title and spec.recipe_family == name and len(spec.classes) == 10
        assert all(0 < accuracy < 1 for accuracy in spec.references.values())
        assert set(spec.sha256) == set(PARTS) and spec.training_images
        assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in spec.sha256.values())


@pytest.mark.parametrize("name, size, words", [
    ("folder:x", 30, "--image-size 30: must be a multiple of 4, 8 to 256"), ("folder:x", 4, "8 to 256"),
    ("folder:x", 260, "8 to 256"), ("folder:x", 0, "8 to 256"), ("folder:x", -32, "8 to 256"),
    ("cifar10", 32, "applies to folder:PATH only")])
def test_an_image_size_that_does_not_fit_is_refused(name: str, size: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_dataset(name, size)


def assert_is_tiny(dataset: datasets.Dataset) -> None:
    expected = tiny_arrays()
    assert dataset.train_images.shape == (60, 2, 3, 1) and dataset.train_images.dtype == np.uint8
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64
    for part in PARTS:
        assert np.array_equal(getattr(dataset, part).reshape(expected[part].shape), expected[part])
    assert dataset.sha256 == sha256_of(expected)


def test_the_size_of_the_digits_training_split_is_the_stated_one(tmp_path: Path) -> None:
    assert len(load_dataset("digits", tmp_path).train_index) == DATASETS["digits"].training_images


def test_a_data_set_is_fetched_once_then_cached(
        tmp_path: Path, tiny: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> None:
    answers = Answers(tiny_arrays())
    tiny(answers)
    first = load_dataset("tiny", tmp_path / "new" / "data")
    assert "downloading about 1 MB" in capfd.readouterr().err
    second = load_dataset("tiny", tmp_path / "new" / "data")
    assert (first.source, second.source, answers.calls) == ("fake", "cache", 1)
    assert_is_tiny(first)
    assert_is_tiny(second)
    assert leftovers(tmp_path / "new" / "data") == ["tiny.cache"]
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(tiny_arrays()["train_images"].tobytes()[:20])] ^= 1
    path.write_bytes(content)


def write_cache(path: Path, arrays: Arrays) -> None:
    with path.open("wb") as file:
        file.write(datasets.CACHE_HEADER)
        np.savez(file, **arrays)


def other_arrays(path: Path) -> None:
    write_cache(path, tiny_arrays(seed=1))


def drop_array(path: Path) -> None:
    write_cache(path, {part: array for part, array in tiny_arrays().items() if part != "test_labels"})


def pickled(path: Path) -> None:
    write_cache(path, {"train_images": np.array([Trap(path.with_name("sprung"))], object)})


@pytest.mark.parametrize("damage", [truncate, empty, flip, other_arrays, drop_array, pickled])
def test_damaged_cache_is_replaced_by_a_fetched_one(
        damage: Callable[[Path], None], tmp_path: Path, tiny: Callable[..., None],
        capfd: pytest.CaptureFixture[str]) -> None:
    answers = Answers(tiny_arrays())
    tiny(answers)
    load_dataset("tiny", tmp_path)
    damage(tmp_path / "tiny.cache")
    capfd.readouterr()
    assert_is_tiny(load_dataset("tiny", tmp_path))
    said = [line for line in capfd.readouterr().err.splitlines() if "is damaged" in line]
    assert len(said) == 1 and str(tmp_path / "tiny.cache") in said[0]
    assert answers.calls == 2
    assert load_dataset("tiny", tmp_path).source == "cache"
    assert leftovers(tmp_path) == ["tiny.cache"]


def test_damaged_cache_stays_until_there_is_a_whole_one(tmp_path: Path, tiny: Callable[..., None]) -> None:
    tiny(Answers(OSError("no network")))
    (tmp_path / "tiny.cache").write_bytes(datasets.CACHE_HEADER)
    with pytest.raises(RunError, match="no network"):
        load_dataset("tiny", tmp_path)
    assert leftovers(tmp_path) == ["tiny.cache"]


@pytest.mark.parametrize("name", ["tiny.npz", "tiny.cache"])
@pytest.mark.parametrize("content", ["keras", "bytes"])
def test_a_file_of_the_user_is_never_deleted(
        name: str, content: str, tmp_path: Path, tiny: Callable[..., None]) -> None:
    """Keras's MNIST file is called mnist.npz, as a cache of ours once was."""
    tiny(Answers(OSError("no network"), tiny_arrays()))
    path = tmp_path / name
    if content == "keras":
        with path.open("wb") as file:
            np.savez(file, x_train=np.zeros((6, 2, 3)), y_train=np.zeros(6))
    else:
        path.write_bytes(b"PK something else")
    before = path.read_bytes()
    for _ in range(2):
        with contextlib.suppress(RunError):
            load_dataset("tiny", tmp_path)
        assert path.read_bytes() == before
    if name == "tiny.cache":
        with pytest.raises(RunError, match="tiny.cache is not a cache of this program and is left unchanged"):
            load_dataset("tiny", tmp_path)
    else:
        assert leftovers(tmp_path) == ["tiny.cache", "tiny.npz"]


def test_a_finished_cache_is_read_without_a_lock(tmp_path: Path, tiny: Callable[..., None], pets: Path) -> None:
    """As from a shared folder that is read-only; nothing is fetched or built there."""
    data = tmp_path / "data"
    tiny(Answers(tiny_arrays()))
    load_dataset("tiny", data)
    built = load_dataset(f"folder:{pets}", data)
    for lock in data.glob(".*.lock"):
        lock.unlink()
        lock.mkdir()  # root may write to read-only folders, but nobody can lock a folder
    for name in ("tiny", f"folder:{pets}"):
        datasets.fetch(name, data)
    assert load_dataset("tiny", data).source == "cache"
    assert load_dataset(f"folder:{pets}", data).sha256 == built.sha256
    truncate(data / "tiny.cache")
    write_images(pets / "cat", 21, 200)
    for name in ("tiny", f"folder:{pets}"):
        with pytest.raises(RunError, match="cannot be used: "):
            load_dataset(name, data)


def test_damaged_download_is_fetched_once_more(tmp_path: Path, tiny: Callable[..., None]) -> None:
    for wrong in (tiny_arrays(seed=1), ValueError("cut off"), {}):
        answers = Answers(wrong, tiny_arrays())
        tiny(answers)
        (tmp_path / "tiny.cache").unlink(missing_ok=True)
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


def test_the_next_source_is_tried_after_a_failure(tmp_path: Path, tiny: Callable[..., None]) -> None:
    sources = [Answers(FileNotFoundError("not there"), name="placed", download=""),
               Answers(tiny_arrays(seed=1), name="mirror"), Answers(tiny_arrays(), name="archive"),
               Answers(tiny_arrays(), name="never asked")]
    tiny(*sources)
    dataset = load_dataset("tiny", tmp_path)
    assert dataset.source == "archive"
    assert [source.calls for source in sources] == [1, 2, 1, 0]


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path, tiny: Callable[..., None]) -> None:
    tiny(Answers(tiny_arrays()))
    (tmp_path / ".tiny.tmp").mkdir()
    (tmp_path / ".tiny.tmp" / "half").write_bytes(b"x")
    load_dataset("tiny", tmp_path)
    assert leftovers(tmp_path) == ["tiny.cache"]


def test_an_unwritable_data_folder_is_reported_in_one_line(tmp_path: Path, tiny: Callable[..., None]) -> None:
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

DATASETS["tiny"] = DatasetSpec("Tiny", (1, 2, 3), ("a", "b", "c"), "mnist", {sha256!r},
                               (Source("slow", fetch, lambda _: arrays, "1 MB"),), "")
(folder / f"started-{{os.getpid()}}").touch()
dataset = load_dataset("tiny", folder / "data")
assert all((getattr(dataset, part).ravel() == arrays[part].ravel()).all() for part in PARTS)
print(dataset.source)
"""


def test_two_processes_fetch_a_data_set_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", **tiny_arrays())
    code = CHILD.format(folder=str(tmp_path), sha256=sha256_of(tiny_arrays()))
    children = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert sorted(out.strip() for out, _ in outputs) == ["cache", "slow"]
    assert (tmp_path / "asked").read_text() == "x"
