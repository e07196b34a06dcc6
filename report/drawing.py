"""What figures share: the Drawing, colours, matplotlib's style, charts as wide as a column, SVG in the HTML page.

Only matplotlib's object-oriented interface is used (Figure, no pyplot), so there is no global state.  Text stays text
in the SVG: the HTML page and the PDF set it in their own fonts, and it can be searched.  The same record gives the same
bytes.

INK, MUTED and PAPER are placeholders.  The PDF draws them as written; inline_svg replaces them by the HTML page's own
text and background colours, so that the figures follow its light and dark themes.

A phone's page holds one chart as wide as a column; the desktop's and the PDF's hold two next to each other.  At that
width the smallest letters stay above 9 pixels on a phone of 390 pixels, and above 7 points in the PDF.
"""

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.typing import RcKeyType

from report import show

# no colour of a colour map, since those of an image must not follow the theme
INK, MUTED, PAPER = "#1b1f24", "#6b7280", "#fefdff"
THEME = {INK: "currentColor", MUTED: "var(--muted)", PAPER: "var(--paper)"}
BLUE, ORANGE = "#2f7fd1", "#d9660b"  # validation and training; at least 3:1 on the white and on the dark page
# Ten colours found by a search: at least 3:1 on the white and on the dark page, and the closest two as far apart as the
# search could place them, with and without each of the three colour-vision deficiencies (tests/report/test_drawing.py)
PALETTE = ["#4981fc", "#964d96", "#14864c", "#9242cc", "#1da3aa", "#8f8335", "#f43985", "#d33611", "#6a6862", "#ed12f9"]
STYLE: dict[RcKeyType, Any] = {
    "figure.facecolor": "none", "axes.facecolor": "none", "svg.fonttype": "none", "svg.hashsalt": "report",
    "font.family": "DejaVu Sans", "font.size": 8.5,
    "axes.titlesize": 9, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 8.5,
    "axes.titley": 1.0,  # where it is anyway; without it matplotlib measures all tick labels for its place
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "axes.edgecolor": MUTED,
    "axes.labelcolor": INK, "axes.titlecolor": INK, "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.major.width": 0.7, "ytick.major.width": 0.7,
    "axes.grid": False, "grid.color": MUTED, "grid.alpha": 0.25, "grid.linewidth": 0.6, "legend.frameon": False,
    "legend.fontsize": 8.5, "lines.linewidth": 1.6, "lines.markersize": 3.5, "figure.constrained_layout.use": True,
}
WIDTH = 245.0  # points
SMALL = 7.5  # points, of names at dots
LINE = 20  # letters of a name at a dot; a longer one takes two lines
LETTER = 0.6  # mean width of a letter as a share of its size
DISTANCES = (3, 6, 10, 15, 22, 30, 40, 52, 66, 82, 100)  # points from a dot to its name, tried in 24 directions
NEAR = 16  # points: room for a name is counted up to here
TICKS = (20, 40, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99)  # percent
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", XLINK[1:-1])
# a decorator of functions that draw; constrained layout takes half of the time, and moves what name_dots has placed
styled = matplotlib.rc_context(STYLE | {"figure.constrained_layout.use": False})


@dataclass(frozen=True)
class Drawing:
    """One figure: its SVG file, its alternative text, and the caption below it."""

    data: bytes
    alt: str
    caption: str


def save(figure: Figure) -> bytes:
    """SVG bytes without a date and on a transparent background."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a class name in another script: the reader's fonts can show it, although matplotlib's cannot measure it
        warnings.filterwarnings("ignore", message=".*missing from font")
        # not figure.savefig, which draws everything twice
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


def inline_svg(data: bytes, prefix: str, label: str, keep_size: float | None = None) -> str:
    """An SVG file as an element of an HTML page: unique ids, the page's colours, and an accessible name.

    prefix: unique on the page; keep_size: font size in points that the element's size stays proportional to; without
    it the page scales the element.  Raises ElementTree.ParseError when data is not XML.
    """
    root = ElementTree.fromstring(data)
    for element in list(root.iter()):
        element.text, element.tail = (text if text and text.strip() else None for text in (element.text, element.tail))
        given = dict(element.attrib)
        element.attrib.clear()
        for key, value in given.items():
            unused = key == "version" or value.startswith("rotate(-0 ")
            # groups are never referred to, and every file has a figure_1
            if not unused and not (key == "id" and element.tag in (f"{SVG}g", f"{SVG}svg")):
                element.set("href" if key == f"{XLINK}href" else key, _to_page(value, key, prefix))
    for element in list(root.iter()):
        element[:] = _contents(element)
    for size in ("width", "height"):
        value = root.attrib.pop(size)  # without them the page scales it by its viewBox
        if keep_size is not None:
            root.set(size, f"{float(value.removesuffix('pt')) / keep_size:.3f}em")
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode").replace(f' xmlns="{SVG[1:-1]}"', "")  # HTML knows it


def _contents(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """An element's children: those of a group without attributes in its place, and no style, which the page has."""
    for child in element:
        if child.tag == f"{SVG}g" and not child.attrib:
            yield from _contents(child)
        elif child.tag not in (f"{SVG}metadata", f"{SVG}style"):
            yield child


def _to_page(value: str, key: str, prefix: str) -> str:
    """An attribute's value in the page."""
    if key == "id":
        return prefix + value
    if key in ("d", "x", "y"):  # a hundredth of a point is finer than any screen, and half as long
        return " ".join(re.sub(r"(\.\d\d)\d+", r"\1", value).split())
    if key.endswith("href"):
        return f"#{prefix}{value[1:]}" if value.startswith("#") else value
    value = value.replace("url(#", f"url(#{prefix}")
    value = re.sub(r"; font-family: [^;]*", "", value).replace("; ", ";").replace(": ", ":")
    for colour, name in THEME.items():
        value = value.replace(colour, name)
    return value


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
                            "bbox": {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5, "alpha": 0.6}}
    for y, (label, value) in enumerate(zip(labels, values, strict=True)):
        if y % 2:  # a band behind every other label and its dots
            axes.axhspan(y - 0.7, y + 0.3, color=MUTED, alpha=0.09, linewidth=0)
        axes.text(0, y - 0.43, show.shorten(label, 47), **more)  # closer to its own dots than to those above
        axes.text(1, y - 0.43, value, ha="right", **more)
    return figure, axes


def errors(accuracies: Iterable[float], least: float = 100 - TICKS[-1]) -> list[float]:
    """Fractions as errors in percent, for error_scale.  least: replaces an error of 0, which has no logarithm."""
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
    for text in figure.legend(*axes.get_legend_handles_labels(), loc="lower left", ncols=columns, borderaxespad=0.2,
                              fontsize=8, handletextpad=0.4, columnspacing=1.2, labelspacing=0.3).get_texts():
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
