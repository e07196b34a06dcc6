"""Which folders are splits, which are classes, and what is left out.  Layouts of public data sets are the examples."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.utils.images.samples import leftovers, load_folder
from utils.errors import UsageError
from utils.images.folder_layout import read_layout

pytestmark = pytest.mark.usefixtures("decoded_here")


def fill(root: Path, **counts: int) -> None:
    """`a__b=3`: three images in a/b below root.  No two are alike."""
    for place, count in counts.items():
        folder = root.joinpath(*place.split("__"))
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.random.default_rng([*str(folder).encode(), number]).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02}.png")


def three(**counts: int) -> dict[str, int]:
    """The same number for each of three classes."""
    return {f"{split}__{name}": count for split, count in counts.items() for name in ("cat", "dog", "emu")}


def counts_of(path: Path, tmp_path: Path) -> dict[str, list[int]]:
    dataset = load_folder(path, tmp_path / "data")
    assert dataset.classes == ("cat", "dog", "emu")
    return dataset.class_counts()


def refusal(path: Path, tmp_path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_folder(path, tmp_path / "data")
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and caught.value.exit_code == 2
    assert not (tmp_path / "data").exists() or leftovers(tmp_path / "data") == []
    return text


@pytest.mark.parametrize("train, val, test", [
    ("train", "val", "test"), ("training", "validation", "testing"), ("Train", "Valid", "Test"),
    ("TRAIN", "dev", "TEST"), ("Training", "", "Testing"), ("train", "val", ""), ("training", "validation", "")])
def test_split_words_in_any_case_are_splits(train: str, val: str, test: str, tmp_path: Path,
                                            capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "set", **three(**{train: 30, val: 12, test: 5} if val and test else
                                   {train: 30, val: 12} if val else {train: 30, test: 5}))
    found = counts_of(tmp_path / "set", tmp_path)
    assert found["test"] == [5 if test else 6] * 3  # a fifth of train without a folder
    assert found["val"] == [12 if val else 3] * 3
    assert found["train"] == [30 - (0 if test else 6) - (0 if val else 3)] * 3
    [line] = capfd.readouterr().err.splitlines()
    assert f"training: {train}/" in line and line.endswith("left out: nothing")
    assert (f"validation: {val}/" if val else "validation: 10 % of the training images") in line
    assert (f"test: {test}/" if test else f"test: 20 % of {train}/") in line
    each = 30 + (12 if val else 0) + (5 if test else 0)
    assert f"set: 3 classes (cat {each}, dog {each}, emu {each}); " in line


def test_each_image_is_in_the_split_of_its_folder(tmp_path: Path) -> None:
    fill(tmp_path / "set", **three(train=8, val=3, test=2))
    dataset = load_folder(tmp_path / "set", tmp_path / "data")
    for split, images, labels in (
            ("train", dataset.train_images[dataset.train_index], dataset.train_labels[dataset.train_index]),
            ("val", dataset.train_images[dataset.val_index], dataset.train_labels[dataset.val_index]),
            ("test", dataset.test_images, dataset.test_labels)):
        expected = [(label, np.asarray(Image.open(file).resize((32, 32), Image.Resampling.BICUBIC)).tobytes())
                    for label, name in enumerate(("cat", "dog", "emu"))
                    for file in (tmp_path / "set" / split / name).iterdir()]
        assert sorted(expected) == sorted((int(label), image.tobytes())
                                          for label, image in zip(labels, images, strict=True))


@pytest.mark.parametrize("test", ["test", "Testing__unknown", "test__test"])
def test_an_unlabelled_test_folder_is_left_out(test: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Kaggle's layout: train/CLASS/* and test/*; Keras wants test/unknown/*."""
    fill(tmp_path / "set", **three(train=30), **{test: 25})
    assert counts_of(tmp_path / "set", tmp_path) == {"train": [22] * 3, "val": [2] * 3, "test": [6] * 3}
    assert f"left out: 25 images in {test.partition('__')[0]}/, which has no class folders" in capfd.readouterr().err


def test_evaluation_is_the_test_split_next_to_another_validation_split(tmp_path: Path) -> None:
    fill(tmp_path / "set", **three(training=20, validation=5, evaluation=7))  # Food-11
    found = counts_of(tmp_path / "set", tmp_path)
    assert (found["train"], found["val"], found["test"]) == ([20] * 3, [5] * 3, [7] * 3)


def test_masks_next_to_their_images_are_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "set", cat=10, dog=10, emu=10)
    for name in ("00_mask.png", "01_mask_1.png", "02-seg.png", "other_mask.png"):  # the last is no other image's mask
        (tmp_path / "set" / "cat" / name).write_bytes((tmp_path / "set" / "dog" / "00.png").read_bytes())
    (tmp_path / "set" / "dog" / ".11.png.icloud").touch()  # what macOS leaves of an image that is only in the cloud
    assert sum(found[0] for found in counts_of(tmp_path / "set", tmp_path).values()) == 11
    line = capfd.readouterr().err.splitlines()[0]
    assert "3 masks next to their images" in line and "1 .icloud (not on this machine)" in line


def test_imagenet_with_its_flat_test_folder_has_three_splits(tmp_path: Path) -> None:
    fill(tmp_path / "set", **three(train=30, val=10), test=25)
    assert counts_of(tmp_path / "set", tmp_path) == {"train": [24] * 3, "val": [10] * 3, "test": [6] * 3}


def test_tiny_imagenet_keeps_its_images_one_folder_deeper(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "set", **{f"train__{name}__images": 20 for name in ("cat", "dog", "emu")}, val__images=9,
         test__images=8)
    assert counts_of(tmp_path / "set", tmp_path)["test"] == [4] * 3
    said = capfd.readouterr().err
    assert "9 images in val/, which has no class folders" in said and "8 images in test/" in said


def test_classes_next_to_a_flat_test_folder_are_split_here(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "set", cat=20, dog=20, emu=20, test=7)
    assert counts_of(tmp_path / "set", tmp_path)["test"] == [4] * 3
    assert "left out: 7 images in test/, which has no class folders" in capfd.readouterr().err


def test_a_train_folder_next_to_classes_is_a_class_unless_a_table_has_labels(tmp_path: Path) -> None:
    fill(tmp_path / "set", train=10, bus=10, car=10)
    assert load_folder(tmp_path / "set", tmp_path / "data").classes == ("bus", "car", "train")
    other = tmp_path / "other"
    fill(other / "set", train=10, unknown=10)
    (other / "set" / "train.csv").touch()
    assert "'train' hold images but no class folders, next to 'unknown'" in refusal(other / "set", other)


def test_folders_without_images_next_to_the_one_with_the_classes_are_not_blamed(tmp_path: Path) -> None:
    fill(tmp_path / "set", images__cat=10, images__dog=10, meta=0)
    (tmp_path / "set" / "meta" / "classes.txt").touch()
    assert "has 1 class folder with images; " in (text := refusal(tmp_path / "set", tmp_path))
    assert text.endswith(f"'images' holds folders of images itself: give folder:{tmp_path / 'set' / 'images'}")


def test_a_class_called_valid_is_told_to_be_renamed(tmp_path: Path) -> None:
    fill(tmp_path / "set", valid=10, invalid=10)
    assert "10 images in valid/, which has no class folders (read as a split; rename it if it is a class)" in refusal(
        tmp_path / "set", tmp_path)


def test_an_empty_split_folder_is_named_and_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "set", **three(train=20), test=0, **three(val=0))
    assert counts_of(tmp_path / "set", tmp_path)["test"] == [4] * 3
    assert "left out: test/ (no images), val/ (no images)" in capfd.readouterr().err


@pytest.mark.parametrize("places, words", [
    (["train", "test"], "'train' holds images but no class folders"),
    (["Train", "val__cat", "val__dog"], "'Train' holds images but no class folders"),
    (["test__cat", "test__dog"], "has 'test' but no images in train"),
    (["val__cat", "val__dog", "test__cat", "test__dog"], "has 'test' and 'val' but no images in train"),
    (["cat", "dog", "test__cat", "test__dog"], "no images in train"),
    (["train__cat", "train__dog", "Training__cat", "Training__dog"], "'Training' and 'train' both name the same split"),
    (["train__cat", "train__dog", "val__cat", "val__dog", "dev__cat"], "'dev' and 'val' both name the same split"),
    (["train__steam", "train__toy", "bus", "car"], "rename 'train' if it is a class"),
    (["train", "test", "bus", "car"], "hold images but no class folders, next to 'bus', 'car'"),
    (["train__cat", "train__dog", "val__cat", "val__emu"], "the same classes, but only one has 'dog', 'emu'"),
    (["train__cat", "train__dog", "test__cat"], "the same classes, but only one has 'dog'"),
    (["batch1__cat", "batch1__dog", "batch2__cat", "batch2__dog"], "like parts of one data set and not like classes"),
    (["seg_train__cat", "seg_train__dog", "seg_test__cat", "seg_test__dog"], "into train/CLASS, val/CLASS"),
    (["a__cat", "a__dog", "b__dog", "b__emu", "c__cat", "c__emu"], "the same sub-folders ('cat', 'dog', 'emu')"),
    (["train__a__cat", "train__a__dog", "train__b__cat", "train__b__dog"], "'a', 'b' hold the same sub-folders"),
    (["cat__train", "cat__test", "dog__train", "dog__test"], "splits, which must be above the classes: train/CLASS"),
    (["train_cat", "train_dog", "test_cat", "test_dog"], "'train_cat' and 'test_cat' are named after splits"),
    (["cat-Train", "dog-Train", "cat-Valid", "dog-Valid"], "'cat-Train' and 'cat-Valid' are named after splits"),
    (["trainA", "trainB", "testA", "testB"], "'trainA' and 'testA' are named after splits"),
    (["trainset__cat", "trainset__dog", "testset__cat", "testset__dog"], "'trainset' and 'testset' are"),
    (["train2017", "val2017", "annotations"], "'train2017' and 'val2017' are named after splits"),
    (["seg_train__a", "seg_train__b", "seg_test__a", "seg_test__b", "seg_pred"], "'seg_train' and 'seg_test'"),
    (["seg_train__cat", "seg_train__dog", "seg_train__emu", "seg_pred"], "'seg_train' is named after a split, and it"),
    (["seg_train__seg_train__cat", "seg_train__seg_train__dog", "seg_pred__seg_pred"], "it alone holds sub-folders of"),
    (["friday__cat", "friday__Dog", "monday__Cat", "monday__dog"], "hold the same sub-folders ('Cat', 'dog')"),
    (["images", "masks"], "'images', 'masks' are kinds of files and not classes"),
    (["JPEGImages", "SegmentationClass", "Annotations"], "are kinds of files and not classes"),
    (["train__images", "train__labels", "valid__images"], "'images', 'labels' are kinds of files and not classes"),
    (["training__images", "training__1st_manual", "training__mask"], "are kinds of files and not classes"),
    (["train", "train_masks"], "'train', 'train_masks' are kinds of files and not classes"),
    (["traindata", "testdata"], "'traindata' and 'testdata'"),
    (["amazon__images__bike", "amazon__images__mug", "dslr__images__bike", "dslr__images__mug"],
     "'amazon', 'dslr' hold the same sub-folders ('bike', 'mug')"),
    (["pets-001__pets__train__cat", "pets-002__pets__train__cat", "pets-002__pets__test__cat"], "hold the same"),
    (["HAM_images_part_1", "HAM_images_part_2"], "because only their numbers differ"),
    (["images_001__images", "images_002__images"], "because only their numbers differ"),
    (["labeled__cat", "labeled__dog", "unlabeled"], "'unlabeled' names images without a class"),
    (["train", "eval"], "'train' holds images but no class folders"),
    (["cat", "dog", "pets__cat", "pets__dog"], "'pets' holds sub-folders with the names of classes ('cat', 'dog')"),
    (["test", "control"], "has 1 class folder; the images must be in 2 to 1000 sub-folders, one per class; left out: "
                          "10 images in test/, which has no class folders"),
    (["archive__pets__cat", "archive__pets__dog"], "archive/pets"),
    (["all__cat", "all__dog"], "give folder:"),
    (["all__train__cat", "all__train__dog", "all__test__cat"], "'all' holds folders of images itself: give folder:"),
    (["train__train__cat", "train__train__dog"], "'train' holds folders of images itself: move these up into train"),
    (["a__abbey", "a__alley", "b__bakery"], "'a', 'b' are first letters and not classes"),  # SUN397
    (["pets__cat", "pets__dog", "data__pets__cat", "data__pets__dog"], "'data' holds sub-folders with the names of"),
    (["covid__images", "covid__masks", "normal__images", "normal__masks"], "move these away"),
])
def test_a_layout_without_a_clear_meaning_is_refused(places: list[str], words: str, tmp_path: Path) -> None:
    fill(tmp_path / "set", **dict.fromkeys(places, 10))
    assert words in refusal(tmp_path / "set", tmp_path)


@pytest.mark.parametrize("names", [
    ("valley", "train_station"), ("real_images", "fake_images"), ("with_mask", "without_mask"), ("Cat", "cat"),
    ("train", "labels"), ("1", "10", "2"), ("a\nb", "c'd", " ", "\U0001f431")])
def test_names_that_only_look_like_splits_or_files_are_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    fill(tmp_path / "set", **dict.fromkeys(names, 10))
    assert read_layout(tmp_path / "set").classes == tuple(sorted(names))


@pytest.mark.parametrize("classes, places", [
    ("train_station valley", ["train_station__hall", "train_station__gate", "valley__alps", "valley__ruhr"]),
    ("1 train_toy", ["1__a", "1__b", "train_toy"]),
    ("bus train", ["train__train__front", "train__train__rear", "train__bus", "test__train", "test__bus"]),
    ("bus train_toy", ["train__train_toy__a", "train__train_toy__b", "train__bus", "test__train_toy", "test__bus"])])
def test_a_class_with_the_name_of_a_split_may_have_sub_folders(classes: str, places: list[str], tmp_path: Path) -> None:
    fill(tmp_path / "set", **dict.fromkeys(places, 10))
    assert " ".join(read_layout(tmp_path / "set").classes) == classes


def test_a_class_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "set", cat=10, dog=10, locked=10)
    scan = os.scandir

    def scandir(place: str | Path) -> Any:  # root may read everything
        if Path(place).name == "locked":
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "locked cannot be read; change its permissions" in refusal(tmp_path / "set", tmp_path)


def test_composed_and_decomposed_names_are_the_same_class(tmp_path: Path) -> None:
    """macOS decomposes accents, other systems keep what was typed: an archive of both has either."""
    for place in ("train/caf\u00e9", "train/tea", "test/cafe\u0301", "test/tea"):
        fill(tmp_path / "set" / place, **{"": 20})
    layout = read_layout(tmp_path / "set")
    assert layout.classes == ("caf\u00e9", "tea")
    assert len([file for split, label, file in layout.images if (split, label) == ("test", 0)]) == 20
    fill(tmp_path / "set" / "train" / "cafe\u0301", **{"": 1})
    assert "two folders are called 'caf\u00e9'" in refusal(tmp_path / "set", tmp_path)


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar", "pets.npz"])
def test_an_archive_is_no_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")
    assert "is not a folder; an archive must be unpacked" in refusal(tmp_path / name, tmp_path)


def test_a_stray_image_does_not_hide_a_folder_too_many(tmp_path: Path) -> None:
    fill(tmp_path / "set", batch1__cat=10, batch1__dog=10, batch2__cat=10, batch2__dog=10, batch1=1)
    assert "not like classes" in refusal(tmp_path / "set", tmp_path)


def test_images_next_to_sub_folders_make_a_class_of_a_folder_and_the_line_says_so(tmp_path: Path) -> None:
    fill(tmp_path / "set", friday__cat=10, friday__dog=10, monday__Cat=10, monday__dog=10, friday=5)
    assert ("2 classes (friday 25, monday 20), which include their sub-folders ('Cat', 'dog'); "
            in read_layout(tmp_path / "set").summary)


def test_sub_folders_of_different_names_belong_to_their_class(tmp_path: Path) -> None:
    fill(tmp_path / "set", animal__cat=5, animal__dog=5, vehicle__bus=5, vehicle__car=5)
    assert ("2 classes (animal 10, vehicle 10), which include their sub-folders ('cat', 'dog', 'bus', ...); "
            in read_layout(tmp_path / "set").summary)
    assert load_folder(tmp_path / "set", tmp_path / "data").class_counts()["test"] == [2, 2]


def test_litter_of_systems_is_no_class_and_no_image(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "set", **three(train=20, test=5), **{".ipynb_checkpoints": 3})
    fill(tmp_path / "set" / "__MACOSX" / "cat", **{"": 4})
    fill(tmp_path / "set" / "train" / "__MACOSX", **{"": 4})
    fill(tmp_path / "set" / "train" / "cat" / "@eaDir", **{"": 4})
    fill(tmp_path / "set" / "test" / ".ipynb_checkpoints", **{"": 4})
    for place in (".", "train", "train/cat"):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._00.png"):
            (tmp_path / "set" / place / name).write_bytes(b"x")
    assert counts_of(tmp_path / "set", tmp_path)["test"] == [5] * 3
    [line] = capfd.readouterr().err.splitlines()
    assert "cat 25, dog 25, emu 25" in line and line.endswith("left out: nothing")


def test_litter_does_not_hide_a_folder_too_many(tmp_path: Path) -> None:
    fill(tmp_path / "set", all__cat=10, all__dog=10)
    fill(tmp_path / "set" / "__MACOSX", all__cat=10)
    assert f"give folder:{tmp_path / 'set' / 'all'}" in refusal(tmp_path / "set", tmp_path)


def test_what_is_left_out_is_named_with_its_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "set", **three(train=20, test=5), train=2, extra__cat=4)
    fill(tmp_path / "store", more=6)
    fill(tmp_path / "set", **{"": 3})
    cat = tmp_path / "set" / "train" / "cat"
    (cat / "linked").symlink_to(tmp_path / "store" / "more")
    (cat / "circle").symlink_to(tmp_path / "set")
    for name in ("a.heic", "b.HEIC", "c.txt", "README"):
        (cat / name).write_text("x")
    (tmp_path / "set" / "images.zip").write_text("x")
    (tmp_path / "set" / "train" / "dead").symlink_to("nowhere")
    assert counts_of(tmp_path / "set", tmp_path)["test"] == [5] * 3
    [line] = capfd.readouterr().err.splitlines()
    assert line.partition("left out: ")[2] == (
        "3 images, 1 .zip outside the class folders, 2 images, 1 other files in train/ outside its class folders, "
        "4 images in 'extra', which is no split, 2 .heic, 2 linked folders, 1 .txt, 1 other files in class folders "
        "(no suffix that is read; links are not followed)")


def test_a_linked_class_folder_is_read(tmp_path: Path) -> None:
    fill(tmp_path, store__pets=12, set__cat=10, set__dog=10)
    (tmp_path / "set" / "emu").symlink_to(tmp_path / "store" / "pets")
    assert sum(map(sum, counts_of(tmp_path / "set", tmp_path).values())) == 32


def test_jfif_images_are_read(tmp_path: Path) -> None:
    fill(tmp_path / "set", cat=10, dog=10, emu=10)
    for file in (tmp_path / "set" / "cat").iterdir():
        Image.open(file).save(file.with_suffix(".jfif"), "jpeg")
    assert counts_of(tmp_path / "set", tmp_path)["test"] == [4, 2, 2]


@pytest.mark.parametrize("content, words", [
    (["a.heic", "b.heic"], "class 'emu' has 0 readable images, but at least 10 are needed; not read there: 2 .heic"),
    ([], "its folder is empty"), (["linked"], "not read there: 1 linked folders")])
def test_a_class_without_images_is_refused_with_the_reason(content: list[str], words: str, tmp_path: Path) -> None:
    fill(tmp_path / "set", cat=10, dog=10, emu=0)
    for name in content:
        if name == "linked":
            (tmp_path / "set" / "emu" / name).symlink_to(tmp_path / "set" / "cat")
        else:
            (tmp_path / "set" / "emu" / name).write_text("x")
    assert words in refusal(tmp_path / "set", tmp_path)


@pytest.mark.parametrize("splits, least", [(["train"], 10), (["train", "test"], 9), (["train", "val"], 9),
                                           (["train", "val", "test"], 8)])
def test_a_class_needs_images_for_each_split_taken_from_train(splits: list[str], least: int, tmp_path: Path) -> None:
    fill(tmp_path / "set", **three(**{split: least if split == "train" else 1 for split in splits}))
    assert min(map(min, counts_of(tmp_path / "set", tmp_path).values())) == 1
    os.remove(tmp_path / "set" / "train" / "dog" / "00.png")
    with pytest.raises(UsageError, match=f"class 'dog' has {least - 1} readable images in train, but at least {least}"):
        load_folder(tmp_path / "set", tmp_path / "data")


def test_many_classes_are_abbreviated_and_odd_names_stay_on_the_line(tmp_path: Path) -> None:
    fill(tmp_path / "set", **{f"c{number:02}": 10 + number for number in range(30)})
    (tmp_path / "set" / "c00").rename(tmp_path / "set" / "a\nb")
    assert read_layout(tmp_path / "set").summary.startswith(
        "30 classes ('a\\nb' 10, c01 11, c02 12, c03 13, c04 14, c05 15, c06 16, c07 17, c08 18, ..., c29 39: "
        "10 to 39 images each); no split folders")
