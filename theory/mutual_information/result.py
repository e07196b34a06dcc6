"""The result in theory.json, and its figure: bounds against the true mutual information.  No torch here."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.drawing import MUTED, PALETTE
from theory.fields import Above0, AtLeast0, Finite, Rows
from utils.records.schema import Positive, Strict


class Bound(Strict):
    information: Above0  # nats, like the other values
    n: Positive
    bound: Finite  # log N - loss


class GaussianBound(Bound):
    standard_error: AtLeast0
    ceiling: AtLeast0  # log N

    @property
    def exceeded(self) -> bool:
        """Whether the bound is more than three standard errors above the information."""
        return self.bound > self.information + 3 * self.standard_error


class BitBound(Bound):
    estimate: Finite  # log(2N - 1) - loss


class SphereBound(BitBound):
    temperature: Above0
    standard_error: AtLeast0
    ceiling: AtLeast0  # log(2N - 1)


class Result(Strict):
    dimensions: Positive
    anchors: Positive
    gaussian: Rows[GaussianBound]
    sphere: Rows[SphereBound]
    one_bit: Rows[BitBound]


def draw(figure: Figure, found: Result, _: object) -> None:
    """Draw the bounds on Gaussians and on the sphere against the true information."""
    left, right = figure.subplots(1, 2)
    draw_bounds(left, found.gaussian, "bound", "InfoNCE, Gaussians: log N \N{MINUS SIGN} loss")
    draw_bounds(right, found.sphere, "estimate", "NT-Xent, sphere: log(2N \N{MINUS SIGN} 1) \N{MINUS SIGN} loss")
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def draw_bounds(axes: Axes, rows: Sequence[GaussianBound | SphereBound], field: str, title: str) -> None:
    """One panel, with one line per N and its ceiling dotted.  field: the attribute of a row that is drawn."""
    for i, n in enumerate(sorted({row.n for row in rows})):
        line = sorted((row for row in rows if row.n == n), key=lambda row: row.information)
        colour = PALETTE[i % len(PALETTE)]
        axes.plot([row.information for row in line], [getattr(row, field) for row in line], "o-", color=colour,
                  label=f"N = {n}")
        axes.axhline(line[0].ceiling, color=colour, linestyle=":", linewidth=1)
    most = max(row.information for row in rows)
    axes.plot([0, most], [0, most], color=MUTED, linewidth=1)
    axes.set(xlabel="true mutual information (nats)", title=title)
