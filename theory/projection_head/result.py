"""The result in theory.json, and its figure: accuracy of the linear probes.  No torch here."""

from typing import Annotated

import numpy as np
from matplotlib.figure import Figure

from report.drawing import BLUE, MUTED
from theory.fields import named
from utils.records.schema import Fraction, Positive, Strict, Text

FEATURES = ("pixels", "before the head", "after the head")


class Probe(Strict):
    features: Text
    class_accuracy: Fraction
    turn_accuracy: Fraction


class Result(Strict):
    width: Positive
    steps: Positive
    turns: Positive
    test_images: Positive
    untrained: Annotated[list[Probe], named(FEATURES, "features")]
    trained: Annotated[list[Probe], named(FEATURES, "features")]


def draw(figure: Figure, found: Result, _: object) -> None:
    """Draw probe accuracy for rotation and class, from pixels, h and g(h), before and after training."""
    names = [row.features.replace(" the ", " the\n") for row in found.trained]
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
