"""The convolution of the small encoder: torch's, with a faster way to the gradient of its filters on small maps."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL_MAP = 49  # places: 7 x 7 is the largest map on which the matrix products below were measured to be faster


class Conv3x3(nn.Conv2d):
    """3x3 convolution with a border of zeros and no bias.  (B, C, H, W) -> (B, W, H, W)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if (self.weight.requires_grad and torch.is_grad_enabled() and x.dtype == torch.bfloat16
                and x.device.type == "cpu" and x.shape[2] * x.shape[3] <= SMALL_MAP):
            return _SmallMapConvolution.apply(x, self.weight)
        return super().forward(x)


class _SmallMapConvolution(torch.autograd.Function):
    """The same convolution; the filters' gradient as one matrix product.

    On a CPU oneDNN's own bfloat16 kernel for it reaches a tenth to a fourth of the forward pass's speed on maps of
    3 x 3 to 7 x 7.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_input = to_weight = None
        if ctx.needs_input_grad[0]:
            to_input = torch.ops.aten.convolution_backward(gradient, x, weight, None, (1, 1), (1, 1), (1, 1), False,
                                                           (0, 0), 1, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            to_weight = filter_gradient(x, gradient)
        return to_input, to_weight


def filter_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Of a 3x3 convolution with a border of zeros: (B, C, H, W) and (B, W, H, W) -> (W, C, 3, 3).

    Every place of the output beside the nine places of the input that it saw, as rows of two matrices.
    """
    bordered = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, H + 2, W + 2, C)
    seen = bordered.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[1])
    # times the identity: the matrix library turns rows into columns several times faster than a copy does
    identity = torch.eye(gradient.shape[1], dtype=gradient.dtype)
    outputs = identity @ gradient.permute(0, 2, 3, 1).flatten(0, 2).T  # (W, B H W)
    return (outputs @ seen).view(-1, 3, 3, x.shape[1]).permute(0, 3, 1, 2)
