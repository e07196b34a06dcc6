"""The result in theory.json, and its figure: the weight of the nearest negatives.  No torch here."""

from matplotlib.figure import Figure

from report.drawing import BLUE, MUTED, ORANGE
from theory.fields import Above0, Rows
from utils.records.schema import Fraction, Positive, Strict


class Sharing(Strict):
    temperature: Above0
    nearest: Fraction  # share of the negatives' gradient on the nearest one
    hardest_tenth: Fraction
    effective_negatives: Above0


class Result(Strict):
    images: Positive
    negatives: Positive
    hardest: Fraction
    rows: Rows[Sharing]
    same_class_hardest: Fraction
    same_class_all: Fraction


def draw(figure: Figure, found: Result, _: object) -> None:
    """Draw the share of the gradient that the nearest negatives get, against the temperature."""
    at = [row.temperature for row in found.rows]
    axes = figure.subplots()
    axes.plot(at, [100 * row.hardest_tenth for row in found.rows], "o-", color=BLUE, label="nearest tenth")
    axes.plot(at, [100 * row.nearest for row in found.rows], "o", linestyle="--", color=ORANGE, label="nearest one")
    axes.axhline(100 * found.hardest, color=MUTED, linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="temperature", ylabel="share of the weight (%)", ylim=(0, 102))
    axes.xaxis.set_major_formatter("{x:g}")  # exponents of powers would be too small to read in print
    axes.grid(axis="y")
    axes.legend()
