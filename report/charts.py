"""Figures of numbers as SVG, each with alternative text that gives its findings in numbers."""

from operator import attrgetter
from typing import Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from report import show
from report.drawing import BLUE, MUTED, ORANGE, STYLE, Drawing, save
from report.stats import Curve
from report.summary import Missing, Row, dataset_name, method_name, row_name, task_name
from utils.records.schema import Record


class Score(NamedTuple):
    """How a score of the latent is drawn."""

    marker: str
    colour: str
    field: str  # of Row


SCORES = {"classifier": Score("o", BLUE, "accuracy"), "linear": Score("s", ORANGE, "linear"),
          "kNN": Score("^", MUTED, "knn")}
# label -> colour and style
LINES = {"training": (ORANGE, (0, (4, 1.5))), "validation": (BLUE, "-"), "learning rate": (MUTED, "-")}
CURVES = [("-", "o", BLUE), ("--", "s", ORANGE), (":", "^", "#8a5bd6"), ("-.", "D", MUTED)]  # style, marker, colour
TICKS = (20, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95)  # accuracies on a logarithmic scale of the error


def overview(groups: list[tuple[str, list[Row | Missing]]]) -> Drawing:
    """Mean accuracy, its interval, each seed and the reference, one panel per data set."""
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels([len(lines) for _, lines in groups], row_height=0.22, margin=0.0)
        for axes, (dataset, lines) in zip(panels, groups, strict=True):
            for y, line in enumerate(lines):
                _overview_line(axes, y, line)
            axes.set_ylim(len(lines) - 0.4, -0.6)
            control = next((line.control for line in lines if isinstance(line, Row)), None)
            if control is not None:
                axes.axvline(100 * control, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)), zorder=0)
            _label_rows(axes, dataset, [_overview_label(line) for line in lines], grid="x")
            axes.spines["left"].set_visible(False)
        panels[-1].set_xlabel("test accuracy (%)")
        data = save(figure)
    every = [line for _, lines in groups for line in lines]
    rows = [f"{row_name(row)} on {dataset_name(row.dataset)} {show.percent(row.accuracy)} %"
            for row in every if isinstance(row, Row)]
    gaps = [f"{task_name(gap.task)} on {dataset_name(gap.dataset)} missing"
            for gap in every if isinstance(gap, Missing)]
    return Drawing("svg", data, "Mean test accuracy: " + "; ".join(rows + gaps) + ".",
                   "Mean test accuracy (dot), its Wilson 95 % interval (line) and the single seeds (small circles). "
                   "The orange tick is the reference, the dashed grey line the best control: what lies left of it was "
                   "not learned. Each panel has its own scale.")


def _overview_line(axes: Axes, y: int, line: Row | Missing) -> None:
    if line.reference is not None:
        x = 100 * line.reference
        axes.plot([x, x], [y - 0.32, y + 0.32], color=ORANGE, linewidth=2.2, solid_capstyle="butt")
    if isinstance(line, Row):
        axes.plot([100 * line.low, 100 * line.high], [y, y], color=BLUE, linewidth=1.8, solid_capstyle="butt")
        if len(line.accuracies) > 1:
            axes.plot([100 * value for value in line.accuracies], [y + 0.24] * len(line.accuracies), "o", color=BLUE,
                      markerfacecolor="none", markersize=2.6, markeredgewidth=0.7)
        axes.plot([100 * line.accuracy], [y], "o", color=BLUE, markersize=5)


def _overview_label(line: Row | Missing) -> str:
    task = show.shorten(task_name(line.task), 30)
    if isinstance(line, Missing):
        return f"{task} (missing)"
    return f"{task}, {show.shorten(method_name(line.task, line.method), 22)}"


def _panels(rows: list[int], row_height: float, margin: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels below each other, as high as their numbers of rows; row_height and margin in inches."""
    heights = [number + 1.3 for number in rows]
    figure = Figure(figsize=(7.2, row_height * sum(heights) + 0.3 * len(rows) + margin))
    return figure, list(figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0])


def _label_rows(axes: Axes, dataset: str, labels: list[str], grid: Literal["x", "both"]) -> None:
    """Label the rows of a panel and give it its title."""
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.margins(x=0.06)
    axes.grid(axis=grid)
    axes.tick_params(axis="y", length=0)
    axes.set_title(show.shorten(dataset_name(dataset), 40), parse_math=False)


def curves(row: Row) -> Drawing | None:
    """Training and validation loss over epochs, with the accuracies next to it, or else the learning rate.

    The run of the lowest seed is drawn in full, the other seeds as thin lines.  None where nothing was trained.
    """
    record = row.runs[0].record
    if not record.history:
        return None
    with matplotlib.rc_context(STYLE | {"figure.constrained_layout.use": False}):  # which takes half of the time
        figure = Figure(figsize=(7.2, 2.2))
        figure.subplots_adjust(left=0.07, right=0.99, bottom=0.19, top=0.89, wspace=0.2)
        left, right = figure.subplots(1, 2)
        _curves_panel(left, row, "loss", {"train_loss": "training", "val_loss": "validation"})
        if any(line.train_accuracy is not None or line.val_accuracy is not None for line in record.history):
            names = {"train_accuracy": "training", "val_accuracy": "validation"}
            _curves_panel(right, row, "accuracy (%)", names, scale=100.0)
        else:
            _curves_panel(right, row, "learning rate", {"lr": "learning rate"})
        data = save(figure)
    caption = f"Loss: {show.plain(record.run.objective)}."
    if record.selection is not None:
        caption += f" The dotted line marks epoch {record.selection.epoch}, whose weights were scored."
    if len(row.runs) > 1:
        others = show.plural(len(row.runs) - 1, "seed")
        caption += f" Thick lines: seed {record.run.seed}; thin lines: the other {others}."
    return Drawing("svg", data, _curves_alt(record), caption)


def _curves_panel(axes: Axes, row: Row, title: str, columns: dict[str, str], scale: float = 1.0) -> None:
    """Draw columns of the histories over epochs.  columns: column -> its key in LINES, which is its label."""
    record = row.runs[0].record
    for column, label in columns.items():
        colour, style = LINES[label]
        for run in reversed(row.runs):  # the first seed is drawn on top
            first = run is row.runs[0]
            given = [(line.epoch, getattr(line, column)) for line in run.record.history
                     if getattr(line, column) is not None]
            # a value beyond 1e30 would overflow the axis; it is drawn at the limit
            values = np.clip([scale * value for _, value in given], -1e30, 1e30)
            axes.plot([epoch for epoch, _ in given], values, label=label if first else None, color=colour,
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
    if len(columns) > 1:
        axes.legend()


def _curves_alt(record: Record) -> str:
    first, last = record.history[0], record.history[-1]
    if len(record.history) == 1:
        text = f"After one epoch the validation loss is {show.significant(last.val_loss)}"
    else:
        verb = "falls" if last.val_loss < first.val_loss else "goes"
        text = (f"Validation loss {verb} from {show.significant(first.val_loss)} to {show.significant(last.val_loss)} "
                f"over {show.plural(len(record.history), 'epoch')}, training loss goes from "
                f"{show.significant(first.train_loss)} to {show.significant(last.train_loss)}")
    if last.val_accuracy is not None:
        text += f"; validation accuracy ends at {show.percent(last.val_accuracy)} %"
    return text + "."


def methods(groups: list[tuple[str, list[Row]]]) -> Drawing:
    """The three accuracies of each method, one panel per data set.  groups: (data set, its rows)."""
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels([len(rows) for _, rows in groups], row_height=0.24, margin=0.5)
        for axes, (dataset, rows) in zip(panels, groups, strict=True):
            for name, score in SCORES.items():
                axes.plot([100 * getattr(row, score.field) for row in rows], range(len(rows)), score.marker,
                          color=score.colour, markersize=5.5, label=name,
                          markerfacecolor=score.colour if name == "classifier" else "none")
            axes.set_ylim(len(rows) - 0.5, -0.5)
            _label_rows(axes, dataset, [show.shorten(row.label, 34) for row in rows], grid="both")
        panels[-1].set_xlabel("test accuracy (%)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, handletextpad=0.2)
        data = save(figure)
    alt = []
    for dataset, rows in groups:
        best = {name: max(rows, key=attrgetter(score.field)) for name, score in SCORES.items()}
        words = [f"{row.label} by {name} ({show.percent(getattr(row, SCORES[name].field))} %)"
                 for name, row in best.items()]
        alt.append(f"{dataset_name(dataset)}, highest of {len(rows)} methods: {', '.join(words)}.")
    return Drawing("svg", data, " ".join(alt),
                   "Test accuracy by three scores of the same latent: the MLP classifier (dot), a linear classifier "
                   "(square) and the nearest neighbours (triangle). In 1.2.2 the classifier is the one that was "
                   "trained with the encoder. Each panel has its own scale.")


def label_fractions(groups: dict[str, list[Curve]]) -> Drawing:
    """Accuracy against the share of labels that was used, one panel per data set.  groups: data set -> its curves."""
    columns = min(2, len(groups))
    height = -(-len(groups) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4 * height))
        panels = figure.subplots(height, columns, squeeze=False).ravel()
        for axes in panels[len(groups):]:
            axes.set_axis_off()
        for axes, (dataset, found) in zip(panels, groups.items(), strict=False):
            _label_panel(axes, dataset, found)
        data = save(figure)
    alt = []
    for dataset, found in groups.items():
        words = [f"{curve.name} " + " and ".join(
            f"{show.percent(row.accuracy)} % with {100 * share:g} % of the labels"
            for share, row in (curve.points[0], curve.points[-1])) for curve in found]
        alt.append(f"{dataset_name(dataset)}: {'; '.join(words)}.")
    return Drawing("svg", data, " ".join(alt),
                   "Test accuracy against the share of the training labels that was used, mean over seeds. Both "
                   "scales are logarithmic, the vertical one in the error: equal steps divide the error by equal "
                   "factors.")


def _label_panel(axes: Axes, dataset: str, found: list[Curve]) -> None:
    for i, curve in enumerate(found):
        style, marker, colour = CURVES[i % len(CURVES)]
        errors = [max(0.01, 100 - 100 * row.accuracy) for _, row in curve.points]  # no logarithm of 0
        axes.plot([100 * share for share, _ in curve.points], errors, style, marker=marker, color=colour,
                  label=show.shorten(curve.name, 44), markersize=5)
    shares = sorted({share for curve in found for share, _ in curve.points})
    axes.set_xscale("log")
    axes.set_xticks([100 * share for share in shares], [f"{100 * share:g}" for share in shares])
    axes.set_yscale("log")
    axes.invert_yaxis()  # better is higher
    low, high = sorted(axes.get_ylim())
    shown = [accuracy for accuracy in TICKS if low <= 100 - accuracy <= high]
    axes.set_yticks([100 - accuracy for accuracy in shown], [f"{accuracy:g}" for accuracy in shown])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.set(xlabel="labels used (%)", ylabel="test accuracy (%)")
    axes.set_title(show.shorten(dataset_name(dataset), 40), parse_math=False)
    axes.grid(axis="y")
    for text in axes.legend(loc="best", fontsize=7.5).get_texts():
        text.set_parse_math(False)
