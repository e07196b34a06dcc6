"""Losses: pure functions, no state.  Cross-entropy and L1 are torch's own."""

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    """NT-Xent loss (Chen et al. 2020, eq. 1), mean over the 2N anchors, in nats.

    z0, z1: (N, D) projections, not yet normalised; row i of each comes from image i.
    temperature: > 0, unitless.  Raises ValueError on a shape mismatch, N < 2 or a temperature that is not above 0.
    """
    if z0.shape != z1.shape or z0.ndim != 2:
        raise ValueError(f"two (N, D) tensors expected, got {tuple(z0.shape)} and {tuple(z1.shape)}")
    n = len(z0)
    if n < 2:
        raise ValueError("NT-Xent needs at least two images: with one there is no negative")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    z = F.normalize(torch.cat([z0, z1]).to(torch.promote_types(z0.dtype, torch.float32)), dim=1)  # (2N, D)
    similarity = z @ z.T / temperature  # (2N, 2N)
    similarity.fill_diagonal_(float("-inf"))  # an anchor is not its own negative
    positive = torch.arange(2 * n, device=z.device).roll(n)  # row i's positive is row i + N, and the other way round
    return F.cross_entropy(similarity, positive)
