"""Figures as SVG or PNG bytes, each with alt text that says in numbers what is seen.

Matplotlib's object-oriented interface only (Figure, no pyplot), so nothing is global.  Text stays text: the HTML page
and the PDF set it in their own fonts, and it can be searched.  The same record gives the same bytes.

Three colours are stand-ins: INK, MUTED and PAPER are drawn as written in the PDF, and become the page's own text and
background colours in the HTML (inline_svg), so that the figures follow its light and dark themes.
"""

import io
import re
import warnings
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator
from PIL import Image

from report import format as show
from report.tables import Missing, Row, by_dataset, dataset_name, largest_confusion, task_name
from utils.record import Record

INK, MUTED, PAPER = "#1b1f24", "#6b7280", "#fefefe"
THEME = {INK: "currentColor", MUTED: "var(--muted)", PAPER: "var(--paper)"}
BLUE, ORANGE = "#2f7fd1", "#d9660b"  # validation and training; at least 3:1 on white and on the dark page
# Ten colours that stay apart with colour-vision deficiencies (Petroff 2021, arXiv:2107.02270, the ten-colour cycle)
PALETTE = ["#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"]
STYLE = {
    "figure.facecolor": "none", "axes.facecolor": "none", "svg.fonttype": "none", "svg.hashsalt": "report",
    "font.family": "DejaVu Sans", "font.size": 8.5,
    "axes.titlesize": 9, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 8.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "axes.edgecolor": MUTED,
    "axes.labelcolor": INK, "axes.titlecolor": INK, "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.major.width": 0.7, "ytick.major.width": 0.7,
    "axes.grid": False, "grid.color": MUTED, "grid.alpha": 0.25, "grid.linewidth": 0.6, "legend.frameon": False,
    "legend.fontsize": 8.5, "lines.linewidth": 1.6, "lines.markersize": 3.5, "figure.constrained_layout.use": True,
}
MOST_NAMED = 30  # classes; above it a confusion matrix or a legend cannot be read
MOST_COUNTED = 12  # classes; above it the numbers do not fit into the cells
MOST_POINTS = 5000  # on a map
MOST_IMAGES = 20  # reconstructed
SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Drawing:
    """One figure: its file's suffix and bytes, what it shows in words, and the caption below it."""

    suffix: str  # svg or png
    data: bytes
    alt: str
    caption: str


def save(figure: Figure) -> bytes:
    """SVG bytes without a date and on a transparent background."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a class name in another script: the reader's own fonts show it, although matplotlib's cannot measure it
        warnings.filterwarnings("ignore", message=".*missing from font")
        # not figure.savefig, which draws everything twice
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


def inline_svg(data: bytes, prefix: str, label: str) -> str:
    """An SVG file made into an element of an HTML page: ids made unique, colours of the page, label for who cannot see.

    prefix: unique on the page.  Raises ElementTree.ParseError when data is no XML.
    """
    ElementTree.register_namespace("", SVG[1:-1])
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(data)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):  # the page has its own style
                parent.remove(child)
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id" and element.tag in (f"{SVG}g", f"{SVG}svg"):
                del element.attrib[key]  # nothing refers to groups, and figure_1 stands in every file
            else:
                element.set(key, _to_page(value, key, prefix))
    for size in ("width", "height"):
        del root.attrib[size]  # the page scales it by its viewBox
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def _to_page(value: str, key: str, prefix: str) -> str:
    """One attribute of a figure as it stands in the page."""
    if key == "id":
        return prefix + value
    if value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    value = value.replace("url(#", f"url(#{prefix}")
    if key == "d":  # a hundredth of a point is finer than any screen, and half as long
        return " ".join(re.sub(r"(\.\d\d)\d+", r"\1", value).split())
    if key == "transform" and value.startswith("rotate(-0 "):
        return ""
    value = re.sub(r"; font-family: [^;]*", "", value)
    for colour, name in THEME.items():
        value = value.replace(colour, name)
    return value


def overview(rows: list[Row], missing: list[Missing]) -> Drawing:
    """Mean accuracy, its interval, each seed and the reference, one panel a data set."""
    groups = by_dataset(rows, missing)
    heights = [len(lines) + 1.3 for _, lines in groups]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.22 * sum(heights) + 0.3 * len(groups)))
        panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (dataset, lines) in zip(panels, groups, strict=True):
            _overview_panel(axes, lines)
            axes.set_title(show.shorten(dataset_name(dataset), 40), parse_math=False)
        panels[-1].set_xlabel("test accuracy (%)")
        data = save(figure)
    told = [f"{task_name(row.task)} on {dataset_name(row.dataset)} {show.percent(row.accuracy)} %" for row in rows]
    gaps = [f"{task_name(gap.task)} on {dataset_name(gap.dataset)} missing" for gap in missing]
    return Drawing("svg", data, "Mean test accuracy: " + "; ".join(told + gaps) + ".",
                   "Mean test accuracy (dot), its Wilson 95 % interval (line) and the single seeds (small circles). "
                   "The upright orange tick is the known reference. Each panel has its own scale. An asterisk "
                   "marks a recipe other than the default one.")


def _overview_panel(axes: Axes, lines: list[Row | Missing]) -> None:
    labels = []
    for y, line in enumerate(lines):
        if line.reference is not None:
            x = 100 * line.reference
            axes.plot([x, x], [y - 0.32, y + 0.32], color=ORANGE, linewidth=2.2, solid_capstyle="butt")
        label = show.shorten(task_name(line.task), 30)
        if isinstance(line, Missing):
            labels.append(label + " (missing)")
            continue
        labels.append(f"{label}, {show.shorten(show.plain(line.method), 18)}{'' if line.default else ' *'}")
        axes.plot([100 * line.low, 100 * line.high], [y, y], color=BLUE, linewidth=1.8, solid_capstyle="butt")
        if len(line.accuracies) > 1:
            axes.plot([100 * value for value in line.accuracies], [y + 0.24] * len(line.accuracies), "o", color=BLUE,
                      markerfacecolor="none", markersize=2.6, markeredgewidth=0.7)
        axes.plot([100 * line.accuracy], [y], "o", color=BLUE, markersize=5)
    axes.set_yticks(range(len(lines)), labels, parse_math=False)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.margins(x=0.06)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def curves(record: Record) -> Drawing:
    """Training and validation loss over epochs; beside it the accuracies, or without them the learning rate."""
    training = ("training", ORANGE, (0, (4, 1.5)))  # name, colour, line style
    validation = ("validation", BLUE, "-")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2))
        left, right = figure.subplots(1, 2)
        _curves_panel(left, record, "loss", {"train_loss": training, "val_loss": validation})
        if any(row.train_accuracy is not None or row.val_accuracy is not None for row in record.history):
            lines = {"train_accuracy": training, "val_accuracy": validation}
            _curves_panel(right, record, "accuracy (%)", lines, scale=100.0)
        else:
            _curves_panel(right, record, "learning rate", {"lr": ("learning rate", MUTED, "-")})
        data = save(figure)
    caption = f"Loss: {show.plain(record.run.objective)}."
    if record.selection is not None:
        caption += f" The dotted line marks epoch {record.selection.epoch}, whose weights were scored."
    return Drawing("svg", data, _curves_alt(record), caption)


def _curves_panel(axes: Axes, record: Record, title: str, lines: dict[str, tuple], scale: float = 1.0) -> None:
    """Draw columns of the history over epochs.  lines: column -> (name, colour, line style)."""
    for key, (name, colour, style) in lines.items():
        given = [(row.epoch, getattr(row, key)) for row in record.history if getattr(row, key) is not None]
        # a value beyond 1e30 would overflow the axis; it is drawn at the limit
        values = np.clip([scale * value for _, value in given], -1e30, 1e30)
        axes.plot([epoch for epoch, _ in given], values, label=name, color=colour, linestyle=style,
                  marker="o" if len(given) <= 30 else "")
    if record.selection is not None and record.selection.epoch > 0:
        axes.axvline(record.selection.epoch, color=MUTED, linestyle=":", linewidth=1)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(record.history) == 1:
        axes.set_xlim(0, 2)
    axes.grid(axis="y")
    if len(lines) > 1:
        axes.legend()


def _curves_alt(record: Record) -> str:
    first, last = record.history[0], record.history[-1]
    epochs = show.plural(len(record.history), "epoch")
    if len(record.history) == 1:
        text = f"After one epoch the validation loss is {show.significant(last.val_loss)}"
    else:
        verb = "falls" if last.val_loss < first.val_loss else "goes"
        text = (f"Validation loss {verb} from {show.significant(first.val_loss)} to "
                f"{show.significant(last.val_loss)} over {epochs}, training loss goes from "
                f"{show.significant(first.train_loss)} to {show.significant(last.train_loss)}")
    if last.val_accuracy is not None:
        text += f"; validation accuracy ends at {show.percent(last.val_accuracy)} %"
    return text + "."


def confusion(record: Record) -> Drawing | None:
    """Confusion matrix, coloured by row; None where there are too many classes to read it."""
    names, counts = [show.plain(name) for name in record.data.classes], record.confusion.counts
    if len(names) > MOST_NAMED:
        return None
    share = np.array(counts) / np.maximum(1, np.sum(counts, axis=1, keepdims=True))  # (C, C)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 4.4))
        axes = figure.subplots()
        _confusion_cells(axes, counts, share)
        short = [show.shorten(name, 14) for name in names]
        axes.set_xticks(range(len(names)), short, rotation=90 if max(map(len, short)) > 2 else 0, parse_math=False)
        axes.set_yticks(range(len(names)), short, parse_math=False)
        axes.tick_params(length=0, labelsize=8 if len(names) <= MOST_COUNTED else 6)
        axes.set(xlabel="predicted class", ylabel="true class", xlim=(-0.5, len(names) - 0.5),
                 ylim=(len(names) - 0.5, -0.5), aspect="equal")
        for spine in axes.spines.values():
            spine.set_visible(False)
        data = save(figure)
    total, correct = int(np.sum(counts)), int(np.trace(np.array(counts)))
    alt = f"Of {show.count(total)} test images {show.count(correct)} lie on the diagonal."
    largest = largest_confusion(counts)
    if largest is not None:
        i, j, images = largest
        alt += f" The largest confusion: {show.plural(images, 'image')} of class {names[i]} taken for {names[j]}."
    cells = "counts in the cells" if len(names) <= MOST_COUNTED else "counts left out for want of room"
    return Drawing("svg", data, alt, f"Confusion matrix of {show.plain(record.confusion.metric)}; shading is the share "
                                     f"of the true class, {cells}.")


def _confusion_cells(axes: Axes, counts: list[list[int]], share: np.ndarray) -> None:
    """Shade each cell, 0 transparent to 1 full, and write its count.  share: (C, C) in [0, 1]."""
    classes = len(counts)
    cells = [Rectangle((j - 0.48, i - 0.48), 0.96, 0.96) for i in range(classes) for j in range(classes)]
    # at most 0.6 opaque: one text colour keeps its contrast on every shade, on the light page and on the dark one
    colours = [matplotlib.colors.to_rgba(BLUE, 0.04 + 0.56 * value) for value in share.ravel()]
    axes.add_collection(PatchCollection(cells, facecolors=colours, edgecolors="none"))
    if classes > MOST_COUNTED:
        return
    for i, row in enumerate(counts):
        for j, number in enumerate(row):
            if number:
                weight = "bold" if i == j else "normal"
                axes.text(j, i, str(number), ha="center", va="center", fontsize=7, fontweight=weight, in_layout=False)


def latent_map(record: Record, arrays: dict[str, np.ndarray]) -> Drawing | None:
    """2-D t-SNE map of test latents, coloured by true class; None where the record maps no image."""
    points = arrays["map_points"][:MOST_POINTS].astype(np.float64)  # (M, 2)
    labels = arrays["test_labels"][arrays["map_index"][:MOST_POINTS]]  # (M,)
    if len(points) < 2:
        return None
    present = sorted(set(labels.tolist()))
    names = {label: show.shorten(show.plain(record.data.classes[label]), 16) for label in present}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 4.4))
        axes = figure.subplots()
        for label in present:
            axes.add_artist(_dots(points[labels == label], _class_colour(label, len(record.data.classes))))
        if len(present) <= MOST_NAMED:
            _map_names(axes, points, labels, names, len(record.data.classes))
        low, high = points.min(axis=0), points.max(axis=0)
        margin = 0.04 * max(*(high - low), 1e-6)
        axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin))
        axes.set_axis_off()
        data = save(figure)
    alt = (f"2-D map of {show.count(len(points))} of {show.count(record.data.size('test'))} test images, classes: "
           f"{len(present)}. For {show.percent(same_class_neighbours(points, labels))} % of them the nearest point on "
           "the map is of the same class.")
    return Drawing("svg", data, alt, "t-SNE map of test latents (128-d to 2-d), coloured by true class. Neighbourhoods "
                                     "mean something; distances between clusters and their sizes do not.")


def _dots(points: np.ndarray, colour: str) -> PathPatch:
    """Points (M, 2) as one path of zero-length strokes with round ends: a dot costs ten bytes instead of a hundred."""
    outline = Outline(np.repeat(points, 2, axis=0), [Outline.MOVETO, Outline.LINETO] * len(points))
    outline.should_simplify = False  # it would drop strokes without length
    return PathPatch(outline, edgecolor=colour, facecolor="none", linewidth=2.6, capstyle="round", alpha=0.8)


def _class_colour(label: int, classes: int) -> str:
    """Colour of a class: the palette's, or where it has too few a position on a perceptually even scale."""
    if classes <= len(PALETTE):
        return PALETTE[label]
    return matplotlib.colors.to_hex(matplotlib.colormaps["turbo"](0.1 + 0.82 * label / (classes - 1)))


def _map_names(axes: Axes, points: np.ndarray, labels: np.ndarray, names: dict[int, str], classes: int) -> None:
    """Each class's name at the median of its points, and a legend below, so that colour is not the only sign."""
    many = classes > len(PALETTE)  # then numbers stand on the map, and the legend says which class has which
    for label, name in names.items():
        x, y = np.median(points[labels == label], axis=0)
        axes.text(x, y, str(label) if many else name, ha="center", va="center", fontsize=8, fontweight="bold",
                  parse_math=False, in_layout=False,
                  bbox={"boxstyle": "round,pad=0.2", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.75})
    handles = [axes.plot([], [], "o", color=_class_colour(label, classes), markersize=5)[0] for label in names]
    entries = [f"{label} {name}" if many else name for label, name in names.items()]
    legend = axes.figure.legend(handles, entries, loc="outside lower center", ncols=3 if many else 5,
                                handletextpad=0.1, columnspacing=1.0, fontsize=6.5 if many else 8)
    for text in legend.get_texts():
        text.set_parse_math(False)


def same_class_neighbours(points: np.ndarray, labels: np.ndarray, chunk: int = 500) -> float:
    """Share of the points (M, 2) whose nearest other point has the same label, in [0, 1].  M at least 2."""
    same = 0
    for start in range(0, len(points), chunk):
        part = points[start:start + chunk]
        distance = sum(np.subtract.outer(part[:, axis], points[:, axis]) ** 2 for axis in (0, 1))  # (chunk, M)
        distance[np.arange(len(part)), np.arange(start, start + len(part))] = np.inf
        same += int((labels[distance.argmin(axis=1)] == labels[start:start + chunk]).sum())
    return same / len(points)


def reconstructions(record: Record, arrays: dict[str, np.ndarray], columns: int = 16) -> Drawing | None:
    """Test images with what the decoder returns for each below it; None where the record has none."""
    inputs, outputs = arrays.get("reconstruction_inputs"), arrays.get("reconstruction_outputs")
    if inputs is None or outputs is None or len(inputs) == 0 or inputs.shape[3] not in (1, 3):
        return None
    inputs, outputs = inputs[:MOST_IMAGES], outputs[:MOST_IMAGES]  # (K, H, W, C)
    columns = min(columns, len(inputs))
    lines = -(-len(inputs) // columns)
    _, height, width, _ = inputs.shape
    gap = max(1, height // 10)
    canvas = np.zeros((lines * (2 * height + 3 * gap) - 2 * gap, columns * (width + gap) - gap, 4), np.uint8)
    for k, pair in enumerate(zip(inputs, outputs, strict=True)):
        line, column = divmod(k, columns)
        for below, image in enumerate(pair):
            top = line * (2 * height + 3 * gap) + below * (height + gap)
            left = column * (width + gap)
            canvas[top:top + height, left:left + width, :3] = image  # one channel spreads over three
            canvas[top:top + height, left:left + width, 3] = 255
    error = np.abs(inputs.astype(np.float64) - outputs).mean() / 255
    buffer = io.BytesIO()
    Image.fromarray(canvas, "RGBA").save(buffer, format="PNG", optimize=True)
    shown = show.plural(len(inputs), "test image")
    return Drawing("png", buffer.getvalue(), f"{shown}, each above its reconstruction; their mean absolute error is "
                   f"{show.significant(error)} of the pixel range.",
                   f"{shown} (above) and what the decoder returns from the 128-d latent (below).")
