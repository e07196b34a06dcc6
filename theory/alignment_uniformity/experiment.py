"""The extreme values of alignment and uniformity (Wang and Isola 2020), by the functions that score the runs."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from scipy.special import hyp0f1
from torch import Generator, Tensor

from evaluation.scores import alignment, uniformity

POINTS = 1500
DIMENSIONS = (2, 3, 8, 32, 128)


def lowest_uniformity(d: int) -> float:
    """Uniformity of the uniform distribution on the unit sphere in d dimensions.

    It is log E exp(-2 |u - v|^2) with |u - v|^2 = 2 - 2 u.v, and the mean of exp(4 u.v) over the sphere is
    0F1(; d / 2; 4), a Bessel function up to its factor.
    """
    return -4 + math.log(hyp0f1(d / 2, 4.0))


def on_sphere(n: int, d: int, generator: Generator) -> Tensor:
    """n points drawn uniformly from the unit sphere in d dimensions, (n, d)."""
    return F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1)


def run(seed: int) -> dict[str, Any]:
    """Uniform points in several dimensions, and the corners of the plane of the two scores at 128 dimensions."""
    generator = Generator().manual_seed(seed)
    rows = [{"dimensions": d, "measured": uniformity(on_sphere(POINTS, d, generator)),
             "lowest": lowest_uniformity(d)} for d in DIMENSIONS]
    even, other = on_sphere(POINTS, DIMENSIONS[-1], generator), on_sphere(POINTS, DIMENSIONS[-1], generator)
    point = even[:1].expand(POINTS, -1)
    two = torch.where(torch.arange(POINTS)[:, None] % 2 == 0, point, -point)  # one half opposite the other
    corners = {"collapsed": (point, point), "two opposite points": (two, two),
               "uniform, views unrelated": (even, other), "uniform, views alike": (even, even)}
    return {"points": POINTS, "rows": rows,
            "corners": [{"name": name, "alignment": alignment(z0, z1), "uniformity": uniformity(z0)}
                        for name, (z0, z1) in corners.items()]}
