"""The figure, from the numbers in theory.json."""

import matplotlib
from matplotlib.figure import Figure

from report import show
from report.drawing import BLUE, MUTED, ORANGE, STYLE, Drawing, save
from theory.temperature.form import Temperature

DASHED = (0, (4, 1.5))


def draw(found: Temperature) -> Drawing:
    """Shares of the nearest negatives over temperature."""
    rows = sorted(found.rows, key=lambda row: row.temperature)
    at = [row.temperature for row in rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2))
        axes = figure.subplots()
        axes.plot(at, [100 * row.hardest_tenth for row in rows], "o-", color=BLUE, label="nearest tenth")
        axes.plot(at, [100 * row.nearest for row in rows], "o", linestyle=DASHED, color=ORANGE, label="nearest one")
        axes.axhline(100 * found.hardest, color=MUTED, linestyle=":", linewidth=1)
        axes.set(xscale="log", xlabel="temperature", ylabel="share of the weight (%)", ylim=(0, 102))
        axes.grid(axis="y")
        axes.legend()
        data = save(figure)
    alt = (f"The nearest tenth of the negatives has {show.percent(rows[0].hardest_tenth)} % of the weight at "
           f"temperature {at[0]:g} and {show.percent(rows[-1].hardest_tenth)} % at {at[-1]:g}; the nearest one has "
           f"{show.percent(rows[0].nearest)} % and {show.percent(rows[-1].nearest)} %.")
    return Drawing("svg", data, alt, "Share of the negatives' gradient that falls on the nearest of them; the "
                                     "dotted line is an even share for a tenth.")
