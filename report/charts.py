"""Figures of numbers as SVG bytes, each with alt text that says in numbers what is seen.

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
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from report import show
from report.stats import Line
from report.summary import Missing, Row, by_dataset, dataset_name, method_name, row_name, task_name
from utils.records.schema import Record

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
MOST_NAMED = 30  # classes; above it a confusion matrix or a map's names cannot be read
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


def inline_svg(data: bytes, prefix: str, label: str, keep_size: float | None = None) -> str:
    """An SVG file made into an element of an HTML page: ids made unique, colours of the page, label for who cannot see.

    prefix: unique on the page; keep_size: points of the text, to which the element's size stays in proportion; without
    it the page scales the element.  Raises ElementTree.ParseError when data is no XML.
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
        value = root.attrib.pop(size)  # without them the page scales it by its viewBox
        if keep_size is not None:
            root.set(size, f"{float(value.removesuffix('pt')) / keep_size:.3f}em")
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def _to_page(value: str, key: str, prefix: str) -> str:
    """One attribute of a figure as it stands in the page."""
    if key == "id":
        return prefix + value
    if key.endswith("href"):
        return f"#{prefix}{value[1:]}" if value.startswith("#") else value
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
    told = [f"{row_name(row)} on {dataset_name(row.dataset)} {show.percent(row.accuracy)} %" for row in rows]
    gaps = [f"{task_name(gap.task)} on {dataset_name(gap.dataset)} missing" for gap in missing]
    return Drawing("svg", data, "Mean test accuracy: " + "; ".join(told + gaps) + ".",
                   "Mean test accuracy (dot), its Wilson 95 % interval (line) and the single seeds (small circles). "
                   "The upright orange tick is the known reference. Each panel has its own scale.")


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
        labels.append(f"{label}, {show.shorten(method_name(line.task, line.method), 22)}")
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


def curves(row: Row) -> Drawing | None:
    """Training and validation loss over epochs; beside it the accuracies, or without them the learning rate.

    The run of the lowest seed is drawn in full, the other seeds as thin lines.  None where nothing was trained.
    """
    record = row.runs[0].record
    if not record.history:
        return None
    training = ("training", ORANGE, (0, (4, 1.5)))  # name, colour, line style
    validation = ("validation", BLUE, "-")
    with matplotlib.rc_context(STYLE | {"figure.constrained_layout.use": False}):  # which takes half of the time
        figure = Figure(figsize=(7.2, 2.2))
        figure.subplots_adjust(left=0.07, right=0.99, bottom=0.19, top=0.89, wspace=0.2)
        left, right = figure.subplots(1, 2)
        _curves_panel(left, row, "loss", {"train_loss": training, "val_loss": validation})
        if any(line.train_accuracy is not None or line.val_accuracy is not None for line in record.history):
            lines = {"train_accuracy": training, "val_accuracy": validation}
            _curves_panel(right, row, "accuracy (%)", lines, scale=100.0)
        else:
            _curves_panel(right, row, "learning rate", {"lr": ("learning rate", MUTED, "-")})
        data = save(figure)
    caption = f"Loss: {show.plain(record.run.objective)}."
    if record.selection is not None:
        caption += f" The dotted line marks epoch {record.selection.epoch}, whose weights were scored."
    if len(row.runs) > 1:
        caption += f" Seed {record.run.seed} is drawn in full, the other {show.plural(len(row.runs) - 1, 'seed')} thin."
    return Drawing("svg", data, _curves_alt(record), caption)


def _curves_panel(axes: Axes, row: Row, title: str, lines: dict[str, tuple], scale: float = 1.0) -> None:
    """Draw columns of the histories over epochs.  lines: column -> (name, colour, line style)."""
    record = row.runs[0].record
    for key, (name, colour, style) in lines.items():
        for run in reversed(row.runs):  # the first seed lies on top
            first = run is row.runs[0]
            given = [(line.epoch, getattr(line, key)) for line in run.record.history if getattr(line, key) is not None]
            # a value beyond 1e30 would overflow the axis; it is drawn at the limit
            values = np.clip([scale * value for _, value in given], -1e30, 1e30)
            axes.plot([epoch for epoch, _ in given], values, label=name if first else None, color=colour,
                      linestyle=style, linewidth=1.6 if first else 0.6, alpha=1 if first else 0.6,
                      marker="o" if first and len(given) <= 30 else "")
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


SCORES = {"classifier": ("o", BLUE), "linear": ("s", ORANGE), "kNN": ("^", MUTED)}  # score -> marker and colour


def methods(groups: list[tuple[str, list[Row]]]) -> Drawing:
    """The three accuracies of each method, one panel a data set.  groups: (data set, its rows)."""
    heights = [len(rows) + 1.3 for _, rows in groups]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.24 * sum(heights) + 0.3 * len(groups) + 0.5))
        panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (dataset, rows) in zip(panels, groups, strict=True):
            for score, (marker, colour) in SCORES.items():
                values = [100 * _score(row, score) for row in rows]
                axes.plot(values, range(len(rows)), marker, color=colour, markersize=5.5, label=score,
                          markerfacecolor=colour if score == "classifier" else "none")
            axes.set_yticks(range(len(rows)), [show.shorten(_method_label(row), 34) for row in rows], parse_math=False)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.margins(x=0.06)
            axes.grid(axis="both")
            axes.tick_params(axis="y", length=0)
            axes.set_title(show.shorten(dataset_name(dataset), 40), parse_math=False)
        panels[-1].set_xlabel("test accuracy (%)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, handletextpad=0.2)
        data = save(figure)
    return Drawing("svg", data, " ".join(_methods_alt(dataset, rows) for dataset, rows in groups),
                   "Test accuracy by three scores of the same frozen latent: the MLP classifier (dot), a linear "
                   "classifier (square) and the nearest neighbours (triangle). Each panel has its own scale.")


def _score(row: Row, score: str) -> float:
    return {"classifier": row.accuracy, "linear": row.linear, "kNN": row.knn}[score]


def _method_label(row: Row) -> str:
    name = method_name(row.task, row.method)
    return f"control: {name}" if row.task == "control" else name


def _methods_alt(dataset: str, rows: list[Row]) -> str:
    """Which method leads by which score."""
    told = []
    for score in SCORES:
        best = max(rows, key=lambda row: _score(row, score))
        told.append(f"{_method_label(best)} by {score} ({show.percent(_score(best, score))} %)")
    return f"{dataset_name(dataset)}, highest of {len(rows)} methods: {', '.join(told)}."


MARKERS = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))


def label_fractions(groups: list[tuple[str, list[Line]]]) -> Drawing:
    """Accuracy against the share of labels that was used, one panel a data set.  groups: (data set, its lines)."""
    columns = min(2, len(groups))
    height = -(-len(groups) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4 * height))
        panels = figure.subplots(height, columns, squeeze=False).ravel()
        for axes in panels[len(groups):]:
            axes.set_axis_off()
        for axes, (dataset, lines) in zip(panels, groups, strict=False):
            _label_panel(axes, dataset, lines)
        data = save(figure)
    return Drawing("svg", data, " ".join(_labels_alt(dataset, lines) for dataset, lines in groups),
                   "Test accuracy against the share of the training labels that was used, mean over seeds. Both "
                   "scales are logarithmic, the upright one in the error: equal steps divide the errors alike.")


def _label_panel(axes: Axes, dataset: str, lines: list[Line]) -> None:
    for i, line in enumerate(lines):
        marker, style = MARKERS[i % len(MARKERS)]
        errors = [max(0.01, 100 - 100 * row.accuracy) for _, row in line.points]  # no logarithm of 0
        axes.plot([100 * share for share, _ in line.points], errors, style,
                  marker=marker, color=LINES[i % len(LINES)], label=show.shorten(line.name, 44), markersize=5)
    shares = sorted({share for line in lines for share, _ in line.points})
    axes.set_xscale("log")
    axes.set_xticks([100 * share for share in shares], [f"{100 * share:g}" for share in shares])
    axes.set_yscale("log")
    axes.invert_yaxis()  # better is higher
    low, high = sorted(axes.get_ylim())
    shown = [accuracy for accuracy in ACCURACIES if low <= 100 - accuracy <= high]
    axes.set_yticks([100 - accuracy for accuracy in shown], [f"{accuracy:g}" for accuracy in shown])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.set(xlabel="labels used (%)", ylabel="test accuracy (%)")
    axes.set_title(show.shorten(dataset_name(dataset), 40), parse_math=False)
    axes.grid(axis="y")
    for text in axes.legend(loc="best", fontsize=7.5).get_texts():
        text.set_parse_math(False)


ACCURACIES = (20, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95)  # ticks of a scale that is even in the error
LINES = (BLUE, ORANGE, "#8a5bd6", MUTED)


def _labels_alt(dataset: str, lines: list[Line]) -> str:
    """Each line's accuracy at its lowest and its highest share."""
    told = []
    for line in lines:
        (low, first), (high, last) = line.points[0], line.points[-1]
        told.append(f"{line.name} {show.percent(first.accuracy)} % with {100 * low:g} % of the labels and "
                    f"{show.percent(last.accuracy)} % with {100 * high:g} %")
    return f"{dataset_name(dataset)}: {'; '.join(told)}."
