"""Accuracy of the probes, trained and untrained."""

import numpy as np
from matplotlib.figure import Figure

from report.drawing import BLUE, MUTED
from theory.projection_head.form import ProjectionHead


def draw(found: ProjectionHead, _: object) -> Figure:
    names = [row.features.replace(" the ", " the\n") for row in found.trained]
    figure = Figure(figsize=(7.2, 2.2))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, field, title in zip(panels, ("turn_accuracy", "class_accuracy"), ("rotation", "class"), strict=True):
        for shift, rows, colour, label in ((-0.2, found.untrained, MUTED, "before training"),
                                           (0.2, found.trained, BLUE, "after training")):
            axes.bar(np.arange(len(names)) + shift, [100 * getattr(row, field) for row in rows], 0.38, color=colour,
                     label=label)
        axes.set_xticks(range(len(names)), names)
        axes.set(title=title, ylim=(0, 100))
        axes.grid(axis="y")
    panels[0].set_ylabel("linear probe (%)")
    panels[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
