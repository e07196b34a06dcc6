"""What every figure shares: the Drawing, the colours, matplotlib's style, and SVG as an element of the HTML page.

Only matplotlib's object-oriented interface is used (Figure, no pyplot), so there is no global state.  Text stays text
in the SVG: the HTML page and the PDF set it in their own fonts, and it can be searched.  The same record gives the same
bytes.

INK, MUTED and PAPER are placeholders.  The PDF draws them as written; inline_svg replaces them by the HTML page's own
text and background colours, so that the figures follow its light and dark themes.
"""

import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

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
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", XLINK[1:-1])


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
    if key in ("x", "y"):
        return re.sub(r"(\.\d\d)\d+", r"\1", value)
    if key.endswith("href"):
        return f"#{prefix}{value[1:]}" if value.startswith("#") else value
    value = value.replace("url(#", f"url(#{prefix}")
    if key == "d":  # a hundredth of a point is finer than any screen, and half as long
        return " ".join(re.sub(r"(\.\d\d)\d+", r"\1", value).split())
    value = re.sub(r"; font-family: [^;]*", "", value).replace("; ", ";").replace(": ", ":")
    for colour, name in THEME.items():
        value = value.replace(colour, name)
    return value
