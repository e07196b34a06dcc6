"""The figure, from the numbers in theory.json."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from report import show
from report.drawing import BLUE, MUTED, STYLE, Drawing, save
from theory.projection_head.form import ProjectionHead


def draw(found: ProjectionHead) -> Drawing:
    """What the probes read, trained and untrained."""
    names = [row.features for row in found.trained]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2))
        for axes, what, title in zip(figure.subplots(1, 2, sharey=True), ("turn_accuracy", "class_accuracy"),
                                     ("turn", "class"), strict=True):
            for shift, rows, colour, label in ((-0.2, found.untrained, MUTED, "before training"),
                                               (0.2, found.trained, BLUE, "after training")):
                axes.bar(np.arange(len(names)) + shift, [100 * getattr(row, what) for row in rows], 0.38, color=colour,
                         label=label)
            axes.set_xticks(range(len(names)), [name.replace(" the ", " the\n") for name in names])
            axes.set(title=title, ylim=(0, 100))
            axes.grid(axis="y")
        axes.figure.axes[0].set_ylabel("linear probe (%)")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        data = save(figure)
    alt = "After training a linear probe reads " + "; ".join(
        f"from {row.features} the turn with {show.percent(row.turn_accuracy)} % and the class with "
        f"{show.percent(row.class_accuracy)} %" for row in found.trained) + "."
    return Drawing("svg", data, alt, "What a linear probe reads of the digits' turn and class from the pixels, before "
                                     "the projection head and after it.")
