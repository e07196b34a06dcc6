"""The 3x3 convolution of the small encoder: torch's, or a faster one on a CPU (benchmarks/NOTES.md).

Winograd's has a half to a fifth of the multiplications.  In bfloat16 it rounds by 0.6 to 2 %, so there it is used in
training only: validation uses torch's, and scoring is in float32.

With AMX in bfloat16, oneDNN's kernels are made for wide maps.  On small ones they reach a tenth to a half of the speed
of a matrix product.  There Winograd's is used with many channels, and otherwise the convolution is a matrix product.

`forward_flops` always counts the operations of a direct convolution.
"""

from functools import cache
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from utils.compute.winograd import winograd_convolution

# Winograd's convolution is used from this many images and input channels on, which share its transforms,
SEVERAL_IMAGES, MANY_CHANNELS = 16, 64
WIDE_BFLOAT16 = 128  # in bfloat16 only with at least this many input or output channels,
WIDE_AMX = 256  # and with AMX only with this many input channels, on maps between the next two sizes.
SMALL_MAP = 49  # places (7 x 7): up to here the gradient to the filters is faster as a matrix product than torch's,
TINY_MAP = 4  # and up to here also the convolution itself and the gradient to its input,
NARROW_MAP, FEW_CHANNELS = 25, 256  # or up to this many places with more channels than this.


class Conv3x3(nn.Conv2d):
    """3x3 convolution with zero padding and no bias.  (B, C, H, W) -> (B, W, H, W).

    pooled: 2x2 pooling follows, so that an odd last row or column, which it drops, may be omitted.
    """

    def __init__(self, channels: int, width: int, pooled: bool = False) -> None:
        super().__init__(channels, width, 3, padding=1, bias=False)
        self.pooled = pooled

    def forward(self, x: Tensor) -> Tensor:
        return conv3x3(x, self.weight, self.pooled)


def conv3x3(x: Tensor, weight: Tensor, pooled: bool = False) -> Tensor:
    """Conv3x3 by the fastest algorithm for this input: (B, C, H, W) and (W, C, 3, 3) -> (B, W, H, W)."""
    height, width = x.shape[2:]
    if x.device.type == "cpu":
        if takes_winograd(x, weight):
            return winograd_convolution(x, weight, even=pooled)
        if x.dtype == torch.bfloat16 and height * width <= SMALL_MAP:
            return _SmallMapConvolution.apply(x, weight)
    return F.conv2d(x, weight, padding=1)


def takes_winograd(x: Tensor, weight: Tensor) -> bool:
    """Whether Winograd's convolution is faster for these on a CPU and, in bfloat16, gradients are recorded."""
    images, channels = x.shape[:2]
    if images < SEVERAL_IMAGES or channels < MANY_CHANNELS or x.dtype != weight.dtype:  # torch's rejects mixed types
        return False
    if x.dtype != torch.bfloat16:
        return x.dtype == torch.float32
    if has_amx():
        wide = channels >= WIDE_AMX and TINY_MAP < x.shape[2] * x.shape[3] <= SMALL_MAP
    else:
        wide = max(channels, len(weight)) >= WIDE_BFLOAT16
    return wide and torch.is_grad_enabled()


@cache
def has_amx() -> bool:
    """Whether the processor has AMX, a matrix unit that makes bfloat16 two to three times as fast."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


class _SmallMapConvolution(torch.autograd.Function):
    """The same convolution for small maps, by convolution() and filter_gradient()."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return convolution(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_input = None
        if ctx.needs_input_grad[0]:  # the transpose of a convolution is one with the filters rotated by 180 degrees
            to_input = convolution(gradient, weight.flip(2, 3).transpose(0, 1))
        return to_input, filter_gradient(x, gradient)


def convolution(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 with zero padding: (B, C, H, W) and (W, C, 3, 3) -> (B, W, H, W)."""
    b, channels, height, width = x.shape
    places = height * width
    if places <= TINY_MAP or (places <= NARROW_MAP and channels > FEW_CHANNELS):
        filters = weight.permute(2, 3, 1, 0).reshape(9 * channels, -1)
        return (neighbourhoods(x) @ filters).view(b, height, width, -1).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, padding=1)


def filter_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Gradient to the filters, from the input (B, C, H, W) and the output's gradient (B, W, H, W) -> (W, C, 3, 3)."""
    # times the identity, because the matrix library transposes several times faster than a copy does
    identity = torch.eye(gradient.shape[1], dtype=gradient.dtype)
    outputs = identity @ gradient.permute(0, 2, 3, 1).flatten(0, 2).T  # (W, B H W)
    return (outputs @ neighbourhoods(x)).view(-1, 3, 3, x.shape[1]).permute(0, 3, 1, 2)


def neighbourhoods(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B H W, 9 C): each place's 3 x 3 neighbourhood, padded with zeros."""
    bordered = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, H + 2, W + 2, C)
    return bordered.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[1])


def forward_flops(module: nn.Module, *shape: int) -> float:
    """FLOPs of a forward pass per float32 item of this shape: 2 x multiply-adds of convolutions, matrix products."""
    device = next(chain(module.parameters(), module.buffers())).device  # a control has no parameters
    was_training = module.training
    # two images: so few take direct convolutions (takes_winograd), whose operations are what counts
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(torch.zeros(2, *shape, device=device))
    module.train(was_training)
    return counter.get_total_flops() / 2
