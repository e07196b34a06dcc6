"""Cosines of subspaces and of single axes."""

from matplotlib.figure import Figure

from report.drawing import BLUE, MUTED, ORANGE
from theory.linear_autoencoder.form import LinearAutoencoder


def draw(found: LinearAutoencoder, _: object) -> Figure:
    figure = Figure(figsize=(7.2, 2.2))
    axes = figure.subplots()
    for label, values, colour, style in (("subspace: autoencoder and PCA", found.cosines, BLUE, "-"),
                                         ("subspace: random and PCA", found.random_cosines, MUTED, ":"),
                                         ("single axes: autoencoder and PCA", found.axis_cosines, ORANGE, "--")):
        axes.plot(range(1, len(values) + 1), values, "o", color=colour, linestyle=style, label=label)
    axes.set(xlabel="rank, largest first", ylabel="cosine", ylim=(0, 1.05))
    axes.grid(axis="y")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
