"""The result in theory.json, and its figure: cosines of subspaces and of single axes.  No torch here."""

from typing import Annotated

from matplotlib.figure import Figure
from pydantic import Field

from report.drawing import BLUE, MUTED, ORANGE
from theory.fields import AtLeast0
from utils.records.schema import Fraction, Positive, Strict

LATENT = 10  # dimensions
Cosines = Annotated[list[Fraction], Field(min_length=LATENT, max_length=LATENT)]  # falling


class Result(Strict):
    images: Positive
    pixels: Positive
    latent: Positive
    steps: Positive
    cosines: Cosines  # of the principal angles between decoder's and PCA's subspace
    random_cosines: Cosines  # of the principal angles between a random subspace and PCA's
    axis_cosines: Cosines  # of each decoder column with its nearest principal direction
    other_seed_cosines: Cosines  # of the principal angles between two trainings
    other_seed_axis_cosines: Cosines
    autoencoder_error: AtLeast0  # mean squared pixel error
    pca_error: AtLeast0
    random_error: AtLeast0


def draw(figure: Figure, found: Result, _: object) -> None:
    """Draw the cosines of the principal angles between subspaces, and those between single axes."""
    axes = figure.subplots()
    for label, values, colour, style in (("subspace: autoencoder and PCA", found.cosines, BLUE, "-"),
                                         ("subspace: random and PCA", found.random_cosines, MUTED, ":"),
                                         ("single axes: autoencoder and PCA", found.axis_cosines, ORANGE, "--")):
        axes.plot(range(1, len(values) + 1), values, "o", color=colour, linestyle=style, label=label)
    axes.set(xlabel="rank, largest first", ylabel="cosine", ylim=(0, 1.05))
    axes.grid(axis="y")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
