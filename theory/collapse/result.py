"""The result in theory.json, and its figure: the spread of every variant.  No torch here."""

from typing import Annotated

from matplotlib.figure import Figure

from report.drawing import BLUE, MUTED, ORANGE
from theory.fields import Above0, AtLeast0, named
from utils.records.schema import Fraction, Positive, Strict, Text

VARIANTS = ("SimCLR (NT-Xent)", "DCL", "SimCLR, DCL without the negatives", "MoCo",
            "MoCo without the negatives in the queue", "VICReg", "VICReg without the variance term",
            "VICReg without the covariance term", "BYOL", "BYOL without the moving average (SimSiam)",
            "BYOL without the predictor", "BYOL without the stopped gradient", "BYOL without batch normalisation")


class Embedding(Strict):
    spread: AtLeast0
    rank_about_origin: AtLeast0
    rank_about_mean: AtLeast0
    linear_accuracy: Fraction


class Variant(Embedding):
    name: Text

    @property
    def whole(self) -> bool:
        """Whether no part of the method is left out."""
        return " without " not in self.name


class Result(Strict):
    steps: Positive
    width: Positive
    threshold: Above0
    untrained: Embedding
    rows: Annotated[list[Variant], named(VARIANTS)]

    def by_name(self, name: str) -> Variant:
        """One of VARIANTS."""
        return self.rows[VARIANTS.index(name)]


def draw(figure: Figure, found: Result, _: object) -> None:
    """Draw one bar per variant: the latents' spread, and the threshold of collapse."""
    figure.set_figheight(2.9)
    axes = figure.subplots()
    axes.barh(VARIANTS, [row.spread for row in found.rows], 0.7,
              color=[BLUE if row.whole else ORANGE for row in found.rows])
    axes.axvline(found.threshold, color=MUTED, linestyle=":", linewidth=1)
    axes.invert_yaxis()
    axes.set(xlabel="spread of the normalised latents (1 is even, 0 one point)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
