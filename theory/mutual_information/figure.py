"""Bound against true mutual information, one line for each N, ceilings dotted."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.drawing import MUTED, PALETTE
from theory.mutual_information.form import GaussianBound, MutualInformation, SphereBound


def draw(found: MutualInformation, _: object) -> Figure:
    figure = Figure(figsize=(7.2, 2.6))
    left, right = figure.subplots(1, 2)
    draw_bounds(left, found.gaussian, "bound", "InfoNCE, Gaussians: log N \N{MINUS SIGN} loss")
    draw_bounds(right, found.sphere, "estimate", "NT-Xent, sphere: log(2N \N{MINUS SIGN} 1) \N{MINUS SIGN} loss")
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_bounds(axes: Axes, rows: Sequence[GaussianBound | SphereBound], field: str, title: str) -> None:
    """One panel.  field: the attribute of a row that is drawn."""
    for i, n in enumerate(sorted({row.n for row in rows})):
        line = sorted((row for row in rows if row.n == n), key=lambda row: row.information)
        colour = PALETTE[i % len(PALETTE)]
        axes.plot([row.information for row in line], [getattr(row, field) for row in line], "o-", color=colour,
                  label=f"N = {n}")
        axes.axhline(line[0].ceiling, color=colour, linestyle=":", linewidth=1)
    most = max(row.information for row in rows)
    axes.plot([0, most], [0, most], color=MUTED, linewidth=1)
    axes.set(xlabel="true mutual information (nats)", title=title)
