"""The plane of the two scores: its corners and this report's runs."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from report import show
from report.drawing import INK, MUTED, PALETTE
from theory.alignment_uniformity.form import AlignmentUniformity
from theory.own_runs import OwnRun


def draw(found: AlignmentUniformity, runs: Sequence[OwnRun]) -> Figure:
    figure = Figure(figsize=(7.2, 2.4))
    axes = figure.subplots()
    for corner in found.corners:
        axes.plot([corner.alignment], [corner.uniformity], "s", color=MUTED, markersize=5)
        axes.annotate(corner.name, (corner.alignment, corner.uniformity), xytext=(0, 5), color=INK, ha="center",
                      textcoords="offset points", parse_math=False, fontsize=8)
    points = [(run.dataset, run.alignment, run.uniformity) for run in runs
              if run.alignment is not None and run.uniformity is not None]
    for i, name in enumerate(dict.fromkeys(dataset for dataset, *_ in points)):
        own = [(x, y) for dataset, x, y in points if dataset == name]
        axes.plot([x for x, _ in own], [y for _, y in own], "o", color=PALETTE[i % len(PALETTE)],
                  label=show.shorten(name, 30))
    axes.axhline(found.rows[-1].lowest, color=MUTED, linestyle=":", linewidth=1)
    axes.set(xlabel="alignment", ylabel="uniformity")
    axes.margins(x=0.15, y=0.15)
    if points:
        for text in axes.legend(loc="center left", bbox_to_anchor=(1, 0.5)).get_texts():
            text.set_parse_math(False)
    return figure
