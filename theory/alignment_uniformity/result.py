"""The result in theory.json, and its figure: alignment against uniformity, of extreme latents and of the runs."""

from typing import Annotated, Any

from matplotlib.figure import Figure

from report import show
from report.drawing import INK, MUTED, PALETTE
from theory.fields import Finite, Rows, named
from utils.records.schema import Positive, Strict, Text

CORNERS = ("collapsed", "two opposite points", "uniform, views unrelated", "uniform, views alike")


class Uniformity(Strict):
    dimensions: Positive
    measured: Finite
    lowest: Finite

    @property
    def error(self) -> float:
        return abs(self.measured - self.lowest)


class Corner(Strict):
    name: Text
    alignment: Finite
    uniformity: Finite


class Result(Strict):
    points: Positive
    rows: Rows[Uniformity]
    corners: Annotated[list[Corner], named(CORNERS)]


def draw(figure: Figure, found: Result, runs: list[dict[str, Any]]) -> None:
    """Draw the two scores of the corners and of the reported runs.  runs: see own_runs() in chapter.py."""
    axes = figure.subplots()
    for corner in found.corners:
        axes.plot([corner.alignment], [corner.uniformity], "s", color=MUTED, markersize=5)
        axes.annotate(corner.name, (corner.alignment, corner.uniformity), xytext=(0, 5), color=INK, ha="center",
                      textcoords="offset points", parse_math=False, fontsize=8)
    scored = [run for run in runs if run["alignment"] is not None and run["uniformity"] is not None]
    for i, name in enumerate(dict.fromkeys(run["dataset"] for run in scored)):
        own = [(run["alignment"], run["uniformity"]) for run in scored if run["dataset"] == name]
        axes.plot(*zip(*own, strict=True), "o", color=PALETTE[i % len(PALETTE)], label=show.shorten(name, 30))
    axes.axhline(found.rows[-1].lowest, color=MUTED, linestyle=":", linewidth=1)
    axes.set(xlabel="alignment", ylabel="uniformity")
    axes.margins(x=0.15, y=0.15)
    if scored:
        for text in axes.legend(loc="center left", bbox_to_anchor=(1, 0.5)).get_texts():
            text.set_parse_math(False)
