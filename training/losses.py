"""Losses of two views: pure functions, no state.  Cross-entropy is torch's; autoencoding.py has pixel errors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.compute.precision import at_least_float32


def nt_xent(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    """NT-Xent loss (Chen et al. 2020, eq. 1), mean over the 2N anchors, in nats.

    z0, z1: (N, D) projections, not yet normalised; row i of each comes from image i.
    temperature: > 0, unitless.  Raises ValueError on a shape mismatch, N < 2 or a temperature that is not above 0.
    """
    similarity, positive = _similarities(z0, z1, temperature)
    return F.cross_entropy(similarity, positive)


def dcl(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    """Decoupled contrastive loss (Yeh et al. 2022, eq. 6, symmetric), mean over the 2N anchors, in nats.

    NT-Xent without the positive pair in the denominator.  There it multiplies the gradient by a factor that approaches
    0 as the positive becomes the nearest, which slows learning in small batches.  Arguments and errors: see nt_xent.
    Departure: the weighting of the positives (DCLW) is left out.
    """
    similarity, positive = _similarities(z0, z1, temperature)
    negatives = similarity.scatter(1, positive[:, None], float("-inf"))
    return (negatives.logsumexp(1) - similarity.gather(1, positive[:, None])[:, 0]).mean()


def _similarities(z0: Tensor, z1: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(2N, 2N) cosines over temperature, -inf where an anchor meets itself, and (2N,) the column of each positive."""
    check_pair(z0, z1, temperature)
    n = len(z0)
    z = F.normalize(at_least_float32(torch.cat([z0, z1])), dim=1)  # (2N, D)
    similarity = z @ z.T / temperature  # (2N, 2N)
    similarity.fill_diagonal_(float("-inf"))  # an anchor is not its own negative
    return similarity, torch.arange(2 * n, device=z.device).roll(n)  # rows i and i + N are partners


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """InfoNCE of MoCo (He et al. 2020, eq. 1), mean over the N queries, in nats.

    queries, keys: (N, D), row i of each from image i; queue: (K, D) keys of earlier batches, the negatives.  None is
    normalised yet.  temperature: > 0, unitless.  Raises ValueError on shapes that do not fit or a bad temperature.
    """
    check_pair(queries, keys, temperature)
    if queue.ndim != 2 or queue.shape[1] != queries.shape[1] or len(queue) < 1:
        raise ValueError(f"a queue of (K, {queries.shape[1]}) expected, got {tuple(queue.shape)}")
    q, k, negatives = (F.normalize(at_least_float32(t), dim=1) for t in (queries, keys, queue))
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ negatives.T], dim=1) / temperature  # (N, 1 + K)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))


def cross_view_info_nce(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    """InfoNCE between two kinds of views (Tian et al. 2020, eqs. 2 to 4), mean over both directions, in nats.

    A view of one kind must identify its partner among the batch's views of the other kind; views of one kind are not
    compared, since the two kinds come from different encoders.  Arguments and errors are those of nt_xent.
    Departure: the negatives are those of the batch, not of a memory bank.
    """
    check_pair(z0, z1, temperature)
    z0, z1 = (F.normalize(at_least_float32(z), dim=1) for z in (z0, z1))
    similarity, partner = z0 @ z1.T / temperature, torch.arange(len(z0), device=z0.device)  # (N, N)
    return (F.cross_entropy(similarity, partner) + F.cross_entropy(similarity.T, partner)) / 2


def byol_regression(predictions: Tensor, targets: Tensor) -> Tensor:
    """BYOL's loss of one direction (Grill et al. 2020, eq. 2): 2 - 2 cosine, mean over N, in [0, 4].

    predictions, targets: (N, D), not yet normalised; the caller stops the gradient of the targets.
    Raises ValueError on a shape mismatch.
    """
    check_pair(predictions, targets)
    p, t = (F.normalize(at_least_float32(x), dim=1) for x in (predictions, targets))
    return (2 - 2 * (p * t).sum(1)).mean()


def vicreg(z0: Tensor, z1: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    """VICReg loss (Bardes et al. 2022, eqs. 1 to 6): weighted invariance, variance and covariance terms.

    z0, z1: (N, D) projections, not normalised; row i of each comes from image i.  The weights are at least 0; the
    paper has 25, 25, 1.  As in the authors' code the invariance term is a mean over the dimensions too (the paper's
    eq. 5 sums them) and the two branches' variance terms are averaged.  Raises ValueError on a shape mismatch or N < 2.
    """
    check_pair(z0, z1)
    z0, z1 = at_least_float32(z0), at_least_float32(z1)
    agree = F.mse_loss(z0, z1)
    spread = decorrelation = z0.new_zeros(())
    for z in (z0, z1):
        deviation = (z.var(0) + 1e-4).sqrt()  # (D,)
        spread = spread + F.relu(1 - deviation).mean() / 2
        centred = z - z.mean(0)
        cov = centred.T @ centred / (len(z) - 1)  # (D, D)
        decorrelation = decorrelation + (cov.square().sum() - cov.diagonal().square().sum()) / z.shape[1]
    return invariance * agree + variance * spread + covariance * decorrelation


def check_pair(z0: Tensor, z1: Tensor, temperature: float = 1.0) -> None:
    """ValueError unless both are (N, D) with the same N of at least 2 and the temperature is above 0."""
    if z0.shape != z1.shape or z0.ndim != 2:
        raise ValueError(f"two (N, D) tensors expected, got {tuple(z0.shape)} and {tuple(z1.shape)}")
    if len(z0) < 2:
        raise ValueError(f"at least two images per batch are needed, got {len(z0)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
