"""Charts as wide as a column: a phone's page holds one, the desktop's and the PDF's hold two next to each other.

At that width the smallest letters stay above 9 pixels on a phone of 390 pixels, and above 7 points in the PDF.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from report import show
from report.drawing import MUTED, PAPER, STYLE

WIDTH = 245.0  # points
SMALL = 7.5  # points, of names at dots
LINE = 20  # letters of a name at a dot; a longer one takes two lines
LETTER = 0.6  # mean width of a letter as a share of its size
DISTANCES = (3, 6, 10, 15, 22, 30, 40, 52, 66, 82)  # points from a dot to its name, tried in 24 directions
NEAR = 16  # points: room for a name is counted up to here
TICKS = (20, 40, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99)  # percent

# a decorator of functions that draw; constrained layout takes half of the time, and moves what name_dots has placed
styled = matplotlib.rc_context(STYLE | {"figure.constrained_layout.use": False})


def narrow(title: str, height: float, left: float = 34, bottom: float = 30, top: float = 18) -> tuple[Figure, Axes]:
    """A figure with one pair of axes.  height: of the axes; left, bottom, top: margins around them; all in points."""
    height += bottom + top
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    axes = figure.add_axes((left / WIDTH, bottom / height, 1 - (left + 7) / WIDTH, 1 - (bottom + top) / height))
    axes.set_title(show.shorten(title, 36), parse_math=False)
    return figure, axes


def rows_of_labels(title: str, labels: Sequence[str], values: Sequence[str], pitch: float = 22,
                   bottom: float = 30) -> tuple[Figure, Axes]:
    """One line of dots per label, at y = 0, 1, ... from the top, with the label above it and a value on the right.

    pitch: points from one line to the next.
    """
    figure, axes = narrow(title, pitch * (len(labels) + 0.4), left=7, bottom=bottom)
    axes.set_ylim(len(labels) - 0.5, -0.9)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    more: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8, "parse_math": False,
                            "bbox": {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}}  # before the lines behind it
    for y, (label, value) in enumerate(zip(labels, values, strict=True)):
        axes.text(0, y - 0.43, show.shorten(label, 44), **more)  # closer to its own dots than to those above
        axes.text(1, y - 0.43, value, ha="right", **more)
    return figure, axes


def errors(accuracies: Iterable[float], least: float = 100 - TICKS[-1]) -> list[float]:
    """Fractions as errors in percent, for error_scale.  least: where an error of 0 stands, which has no logarithm."""
    return [max(least, 100 - 100 * accuracy) for accuracy in accuracies]


def error_scale(axes: Axes, axis: Literal["x", "y"]) -> None:
    """A logarithmic scale for errors() that is labelled by accuracy; better is right, or up.  Fixes the limits."""
    scale, line = (axes.set_xscale, axes.xaxis) if axis == "x" else (axes.set_yscale, axes.yaxis)
    scale("log")
    line.set_inverted(True)
    low, high = sorted(map(float, line.get_view_interval()))
    line.set_view_interval(low, high, ignore=True)
    shown = thin_out([tick for tick in TICKS if low <= 100 - tick <= high], low, high)
    if len(shown) < 3:
        even = MaxNLocator(4).tick_values(100 - high, 100 - low)
        shown = thin_out([tick for tick in map(float, even) if low <= 100 - tick <= high], low, high)
    line.set_ticks([100 - tick for tick in shown], [f"{tick:.4g}" for tick in shown])
    line.set_minor_locator(NullLocator())
    line.set_inverted(True)


def thin_out(ticks: Sequence[float], low: float, high: float) -> list[float]:
    """The accuracies that are a ninth of the scale from low to high (errors) away from the one before, or more."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or 9 * math.log((100 - kept[-1]) / (100 - tick)) > math.log(high / low):
            kept.append(tick)
    return kept


def foot(lines: int) -> float:
    """Points below the axes that their labels and a legend_below of so many lines take."""
    return 34.0 + 12 * lines


def legend_below(figure: Figure, axes: Axes, columns: int = 1) -> None:
    """The axes' legend at the foot of the figure."""
    handles, labels = axes.get_legend_handles_labels()
    for text in figure.legend(handles, labels, loc="lower left", ncols=columns, borderaxespad=0.2, fontsize=8,
                              handletextpad=0.4, columnspacing=1.2, labelspacing=0.3).get_texts():
        text.set_parse_math(False)


def name_dots(axes: Axes, dots: Sequence[tuple[float, float]], names: Sequence[tuple[str, str]],
              lines: Sequence[tuple[float, float, float]] = ()) -> None:
    """Write a name at each dot, where it covers no other name, dot or line; a thin line leads to one pushed away.

    names: with their colours; lines: vertical ones, as (x, y, y).  Limits and scales of the axes must be final.
    """
    unit = 72 / axes.get_figure(root=True).dpi  # type: ignore[union-attr]  # axes without a figure
    places = axes.transData.transform(np.asarray(dots)) * unit  # (N, 2) in points
    frame = np.asarray(axes.bbox.extents) * unit
    taken = [np.array([x - 3, y - 3, x + 3, y + 3]) for x, y in places]
    for x, *ends in lines:
        (left, first), (_, second) = axes.transData.transform([(x, end) for end in ends]) * unit
        taken.append(np.array([left - 1, min(first, second), left + 1, max(first, second)]))
    distance, angle = np.repeat(DISTANCES, 24), np.tile(np.arange(24) * np.pi / 12, len(DISTANCES))  # (T,)
    labels: list[tuple[int, int, np.ndarray, str, str, np.ndarray, np.ndarray]] = []
    for place, (name, colour) in zip(places, names, strict=True):
        words = textwrap.wrap(show.shorten(name, 2 * LINE), LINE) or [""]
        half = np.array([LETTER * SMALL * max(map(len, words)), 1.2 * SMALL * len(words)]) / 2
        middles = place + (distance[:, None] + half) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        free = int(np.count_nonzero(covered_area(middles, half, taken, frame)[distance < NEAR] == 0))
        labels.append((free, len(labels), place, "\n".join(words), colour, half, middles))
    for _, _, place, text, colour, half, middles in sorted(labels, key=itemgetter(0, 1)):  # the least room first
        best, box, _ = best_place(middles, half, distance, taken, frame)
        taken.append(box)
        axes.annotate(text, (place[0], place[1]), middles[best], xycoords="figure points", textcoords="figure points",
                      ha="center", va="center", color=colour, fontsize=SMALL, linespacing=1.2, parse_math=False,
                      arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
                      if distance[best] > 3 else None)


def best_place(middles: np.ndarray, half: np.ndarray, distance: np.ndarray, taken: Iterable[np.ndarray],
               frame: np.ndarray) -> tuple[int, np.ndarray, float]:
    """Which of the boxes around middles (T, 2) covers least of what is taken, is within the frame, and is near.

    half: (2,), half of a box's width and height; distance: (T,), from what it names; taken, frame: boxes (4,).  Returns
    its position, the box (4,), and the area that is covered or outside, 0 of a free place.
    """
    covered = covered_area(middles, half, taken, frame)
    best = int(np.lexsort((distance, covered))[0])
    return best, np.hstack([middles[best] - half, middles[best] + half]), float(covered[best])


def covered_area(middles: np.ndarray, half: np.ndarray, taken: Iterable[np.ndarray], frame: np.ndarray) -> np.ndarray:
    """(T,), the area of each of best_place's boxes that is taken or outside the frame."""
    boxes = np.hstack([middles - half, middles + half])  # (T, 4)
    covered = overlap(boxes, boxes) - overlap(boxes, frame) + sum(overlap(boxes, other) for other in taken)
    return covered.round(6)


def overlap(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Area that each of some boxes, (..., 4) of x0, y0, x1, y1, has in common with another one."""
    sides = np.minimum(boxes[..., 2:], other[..., 2:]) - np.maximum(boxes[..., :2], other[..., :2])
    return sides.clip(0).prod(-1)
