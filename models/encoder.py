"""Encoders: images in, a latent out.  (B, C, H, W) floats in [0, 1] -> (B, latent_dim).

Both encoders normalise their input themselves, with the training split's statistics, so that whoever holds the weights
needs nothing else.  `fit_to_data` must be called once before training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.errors import UsageError


class Normalise(nn.Module):
    """(x - mean) / std, a channel at a time, with the statistics of the training split."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    @torch.no_grad()
    def fit_to_data(self, images: Tensor) -> None:
        """images: (N, C, H, W) in [0, 1]."""
        self.mean.copy_(images.mean((0, 2, 3), keepdim=True))
        self.std.copy_(images.std((0, 2, 3), keepdim=True).clamp(min=1e-3))  # a channel may be constant

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Whitening(nn.Module):
    """Frozen first convolution whose outputs are decorrelated over the data's small patches.

    The filters are the eigenvectors of the patches' covariance, divided by the roots of their eigenvalues, each with
    both signs (Page 2019, "How to train your ResNet", 8; Jordan 2024, cifar10-airbench).  No labels take part.
    Kept in float32 whatever the network's precision: it is 1 % of the work, and a one-channel bfloat16 convolution of
    this size gave wrong numbers in one torch release.
    """

    def __init__(self, channels: int, kernel: int, epsilon: float = 5e-4) -> None:
        super().__init__()
        self.kernel, self.epsilon = kernel, epsilon
        self.out_channels = 2 * channels * kernel * kernel
        self.register_buffer("weight", torch.zeros(self.out_channels, channels, kernel, kernel))

    @torch.no_grad()
    def fit_to_data(self, images: Tensor) -> None:
        """images: (N, C, H, W), normalised."""
        k = self.kernel
        images = images.cpu()  # in float64, which not every device has
        patches = images.unfold(2, k, 1).unfold(3, k, 1)  # (N, C, H-k+1, W-k+1, k, k)
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, self.out_channels // 2).double()
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        filters = (vectors / (values + self.epsilon).sqrt()).T.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


class ConvBlock(nn.Module):
    """conv - pool - norm - GELU - conv - norm - GELU; halves height and width (rounding down).  cifar10-airbench."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        for conv in (self.conv1, self.conv2):
            # the first filters start by passing their input on, so that the deep network starts as a shallow one
            nn.init.dirac_(conv.weight[: min(conv.in_channels, width)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class ConvEncoder(nn.Module):
    """The small convolutional network of cifar10-airbench with a linear latent on top.

    image_shape: (C, H, W); widths: channels of each block; pooling: "max" over the last feature map, or "flatten",
    which keeps where things are (an autoencoder needs it).
    """

    def __init__(self, image_shape: tuple[int, int, int], widths: tuple[int, ...], latent_dim: int,
                 pooling: str) -> None:
        super().__init__()
        channels, height, width = image_shape
        kernel = 2 if channels > 1 or height < 16 else 3  # 2x2 patches of one channel have too little to whiten
        self.pooling = pooling
        self.normalise = Normalise(channels)
        self.whitening = Whitening(channels, kernel)
        blocks, previous = [], self.whitening.out_channels
        for w in widths:
            blocks.append(ConvBlock(previous, w))
            previous = w
        self.blocks = nn.Sequential(*blocks)
        shrink = 2 ** len(widths)
        rows, columns = (height - kernel + 1) // shrink, (width - kernel + 1) // shrink
        if rows < 1 or columns < 1:
            raise UsageError(f"--widths names {len(widths)} blocks, too many for {height} x {width} images: give fewer")
        features = previous * (rows * columns if pooling == "flatten" else 1)
        self.latent = nn.Linear(features, latent_dim)

    def fit_to_data(self, images: Tensor) -> None:
        """Statistics and whitening from training images, (N, C, H, W) in [0, 1]; a few thousand are enough."""
        self.normalise.fit_to_data(images)
        self.whitening.fit_to_data(self.normalise(images))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.whitening(self.normalise(x)))
        x = self.blocks(x.to(self.latent.weight.dtype))  # (B, widths[-1], h, w)
        x = x.flatten(1) if self.pooling == "flatten" else x.amax((2, 3))
        return self.latent(x)  # (B, latent_dim)


class MLPEncoder(nn.Module):
    """Fully connected: flatten, one GELU layer a width, linear latent."""

    def __init__(self, image_shape: tuple[int, int, int], widths: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.normalise = Normalise(channels)
        layers: list[nn.Module] = []
        previous = channels * height * width
        for w in widths:
            layers += [nn.Linear(previous, w), nn.GELU()]
            previous = w
        self.hidden = nn.Sequential(*layers)
        self.latent = nn.Linear(previous, latent_dim)

    def fit_to_data(self, images: Tensor) -> None:
        """Statistics from training images, (N, C, H, W) in [0, 1]."""
        self.normalise.fit_to_data(images)

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalise(x).flatten(1)
        return self.latent(self.hidden(x.to(self.latent.weight.dtype)))  # (B, latent_dim)


def build_encoder(kind: str, image_shape: tuple[int, int, int], widths: tuple[int, ...], latent_dim: int,
                  pooling: str) -> ConvEncoder | MLPEncoder:
    """kind: "conv" or "mlp".  Raises UsageError where the widths do not fit the image."""
    if kind == "mlp":
        return MLPEncoder(image_shape, widths, latent_dim)
    return ConvEncoder(image_shape, widths, latent_dim, pooling)
