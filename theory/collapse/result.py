"""The result in theory.json, and its figure: the spread of every variant.  No torch here."""

from typing import Annotated

from matplotlib.figure import Figure

from report import show
from report.drawing import BLUE, MUTED, ORANGE
from theory.fields import Above0, AtLeast0, named
from utils.records.schema import Fraction, Positive, Strict, Text

# name -> (method, what is left out; "" for the whole method)
VARIANTS = {
    "simclr": ("SimCLR (NT-Xent)", ""),
    "dcl": ("DCL", ""),
    "positives_only": ("SimCLR, DCL", "the negatives"),
    "moco": ("MoCo", ""),
    "moco_positives_only": ("MoCo", "the negatives in the queue"),
    "vicreg": ("VICReg", ""),
    "vicreg_no_variance": ("VICReg", "the variance term"),
    "vicreg_no_covariance": ("VICReg", "the covariance term"),
    "byol": ("BYOL", ""),
    "byol_no_average": ("BYOL", "the moving average (SimSiam)"),
    "byol_no_predictor": ("BYOL", "the predictor"),
    "byol_no_stop": ("BYOL", "the stopped gradient"),
    "byol_no_batch_norm": ("BYOL", "batch normalisation"),
}


class Embedding(Strict):
    spread: AtLeast0
    rank_about_origin: AtLeast0
    rank_about_mean: AtLeast0
    linear_accuracy: Fraction


class Variant(Embedding):
    name: Text
    method: Text
    without: Text  # "" for the whole method

    @property
    def label(self) -> str:
        """'BYOL', 'BYOL without the predictor'."""
        return f"{self.method} without {self.without}" if self.without else self.method


class Collapse(Strict):
    steps: Positive
    width: Positive
    threshold: Above0
    untrained: Embedding
    rows: Annotated[list[Variant], named(VARIANTS)]

    def by_name(self, name: str) -> Variant:
        """One of VARIANTS."""
        return self.rows[list(VARIANTS).index(name)]


def draw(figure: Figure, found: Collapse, _: object) -> None:
    figure.set_figheight(2.9)
    labels = [show.shorten(show.plain(row.label), 44) for row in found.rows]
    axes = figure.subplots()
    axes.barh(range(len(labels)), [row.spread for row in found.rows], 0.7,
              color=[ORANGE if row.without else BLUE for row in found.rows])
    axes.axvline(found.threshold, color=MUTED, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel="spread of the normalised latents (1 is even, 0 one point)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
