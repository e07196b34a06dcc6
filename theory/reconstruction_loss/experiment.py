"""What a decoder without information predicts: the mean under squared error, the median under absolute error."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from theory.digits import load

SAMPLE = 1001  # odd, so that the median is one value
STEPS, LEARNING_RATE, TRACED = 400, 0.02, 10  # every TRACED-th step is kept
BLANK = 1 / 32  # half a grey level; a pixel below it is blank

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, tuple[Loss, Callable]] = {"l1": (F.l1_loss, np.median), "l2": (F.mse_loss, np.mean)}


def best_constant(x: np.ndarray, loss: Loss, start: float) -> tuple[np.ndarray, list[float]]:
    """The constant (D,) that minimises the mean loss to x, (N, D), and the path of its first entry.

    Gradient descent by Adam.  The rate falls to 0, because the slope of the L1 loss does not fall near its minimum.
    """
    data = torch.from_numpy(x)
    constant = torch.full((x.shape[1],), start, dtype=data.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([constant], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    path = []
    for step in range(STEPS + 1):
        if step % TRACED == 0:
            path.append(constant[0].item())
        optimiser.zero_grad()
        loss(constant.expand_as(data), data).backward()
        optimiser.step()
        schedule.step()
    return constant.detach().numpy(), path


def fit(sample: np.ndarray, images: np.ndarray, loss: Loss, statistic: Callable) -> dict[str, Any]:
    """Where gradient descent ends on a sample (N, 1) and on images (M, 64), next to the statistic that is optimal."""
    found, path = best_constant(sample, loss, start=1.5)
    image, best = best_constant(images, loss, start=0.5)[0], statistic(images, axis=0)
    return {"optimum": float(statistic(sample)), "found": float(found[0]), "path": path,
            "image": image.tolist(), "image_error": float(np.abs(image - best).max()),
            "blank": float((best < BLANK).mean()),
            "absolute_error": float(np.abs(images - best).mean()), "squared_error": float(((images - best)**2).mean())}


def run(seed: int) -> dict[str, Any]:
    """A skewed sample (exponential: mean 1, median ln 2), and the best constant image of the digits."""
    sample, images = np.random.default_rng(seed).exponential(size=(SAMPLE, 1)), load()[0]
    return {"sample": SAMPLE, "images": len(images), "traced": TRACED,
            **{name: fit(sample, images, *which) for name, which in LOSSES.items()}}
