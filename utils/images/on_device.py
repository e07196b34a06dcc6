"""A data set on the device: all images are one uint8 tensor, and a batch is an index into it.

Images that take too much of a GPU's memory stay in the host's, and their batches are copied: see StreamedImages.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from utils.console import say
from utils.images.datasets import Dataset
from utils.images.splits import read_ahead

EVALUATION_BATCH = 500  # images per forward pass where no gradient is taken, of up to 32 x 32 pixels
STATISTICS_FROM = 2000  # training images for statistics of the data
SAMPLE_PIXELS = 50_000 * 32 * 32  # most pixels of a sample, all images together
RESIDENT_SHARE = 0.5  # of a GPU's free memory that images may take; weights and activations need the rest


class StreamedImages:
    """Images that stay in the host's memory, or on its disk, and are copied to the device batch by batch.

    Used like the (N, H, W, C) uint8 tensor on the device, through shape, len(), device, split(), and an index, for
    which the same bytes come back.  The last batch stays on the device until another one is asked for.
    """

    def __init__(self, stored: Tensor, device: torch.device) -> None:
        self.stored, self.device, self.shape = stored, device, stored.shape
        self.index: Tensor | None = None  # of the batch that is on the device
        self.batch: Tensor

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, index: Tensor) -> Tensor:
        """The images of an index tensor of any shape; waits for the GPU, unless hold() has been given the images."""
        if index is not self.index:
            self.hold(index, self.fetch(index.cpu()))
        return self.batch

    def hold(self, index: Tensor, batch: Tensor) -> None:
        """Answer this very index tensor with these images, which are on the device."""
        self.index, self.batch = index, batch

    def fetch(self, index: Tensor) -> Tensor:
        """The images of an index on the CPU.  On CUDA the copy is only queued."""
        return queued_copy(self.stored[index], self.device)

    def split(self, size: int) -> Iterator[Tensor]:
        """All images in turn, `size` at a time."""
        return (queued_copy(part, self.device) for part in self.stored.split(size))


Images = Tensor | StreamedImages


def queued_copy(values: Tensor, device: torch.device) -> Tensor:
    """Values of the CPU on the device.  CUDA copies from pinned memory while the CPU prepares the next batch."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes of images are to be kept on the device.  Only a CUDA device has a memory of its own."""
    return device.type != "cuda" or size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


@dataclass(frozen=True)
class DeviceData:
    """A data set on the device.  Images are (N, H, W, C) uint8, labels (N,) int64.

    train, val, labelled and selection index into images: labelled are those of train whose labels may be used,
    selection those of val whose labels may select an epoch.
    """

    images: Images
    labels: Tensor
    train: Tensor
    val: Tensor
    labelled: Tensor
    selection: Tensor
    test_images: Images
    test_labels: Tensor
    image_shape: tuple[int, int, int]  # C, H, W
    classes: tuple[str, ...]
    recipe_family: str  # the data set whose recipes are used
    mapped: np.ndarray | None = None  # the images on disk, if they are memory-mapped

    @staticmethod
    def load(dataset: Dataset, device: torch.device, labels: float = 1.0) -> "DeviceData":
        """Copy to the device, images only if they fit; the CPU shares the arrays, so a memory-mapped set stays on disk.

        labels: the fraction of the training and of the validation images whose labels may be used.
        """
        size = dataset.train_images.nbytes + dataset.test_images.nbytes
        streamed = not fits(size, device)
        if streamed:
            say(f"{dataset.name}: {size / 1e9:.1f} GB of images stay in host memory; batches are copied to the GPU")

        def tensor(array: np.ndarray) -> Tensor:
            return shared(array).to(device)

        def images(array: np.ndarray) -> Images:
            return StreamedImages(shared(array), device) if streamed else tensor(array)
        labelled, selection = dataset.labelled(labels)
        return DeviceData(images(dataset.train_images), tensor(dataset.train_labels), tensor(dataset.train_index),
                          tensor(dataset.val_index), tensor(labelled), tensor(selection), images(dataset.test_images),
                          tensor(dataset.test_labels), dataset.image_shape, dataset.classes, dataset.recipe_family,
                          dataset.train_images if streamed or device.type == "cpu" else None)

    def read_ahead(self, index: Tensor) -> None:
        """Start reading the images of these indices in the background, if they are on disk."""
        if self.mapped is not None:
            read_ahead(self.mapped, index.cpu().numpy())

    def order_of_epoch(self, index: Tensor) -> Tensor:
        """An epoch's shuffled index, (N,), on the CPU where its images are copied from there: once, since it waits."""
        return index.cpu() if isinstance(self.images, StreamedImages) else index

    def batch(self, index: Tensor) -> tuple[Tensor, ...]:
        """What a step reads, on the device: the index, and the images themselves where they are copied for it."""
        if isinstance(self.images, StreamedImages):
            return queued_copy(index, self.images.device), self.images.fetch(index)
        return (index,)

    def hold(self, batch: tuple[Tensor, ...]) -> None:
        """Let `images[index]` be the images of this batch(), for its own index tensor."""
        if isinstance(self.images, StreamedImages):
            self.images.hold(*batch)

    def of_labelled(self) -> "DeviceData":
        """The same data with the labelled images repeated up to the number of training images.

        An epoch then has the same length for every fraction of labels: few labels do not mean few steps.
        """
        times, left = divmod(len(self.train), len(self.labelled))
        rest = evenly_spaced(len(self.labelled), left).to(self.labelled.device)  # of all classes: a folder is sorted
        return replace(self, train=torch.cat([self.labelled.repeat(times), self.labelled[rest]]))

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


def shared(array: np.ndarray) -> Tensor:
    """The array as a tensor on the CPU, without a copy."""
    with warnings.catch_warnings():  # images are never written to
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


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
