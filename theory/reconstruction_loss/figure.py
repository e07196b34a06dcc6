"""Paths of the two constants, and the best constant image of each loss."""

import numpy as np
from matplotlib.figure import Figure

from report.drawing import BLUE, ORANGE
from theory.reconstruction_loss.form import ReconstructionLoss


def draw(found: ReconstructionLoss, _: object) -> Figure:
    figure = Figure(figsize=(7.2, 2.2))
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
    return figure
