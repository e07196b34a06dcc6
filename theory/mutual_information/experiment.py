"""InfoNCE and NT-Xent as lower bounds on mutual information (Oord et al. 2018; Poole et al. 2019).

The mutual information I and the best critic, the log density ratio, are closed forms here.  `one_bit` is a case where
log(2N - 1) minus NT-Xent's loss exceeds I, by a few thousandths of a nat.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binom, sem
from torch import Generator, Tensor

from training.losses import nt_xent

DIMENSIONS = 10  # of the Gaussians
INFORMATION = (0.5, 2.0, 4.0, 6.0, 8.0)  # nats, of the Gaussians
CONCENTRATIONS = (2.0, 10.0, 50.0, 500.0)  # of the views on the sphere; the temperature is one over it
BATCHES = (4, 16, 64, 256)  # N, images in a batch
ANCHORS = 8192  # batches x N of each measurement
BIT_BATCHES = (2, 3, 5, 10, 30, 100)


def gaussian_correlation(information: float) -> float:
    """Correlation of each of DIMENSIONS pairs that share so many nats in total: I = -d / 2 log(1 - rho^2)."""
    return math.sqrt(-math.expm1(-2 * information / DIMENSIONS))


def gaussian_pairs(n: int, rho: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """x and y, (n, DIMENSIONS) each, standard normal; each coordinate of x has correlation rho with that of y."""
    x, noise = torch.randn(2, n, DIMENSIONS, generator=generator, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def gaussian_critic(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """log p(y|x) / p(y) of every pair, (N, N) in nats: row x, column y.  No critic makes the loss smaller."""
    left, right = x.square().sum(1)[:, None], y.square().sum(1)[None, :]
    cross = rho * x @ y.T - rho**2 * (left + right) / 2
    return cross / (1 - rho**2) - x.shape[1] / 2 * math.log1p(-rho**2)


def sphere_information(k: float) -> float:
    """I in nats of u uniform on the sphere in three dimensions and v von Mises-Fisher around u, concentration k.

    I = k coth k - 1 + log(k / sinh k): E[k u.v] minus the log of the mean of exp(k u.v) over the sphere.
    """
    log_sinh = k + math.log(-math.expm1(-2 * k) / 2)
    return k / math.tanh(k) - 1 + math.log(k) - log_sinh


def sphere_pairs(n: int, concentration: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """u uniform on the sphere and v around it with density exp(k u.v) (Ulrich 1984), (n, 3) each, unit length.

    The log density ratio is k u.v plus a constant: NT-Xent's own critic at temperature 1 / k.
    """
    u, side = F.normalize(torch.randn(2, n, 3, generator=generator, dtype=torch.float64), dim=2)
    uniform = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    cosine = 1 + torch.log(uniform + (1 - uniform) * math.exp(-2 * concentration)) / concentration  # (n, 1)
    side = F.normalize(side - (side * u).sum(1, keepdim=True) * u, dim=1)  # at a right angle to u
    return u, cosine * u + (1 - cosine.square()).clamp(min=0).sqrt() * side


def gaussian_row(information: float, n: int, generator: Generator) -> dict[str, Any]:
    """InfoNCE's bound (Oord et al. 2018, eq. 4) for one I and one N."""
    rho, positives = gaussian_correlation(information), torch.arange(n)  # on the diagonal of the critic's scores
    pairs = (gaussian_pairs(n, rho, generator) for _ in range(ANCHORS // n))
    losses = [F.cross_entropy(gaussian_critic(x, y, rho), positives).item() for x, y in pairs]
    return {"information": information, "n": n, "bound": math.log(n) - float(np.mean(losses)),
            "standard_error": float(sem(losses)), "ceiling": math.log(n)}


def sphere_row(concentration: float, n: int, generator: Generator) -> dict[str, Any]:
    """NT-Xent's two bounds for one concentration and one N, through the project's own loss."""
    pairs = (sphere_pairs(n, concentration, generator) for _ in range(ANCHORS // n))
    losses = [nt_xent(u, v, 1 / concentration).item() for u, v in pairs]
    loss = float(np.mean(losses))
    return {"information": sphere_information(concentration), "temperature": 1 / concentration, "n": n,
            "bound": math.log(n) - loss, "estimate": math.log(2 * n - 1) - loss, "standard_error": float(sem(losses)),
            "ceiling": math.log(2 * n - 1)}


def one_bit_row(n: int) -> dict[str, Any]:
    """Both views are the same fair bit (I = log 2), the critic perfect: NT-Xent's loss is an exact sum.

    Of the other n - 1 images b have the anchor's bit, b binomial, and each brings two candidates: log(1 + 2 b).
    """
    same = np.arange(n)
    loss = float(binom.pmf(same, n - 1, 0.5) @ np.log1p(2 * same))
    return {"information": math.log(2), "n": n, "bound": math.log(n) - loss, "estimate": math.log(2 * n - 1) - loss}


def run(seed: int) -> dict[str, Any]:
    """Bounds on Gaussians and on the sphere at every information and batch size, and those for one bit."""
    generator = Generator().manual_seed(seed)
    return {"dimensions": DIMENSIONS, "anchors": ANCHORS,
            "gaussian": [gaussian_row(i, n, generator) for i in INFORMATION for n in BATCHES],
            "sphere": [sphere_row(k, n, generator) for k in CONCENTRATIONS for n in BATCHES],
            "one_bit": [one_bit_row(n) for n in BIT_BATCHES]}
