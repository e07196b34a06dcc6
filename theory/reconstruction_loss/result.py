"""The result in theory.json, and its figure: the constants of both losses, and their best images.  No torch here."""

from typing import Self

import numpy as np
from matplotlib.figure import Figure
from pydantic import model_validator

from report.drawing import BLUE, ORANGE
from theory.fields import AtLeast0, Finite, Image, Rows
from utils.records.schema import Count, Fraction, Positive, Strict, require


class ReconstructionLoss(Strict):
    sample: Positive
    sample_median: Finite
    sample_mean: Finite
    found_l1: Finite
    found_l2: Finite
    path_steps: list[Count]
    path_l1: Rows[Finite]
    path_l2: Rows[Finite]
    images: Positive
    image_l1: Image  # best constant image by gradient descent
    image_l2: Image
    l1_image_to_median: AtLeast0  # largest difference of a pixel
    l2_image_to_mean: AtLeast0
    blank_median: Fraction  # share of blank pixels
    blank_mean: Fraction
    l1_of_median: AtLeast0  # mean absolute error of the pixelwise median; the next three likewise
    l1_of_mean: AtLeast0
    l2_of_median: AtLeast0
    l2_of_mean: AtLeast0

    @model_validator(mode="after")
    def _check(self) -> Self:
        require(len(self.path_steps) == len(self.path_l1) == len(self.path_l2), "the paths have different lengths")
        return self


def draw(figure: Figure, found: ReconstructionLoss, _: object) -> None:
    left, *pictures = figure.subplots(1, 3, width_ratios=[2.2, 1, 1])
    for path, target, name, colour, style in ((found.path_l1, found.sample_median, "L1", BLUE, "-"),
                                              (found.path_l2, found.sample_mean, "L2", ORANGE, "--")):
        left.plot(found.path_steps, path, color=colour, linestyle=style, label=name)
        left.axhline(target, color=colour, linestyle=":", linewidth=1)
    left.set(xlabel="step", title="constant for a skewed sample")
    left.legend()
    for axes, image, name in zip(pictures, (found.image_l1, found.image_l2), ("L1", "L2"), strict=True):
        axes.pcolormesh(np.array(image).reshape(8, 8), cmap="Greys", vmin=0, vmax=1)
        axes.set(aspect="equal", xticks=[], yticks=[], title=f"best image, {name}")
        axes.invert_yaxis()
