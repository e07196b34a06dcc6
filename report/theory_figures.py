"""The figures of the chapter on theory, one a section, from theory.json's numbers alone."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report import show
from report.drawing import BLUE, INK, MUTED, ORANGE, PALETTE, STYLE, Drawing, save
from theory.results import (
    AlignmentUniformity,
    Collapse,
    LinearAutoencoder,
    MutualInformation,
    ProjectionHead,
    ReconstructionLoss,
    Temperature,
    VarianceDirections,
)

DASHED = (0, (4, 1.5))


def linear_autoencoder(found: LinearAutoencoder) -> Drawing:
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


def reconstruction_loss(found: ReconstructionLoss) -> Drawing:
    """Paths of the two constants, and the best constant image of each loss."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2))
        left, *pictures = figure.subplots(1, 3, width_ratios=[2.2, 1, 1])
        for path, target, name, colour, style in (
                (found.path_l1, found.sample_median, "L1", BLUE, "-"),
                (found.path_l2, found.sample_mean, "L2", ORANGE, DASHED)):
            left.plot(found.path_steps, path, color=colour, linestyle=style, label=name)
            left.axhline(target, color=colour, linestyle=":", linewidth=1)
        left.set(xlabel="step", title="constant for a skewed sample")
        left.legend()
        for axes, image, name in zip(pictures, (found.image_l1, found.image_l2), ("L1", "L2"), strict=True):
            _picture(axes, np.array(image).reshape(8, 8), f"best image, {name}")
        data = save(figure)
    alt = (f"Under L1 the constant goes to {show.significant(found.found_l1)}, the sample's median is "
           f"{show.significant(found.sample_median)}; under L2 to {show.significant(found.found_l2)}, the mean is "
           f"{show.significant(found.sample_mean)}. Of the best constant image of the digits "
           f"{show.percent(found.blank_median)} % of the pixels are blank under L1 and "
           f"{show.percent(found.blank_mean)} % under L2.")
    return Drawing("svg", data, alt, "Left: gradient descent on a constant; the dotted lines are the sample's median "
                                     "and mean. Right: the image that stands best for all digits under each loss.")


def _picture(axes: Axes, image: np.ndarray, title: str) -> None:
    """An (8, 8) image, ink dark on white."""
    axes.pcolormesh(image, cmap="Greys", vmin=0, vmax=1)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.invert_yaxis()
    axes.set_title(title)


def variance_directions(found: VarianceDirections) -> Drawing:
    """Accuracy against what the reconstruction misses, for both halves of every split."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.4))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, part, title in zip(panels, (found.digits, found.backgrounds),
                                     ("digits", "digits on random backgrounds"), strict=True):
            for side, colour, style, label in (("top", BLUE, "-", "first j directions"),
                                               ("bottom", ORANGE, DASHED, "all but the first j")):
                axes.plot(100 * np.array(getattr(part, f"{side}_missed")),
                          100 * np.array(getattr(part, f"{side}_accuracy")), "o", color=colour, linestyle=style,
                          label=label)
            axes.axhline(100 * found.chance, color=MUTED, linestyle=":", linewidth=1)
            axes.set(xlabel="variance missed (%)", title=title, xlim=(-2, 102), ylim=(0, 102))
            axes.grid(axis="y")
        panels[0].set_ylabel("linear probe (%)")
        panels[1].legend(loc="center")
        data = save(figure)
    at = found.splits.index(found.patterns)
    busy = found.backgrounds
    alt = (f"With backgrounds the first {found.patterns} directions miss {show.percent(busy.top_missed[at])} % of the "
           f"variance and give {show.percent(busy.top_accuracy[at])} % accuracy; the others miss "
           f"{show.percent(busy.bottom_missed[at])} % and give {show.percent(busy.bottom_accuracy[at])} %. Without "
           f"backgrounds the first {found.patterns} give {show.percent(found.digits.top_accuracy[at])} %, the others "
           f"{show.percent(found.digits.bottom_accuracy[at])} %.")
    return Drawing("svg", data, alt, "Accuracy of a linear probe against the share of the variance that a "
                                     "reconstruction from the same directions misses; the dotted line is the "
                                     "largest class.")


def mutual_information(found: MutualInformation) -> Drawing:
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


def temperature(found: Temperature) -> Drawing:
    """Shares of the nearest negatives over temperature."""
    rows = sorted(found.rows, key=lambda row: row.temperature)
    at = [row.temperature for row in rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2))
        axes = figure.subplots()
        axes.plot(at, [100 * row.hardest_tenth for row in rows], "o-", color=BLUE, label="nearest tenth")
        axes.plot(at, [100 * row.nearest for row in rows], "o", linestyle=DASHED, color=ORANGE, label="nearest one")
        axes.axhline(100 * found.hardest, color=MUTED, linestyle=":", linewidth=1)
        axes.set(xscale="log", xlabel="temperature", ylabel="share of the weight (%)", ylim=(0, 102))
        axes.grid(axis="y")
        axes.legend()
        data = save(figure)
    alt = (f"The nearest tenth of the negatives has {show.percent(rows[0].hardest_tenth)} % of the weight at "
           f"temperature {at[0]:g} and {show.percent(rows[-1].hardest_tenth)} % at {at[-1]:g}; the nearest one has "
           f"{show.percent(rows[0].nearest)} % and {show.percent(rows[-1].nearest)} %.")
    return Drawing("svg", data, alt, "Share of the negatives' gradient that falls on the nearest of them; the "
                                     "dotted line is an even share for a tenth.")


def alignment_uniformity(found: AlignmentUniformity, runs: list[tuple[str, float, float]]) -> Drawing:
    """The plane of the two scores with its corners.  runs: the project's own, (data set, alignment, uniformity)."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.4))
        axes = figure.subplots()
        for corner in found.corners:
            axes.plot([corner.alignment], [corner.uniformity], "s", color=MUTED, markersize=5)
            axes.annotate(corner.name, (corner.alignment, corner.uniformity), xytext=(0, 5), color=INK, ha="center",
                          textcoords="offset points", parse_math=False, fontsize=8)
        for i, name in enumerate(dict.fromkeys(run[0] for run in runs)):
            axes.plot([run[1] for run in runs if run[0] == name], [run[2] for run in runs if run[0] == name], "o",
                      color=PALETTE[i % len(PALETTE)], label=show.shorten(name, 30))
        axes.axhline(found.rows[-1].lowest, color=MUTED, linestyle=":", linewidth=1)
        axes.set(xlabel="alignment", ylabel="uniformity")
        axes.margins(x=0.15, y=0.15)
        if runs:
            for text in axes.legend(loc="center left", bbox_to_anchor=(1, 0.5)).get_texts():
                text.set_parse_math(False)
        data = save(figure)
    corners = "; ".join(f"{corner.name} {show.significant(corner.alignment)} and {show.significant(corner.uniformity)}"
                        for corner in found.corners)
    alt = f"Alignment and uniformity of the corners: {corners}. Runs of this report in the plane: {len(runs)}."
    return Drawing("svg", data, alt, f"Alignment and uniformity, both better when lower. Squares: extreme latents in "
                                     f"{found.rows[-1].dimensions} dimensions; dots: this report's runs; dotted: the "
                                     "lowest uniformity there is.")


def projection_head(found: ProjectionHead) -> Drawing:
    """What the probes read, trained and untrained."""
    names = [row.features for row in found.trained]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2))
        for axes, what, title in zip(figure.subplots(1, 2, sharey=True), ("turn_accuracy", "class_accuracy"),
                                     ("turn", "class"), strict=True):
            for shift, rows, colour, label in ((-0.2, found.untrained, MUTED, "before training"),
                                               (0.2, found.trained, BLUE, "after training")):
                axes.bar(np.arange(len(names)) + shift, [100 * getattr(row, what) for row in rows], 0.38, color=colour,
                         label=label)
            axes.set_xticks(range(len(names)), [name.replace(" the ", " the\n") for name in names])
            axes.set(title=title, ylim=(0, 100))
            axes.grid(axis="y")
        axes.figure.axes[0].set_ylabel("linear probe (%)")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        data = save(figure)
    alt = "After training a linear probe reads " + "; ".join(
        f"from {row.features} the turn with {show.percent(row.turn_accuracy)} % and the class with "
        f"{show.percent(row.class_accuracy)} %" for row in found.trained) + "."
    return Drawing("svg", data, alt, "What a linear probe reads of the digits' turn and class from the pixels, before "
                                     "the projection head and after it.")


def collapse(found: Collapse) -> Drawing:
    """Spread of every variant."""
    labels = [show.shorten(show.plain(row.method + (f" without {row.without}" if row.without else "")), 44)
              for row in found.rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.9))
        axes = figure.subplots()
        axes.barh(range(len(labels)), [row.spread for row in found.rows], 0.7,
                  color=[ORANGE if row.without else BLUE for row in found.rows])
        axes.axvline(found.threshold, color=MUTED, linestyle=":", linewidth=1)
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
        axes.invert_yaxis()
        axes.set(xlabel="spread of the normalised latents (1 is even, 0 one point)")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        data = save(figure)
    alt = "Spread: " + "; ".join(f"{label} {show.significant(row.spread)}"
                                 for label, row in zip(labels, found.rows, strict=True)) + "."
    return Drawing("svg", data, alt, "Spread of the latents of the whole methods (blue) and with one part left out "
                                     "(orange); below the dotted line a latent is called collapsed.")
