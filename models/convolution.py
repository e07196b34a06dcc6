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
    (b, channels, height, width), filters = x.shape, gradient.shape[1]
    seen = x.new_zeros(b, height, width, 3, 3, channels)
    for row in range(3):
        for column in range(3):
            top, left = max(0, 1 - row), max(0, 1 - column)  # of the output places that saw no border there
            bottom, right = min(height, height + 1 - row), min(width, width + 1 - column)
            seen[:, top:bottom, left:right, row, column] = x.permute(0, 2, 3, 1)[
                :, top + row - 1 : bottom + row - 1, left + column - 1 : right + column - 1]
    outputs = gradient.permute(0, 2, 3, 1).flatten(0, 2).T.contiguous()  # (W, B H W)
    return (outputs @ seen.view(-1, 9 * channels)).view(filters, 3, 3, channels).permute(0, 3, 1, 2)
