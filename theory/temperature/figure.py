"""Shares of the nearest negatives over temperature."""

from matplotlib.figure import Figure

from report.drawing import BLUE, MUTED, ORANGE
from theory.temperature.form import Temperature


def draw(found: Temperature, _: object) -> Figure:
    rows = sorted(found.rows, key=lambda row: row.temperature)
    at = [row.temperature for row in rows]
    figure = Figure(figsize=(7.2, 2.2))
    axes = figure.subplots()
    axes.plot(at, [100 * row.hardest_tenth for row in rows], "o-", color=BLUE, label="nearest tenth")
    axes.plot(at, [100 * row.nearest for row in rows], "o", linestyle="--", color=ORANGE, label="nearest one")
    axes.axhline(100 * found.hardest, color=MUTED, linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="temperature", ylabel="share of the weight (%)", ylim=(0, 102))
    axes.xaxis.set_major_formatter("{x:g}")  # exponents of powers would be too small to read in print
    axes.grid(axis="y")
    axes.legend()
    return figure
