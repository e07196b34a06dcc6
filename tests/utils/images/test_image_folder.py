"""A folder of images: its splits, its cache, and what a folder must have."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.utils.images.samples import empty, leftovers, load_folder, sha256_of, truncate, write_images
from utils.errors import RunError, UsageError
from utils.images import chunks, image_folder
from utils.images.datasets import load_dataset
from utils.images.folder_layout import Layout
from utils.images.image_folder import listing_digest
from utils.images.splits import PARTS

pytestmark = pytest.mark.usefixtures("decoded_here")


def test_a_folder_becomes_memory_mapped_splits(pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (pets / ".ipynb_checkpoints").mkdir()
    dataset = load_folder(pets, tmp_path / "data")
    assert (dataset.name, dataset.classes, dataset.source) == ("folder-my-pets-8d0df190", ("cat", "dog"), "folder")
    assert (dataset.recipe_family, dataset.image_shape) == ("cifar10", (3, 32, 32))
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
    assert capfd.readouterr().err == (
        "my pets: 2 classes (cat 20, dog 10); no split folders: 20 % of each class are for test, 10 % of the others "
        "for validation; left out: nothing\n")


def test_train_and_test_folders_are_the_splits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for split, count, value in (("train", 10, 10), ("test", 3, 200)):
        for name in ("a", "b"):
            write_images(tmp_path / "set" / split / name, count, value)
    dataset = load_folder(tmp_path / "set", tmp_path / "data")
    assert dataset.classes == ("a", "b")
    assert dataset.class_counts() == {"train": [9, 9], "val": [1, 1], "test": [3, 3]}
    assert set(dataset.train_images[:, 0, 0, 0].tolist()) == {10}
    assert set(dataset.test_images[:, 0, 0, 0].tolist()) == {200}


def test_image_size_has_a_cache_and_a_name_of_its_own(pets: Path, tmp_path: Path) -> None:
    small, large = (load_dataset(f"folder:{pets}", tmp_path / "data", size) for size in (None, 48))
    assert (small.name, large.name) == ("folder-my-pets-8d0df190", "folder-my-pets-8d0df190-48px")
    assert (small.image_shape, large.image_shape) == ((3, 32, 32), (3, 48, 48))
    assert large.train_images.shape == (24, 48, 48, 3) and len(leftovers(tmp_path / "data")) == 2
    assert np.array_equal(small.train_labels, large.train_labels)
    repeated = load_dataset(f"folder:{pets}", tmp_path / "data", 32)
    assert (repeated.name, repeated.sha256) == (small.name, small.sha256)


def test_folder_is_decoded_once(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_folder(pets, tmp_path / "data")
    monkeypatch.setattr(chunks, "decode_all", None)  # decoding anything now would fail
    second = load_folder(pets, tmp_path / "data")
    assert first.sha256 == second.sha256 and np.array_equal(first.train_images, second.train_images)
    assert len(leftovers(tmp_path / "data")) == 1


def test_a_changed_folder_is_decoded_again(pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.parametrize("old", [True, False])
def test_a_cache_of_other_decoding_rules_is_built_again(
        old: bool, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    """old: from before caches named their rules."""
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "DECODING", 1)
        load_folder(pets, tmp_path / "data")
    [facts] = (tmp_path / "data").glob("*/cache.json")
    if old:
        written = json.loads(facts.read_text())
        facts.write_text(json.dumps({name: written[name] for name in ("key", "sha256", "unreadable")}))
    capfd.readouterr()
    load_folder(pets, tmp_path / "data")
    assert "decoded by the rules of another version" in capfd.readouterr().err
    load_folder(pets, tmp_path / "data")
    assert len(capfd.readouterr().err.splitlines()) == 1 and len(leftovers(tmp_path / "data")) == 1


def test_an_image_moved_to_another_split_is_decoded_again(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "val/a", "val/b"):
        write_images(tmp_path / "set" / place, 20, 50)
    first = load_folder(tmp_path / "set", tmp_path / "data")
    assert first.class_counts()["val"] == [20, 20]
    (tmp_path / "set" / "val" / "a" / "00.png").rename(tmp_path / "set" / "train" / "a" / "moved.png")
    assert load_folder(tmp_path / "set", tmp_path / "data").class_counts()["val"] == [19, 20]


@pytest.mark.parametrize("damage", [truncate, empty, lambda path: path.write_text("{}"), os.remove])
@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy", "cache.json"])
def test_a_damaged_folder_cache_is_built_again(
        name: str, damage: Callable[[Path], None], pets: Path, tmp_path: Path,
        capfd: pytest.CaptureFixture[str]) -> None:
    data_dir = tmp_path / "data"
    first = load_folder(pets, data_dir)
    assert len(capfd.readouterr().err.splitlines()) == 1  # what the folder holds
    [cache] = [path for path in data_dir.iterdir() if path.is_dir()]
    kept = np.array(first.train_images)
    damage(cache / name)
    second = load_folder(pets, data_dir)
    assert "is damaged" in capfd.readouterr().err
    assert first.sha256 == second.sha256 and np.array_equal(kept, second.train_images)


@pytest.mark.parametrize("foreign", ["file", "link", "folder"])
def test_what_is_no_cache_of_ours_is_left_unchanged(foreign: str, pets: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    load_folder(pets, data_dir)
    [cache] = [path for path in data_dir.iterdir() if path.is_dir()]
    moved = cache.rename(tmp_path / "moved")
    if foreign == "file":
        cache.write_text("mine")
    elif foreign == "link":
        cache.symlink_to(moved)
    else:
        cache.mkdir()
        (cache / "mine.txt").touch()
    for _ in range(2):
        with pytest.raises(RunError, match="is no cache of this program and is left unchanged; move it away"):
            load_folder(pets, data_dir)
    assert cache.is_symlink() or cache.is_file() or (cache / "mine.txt").exists()


def test_what_a_file_browser_leaves_in_a_cache_does_not_spoil_it(pets: Path, tmp_path: Path) -> None:
    load_folder(pets, tmp_path / "data")
    [cache] = [path for path in (tmp_path / "data").iterdir() if path.is_dir()]
    (cache / ".DS_Store").touch()
    (cache / "Thumbs.db").touch()
    before = (cache / "cache.json").stat().st_mtime_ns
    load_folder(pets, tmp_path / "data")
    assert (cache / "cache.json").stat().st_mtime_ns == before
    (pets / "cat" / "new.png").write_bytes((pets / "dog" / "00.png").read_bytes())
    load_folder(pets, tmp_path / "data")  # replaces it, although another run may still read it
    assert [path.name for path in (tmp_path / "data").iterdir() if path.is_dir()] == [cache.name]


def test_a_cache_that_lacks_a_fact_is_damaged(pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_folder(pets, tmp_path / "data")
    [facts] = (tmp_path / "data").glob("*/cache.json")
    written = json.loads(facts.read_text())
    facts.write_text(json.dumps({name: written[name] for name in written if name != "notes"}))
    load_folder(pets, tmp_path / "data")
    assert "is damaged" in capfd.readouterr().err


def test_folders_of_the_same_name_do_not_share_a_cache(pets: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "other" / "my pets" / "cat", 10, 50)
    write_images(tmp_path / "other" / "my pets" / "dog", 10, 60)
    load_folder(pets, tmp_path / "data")
    other = load_folder(tmp_path / "other" / "my pets", tmp_path / "data")
    assert set(other.train_images[:, 0, 0, 0].tolist()) == {50, 60}
    assert len(load_folder(pets, tmp_path / "data").train_images) == 24
    assert len(leftovers(tmp_path / "data")) == 2


def refused(path: Path, tmp_path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_folder(path, tmp_path / "data")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists() or leftovers(tmp_path / "data") == []
    return str(caught.value)


def test_a_missing_folder_or_a_file_is_refused(tmp_path: Path) -> None:
    assert "no folder" in refused(tmp_path / "missing", tmp_path)
    (tmp_path / "file").touch()
    assert "not a folder" in refused(tmp_path / "file", tmp_path)


def test_a_folder_without_two_classes_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "flat", 30, 0)
    text = refused(tmp_path / "flat", tmp_path)
    assert "has 0 class folders" in text and "left out: 30 images outside the class folders" in text
    write_images(tmp_path / "one" / "cat", 30, 0)
    text = refused(tmp_path / "one", tmp_path)
    assert "has 1 class folder;" in text and "one per class" in text


def test_a_class_with_too_few_readable_images_is_refused(pets: Path, tmp_path: Path) -> None:
    (pets / "dog" / "00.png").unlink()
    assert "class 'dog' has 9 readable images, but at least 10" in refused(pets, tmp_path)
    (pets / "dog" / "00.png").write_bytes(b"no image")
    text = refused(pets, tmp_path)
    assert "class 'dog' has 9 readable images" in text
    assert "1 unreadable and left out: 'dog/00.png' (" in text
    (pets / "empty").mkdir()
    write_images(pets / "dog", 10, 0)
    assert "class 'empty' has 0 readable images" in refused(pets, tmp_path)


def test_splits_with_different_classes_are_refused(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "test/a", "test/c"):
        write_images(tmp_path / "set" / place, 10, 0)
    assert "same classes, but only one has 'b', 'c'" in refused(tmp_path / "set", tmp_path)
    shutil.move(tmp_path / "set" / "test" / "c", tmp_path / "set" / "test" / "b")
    load_folder(tmp_path / "set", tmp_path / "data2")
    (tmp_path / "set" / "train" / "b" / "05.png").unlink()
    (tmp_path / "set" / "train" / "b" / "06.png").unlink()
    assert "class 'b' has 8 readable images in train" in refused(tmp_path / "set", tmp_path)


def test_a_full_disk_is_reported_before_decoding(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunError, match="has less than 1 MB free"):
        load_folder(pets, tmp_path / "data")


def test_a_folder_name_is_made_safe_for_file_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / "my: ü (2)" / name, 10, 0)
    assert load_folder(tmp_path / "my: ü (2)", tmp_path / "data").name == "folder-my-2--ac55dbad"


def noise(count: int, seed: int) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(count)]


def save_all(folder: Path, images: list[Image.Image]) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        image.save(folder / f"{number:03}.png")


def notes_on(path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The notes on a folder, which are the same when it is decoded and when its cache is read."""
    said = []
    for _ in range(2):
        load_folder(path, tmp_path / "data")
        lines = capfd.readouterr().err.splitlines()
        said.append([line.partition(": note: ")[2] for line in lines if ": note: " in line])
    assert said[0] == said[1]
    return said[0]


def test_images_in_two_splits_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    a, b = noise(70, 1), noise(70, 2)
    save_all(tmp_path / "set" / "train" / "a", a[:50])
    save_all(tmp_path / "set" / "train" / "b", b[:50])
    save_all(tmp_path / "set" / "val" / "a", [*a[50:60], *a[:2]])
    save_all(tmp_path / "set" / "val" / "b", b[50:60])
    save_all(tmp_path / "set" / "test" / "a", [*a[60:], *a[3:6]])
    save_all(tmp_path / "set" / "test" / "b", [*b[60:], b[50]])  # the last is a validation image
    assert notes_on(tmp_path / "set", tmp_path, capfd) == [
        "4 of 24 test images are equal to a training image, so that the test accuracy is too high",
        "2 of 22 validation images are equal to a training image, so that the validation accuracy is too high"]


def test_copies_within_a_folder_without_splits_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        save_all(tmp_path / "set" / name, noise(12, seed) * 5)
    leaked, copies = notes_on(tmp_path / "set", tmp_path, capfd)
    assert leaked.startswith("24 of 24 test images are equal to a training image")
    assert copies == "many images are copies of another image of the class: 'a' 48 of 60, 'b' 48 of 60"


def test_images_of_one_colour_and_equal_classes_are_noted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_all(tmp_path / "set" / "black", [Image.new("RGB", (32, 32))] * 20)
    save_all(tmp_path / "set" / "noise", noise(29, 1) + [Image.new("RGB", (32, 32))])
    leaked, several, copies, plain = notes_on(tmp_path / "set", tmp_path, capfd)
    assert "test images are equal to a training image" in leaked
    assert several == "21 images are equal to an image of another class"
    assert copies == "many images are copies of another image of the class: 'black' 19 of 20"
    assert plain == "many images are of one colour: 'black' 20 of 20"


def picture(seed: int, side: int = 200) -> Image.Image:
    """Smooth and coloured, as photos are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def test_images_saved_again_in_another_split_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for label, name in enumerate(("a", "b")):
        pictures = [picture(100 * label + number) for number in range(50)]
        save_all(tmp_path / "set" / "train" / name, pictures[:40])
        save_all(tmp_path / "set" / "test" / name, pictures[40:])
        for number in range(3):
            copy = pictures[number].resize((120, 120))
            copy.save(tmp_path / "set" / "test" / name / f"again{number}.jpg", quality=80)
    assert notes_on(tmp_path / "set", tmp_path, capfd) == [
        "6 of 26 test images are nearly equal to a training image; if they are copies of it, the test accuracy is too "
        "high"]


def test_images_that_use_a_fraction_of_the_range_are_noted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As scikit-learn's digits, 0 to 16, or masks of 0 and 1."""
    for name, seed in (("a", 1), ("b", 2)):
        save_all(tmp_path / "set" / name, [image.point(lambda value: value // 16) for image in noise(20, seed)])
    assert notes_on(tmp_path / "set", tmp_path, capfd) == [
        "no pixel is brighter than 15 of 255; scale the images to 0 to 255"]
    save_all(tmp_path / "set" / "c", noise(20, 3))
    assert notes_on(tmp_path / "set", tmp_path, capfd) == [
        "many images are darker than 32 of 255: 'a' 20 of 20, 'b' 20 of 20"]


def test_images_that_all_differ_get_no_note(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        save_all(tmp_path / "set" / name, noise(30, seed))
    assert notes_on(tmp_path / "set", tmp_path, capfd) == []


def test_two_files_of_equal_size_and_time_that_change_places_are_noticed(tmp_path: Path) -> None:
    files = [tmp_path / name / "0.bmp" for name in ("cat", "dog")]
    for value, file in enumerate(files):
        file.parent.mkdir()
        Image.new("L", (8, 8), value).save(file)
        os.utime(file, (1e9, 1e9))
    layout = Layout(("cat", "dog"), [("", label, file) for label, file in enumerate(files)], {}, "")
    before = listing_digest(tmp_path, layout, 32)
    assert listing_digest(tmp_path, layout, 32) == before
    files[0].rename(tmp_path / "other")
    files[1].rename(files[0])
    (tmp_path / "other").rename(files[1])
    assert listing_digest(tmp_path, layout, 32) != before
