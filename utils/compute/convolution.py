"""The convolution of the small encoder: torch's, and on a CPU two others where they are faster (benchmarks/NOTES.md).

Winograd's has a half to a fifth of the multiplications.  In bfloat16 it rounds by 0.6 to 2 %, so there it has a part in
training alone: validation does without it, and scoring is in float32.  With AMX, bfloat16 has not been tried with it;
there oneDNN's kernels, which are made for wide maps, reach on small ones a tenth to a half of a matrix product.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.compute.winograd import winograd_convolution

# Winograd's is taken from so many images and input channels on, which share its transforms;
SEVERAL_IMAGES, MANY_CHANNELS = 16, 64
WIDE_BFLOAT16 = 128  # in bfloat16 only if so many channels go in or come out
SMALL_MAP = 49  # places, 7 x 7: up to here the gradient of the filters is faster as a matrix product
# the convolution itself and the gradient to its input are up to
TINY_MAP = 4  # places with any number of channels,
NARROW_MAP, FEW_CHANNELS = 25, 256  # or so many places with more channels than this


class Conv3x3(nn.Conv2d):
    """3x3 convolution with a border of zeros and no bias.  (B, C, H, W) -> (B, W, H, W).

    pooled: 2x2 pooling comes next; a last row or column that it would drop may be left out.
    """

    def __init__(self, channels: int, width: int, pooled: bool = False) -> None:
        super().__init__(channels, width, 3, padding=1, bias=False)
        self.pooled = pooled

    def forward(self, x: Tensor) -> Tensor:
        return conv3x3(x, self.weight, self.pooled)


def conv3x3(x: Tensor, weight: Tensor, pooled: bool = False) -> Tensor:
    """As Conv3x3, in whichever way is fastest for this input: (B, C, H, W) and (W, C, 3, 3) -> (B, W, H, W)."""
    height, width = x.shape[2:]
    if x.device.type == "cpu":
        if takes_winograd(x, weight):
            return winograd_convolution(x, weight, even=pooled)
        if x.dtype == torch.bfloat16 and height * width <= SMALL_MAP:
            return _SmallMapConvolution.apply(x, weight)
    return F.conv2d(x, weight, padding=1)


def takes_winograd(x: Tensor, weight: Tensor) -> bool:
    """Whether Winograd's is faster for these, on a CPU; in bfloat16 also only while gradients are taken."""
    images, channels = x.shape[:2]
    if images < SEVERAL_IMAGES or channels < MANY_CHANNELS or x.dtype != weight.dtype:  # torch's refuses two formats
        return False
    if x.dtype == torch.bfloat16:
        return torch.is_grad_enabled() and not has_amx() and max(channels, len(weight)) >= WIDE_BFLOAT16
    return x.dtype == torch.float32


@cache
def has_amx() -> bool:
    """Whether the processor has AMX for bfloat16: a unit that multiplies matrices, two to three times as fast."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


class _SmallMapConvolution(torch.autograd.Function):
    """The same convolution with the gradients below."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return convolution(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_input = to_weight = None
        if ctx.needs_input_grad[0]:  # each place gets back through the filters what it gave, so they are turned round
            to_input = convolution(gradient, weight.flip(2, 3).transpose(0, 1))
        if ctx.needs_input_grad[1]:
            to_weight = filter_gradient(x, gradient)
        return to_input, to_weight


def convolution(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 with a border of zeros: (B, C, H, W) and (W, C, 3, 3) -> (B, W, H, W)."""
    b, channels, height, width = x.shape
    places = height * width
    if places <= TINY_MAP or (places <= NARROW_MAP and channels > FEW_CHANNELS):
        filters = weight.permute(2, 3, 1, 0).reshape(9 * channels, -1)
        return (neighbourhoods(x) @ filters).view(b, height, width, -1).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, padding=1)


def filter_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Of such a convolution: its input (B, C, H, W) and its output's gradient (B, W, H, W) -> (W, C, 3, 3)."""
    # times the identity: the matrix library turns rows into columns several times faster than a copy does
    identity = torch.eye(gradient.shape[1], dtype=gradient.dtype)
    outputs = identity @ gradient.permute(0, 2, 3, 1).flatten(0, 2).T  # (W, B H W)
    return (outputs @ neighbourhoods(x)).view(-1, 3, 3, x.shape[1]).permute(0, 3, 1, 2)


def neighbourhoods(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B H W, 9 C): of each place the three by three places around it, zeros beyond the border."""
    bordered = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, H + 2, W + 2, C)
    return bordered.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[1])
