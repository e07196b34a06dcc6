"""The figure, from the numbers in theory.json."""

import matplotlib
from matplotlib.figure import Figure

from report import show
from report.drawing import BLUE, MUTED, ORANGE, STYLE, Drawing, save
from theory.collapse.form import Collapse


def draw(found: Collapse) -> Drawing:
    """Spread of every variant."""
    labels = [show.shorten(show.plain(row.method + (f" without {row.without}" if row.without else "")), 44)
              for row in found.rows]
    with matplotlib.rc_context(STYLE):
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
        data = save(figure)
    alt = "Spread: " + "; ".join(f"{label} {show.significant(row.spread)}"
                                 for label, row in zip(labels, found.rows, strict=True)) + "."
    return Drawing("svg", data, alt, "Spread of the latents of the whole methods (blue) and with one part left out "
                                     "(orange); below the dotted line a latent is called collapsed.")
