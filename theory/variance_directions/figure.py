"""Accuracy against what the reconstruction misses, for both parts of every split."""

from matplotlib.figure import Figure

from report.drawing import BLUE, MUTED, ORANGE
from theory.variance_directions.form import VarianceDirections


def draw(found: VarianceDirections, _: object) -> Figure:
    figure = Figure(figsize=(7.2, 2.4))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, part, title in zip(panels, (found.digits, found.backgrounds),
                                 ("digits", "digits on random backgrounds"), strict=True):
        for kept, colour, style, label in (([split.leading for split in part.splits], BLUE, "-", "first j directions"),
                                           ([split.others for split in part.splits], ORANGE, "--",
                                            "all but the first j")):
            axes.plot([100 * one.missed for one in kept], [100 * one.accuracy for one in kept], "o", color=colour,
                      linestyle=style, label=label)
        axes.axhline(100 * found.chance, color=MUTED, linestyle=":", linewidth=1)
        axes.set(xlabel="variance missed (%)", title=title, xlim=(-2, 102), ylim=(0, 102))
        axes.grid(axis="y")
    panels[0].set_ylabel("linear probe (%)")
    panels[1].legend(loc="center")
    return figure
