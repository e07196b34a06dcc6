"""Collapse, and what prevents it: every method with and without the part that does, on digits.

The loss of each ablation is that of the method without one part; nothing else changes.
"""

import copy
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torchvision.ops import MLP

from evaluation.scores import effective_rank
from theory.collapse.result import VARIANTS
from theory.digits import PIXELS, load, probe_accuracy, random_view
from training.losses import byol_regression, dcl, info_nce, nt_xent, vicreg

HIDDEN, WIDTH = 128, 32
STEPS, BATCH, LEARNING_RATE = 250, 128, 3e-3
TEMPERATURE = 0.2
MOMENTUM = 0.99  # of BYOL's and MoCo's target
QUEUE = 512  # MoCo's keys
COLLAPSED = 0.3  # spread below which a latent is called collapsed; 1 is even

Views = tuple[Tensor, Tensor]  # of both views, (B, D) each


def spread(z: Tensor) -> float:
    """Mean standard deviation of the coordinates of the normalised rows of (N, D), times sqrt(D) (Chen and He 2021).

    1 for rows spread evenly over the sphere, 0 if all are the same point.
    """
    return F.normalize(z, dim=1).std(dim=0, correction=0).mean().item() * math.sqrt(z.shape[1])


def crossed(predict: nn.Module, z: Views, targets: Views) -> Tensor:
    """BYOL's loss of both directions: each view's prediction against the other view's target."""
    return byol_regression(predict(z[0]), targets[1]) + byol_regression(predict(z[1]), targets[0])


# each variant's loss of: embeddings z of both views, the target's embeddings t, the predictor p, the queue
LOSSES: dict[str, Callable[[Views, Views, nn.Module, Tensor], Tensor]] = {
    "SimCLR (NT-Xent)": lambda z, t, p, queue: nt_xent(*z, TEMPERATURE),
    "DCL": lambda z, t, p, queue: dcl(*z, TEMPERATURE),
    # 2 - 2 cosine: NT-Xent's numerator, -cosine / t, up to scale and shift
    "SimCLR, DCL without the negatives": lambda z, t, p, queue: byol_regression(*z),
    "MoCo": lambda z, t, p, queue: info_nce(z[0], t[1], queue, TEMPERATURE),
    "MoCo without the negatives in the queue": lambda z, t, p, queue: byol_regression(z[0], t[1]),
    "VICReg": lambda z, t, p, queue: vicreg(*z, 25, 25, 1),
    "VICReg without the variance term": lambda z, t, p, queue: vicreg(*z, 25, 0, 1),
    "VICReg without the covariance term": lambda z, t, p, queue: vicreg(*z, 25, 25, 0),
    "BYOL": lambda z, t, p, queue: crossed(p, z, t),
    "BYOL without the moving average (SimSiam)": lambda z, t, p, queue: crossed(p, z, (z[0].detach(), z[1].detach())),
    "BYOL without the predictor": lambda z, t, p, queue: crossed(nn.Identity(), z, t),
    "BYOL without the stopped gradient": lambda z, t, p, queue: crossed(p, z, z),
    "BYOL without batch normalisation": lambda z, t, p, queue: crossed(p, z, t),
}


def loss_of(name: str, online: nn.Module, predictor: nn.Module, target: nn.Module, views: Views,
            queue: Tensor) -> tuple[Tensor, Tensor]:
    """The variant's loss and the target's embeddings (B, WIDTH) of the second view, which enter the queue."""
    z = online(views[0]), online(views[1])
    with torch.no_grad():  # no gradient flows into the target
        t = target(views[0]), target(views[1])
    return LOSSES[name](z, t, predictor, queue), t[1]


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module) -> None:
    """Move the target's weights towards the online ones: MOMENTUM old, the rest new."""
    for old, new in zip(target.parameters(), online.parameters(), strict=True):
        old.lerp_(new, 1 - MOMENTUM)


@cache
def draws(seed: int) -> tuple[Tensor, list[Views]]:
    """What all variants are trained on: MoCo's first queue, (QUEUE, WIDTH), and both views of each step's batch."""
    generator = Generator().manual_seed(seed)
    images = torch.from_numpy(load()[0]).float()
    queue, views = torch.randn(QUEUE, WIDTH, generator=generator), []
    for _ in range(STEPS):
        batch = images[torch.randint(0, len(images), (BATCH,), generator=generator)]
        views.append((random_view(batch, generator), random_view(batch, generator)))
    return queue, views


def train(name: str, seed: int, steps: int) -> nn.Module:
    """The encoder of one variant, in eval mode, after so many steps; all variants start from the same weights."""
    torch.manual_seed(seed)
    norm = None if name == "BYOL without batch normalisation" else nn.BatchNorm1d
    online, predictor = MLP(PIXELS, [HIDDEN, WIDTH], norm), MLP(WIDTH, [HIDDEN, WIDTH], norm)
    target = copy.deepcopy(online)
    optimiser = torch.optim.Adam([*online.parameters(), *predictor.parameters()], LEARNING_RATE, fused=True)
    queue, batches = draws(seed)
    for views in batches[:steps]:
        loss, keys = loss_of(name, online, predictor, target, views, queue)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        queue = torch.cat([queue, keys])[-QUEUE:]
        follow(target, online)
    return online.eval()


@torch.no_grad()
def measure(encoder: nn.Module) -> dict[str, Any]:
    """Spread, both effective ranks and the linear probe of the test digits' embeddings."""
    train_images, train_labels, test_images, test_labels = load()
    z, z_test = (encoder(torch.from_numpy(images).float()) for images in (train_images, test_images))
    return {"spread": spread(z_test),
            "rank_about_origin": effective_rank(F.normalize(z_test.double(), dim=1), centred=False),
            "rank_about_mean": effective_rank(F.normalize(z_test, dim=1)),
            "linear_accuracy": probe_accuracy(z.double().numpy(), train_labels, z_test.double().numpy(), test_labels)}


def run(seed: int) -> dict[str, Any]:
    """Every variant, and the untrained network from which all but the last start."""
    return {"steps": STEPS, "width": WIDTH, "threshold": COLLAPSED, "untrained": measure(train(VARIANTS[0], seed, 0)),
            "rows": [{"name": name, **measure(train(name, seed, STEPS))} for name in VARIANTS]}
