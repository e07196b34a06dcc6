"""Shared by the experiments: the digits of scikit-learn, their augmentation, PCA, a linear probe."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Generator, Tensor

from training.augment import rotate_quarters
from utils.images.datasets import load_dataset

SIDE = 8  # pixels
PIXELS = SIDE * SIDE
NOISE = 0.1  # standard deviation of the augmentation's noise, for pixels in [0, 1]
FLAT = 1e-9  # a direction of lower variance is constant: some corner pixels are blank in every image


@cache
def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images (1438, 64) float64 in [0, 1] and labels (1438,), test images (359, 64) and labels (359,)."""
    data = load_dataset("digits", Path("data"))  # part of scikit-learn: the folder is not used
    train, test = (images.reshape(-1, PIXELS) / 255.0 for images in (data.train_images, data.test_images))
    return train, data.train_labels, test, data.test_labels


def random_view(images: Tensor, generator: Generator) -> Tensor:
    """Shift each image at random by up to one pixel each way and add Gaussian noise.  images: (B, 64)."""
    padded = F.pad(images.view(-1, SIDE, SIDE), (1, 1, 1, 1))  # (B, 10, 10)
    down, right = torch.randint(0, 3, (2, len(images), 1), generator=generator)  # (B, 1) each
    rows, columns = torch.arange(SIDE) + down, torch.arange(SIDE) + right  # (B, 8)
    shifted = padded[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return shifted.flatten(1) + NOISE * torch.randn(images.shape, generator=generator)


def turn(images: Tensor, quarters: Tensor) -> Tensor:
    """Each of (B, 64) images rotated by its number of quarter turns, (B,) integers from 0 to 3."""
    return rotate_quarters(images.view(-1, 1, SIDE, SIDE), quarters).flatten(1)


def principal_directions(images: np.ndarray) -> np.ndarray:
    """Non-constant principal directions of (N, D) images: orthonormal columns (D, K), by falling variance."""
    _, singular, rows = np.linalg.svd(images - images.mean(axis=0), full_matrices=False)
    return rows[singular**2 / len(images) > FLAT].T


def missed(images: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """What projecting images (N, D) on orthonormal directions (D, k) through the mean (D,) leaves out: (N, D)."""
    centred = images - mean
    return centred - centred @ directions @ directions.T


def probe_accuracy(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Test accuracy of multinomial logistic regression (L2, C = 1) on standardised features, (N, D) and (M, D)."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(probe.fit(train, train_labels).score(test, test_labels))
