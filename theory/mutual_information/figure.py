"""The figure, from the numbers in theory.json."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report import show
from report.drawing import MUTED, PALETTE, STYLE, Drawing, save
from theory.mutual_information.form import MutualInformation


def draw(found: MutualInformation) -> Drawing:
    """Bound against true mutual information, one line for each N, ceilings dotted."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.6))
        left, right = figure.subplots(1, 2)
        _bounds(left, found.gaussian, "bound", "InfoNCE, Gaussians: log N \N{MINUS SIGN} loss")
        _bounds(right, found.sphere, "estimate", "NT-Xent, sphere: log(2N \N{MINUS SIGN} 1) \N{MINUS SIGN} loss")
        right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        data = save(figure)
    strong = max(found.gaussian, key=lambda row: (row.information, row.n))
    few = max(found.gaussian, key=lambda row: (row.information, -row.n))
    alt = (f"At a mutual information of {show.significant(strong.information)} nats InfoNCE's bound is "
           f"{show.significant(few.bound)} with N = {few.n} (ceiling {show.significant(few.ceiling)}) and "
           f"{show.significant(strong.bound)} with N = {strong.n} (ceiling {show.significant(strong.ceiling)}).")
    return Drawing("svg", data, alt, "Measured bound against the true mutual information, in nats, for several batch "
                                     "sizes N. On the diagonal the bound would be exact; the dotted lines are the "
                                     "ceilings.")


def _bounds(axes: Axes, rows: list, field: str, title: str) -> None:
    """One line for each N."""
    for i, n in enumerate(sorted({row.n for row in rows})):
        of_n = sorted((row for row in rows if row.n == n), key=lambda row: row.information)
        colour = PALETTE[i % len(PALETTE)]
        axes.plot([row.information for row in of_n], [getattr(row, field) for row in of_n], "o-", color=colour,
                  label=f"N = {n}")
        axes.axhline(of_n[0].ceiling, color=colour, linestyle=":", linewidth=1)
    most = max(row.information for row in rows)
    axes.plot([0, most], [0, most], color=MUTED, linewidth=1)
    axes.set(xlabel="true mutual information (nats)", title=title)
