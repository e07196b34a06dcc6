"""Spread of every variant."""

from matplotlib.figure import Figure

from report import show
from report.drawing import BLUE, MUTED, ORANGE
from theory.collapse.form import Collapse


def draw(found: Collapse, _: object) -> Figure:
    labels = [show.shorten(show.plain(row.label), 44) for row in found.rows]
    figure = Figure(figsize=(7.2, 2.9))
    axes = figure.subplots()
    axes.barh(range(len(labels)), [row.spread for row in found.rows], 0.7,
              color=[ORANGE if row.without else BLUE for row in found.rows])
    axes.axvline(found.threshold, color=MUTED, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel="spread of the normalised latents (1 is even, 0 one point)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return figure
