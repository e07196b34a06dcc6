"""The split of every data set, and reading ahead in a memory map."""

import hashlib
import mmap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from utils.images.datasets import DATASETS, load_dataset
from utils.images.on_device import DeviceData
from utils.images.splits import read_ahead, stratified_split


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


@pytest.mark.parametrize("fraction", [1.0, 0.2, 0.001])
def test_labels_are_kept_by_a_share_of_each_class_of_each_split(fraction: float, tmp_path: Path) -> None:
    dataset = load_dataset("digits", tmp_path)
    data = DeviceData.load(dataset, torch.device("cpu"), fraction)
    for kept, split in ((data.labelled, dataset.train_index), (data.selection, dataset.val_index)):
        chosen = kept.tolist()
        assert len(set(chosen)) == len(chosen) and set(chosen) <= set(split.tolist())
        counts = np.bincount(dataset.train_labels[split])
        assert np.bincount(dataset.train_labels[chosen]).tolist() == [max(1, round(fraction * n)) for n in counts]


def test_statistics_of_the_data_see_training_images_alone(tmp_path: Path) -> None:
    dataset = load_dataset("digits", tmp_path)
    data = DeviceData.load(dataset, torch.device("cpu"))
    seen = dataset.train_index
    for count, index in ((10_000, seen), (len(seen) // 3, seen[::3][:len(seen) // 3])):
        sample = (255 * data.sample(count)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        assert len(sample) == len(index) and np.array_equal(sample[:99], dataset.train_images[index[:99]])


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
