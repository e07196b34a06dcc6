"""Decoders: a latent in, an image out."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders import ImageShape, hidden_layers
from utils.recipe import check_decoder


class ConvDecoder(nn.Module):
    """(B, latent_dim) -> (B, C, H, W) in [0, 1]: a linear layer, then twice up-sampling, conv, norm, GELU.

    Starts from a map of a quarter of the height and width.  Nearest-neighbour up-sampling and a convolution take the
    place of a transposed convolution, which leaves checkerboards (Odena et al. 2016).  image_shape: (C, H, W) with H
    and W multiples of 4; widths: channels at each of the three resolutions.
    """

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.start = (widths[0], height // 4, width // 4)
        self.expand = nn.Linear(latent_dim, widths[0] * self.start[1] * self.start[2])
        self.norm0 = nn.BatchNorm2d(widths[0])
        self.conv1 = nn.Conv2d(widths[0], widths[1], 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(widths[1])
        self.conv2 = nn.Conv2d(widths[1], widths[2], 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(widths[2])
        self.pixels = nn.Conv2d(widths[2], channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.expand(z).unflatten(1, self.start).contiguous(memory_format=torch.channels_last)
        x = F.gelu(self.norm0(x))
        x = F.gelu(self.norm1(self.conv1(F.interpolate(x, scale_factor=2.0))))
        x = F.gelu(self.norm2(self.conv2(F.interpolate(x, scale_factor=2.0))))
        return self.pixels(x).float().sigmoid()


class MLPDecoder(nn.Module):
    """(B, latent_dim) -> (B, C, H, W) in [0, 1]: one GELU layer per width, then the pixels."""

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.hidden = hidden_layers(latent_dim, widths)
        self.pixels = nn.Linear((latent_dim, *widths)[-1], math.prod(image_shape))

    def forward(self, z: Tensor) -> Tensor:
        return self.pixels(self.hidden(z)).float().sigmoid().unflatten(1, self.image_shape)


def build_decoder(kind: str, image_shape: ImageShape, widths: tuple[int, ...],
                  latent_dim: int) -> ConvDecoder | MLPDecoder:
    """kind: of the encoder; mlp has an mlp decoder, all others a conv one.  UsageError where widths do not fit."""
    check_decoder(kind, widths, image_shape)
    return (MLPDecoder if kind == "mlp" else ConvDecoder)(image_shape, widths, latent_dim)
