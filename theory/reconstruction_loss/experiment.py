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

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss}


def best_constant(x: np.ndarray, loss: Callable[[Tensor, Tensor], Tensor], start: float) -> tuple[np.ndarray, list]:
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


def mean_loss(constant: np.ndarray, x: np.ndarray, power: int) -> float:
    """Mean of |x - constant| ** power over all entries of x, (N, D); constant: (D,)."""
    return float((np.abs(x - constant) ** power).mean())


def run(seed: int) -> dict[str, Any]:
    """A skewed sample (exponential: mean 1, median ln 2), then the best constant image of the digits."""
    sample = np.random.default_rng(seed).exponential(size=(SAMPLE, 1))
    found = {name: best_constant(sample, loss, start=1.5) for name, loss in LOSSES.items()}
    images = load()[0]
    best = {name: best_constant(images, loss, start=0.5)[0] for name, loss in LOSSES.items()}
    median, mean = np.median(images, axis=0), images.mean(axis=0)
    return {
        "sample": SAMPLE, "sample_median": float(np.median(sample)), "sample_mean": float(sample.mean()),
        "found_l1": float(found["l1"][0][0]), "found_l2": float(found["l2"][0][0]),
        "path_steps": list(range(0, STEPS + 1, TRACED)), "path_l1": found["l1"][1], "path_l2": found["l2"][1],
        "images": len(images), "image_l1": best["l1"].tolist(), "image_l2": best["l2"].tolist(),
        "l1_image_to_median": float(np.abs(best["l1"] - median).max()),
        "l2_image_to_mean": float(np.abs(best["l2"] - mean).max()),
        "blank_median": float((median < BLANK).mean()), "blank_mean": float((mean < BLANK).mean()),
        "l1_of_median": mean_loss(median, images, 1), "l1_of_mean": mean_loss(mean, images, 1),
        "l2_of_median": mean_loss(median, images, 2), "l2_of_mean": mean_loss(mean, images, 2),
    }
