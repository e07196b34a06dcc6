"""The result in theory.json, and its figure: the constants of both losses, and their best images.  No torch here."""

import numpy as np
from matplotlib.figure import Figure

from report.drawing import BLUE, ORANGE
from theory.fields import AtLeast0, Finite, Image, Rows
from utils.records.schema import Fraction, Positive, Strict


class Fit(Strict):
    """What gradient descent finds under one loss, and what is optimal: the median under L1, the mean under L2."""

    optimum: Finite  # of the sample
    found: Finite
    path: Rows[Finite]
    image: Image  # the best constant image
    image_error: AtLeast0  # its largest difference from the digits' pixelwise median or mean
    blank: Fraction  # share of blank pixels of that median or mean
    absolute_error: AtLeast0  # its mean over all digits' pixels
    squared_error: AtLeast0


class Result(Strict):
    sample: Positive
    images: Positive
    traced: Positive  # steps of gradient descent between two points of a path
    l1: Fit
    l2: Fit


def draw(figure: Figure, found: Result, _: object) -> None:
    """Draw how the best constant is found under L1 and L2, and the best constant image of each."""
    left, *pictures = figure.subplots(1, 3, width_ratios=[2.2, 1, 1])
    for fit, axes, name, colour, style in ((found.l1, pictures[0], "L1", BLUE, "-"),
                                           (found.l2, pictures[1], "L2", ORANGE, "--")):
        steps = [found.traced * i for i in range(len(fit.path))]
        left.plot(steps, fit.path, color=colour, linestyle=style, label=name)
        left.axhline(fit.optimum, color=colour, linestyle=":", linewidth=1)
        axes.pcolormesh(np.array(fit.image).reshape(8, 8), cmap="Greys", vmin=0, vmax=1)
        axes.set(aspect="equal", xticks=[], yticks=[], title=f"best image, {name}")
        axes.invert_yaxis()
    left.set(xlabel="step", title="constant for a skewed sample")
    left.legend()
