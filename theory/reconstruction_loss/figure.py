"""The figure, from the numbers in theory.json."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report import show
from report.drawing import BLUE, ORANGE, STYLE, Drawing, save
from theory.reconstruction_loss.form import ReconstructionLoss

DASHED = (0, (4, 1.5))


def draw(found: ReconstructionLoss) -> Drawing:
    """Paths of the two constants, and the best constant image of each loss."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2))
        left, *pictures = figure.subplots(1, 3, width_ratios=[2.2, 1, 1])
        for path, target, name, colour, style in (
                (found.path_l1, found.sample_median, "L1", BLUE, "-"),
                (found.path_l2, found.sample_mean, "L2", ORANGE, DASHED)):
            left.plot(found.path_steps, path, color=colour, linestyle=style, label=name)
            left.axhline(target, color=colour, linestyle=":", linewidth=1)
        left.set(xlabel="step", title="constant for a skewed sample")
        left.legend()
        for axes, image, name in zip(pictures, (found.image_l1, found.image_l2), ("L1", "L2"), strict=True):
            _picture(axes, np.array(image).reshape(8, 8), f"best image, {name}")
        data = save(figure)
    alt = (f"Under L1 the constant goes to {show.significant(found.found_l1)}, the sample's median is "
           f"{show.significant(found.sample_median)}; under L2 to {show.significant(found.found_l2)}, the mean is "
           f"{show.significant(found.sample_mean)}. Of the best constant image of the digits "
           f"{show.percent(found.blank_median)} % of the pixels are blank under L1 and "
           f"{show.percent(found.blank_mean)} % under L2.")
    return Drawing("svg", data, alt, "Left: gradient descent on a constant; the dotted lines are the sample's median "
                                     "and mean. Right: the image that stands best for all digits under each loss.")


def _picture(axes: Axes, image: np.ndarray, title: str) -> None:
    """An (8, 8) image, ink dark on white."""
    axes.pcolormesh(image, cmap="Greys", vmin=0, vmax=1)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.invert_yaxis()
    axes.set_title(title)
