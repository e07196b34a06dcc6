"""The figure, from the numbers in theory.json."""

import matplotlib
from matplotlib.figure import Figure

from report import show
from report.drawing import BLUE, MUTED, ORANGE, STYLE, Drawing, save
from theory.linear_autoencoder.form import LinearAutoencoder

DASHED = (0, (4, 1.5))


def draw(found: LinearAutoencoder) -> Drawing:
    """Cosines of subspaces and of single axes."""
    lines = [("subspace: autoencoder and PCA", found.cosines, BLUE, "-"),
             ("subspace: random and PCA", found.random_cosines, MUTED, ":"),
             ("single axes: autoencoder and PCA", found.axis_cosines, ORANGE, DASHED)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2))
        axes = figure.subplots()
        for label, values, colour, style in lines:
            axes.plot(range(1, len(values) + 1), values, "o", color=colour, linestyle=style, label=label)
        axes.set(xlabel="place, largest first", ylabel="cosine", ylim=(0, 1.05))
        axes.grid(axis="y")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        data = save(figure)
    alt = (f"The cosines of the principal angles between the autoencoder's and PCA's subspace are all at least "
           f"{min(found.cosines):.6f}; a random subspace's fall to "
           f"{show.significant(min(found.random_cosines))}; the single axes' best cosines with a PCA axis lie between "
           f"{show.significant(min(found.axis_cosines))} and {show.significant(max(found.axis_cosines))}.")
    return Drawing("svg", data, alt, "The linear autoencoder spans PCA's subspace (all cosines of the principal angles "
                                     "are 1), but its single axes are not PCA's.")
