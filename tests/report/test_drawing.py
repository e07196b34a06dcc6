"""The colours of figures: classes that everyone can tell apart, and placeholders that no image contains."""

import matplotlib
import matplotlib.colors
import numpy as np
import pytest

from report.drawing import INK, MUTED, PALETTE, PAPER

# Linear RGB as seen without one kind of cone (Machado, Oliveira and Fernandes 2009, severity 1)
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                        [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                        [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                        [0.004733, 0.691367, 0.303900]])}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041]])


def linear(colours: list[str]) -> np.ndarray:
    """(K, 3) linear RGB of sRGB colours."""
    rgb = np.array([matplotlib.colors.to_rgb(colour) for colour in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """(K, 3) CIELAB of linear RGB, white point D65."""
    ratio = np.clip(rgb, 0, 1) @ XYZ.T / XYZ.sum(1)
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_any_two_class_colours_can_be_told_apart(deficiency: str) -> None:
    seen = lab(linear(PALETTE) @ DEFICIENCIES[deficiency].T)
    distances = np.linalg.norm(seen[:, None] - seen, axis=2)[np.triu_indices(len(PALETTE), 1)]
    assert distances.min() > (30 if deficiency == "none" else 14)  # CIE76; about 2 is just noticeable side by side


@pytest.mark.parametrize("ground", ["#ffffff", "#14171a"])
def test_class_colours_have_contrast_on_both_pages(ground: str) -> None:
    luminance, other = linear(PALETTE) @ XYZ[1], float(linear([ground])[0] @ XYZ[1])
    lighter, darker = np.maximum(luminance, other), np.minimum(luminance, other)
    assert ((lighter + 0.05) / (darker + 0.05)).min() >= 3


def test_no_colour_map_holds_a_colour_that_follows_the_theme() -> None:
    """A pixel of an image in such a colour would be a hole in the dark page."""
    for name, colours in matplotlib.colormaps.items():
        drawn = {matplotlib.colors.to_hex(colour) for colour in colours(np.arange(colours.N))}
        assert not drawn & {INK, MUTED, PAPER}, name
