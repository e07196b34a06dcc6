"""The figure, from the numbers in theory.json."""

import matplotlib
from matplotlib.figure import Figure

from report import show
from report.drawing import INK, MUTED, PALETTE, STYLE, Drawing, save
from theory.alignment_uniformity.form import AlignmentUniformity


def draw(found: AlignmentUniformity, runs: list[tuple[str, float, float]]) -> Drawing:
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
