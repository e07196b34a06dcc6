"""A data set on the device: all images are one uint8 tensor, and a batch is an index into it."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from utils.images.datasets import Dataset
from utils.images.splits import read_ahead

EVALUATION_BATCH = 500  # images per forward pass where no gradient is taken, of up to 32 x 32 pixels
STATISTICS_FROM = 2000  # training images for statistics of the data
SAMPLE_PIXELS = 50_000 * 32 * 32  # most pixels of a sample, all images together


@dataclass(frozen=True)
class DeviceData:
    """A data set on the device.  Images are (N, H, W, C) uint8, labels (N,) int64.

    train, val, labelled and selection index into images: labelled are those of train whose labels may be used,
    selection those of val whose labels may select an epoch.
    """

    images: Tensor
    labels: Tensor
    train: Tensor
    val: Tensor
    labelled: Tensor
    selection: Tensor
    test_images: Tensor
    test_labels: Tensor
    image_shape: tuple[int, int, int]  # C, H, W
    classes: tuple[str, ...]
    recipes: str  # the data set whose recipes are used
    mapped: np.ndarray | None = None  # the images on disk, if they are memory-mapped

    @staticmethod
    def load(dataset: Dataset, device: torch.device, labels: float = 1.0) -> "DeviceData":
        """Copy to the device; on the CPU the arrays are shared, so a memory-mapped set stays on disk.

        labels: the fraction of the training and of the validation images whose labels may be used.
        """
        def tensor(array: np.ndarray) -> Tensor:
            with warnings.catch_warnings():  # images are never written to
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                return torch.from_numpy(array).to(device)
        labelled, selection = dataset.labelled(labels)
        return DeviceData(tensor(dataset.train_images), tensor(dataset.train_labels), tensor(dataset.train_index),
                          tensor(dataset.val_index), tensor(labelled), tensor(selection), tensor(dataset.test_images),
                          tensor(dataset.test_labels), dataset.image_shape, dataset.classes, dataset.recipes,
                          dataset.train_images if device.type == "cpu" else None)

    def read_ahead(self, index: Tensor) -> None:
        """Start reading the images of these indices in the background, if they are on disk."""
        if self.mapped is not None:
            read_ahead(self.mapped, index.numpy())

    def of_labelled(self) -> "DeviceData":
        """The same data with the labelled images repeated up to the number of training images.

        An epoch then has the same length for every fraction of labels: few labels do not mean few steps.
        """
        times = -(-len(self.train) // len(self.labelled))
        return replace(self, train=self.labelled.repeat(times)[: len(self.train)])

    def sample(self, count: int) -> Tensor:
        """Up to `count` training images, evenly spaced, (count, C, H, W) in [0, 1], for statistics of the data."""
        count = min(count, SAMPLE_PIXELS // math.prod(self.image_shape[1:]))  # bounds the memory
        index = evenly_spaced(len(self.train), count).to(self.train.device)
        self.read_ahead(self.train[index])
        return to_float(self.images[self.train[index]])

    def train_batches(self) -> Iterator[Tensor]:
        """All training images, (B, C, H, W) in [0, 1] each."""
        for index in self.train.split(evaluation_batch(self.image_shape)):
            self.read_ahead(index)
            yield to_float(self.images[index])

    def mean_colour(self) -> Tensor:
        """(C,): the mean that most encoders subtract from their input, so this colour is 0 to the network."""
        return self.sample(STATISTICS_FROM).mean((0, 2, 3))


def evaluation_batch(image_shape: tuple[int, ...]) -> int:
    """Images of (C, H, W) per forward pass without gradient: EVALUATION_BATCH, fewer for large images."""
    return max(1, min(EVALUATION_BATCH, EVALUATION_BATCH * 32 * 32 // math.prod(image_shape[1:])))


def evenly_spaced(n: int, count: int) -> Tensor:
    """Up to `count` evenly spaced indices below n, int64; a folder of images is stored class by class."""
    count = min(n, count)
    return torch.arange(count) * n // count


def to_float(images: Tensor) -> Tensor:
    """(B, H, W, C) uint8, as the data set is stored -> (B, C, H, W) float32 in [0, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)
