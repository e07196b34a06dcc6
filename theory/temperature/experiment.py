"""How the temperature distributes NT-Xent's gradient over the negatives (Wang and Liu 2021)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from theory.digits import load, random_view

IMAGES = 128
TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
HARDEST = 0.1  # share of the negatives that is called the nearest
NEAREST = math.ceil(HARDEST * (2 * IMAGES - 2))


def nearest_first(z: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and indices of each anchor's 2N - 2 negatives, (2N, 2N - 2) each, the nearest negative first."""
    anchors = len(z)
    similarity = (z @ z.T).fill_diagonal_(float("-inf"))
    similarity[torch.arange(anchors), torch.arange(anchors).roll(anchors // 2)] = float("-inf")
    cosines, order = similarity.sort(dim=1, descending=True)
    return cosines[:, :anchors - 2], order[:, :anchors - 2]


def negative_weights(z: Tensor, temperature: float) -> Tensor:
    """Each negative's share of the negatives' gradient, (2N, 2N - 2), rows sum to 1, in the order of nearest_first."""
    return (nearest_first(z)[0] / temperature).softmax(dim=1)


def sharing(z: Tensor, temperature: float) -> dict[str, Any]:
    """How the gradient is distributed over the negatives at one temperature, means over the anchors."""
    weights = negative_weights(z, temperature)
    return {"temperature": temperature,
            "nearest": weights[:, 0].mean().item(),
            "hardest_tenth": weights[:, :NEAREST].sum(1).mean().item(),
            "effective_negatives": torch.special.entr(weights).sum(1).exp().mean().item()}


def embeddings(seed: int) -> tuple[Tensor, Tensor]:
    """(2N, 64) unit rows: the pixels minus their mean of two views of N digits; and the labels (2N,)."""
    generator = Generator().manual_seed(seed)
    images, labels = load()[:2]
    chosen = torch.randperm(len(images), generator=generator)[:IMAGES]
    pixels = torch.from_numpy(images)[chosen] - torch.from_numpy(images).mean(0)
    views = torch.cat([random_view(pixels, generator), random_view(pixels, generator)])
    return F.normalize(views, dim=1), torch.from_numpy(labels)[chosen].repeat(2)


def run(seed: int) -> dict[str, Any]:
    """Shares of the gradient at every temperature, on two views of real digits."""
    z, labels = embeddings(seed)
    same = (labels[nearest_first(z)[1]] == labels[:, None]).double()  # negatives of the anchor's own class
    return {"images": IMAGES, "negatives": len(z) - 2, "hardest": HARDEST,
            "rows": [sharing(z, t) for t in TEMPERATURES],
            "same_class_hardest": same[:, :NEAREST].mean().item(), "same_class_all": same.mean().item()}
