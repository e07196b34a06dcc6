"""What is timed: this project's training, a typical tutorial loop, and lightly's transform, head and loss.

All of them train the same networks on the same images.  The timing covers one pass over the images: augmentation,
forward, loss, backward and optimiser.  It excludes building the networks and starting the program.
"""

import contextlib
import dataclasses
import importlib
import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.common import Contestant, Timed
from models.decoders import build_decoder
from models.heads import LinearHead, ProjectionHead
from training.autoencoding_recipe import AutoencodingRecipe
from training.contrastive_recipe import ContrastiveRecipe
from training.loop import Setup, new_encoder
from training.tasks import TASKS
from utils.compute.convolution import Conv3x3, conv3x3
from utils.compute.precision import Convolution, choose_precision, measure_conv, synchronise
from utils.errors import UsageError
from utils.images.on_device import DeviceData
from utils.recipe import Recipe
from utils.records.environment import choose_device

COURSEWORK_BATCH = 64
VALIDATION_IMAGES = 10  # an epoch of the project ends with validation; this few take a hundredth of the time


def set_up(device_name: str, precision: str, seed: int = 0) -> Setup:
    """Device and number format as a run of the project chooses them.  UsageError if they are not available."""
    device = choose_device(device_name)
    conv_gflops = measure_apart(device, conv3x3)
    precision = choose_precision(measure_apart(device, conv3x3, threads=1)) if precision == "auto" else precision
    speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in conv_gflops.items())
    print(f"device: {device.type}, threads: {torch.get_num_threads()}, precision: {precision} "
          f"(convolution GFLOP/s: {speeds})", flush=True)
    if conv_gflops[precision] == 0:
        raise UsageError(f"--precision {precision}: {device.type} does not support it here; use float32 or auto")
    return Setup(device, precision, conv_gflops, seed)


def measure_apart(device: torch.device, convolution: Convolution, threads: int | None = None) -> dict[str, float]:
    """measure_conv() in a separate process, so that the memory it leaves does not affect the timings here."""
    with process_apart(device) as apart:
        return apart.submit(measure_conv, device, convolution, threads).result()


def process_apart(device: torch.device) -> ProcessPoolExecutor:
    """A separate process that computes on the device as a run of the project does, and not in TF32."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=choose_device, initargs=(device.type,))


def random_data(count: int, image_shape: tuple[int, int, int], device: torch.device) -> DeviceData:
    """`count` images of noise with random labels of ten classes, and a few more to validate on; no test images."""
    generator = Generator().manual_seed(0)
    channels, height, width = image_shape
    total = count + VALIDATION_IMAGES
    images = torch.randint(256, (total, height, width, channels), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(10, (total,), generator=generator).to(device)
    train, val = torch.arange(count, device=device), torch.arange(count, total, device=device)
    return DeviceData(images=images, labels=labels, train=train, val=val, labelled=train, selection=val,
                      test_images=images[:0], test_labels=labels[:0], image_shape=image_shape,
                      classes=tuple("0123456789"), recipe_family="cifar10")


def first_images(data: DeviceData, count: int) -> DeviceData:
    """The same data with only the first `count` training images, and a few to validate on."""
    train, val = data.train[:count], data.val[:VALIDATION_IMAGES]
    return replace(data, train=train, labelled=train, val=val, selection=val)


def on(data: DeviceData, device: torch.device) -> DeviceData:
    """The same data on another device."""
    values = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    moved: dict[str, Any] = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
    return replace(data, **moved, mapped=data.mapped if device.type == "cpu" else None)


# This project


def train_timed(task: str, recipe: Recipe, data: DeviceData, setup: Setup, epoch: int = 1) -> Timed:
    """Time epoch number `epoch` of the task's train() itself, so that changes of the project are what is timed.

    The seconds are those of its history, from the first batch on.  Its output is discarded.  data: on any device.
    """
    data = on(data, setup.device)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trained = importlib.import_module(TASKS[task].script).train(replace(recipe, epochs=epoch), data, setup)
    images = trained.steps // epoch * min(recipe.batch_size, len(data.train))
    ends = [0.0, *(row.seconds for row in trained.history)]
    return Timed(ends[-1] - ends[-2], images, trained.flops / epoch)


def this_project(task: str, recipe: Recipe, data: DeviceData, setup: Setup) -> Contestant:
    """The project's training: batches augmented as tensors, channels last, and the format that is faster here.

    The third epoch is timed, because a training allocates new memory during its first ten steps.  It runs in a separate
    process: the freed memory that it keeps (utils/compute/allocator.py) would otherwise speed up the other loops, which
    would not have it in their own program (CIFAR-10, tutorial loop: 43 -> 55 images/s).
    """
    apart, stored = process_apart(setup.device), on(data, torch.device("cpu"))  # not every GPU's memory can be shared
    return Contestant(f"this project ({recipe.method}, {setup.precision})",
                      lambda: apart.submit(train_timed, task, recipe, stored, setup, epoch=3).result())


# The conventional loop


class PilImages(Dataset):
    """(transform(PIL image), label), one at a time, as in torchvision's data sets."""

    def __init__(self, data: DeviceData, transform: Callable[[Image.Image], Any]) -> None:
        self.images = data.images[data.train].cpu().numpy()  # (N, H, W, C) uint8
        self.labels = data.labels[data.train].tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class TwoViews:
    """Apply a random transform twice.  PIL image -> two tensors."""

    def __init__(self, transform: Callable[[Image.Image], Tensor]) -> None:
        self.transform = transform

    def __call__(self, image: Image.Image) -> tuple[Tensor, Tensor]:
        return self.transform(image), self.transform(image)


class Rotated:
    """Rotate by a random multiple of 90 degrees after a transform.  PIL image -> tensor, and which multiple."""

    def __init__(self, transform: Callable[[Image.Image], Tensor]) -> None:
        self.transform = transform

    def __call__(self, image: Image.Image) -> tuple[Tensor, int]:
        quarters = int(torch.randint(4, ()))
        return self.transform(image).rot90(quarters, (1, 2)), quarters


@dataclass
class Conventional:
    """A typical tutorial loop: DataLoader, transforms of one PIL image at a time, float32, AdamW.

    modules: what is trained, on the device; loss_of: a collated batch -> the loss, including the forward passes.
    """

    name: str
    modules: list[nn.Module]
    images: PilImages
    batch_size: int
    loss_of: Callable[[Any], Tensor]
    device: torch.device

    def __post_init__(self) -> None:
        parameters = [p for module in self.modules for p in module.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, lr=1e-3)

    def with_workers(self, workers: int) -> Contestant:
        """The loop with this many worker processes, which persist from epoch to epoch."""
        loader = DataLoader(self.images, self.batch_size, shuffle=True, drop_last=True, num_workers=workers,
                            persistent_workers=workers > 0)
        return Contestant(f"{self.name}, {workers} workers", lambda: self.epoch(loader))

    def warm_up(self) -> None:
        """One untimed step, so that the first timing does not include one-off costs."""
        self.step(next(iter(DataLoader(self.images, self.batch_size))))

    def epoch(self, loader: DataLoader) -> Timed:
        """One pass over the loader's images."""
        for module in self.modules:
            module.train()
        synchronise(self.device)
        start = time.perf_counter()
        with torchs_defaults():
            for batch in loader:
                self.step(batch)
        synchronise(self.device)
        return Timed(time.perf_counter() - start, len(loader) * self.batch_size)

    def step(self, batch: Any) -> float:
        """One optimiser step; returns the loss."""
        self.optimiser.zero_grad()
        loss = self.loss_of(batch)
        loss.backward()
        self.optimiser.step()
        return loss.item()


@contextlib.contextmanager
def torchs_defaults() -> Iterator[None]:
    """On CUDA, allow TF32 and any algorithm for convolutions: torch's defaults, which choose_device() turns off."""
    cudnn = torch.backends.cudnn
    before, (cudnn.allow_tf32, cudnn.deterministic) = (cudnn.allow_tf32, cudnn.deterministic), (True, False)
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic = before


def normalisation(data: DeviceData) -> transforms.Normalize:
    """Channel means and standard deviations of training images, which tutorials hard-code."""
    sample = data.sample(2000).cpu()
    return transforms.Normalize(sample.mean((0, 2, 3)).tolist(), sample.std((0, 2, 3)).tolist())


def encoder_for(recipe: Recipe, data: DeviceData, setup: Setup, normalise: transforms.Normalize) -> nn.Module:
    """The project's encoder in float32 and the default memory format, for images that are already normalised.

    Its convolutions are torch's, not this project's, because a user of a tutorial would have those.
    """
    encoder = new_encoder(recipe, data, setup)
    for module in encoder.modules():
        if isinstance(module, Conv3x3):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]  # its base class
    encoder.fit_to_data(normalise(data.sample(2000)))
    return encoder.trunk  # what this project trains, too


def tutorial_autoencoding(recipe: Recipe, data: DeviceData, setup: Setup) -> Conventional:
    """An autoencoder as in many tutorials: flip, mean absolute error."""
    assert isinstance(recipe, AutoencodingRecipe)
    normalise = normalisation(data)
    transform = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    encoder = encoder_for(recipe, data, setup, normalise)
    decoder = build_decoder(recipe.encoder, data.image_shape, recipe.decoder_widths, recipe.latent_dim)
    decoder.to(setup.device)

    def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
        images = batch[0].to(setup.device)
        return F.l1_loss(decoder(encoder(normalise(images))), images)

    return Conventional("tutorial loop", [encoder, decoder], PilImages(data, transform), recipe.batch_size, loss_of,
                        setup.device)


def tutorial_rotation(recipe: Recipe, data: DeviceData, setup: Setup) -> Conventional:
    """Rotation prediction with one random rotation per image: crop, flip, cross-entropy."""
    normalise = normalisation(data)
    transform = transforms.Compose([transforms.RandomCrop(data.image_shape[-1], padding=4),
                                    transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])
    encoder = encoder_for(recipe, data, setup, normalise)
    head = LinearHead(recipe.latent_dim, 4).to(setup.device)

    def loss_of(batch: tuple[list[Tensor], Tensor]) -> Tensor:
        images, quarters = (part.to(setup.device) for part in batch[0])
        return F.cross_entropy(head(encoder(images)), quarters)

    return Conventional("tutorial loop", [encoder, head], PilImages(data, Rotated(transform)), recipe.batch_size,
                        loss_of, setup.device)


def tutorial_classification(recipe: Recipe, data: DeviceData, setup: Setup) -> Conventional:
    """Supervised CIFAR-10 as in torchvision's and many other tutorials: crop, flip, cross-entropy."""
    normalise = normalisation(data)
    transform = transforms.Compose([transforms.RandomCrop(data.image_shape[-1], padding=4),
                                    transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])
    encoder = encoder_for(recipe, data, setup, normalise)
    classifier = LinearHead(recipe.latent_dim, len(data.classes)).to(setup.device)

    def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = (part.to(setup.device) for part in batch)
        return F.cross_entropy(classifier(encoder(images)), labels)

    return Conventional("tutorial loop", [encoder, classifier], PilImages(data, transform), recipe.batch_size, loss_of,
                        setup.device)


def tutorial_contrastive(recipe: Recipe, data: DeviceData, setup: Setup, side: int | None = None) -> Conventional:
    """SimCLR as in tutorials: two views by crop, flip, colour jitter and greyscale; NT-Xent with a mask.

    side: of the views, in pixels; the project's by default.
    """
    assert isinstance(recipe, ContrastiveRecipe)
    normalise = normalisation(data)
    transform = transforms.Compose([
        transforms.RandomResizedCrop(side or recipe.view_side(data.image_shape[1]), scale=(0.2, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        transforms.RandomGrayscale(p=0.2), transforms.ToTensor(), normalise])
    encoder = encoder_for(recipe, data, setup, normalise)
    head = ProjectionHead(recipe.latent_dim, recipe.projection_hidden_dim, recipe.projection_dim).to(setup.device)

    def loss_of(batch: tuple[list[Tensor], Tensor]) -> Tensor:
        views, _ = batch  # two of (B, C, H, W)
        return tutorial_nt_xent(head(encoder(torch.cat(views).to(setup.device))), recipe.temperature)

    return Conventional("tutorial loop", [encoder, head], PilImages(data, TwoViews(transform)), recipe.batch_size,
                        loss_of, setup.device)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, with batch norm, SiLU, dropout and a projected shortcut."""

    def __init__(self, channels: int, width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU(),
                                    nn.Dropout2d(dropout), nn.Conv2d(width, width, 3, 1, 1, bias=False),
                                    nn.BatchNorm2d(width))
        self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, 2, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.layers(x) + self.shortcut(x))


def coursework_contrastive(data: DeviceData, setup: Setup) -> Conventional:
    """The contrastive part of a typical public solution of this coursework, written from its description.

    A residual encoder of 64, 128 and 256 channels, each of stride 2, with SiLU and dropout; NT-Xent at temperature 0.1
    on the 128-d latent itself; AdamW at 1e-3, batches of 64.  The number of blocks and the augmentation's strength are
    this project's choice, so its speed is similar, not equal.
    """
    torch.manual_seed(setup.seed)
    normalise, channels = normalisation(data), data.image_shape[0]
    transform = transforms.Compose([
        transforms.RandomResizedCrop(data.image_shape[-1], scale=(0.2, 1.0)), transforms.RandomHorizontalFlip(),
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        transforms.RandomGrayscale(p=0.2), transforms.ToTensor(), normalise])
    encoder = nn.Sequential(
        nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU(), ResidualBlock(64, 64),
        ResidualBlock(64, 128), ResidualBlock(128, 256), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1),
        nn.Linear(256, 128)).to(setup.device)

    def loss_of(batch: tuple[list[Tensor], Tensor]) -> Tensor:
        views, _ = batch  # two of (B, C, H, W)
        return tutorial_nt_xent(encoder(torch.cat(views).to(setup.device)), 0.1)

    return Conventional("ResNet-style coursework loop", [encoder], PilImages(data, TwoViews(transform)),
                        COURSEWORK_BATCH, loss_of, setup.device)


def tutorial_nt_xent(z: Tensor, temperature: float) -> Tensor:
    """NT-Xent in its most widespread form: boolean masks select positives and negatives from the similarities.

    z: (2N, D) projections, row i and row i + N from the same image.
    """
    n = len(z) // 2
    z = F.normalize(z, dim=1)
    similarity = z @ z.T  # (2N, 2N)
    image = torch.arange(n, device=z.device).repeat(2)
    same_image = image[:, None] == image[None, :]
    self_mask = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    positives = similarity[same_image & ~self_mask].view(2 * n, 1)
    negatives = similarity[~same_image].view(2 * n, 2 * n - 2)
    logits = torch.cat([positives, negatives], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(2 * n, dtype=torch.int64, device=z.device))


def lightly_contrastive(recipe: Recipe, data: DeviceData, setup: Setup) -> Conventional:
    """SimCLR with lightly's transform, head and loss on the project's encoder.  Needs the package lightly."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    assert isinstance(recipe, ContrastiveRecipe)
    normalise = normalisation(data)
    # strength 0.5 and no blur, as lightly's documentation and benchmark recommend for small images
    transform = SimCLRTransform(input_size=recipe.view_side(data.image_shape[1]), cj_strength=0.5, gaussian_blur=0.0,
                                normalize={"mean": list(normalise.mean), "std": list(normalise.std)})
    encoder = encoder_for(recipe, data, setup, normalise)
    head = SimCLRProjectionHead(recipe.latent_dim, recipe.projection_hidden_dim, recipe.projection_dim)
    head.to(setup.device)
    criterion = NTXentLoss(recipe.temperature)

    def loss_of(batch: tuple[list[Tensor], Tensor]) -> Tensor:
        views, _ = batch  # two of (B, C, H, W)
        z0, z1 = head(encoder(torch.cat(views).to(setup.device))).chunk(2)
        return criterion(z0, z1)

    return Conventional("lightly", [encoder, head], PilImages(data, transform), recipe.batch_size, loss_of,
                        setup.device)
