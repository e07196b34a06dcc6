"""A linear autoencoder with squared loss spans PCA's subspace (Baldi and Hornik 1989), and its axes are not PCA's.

It has biases, and the digits are not centred: the biases must learn the mean (Bourlard and Kamp 1988).
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import subspace_angles
from torch import Tensor, nn

from theory.digits import PIXELS, load, missed, principal_directions
from theory.linear_autoencoder.result import LATENT

STEPS = 500


def train(images: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Decoder weights (64, LATENT) and reconstructions (N, 64) of a linear autoencoder trained on images (N, 64).

    L-BFGS minimises the mean squared error of all images at once.  Adam converges to the same, but needs many more
    steps for axes of similar variance.
    """
    torch.manual_seed(seed)
    x = torch.from_numpy(images)
    encoder, decoder = nn.Linear(PIXELS, LATENT).double(), nn.Linear(LATENT, PIXELS).double()
    optimiser = torch.optim.LBFGS([*encoder.parameters(), *decoder.parameters()], max_iter=STEPS, history_size=20,
                                  tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        error = F.mse_loss(decoder(encoder(x)), x)
        error.backward()
        return error

    optimiser.step(loss)
    with torch.no_grad():
        return decoder.weight.numpy().copy(), decoder(encoder(x)).numpy()


def principal_cosines(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Cosines of the principal angles between the spans of the columns of a and b, (D, k) each, falling."""
    return np.cos(subspace_angles(a, b))[::-1].tolist()


def axis_cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For each column of a, (D, k), its largest |cosine| with a column of b, (D, k), falling."""
    a, b = a / np.linalg.norm(a, axis=0), b / np.linalg.norm(b, axis=0)
    return np.sort(np.abs(a.T @ b).max(axis=1).clip(0, 1))[::-1]


def run(seed: int) -> dict[str, Any]:
    """Train from two random starts, and compare with PCA and with a random subspace."""
    images = load()[0]
    mean, axes = images.mean(axis=0), principal_directions(images)[:, :LATENT]
    weights, reconstructed = train(images, seed)
    other, _ = train(images, seed + 1)
    random = np.linalg.qr(np.random.default_rng(seed).normal(size=(PIXELS, LATENT)))[0]
    return {
        "images": len(images), "pixels": PIXELS, "latent": LATENT, "steps": STEPS,
        "cosines": principal_cosines(weights, axes), "random_cosines": principal_cosines(random, axes),
        "axis_cosines": axis_cosines(weights, axes).tolist(),
        "other_seed_cosines": principal_cosines(weights, other),
        "other_seed_axis_cosines": axis_cosines(weights, other).tolist(),
        "autoencoder_error": float(np.square(reconstructed - images).mean()),
        "pca_error": float(np.square(missed(images, mean, axes)).mean()),
        "random_error": float(np.square(missed(images, mean, random)).mean()),
    }
