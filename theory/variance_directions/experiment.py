"""Reconstruction ranks directions by their variance, whatever they mean (Balestriero and LeCun 2024).

The principal directions of the digits are split into the first j and all others.  For each part the experiment measures
the variance that it misses and how well a linear probe reads the class from it: for the digits, and for the digits on
random smooth backgrounds, whose variance is unrelated to the class.
"""

from typing import Any

import numpy as np

from theory.digits import SIDE, load, missed, principal_directions, probe_accuracy
from theory.variance_directions.result import SPLITS

BACKGROUND_SCALE = 3.0  # standard deviation of each background pattern's coefficient


def background_patterns() -> np.ndarray:
    """Six orthonormal smooth images (6, 64): the two-dimensional cosines of the lowest frequencies."""
    x = (np.arange(SIDE) + 0.5) / SIDE
    waves = [np.outer(np.cos(np.pi * a * x), np.cos(np.pi * b * x)).ravel()
             for a, b in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))]
    return np.stack([wave / np.linalg.norm(wave) for wave in waves])


def on_backgrounds(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images (N, 64) with a random smooth background added to each."""
    patterns = background_patterns()
    return images + BACKGROUND_SCALE * rng.normal(size=(len(images), len(patterns))) @ patterns


def measure(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> dict[str, Any]:
    """For every split the share of the test images that each part misses, and the accuracy of a probe on it."""
    directions, mean = principal_directions(train), train.mean(axis=0)

    def part(kept: np.ndarray) -> dict[str, float]:
        """kept: orthonormal directions (64, k)."""
        lost = np.square(missed(test, mean, kept)).sum() / np.square(test - mean).sum()
        accuracy = probe_accuracy((train - mean) @ kept, train_labels, (test - mean) @ kept, test_labels)
        return {"missed": float(lost), "accuracy": accuracy}

    return {"directions": directions.shape[1],
            "splits": [{"first": j, "leading": part(directions[:, :j]), "others": part(directions[:, j:])}
                       for j in SPLITS]}


def run(seed: int) -> dict[str, Any]:
    """Measure the digits, and the digits on random backgrounds."""
    train, train_labels, test, test_labels = load()
    rng = np.random.default_rng(seed)
    plain = measure(train, train_labels, test, test_labels)
    busy = measure(on_backgrounds(train, rng), train_labels, on_backgrounds(test, rng), test_labels)
    return {"patterns": len(background_patterns()), "digits": plain, "backgrounds": busy,
            "chance": float(np.bincount(test_labels).max() / len(test_labels))}
