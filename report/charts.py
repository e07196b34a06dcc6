"""Figures of numbers as SVG, each with alternative text that gives its findings in numbers."""

from collections.abc import Sequence
from operator import attrgetter
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from report import show
from report.columns import WIDTH, error_scale, errors, foot, legend_below, narrow, rows_of_labels, styled
from report.drawing import BLUE, MUTED, ORANGE, Drawing, save
from report.findings import few_labels, short_name
from report.stats import Curve
from report.summary import Missing, Row, dataset_name, row_name, task_name
from utils.records.schema import Record

# score -> marker, colour, field of Row
SCORES = {"classifier": ("o", BLUE, "accuracy"), "linear probe": ("s", ORANGE, "linear"), "kNN": ("^", MUTED, "knn")}
LINES = {"train": ("training", ORANGE, (0, (4, 1.5))), "val": ("validation", BLUE, "-")}  # label, colour, style
CURVES = [("-", "o", BLUE), ("--", "s", ORANGE), (":", "^", "#8a5bd6"), ("-.", "D", MUTED),  # style, marker, colour
          ((0, (6, 1, 1, 1, 1, 1)), "v", "#0f8f72"), ((0, (1, 1)), "P", "#b3478f")]


@styled
def overview(dataset: str, lines: Sequence[Row | Missing]) -> Drawing:
    """Mean accuracy, its interval, each seed and the reference of a data set's rows, on a scale of the error."""
    rows = [line for line in lines if isinstance(line, Row)]
    edge = far_controls(rows)
    best = max((row for row in rows if row.task == "control"), key=attrgetter("accuracy"), default=None)
    labels, values = zip(*((row_name(line), show.percent(line.accuracy)) if isinstance(line, Row) else
                           (f"{task_name(line.task)} (missing)", "") for line in lines), strict=True)
    figure, axes = rows_of_labels(dataset_name(dataset), labels, values)
    for y, line in enumerate(lines):
        if line.reference is not None:
            axes.plot(errors([line.reference]) * 2, [y - 0.2, y + 0.2], color=ORANGE, linewidth=2.2)
        if line in edge:
            axes.plot([0.01], [y], "<", transform=axes.get_yaxis_transform(), color=BLUE, markersize=5)
        elif isinstance(line, Row):
            interval_dot(axes, line, y)
            if len(line.accuracies) > 1:
                axes.plot(errors(line.accuracies), [y + 0.24] * len(line.accuracies), "o", color=BLUE,
                          markerfacecolor="none", markersize=2.6, markeredgewidth=0.7)
    if best and best not in edge:
        axes.axvline(*errors([best.accuracy]), color=MUTED, linewidth=1.2, linestyle="--")
    error_scale(axes, "x")
    axes.set_xlabel("test accuracy (%), logarithmic in the error")
    gaps = [f"{task_name(line.task)} missing" for line in lines if isinstance(line, Missing)]
    alt = [f"{row_name(row)} {show.percent(row.accuracy)} %" for row in rows] + gaps
    return Drawing(save(figure), f"Mean test accuracy on {dataset_name(dataset)}: {'; '.join(alt)}.",
                   overview_finding(dataset, rows, best) + reading(
                       "lines are Wilson 95 % intervals, small circles single seeds, orange ticks references",
                       *off_scale(edge)))


def overview_finding(dataset: str, rows: Sequence[Row], control: Row | None) -> str:
    """Which learned row is the most accurate, and how many are above the best control."""
    learned = [row for row in rows if row.task != "control"]
    if not learned:
        return ""
    best = max(learned, key=attrgetter("accuracy"))
    found = (f"{row_name(best)} is the most accurate learned latent on {dataset_name(dataset)} "
             f"({show.percent(best.accuracy)} %)")
    if control:
        above = sum(row.accuracy > control.accuracy for row in learned)
        found += (f", and {above or 'none'} of {show.plural(len(learned), 'learned row')} "
                  f"{'are' if above > 1 else 'is'} above "
                  f"the best control ({short_name(control)}, {show.percent(control.accuracy)} %"
                  f"{'' if control in far_controls(rows) else ', dashed'})")
    return f"{found}. "


def reading(*parts: str) -> str:
    """One sentence on how to read a figure; "" without parts."""
    words = "; ".join(parts)
    return f"{words[0].upper()}{words[1:]}." if words else ""


def far_controls(rows: Sequence[Row]) -> list[Row]:
    """Controls so far below all learned rows that a scale which holds them would squeeze the others together."""
    learned = [row.accuracy for row in rows if row.task != "control"]
    if not learned:
        return []
    limit = min(*learned, 1 - 3 * (1 - median(row.accuracy for row in rows)))
    return [row for row in rows if row.task == "control" and row.accuracy < limit]


def off_scale(rows: Sequence[Row]) -> list[str]:
    """What to say of far_controls(), if there are any."""
    named = [f"{row_name(row)} ({show.percent(row.accuracy)} %)" for row in rows]
    return [f"below the scale: {show.listing(named)}"] if named else []


def interval_dot(axes: Axes, row: Row, y: float) -> None:
    """A row's accuracy as a dot, with its interval from left to right."""
    axes.plot(errors([row.low, row.high]), [y, y], color=BLUE, linewidth=1.6, solid_capstyle="butt")
    axes.plot(errors([row.accuracy]), [y], "o", color=BLUE, markersize=5)


@styled
def curves(row: Row) -> Drawing | None:
    """Training and validation loss over epochs, and the accuracies below it where the history has them.

    The run of the lowest seed is drawn in full, the other seeds as thin lines.  None where nothing was trained.
    """
    record = row.runs[0].record
    if not record.history:
        return None
    first, last = record.history[0], record.history[-1]
    scores = ["loss"] + ["accuracy"] * any(line.train_accuracy is not None or line.val_accuracy is not None
                                           for line in record.history)
    figure, panels = stacked(len(scores), 110, 30)
    for axes, score in zip(panels, scores, strict=True):
        for split, (label, colour, style) in LINES.items():
            draw_runs(axes, row, f"{split}_{score}", label, color=colour, linestyle=style,
                      marker="o" if len(record.history) <= 30 else "")
        if record.selection is not None and record.selection.epoch > 0:
            axes.axvline(record.selection.epoch, color=MUTED, linestyle=":", linewidth=1)
        axes.set_title("accuracy (%)" if score == "accuracy" else score)
        axes.legend()
    if len(record.history) == 1:
        panels[-1].set_xlim(0, 2)
    notes = [] if record.selection is None else [
        f"the dotted line marks epoch {record.selection.epoch}, whose weights were scored"]
    if len(row.runs) > 1:
        notes.append("thin lines are the other seeds")
    alt = (f"Validation loss from {show.significant(first.val_loss)} to {show.significant(last.val_loss)}, training "
           f"loss from {show.significant(first.train_loss)} to {show.significant(last.train_loss)}, over "
           f"{show.plural(len(record.history), 'epoch')}.")
    if last.val_accuracy is not None:
        alt += f" Validation accuracy ends at {show.percent(last.val_accuracy)} %."
    return Drawing(save(figure), alt, f"The loss is {show.plain(record.run.objective)}. {reading(*notes)}".rstrip())


def stacked(count: int, height: float, bottom: float) -> tuple[Figure, list[Axes]]:
    """Axes over epochs, one above another.  height: of each with its title; bottom: margin below them; in points."""
    whole = count * height + bottom
    figure = Figure(figsize=(WIDTH / 72, whole / 72))
    figure.subplots_adjust(left=0.14, right=0.97, bottom=bottom / whole, top=1 - 18 / whole, hspace=0.35)
    panels = figure.subplots(count, squeeze=False, sharex=True)[:, 0].tolist()
    for axes in panels:
        axes.grid(axis="y")
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure, panels


def history(record: Record, field: str, scaled: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of a column of a history, accuracies in percent; huge losses are drawn at a limit.

    scaled: to 1 for the validation loss after the first epoch and 0 for its lowest.
    """
    epochs, values = np.array([(line.epoch, value) for line in record.history
                               if (value := getattr(line, field)) is not None], np.float64).reshape(-1, 2).T
    values = np.clip(values * (100 if field.endswith("accuracy") else 1), -1e30, 1e30)
    if scaled:
        validation = history(record, "val_loss")[1]
        values = (values - validation.min()) / ((validation[0] - validation.min()) or 1)
    return epochs, values


def draw_runs(axes: Axes, row: Row, field: str, label: str, scaled: bool = False, **style: Any) -> None:
    """A column of the history of each of a row's runs; that of the lowest seed is thick, labelled and on top."""
    for run in reversed(row.runs):
        first = run is row.runs[0]
        axes.plot(*history(run.record, field, scaled), label=label if first else None, linewidth=1.6 if first else 0.6,
                  alpha=1 if first else 0.6, markersize=3.5 if first else 0, **style)


@styled
def methods(dataset: str, rows: Sequence[Row]) -> Drawing:
    """The three accuracies of each method of a task on one data set, and the interval of the classifier's."""
    edge = far_controls(rows)
    drawn = [row for row in rows if row not in edge]
    figure, axes = rows_of_labels(dataset_name(dataset), [row.label for row in drawn],
                                  [show.percent(row.accuracy) for row in drawn], pitch=24, bottom=foot(1))
    for y, row in enumerate(drawn):
        interval_dot(axes, row, y - 0.1)
        for name, (marker, colour, field) in SCORES.items():
            filled = colour if name == "classifier" else "none"
            axes.plot(errors([getattr(row, field)]), [y + 0.1 if filled == "none" else y - 0.1], marker, color=colour,
                      markersize=5, markerfacecolor=filled, label=name if y == 0 else None)
    error_scale(axes, "x")
    axes.set_xlabel("test accuracy (%)")
    legend_below(figure, axes, columns=3)
    best = {name: (max(rows, key=attrgetter(field)), field) for name, (_, _, field) in SCORES.items()}
    words = [f"{row.label} by {name} ({show.percent(getattr(row, field))} %)" for name, (row, field) in best.items()]
    found = f"Of {len(rows)} methods on {dataset_name(dataset)}, the most accurate is {show.listing(words)}."
    notes = ["the classifier is the one that was trained with the encoder"] if rows[0].task == "1.2.2" else []
    return Drawing(save(figure), found,
                   f"{found} {reading('lines are Wilson 95 % intervals', *notes, *off_scale(edge))}")


@styled
def label_fractions(dataset: str, found: Sequence[Curve]) -> Drawing:
    """Accuracy against the share of a data set's labels that was used, with intervals, and seeds where present."""
    figure, axes = narrow(f"{dataset_name(dataset)}: test accuracy (%)", 150, bottom=foot(len(found)))
    plain = [curve.name.partition(", from ")[0] for curve in found]  # the table has the encoders' origins
    for i, curve in enumerate(found):
        style, marker, colour = CURVES[i % len(CURVES)]
        shift = 1.05 ** (i - (len(found) - 1) / 2)  # next to each other, so that no interval covers another
        shares = [100 * share * shift for share, _ in curve.points]
        axes.plot(shares, errors(row.accuracy for _, row in curve.points), linestyle=style, marker=marker, color=colour,
                  label=show.shorten(plain[i] if plain.count(plain[i]) == 1 else curve.name, 50), markersize=4.5)
        for x, (_, row) in zip(shares, curve.points, strict=True):
            axes.plot([x, x], errors([row.low, row.high]), color=colour, linewidth=1.6)
            if len(row.accuracies) > 1:
                axes.plot([x] * len(row.accuracies), errors(row.accuracies), marker, color=colour, markersize=2.6,
                          markerfacecolor="none", markeredgewidth=0.7)
    ticks = sorted({share for curve in found for share, _ in curve.points})
    axes.set_xscale("log")
    axes.set_xticks([100 * share for share in ticks], [f"{100 * share:g}" for share in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    error_scale(axes, "y")
    axes.set_xlabel("labels used (%)")
    axes.grid(axis="y")
    legend_below(figure, axes)
    words = [f"{curve.name} " + " and ".join(
        f"{show.percent(row.accuracy)} % with {100 * share:g} % of the labels"
        for share, row in (curve.points[0], curve.points[-1])) for curve in found]
    return Drawing(save(figure), f"{dataset_name(dataset)}: {'; '.join(words)}.",
                   f"{few_labels(dataset, found)} Lines are Wilson 95 % intervals, small markers single seeds.")
