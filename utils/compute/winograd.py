"""3x3 convolution with a half to a fifth of the multiplications (Winograd 1980; Lavin and Gray 2016, section 4).

The map is cut into tiles of m x m outputs, each computed from (m + 2) x (m + 2) inputs that overlap those of its
neighbours.  With a tile d, a filter g and the matrices A, B, G of `matrices()`, the outputs are

    A^T [ (G g G^T) * (B^T d B) ] A

where * is elementwise, summed over the channels: at each of the (m + 2)^2 places a matrix product of tiles by channels
and channels by filters.  All is exact except for rounding: the relative error is 2e-6 with tiles of 4 and 5e-5 with
tiles of 7 in float32, and in bfloat16 0.6, 1.3 and 2 % with tiles of 2, 3 and 4 (direct: 0.2 %), well below the 3.7 %
of FP8 (e4m3; Micikevicius et al. 2022), which is used for training elsewhere.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# The finite points at which the polynomials are evaluated, by the size m of a tile's outputs.  Those for 3 and 4 round
# least in bfloat16 among the quarters up to 2 and halves up to 3 whose transforms it holds exactly.
POINTS = {2: (0.0, 1.0, -1.0), 3: (0.0, 1.0, -2.0, -0.5), 4: (0.0, 1.0, -1.0, 2.0, -0.5),
          5: (0.0, 1.0, -1.0, 2.0, -2.0, 0.5), 6: (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5),
          7: (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 0.75)}
LARGEST_TILE = max(POINTS)  # larger ones round worse and are no faster
LARGEST_TILE_BFLOAT16 = 4  # tiles of 5 round about twice as much, as FP8 does
TILES = 512  # processed at once: 64 to 1,024 are about equally fast


def winograd_convolution(x: Tensor, weight: Tensor, even: bool = False) -> Tensor:
    """3x3 with zero padding: (B, C, H, W) and (K, C, 3, 3) -> (B, K, H, W), in their number format.

    even: omits an odd last row and column, which a following 2x2 pooling would drop.
    """
    height, width = (side - side % 2 if even and side > 1 else side for side in x.shape[2:])
    return WinogradConvolution.apply(x, weight, height, width, torch.is_grad_enabled())


class WinogradConvolution(torch.autograd.Function):
    """apply(x, weight, height, width, differentiable): (B, C, H, W) and (K, C, 3, 3) -> (B, K, height, width).

    If differentiable, it keeps the transformed filters and tiles instead of x, which is two to four times as large but
    a tenth faster than transforming both again (float32).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, height: int, width: int, differentiable: bool) -> Tensor:
        ctx.shape, images = x.shape, len(x)
        m = tile_size(height, width, x.dtype)
        down, across = -(-height // m), -(-width // m)  # tiles of a map
        at_once = max(1, TILES // (down * across))  # images
        a, b, g = matrices(m, x.dtype)
        filters = transform(g, g, weight.permute(2, 3, 1, 0).to(g.dtype)).to(x.dtype)  # (m + 2, m + 2, C, K)
        outputs = x.new_empty(images, down, m, across, m, len(weight))
        kept = []
        for part, into in zip(x.split(at_once), outputs.split(at_once), strict=True):
            if down == across == 1:  # the only tile is zero beyond the map, so that part is skipped
                rows, columns = (b[:, 1 : side + 1] for side in x.shape[2:])
                inputs = transform(rows, columns, part.permute(2, 3, 0, 1))  # (m + 2, m + 2, tiles, C)
            else:
                inputs = transform(b, b, input_tiles(part, m, down, across))
            tiles = transform(a, a, inputs @ filters).view(m, m, len(part), down, across, -1)
            into.copy_(tiles.permute(2, 3, 0, 4, 1, 5))
            if differentiable and ctx.needs_input_grad[1]:
                kept.append(inputs)
        if differentiable:
            ctx.save_for_backward(filters, *kept)
        whole = outputs.view(images, m * down, m * across, len(weight))
        return whole[:, :height, :width].contiguous().permute(0, 3, 1, 2)  # channels last

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The transposed steps in reverse order."""
        filters, *kept = ctx.saved_tensors
        images, channels, height, width = ctx.shape
        m = tile_size(*gradient.shape[2:], gradient.dtype)
        down, across = (-(-side // m) for side in gradient.shape[2:])
        at_once = max(1, TILES // (down * across))
        a, b, g = matrices(m, gradient.dtype)
        to_filters = torch.zeros_like(filters, dtype=g.dtype)
        to_input = gradient.new_empty(images, height, width, channels) if ctx.needs_input_grad[0] else None
        for number, part in enumerate(gradient.split(at_once)):
            products = transform(a.T, a.T, output_tiles(part, m))  # (m + 2, m + 2, tiles, K)
            if kept:
                to_filters += kept[number].mT @ products  # a sum of many terms: never in bfloat16
            if to_input is not None:
                into, to_tiles = to_input[number * at_once :][: len(part)], products @ filters.mT
                if down == across == 1:
                    rows, columns = (b[:, 1 : side + 1] for side in (height, width))
                    into.copy_(transform(rows.T, columns.T, to_tiles).permute(2, 0, 1, 3))
                else:
                    tiles = transform(b.T, b.T, to_tiles).view(m + 2, m + 2, len(part), down, across, channels)
                    add_up(tiles.permute(2, 3, 0, 4, 1, 5), into, m)
        to_weight = transform(g.T, g.T, to_filters).permute(3, 2, 0, 1).to(gradient.dtype) if kept else None
        return None if to_input is None else to_input.permute(0, 3, 1, 2), to_weight, None, None, None


@cache
def tile_size(height: int, width: int, dtype: torch.dtype) -> int:
    """The m with the fewest multiplications for a map of this size, whose last tiles may extend beyond it."""
    largest = LARGEST_TILE_BFLOAT16 if dtype == torch.bfloat16 else LARGEST_TILE
    return min(range(2, largest + 1), key=lambda m: -(-height // m) * -(-width // m) * (m + 2) ** 2)


@cache
def matrices(m: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A^T (m, m + 2), B^T (m + 2, m + 2) and G (m + 2, 3) of F(m, 3), by Toom-Cook interpolation.

    m outputs of a filter with three weights are the transpose of a product of polynomials: A and G evaluate at m + 1
    points and at infinity, B^T interpolates (Lagrange).  Lagrange's denominators are moved from B to G, so that
    bfloat16 holds A and B exactly; G is never in bfloat16, as there are few filters.
    """
    points = torch.tensor(POINTS[m], dtype=torch.float64)
    infinity = torch.zeros(1, m + 2, dtype=torch.float64)
    infinity[0, -1] = 1
    powers = torch.cat([torch.linalg.vander(points, N=m + 2), infinity])  # (m + 2, m + 2)
    a = torch.cat([powers[:-1, :m], infinity[:, -m:]])
    g = torch.cat([powers[:-1, :3], infinity[:, -3:]])
    differences = points[:, None] - points
    denominators = torch.cat([differences.fill_diagonal_(1).prod(1), torch.ones(1, dtype=torch.float64)])[:, None]
    b = torch.linalg.inv(powers).T * denominators
    return a.T.to(dtype), b.to(dtype), (g / denominators).to(torch.float32 if dtype == torch.bfloat16 else dtype)


def transform(left: Tensor, right: Tensor, tiles: Tensor) -> Tensor:
    """left @ tile @ right^T for each tile: (p, q), (r, s) and (q, s, ...) -> (p, r, ...)."""
    (p, q), (r, s) = left.shape, right.shape
    if tiles.dtype == torch.bfloat16:  # one product, which rounds once; in float32 two products are faster
        both = (left[:, None, :, None] * right[:, None]).reshape(p * r, q * s)  # torch.kron fails for one row
        return (both @ tiles.reshape(q * s, -1)).view(p, r, *tiles.shape[2:])
    return (right @ (left @ tiles.reshape(q, -1)).view(p, s, -1)).view(p, r, *tiles.shape[2:])


def input_tiles(x: Tensor, m: int, down: int, across: int) -> Tensor:
    """(B, C, H, W) -> (m + 2, m + 2, tiles, C): down x across overlapping tiles of the map, padded with zeros."""
    bottom, right = m * down + 1 - x.shape[2], m * across + 1 - x.shape[3]
    bordered = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, bottom))
    return bordered.unfold(1, m + 2, m).unfold(2, m + 2, m).permute(4, 5, 0, 1, 2, 3).flatten(2, 4)


def output_tiles(gradient: Tensor, m: int) -> Tensor:
    """(B, K, H, W) -> (m, m, tiles, K), with zeros where a tile extends beyond the map."""
    bottom, right = -gradient.shape[2] % m, -gradient.shape[3] % m
    filled = gradient.permute(0, 2, 3, 1)
    if bottom or right:  # otherwise F.pad would only copy
        filled = F.pad(filled, (0, 0, 0, right, 0, bottom))
    return filled.unfold(1, m, m).unfold(2, m, m).permute(4, 5, 0, 1, 2, 3).flatten(2, 4)


def add_up(tiles: Tensor, into: Tensor, m: int) -> None:
    """Sum overlapping tiles (B, rows, m + 2, columns, m + 2, C) in (B, H, W, C), without their padding."""
    into.zero_()
    for row in range(tiles.shape[1]):
        down, within_down = overlap(row * m - 1, m + 2, into.shape[1])
        for column in range(tiles.shape[3]):
            across, within_across = overlap(column * m - 1, m + 2, into.shape[2])
            into[:, down, across] += tiles[:, row, within_down, column, within_across]


def overlap(first: int, length: int, side: int) -> tuple[slice, slice]:
    """The places 0 to side - 1 of a map that a tile starting at `first` covers, and their places within the tile."""
    covered = slice(max(first, 0), min(first + length, side))
    return covered, slice(covered.start - first, covered.stop - first)
