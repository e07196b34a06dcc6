"""Reconstruction orders directions by their variance, whatever they mean (Balestriero and LeCun 2024).

The principal directions of the digits are split into the first j and all others.  What each part misses of the pixels
and what a linear probe reads in it are measured, for the digits as they are, and for the digits on random smooth
backgrounds, whose variance has nothing to do with the class.
"""

from typing import Any

import numpy as np

from theory.digits import PIXELS, SIDE, load, probe_accuracy

SPLITS = (1, 2, 4, 6, 8, 16, 32)
BACKGROUND_SCALE = 3.0  # standard deviation of each background pattern's coefficient
FLAT = 1e-9  # variance below which a direction is constant: some corner pixels are never inked


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


def principal_directions(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal directions (64, D), falling variance, and those variances (D,), of the centred (N, 64) images."""
    centred = images - images.mean(axis=0)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    variance = singular**2 / len(images)
    return rows[variance > FLAT].T, variance[variance > FLAT]


def missed_share(images: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> float:
    """Share of the squared deviation from the mean that a projection on orthonormal directions (64, k) loses."""
    centred = images - mean
    left = centred - centred @ directions @ directions.T
    return float(np.square(left).sum() / np.square(centred).sum())


def measure(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> dict[str, Any]:
    """For every split j: what the first j directions and the others miss (test images), and what a probe reads."""
    directions, variance = principal_directions(train)
    mean = train.mean(axis=0)
    whiten = directions / np.sqrt(variance)  # (64, D)
    white = (train - mean) @ whiten  # (N, D), every direction with variance 1
    result = {"directions": len(variance), "variance": variance.tolist()}
    for part in ("top", "bottom"):
        missed, accuracy, white_missed = [], [], []
        for j in SPLITS:
            keep = np.s_[:j] if part == "top" else np.s_[j:]
            missed.append(missed_share(test, mean, directions[:, keep]))
            features = [(images - mean) @ directions[:, keep] for images in (train, test)]
            accuracy.append(probe_accuracy(features[0], train_labels, features[1], test_labels))
            unit = np.eye(len(variance))[:, keep]
            white_missed.append(missed_share(white, np.zeros(len(variance)), unit))
        result |= {f"{part}_missed": missed, f"{part}_accuracy": accuracy, f"{part}_white_missed": white_missed}
    return result


def run(seed: int) -> dict[str, Any]:
    """Both sets, with the same splits."""
    train, train_labels, test, test_labels = load()
    rng = np.random.default_rng(seed)
    plain = measure(train, train_labels, test, test_labels)
    busy = measure(on_backgrounds(train, rng), train_labels, on_backgrounds(test, rng), test_labels)
    return {"splits": list(SPLITS), "pixels": PIXELS, "patterns": len(background_patterns()),
            "chance": float(np.bincount(test_labels).max() / len(test_labels)), "digits": plain, "backgrounds": busy}
