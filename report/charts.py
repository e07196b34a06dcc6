"""Figures of numbers as SVG, each with alternative text that gives its findings in numbers."""

from collections.abc import Iterable, Sequence
from operator import attrgetter, itemgetter
from statistics import fmean, median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from report import drawing, show
from report.discussion import by_fraction
from report.drawing import BLUE, INK, LETTER, MUTED, ORANGE, SMALL, WIDTH, Drawing, errors, save, styled
from report.findings import LEVEL, distance, leaders, ranking, short_name, uneven, which
from report.stats import SIGNIFICANT, Curve, Pair, differing, short_names
from report.summary import Missing, Row, dataset_name, machines_of, mean_of, row_name, task_name, wilson_interval
from report.tables import MOST_NAMED
from utils.records.schema import HEADLINE, Record

# score -> marker, colour, field of Row
SCORES = {"classifier": ("o", BLUE, "accuracy"), "linear probe": ("s", ORANGE, "linear"), "kNN": ("^", MUTED, "knn")}
LINES = {"train": ("training", ORANGE, (0, (4, 1.5))), "val": ("validation", BLUE, "-")}  # label, colour, style
CURVES = [("-", "o", BLUE), ("--", "s", ORANGE), (":", "^", "#8a5bd6"), ("-.", "D", MUTED),  # style, marker, colour
          ((0, (6, 1, 1, 1, 1, 1)), "v", "#0f8f72"), ((0, (1, 1)), "P", "#b3478f")]
BINS = 10  # of confidence, of equal width


@styled
def overview(dataset: str, lines: Sequence[Row | Missing]) -> Drawing:
    """Mean accuracy, its interval, each seed and the reference of a data set's rows, on a scale of the error."""
    rows = [line for line in lines if isinstance(line, Row)]
    edge = far_controls(rows)
    best = max((row for row in rows if row.task == "control"), key=attrgetter("accuracy"), default=None)
    labels, values = zip(*((row_name(line), show.percent(line.accuracy)) if isinstance(line, Row) else
                           (f"{task_name(line.task)} (missing)", "") for line in lines), strict=True)
    figure, axes = drawing.rows_of_labels(dataset_name(dataset), labels, values)
    for y, line in enumerate(lines):
        if line.reference is not None:
            axes.plot(errors([line.reference]) * 2, [y - 0.2, y + 0.2], color=INK, linewidth=1.6)
        if line in edge:
            axes.plot([0.01], [y], "<", transform=axes.get_yaxis_transform(), color=MUTED, markersize=5)
        elif isinstance(line, Row):
            colour = dot_colour(line)
            axes.plot(errors([line.low, line.high]), [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.plot(errors([line.accuracy]), [y], "o", color=colour, markersize=5)
            if len(line.accuracies) > 1:
                axes.plot(errors(line.accuracies), [y + 0.2] * len(line.accuracies), "o", color=colour,
                          markerfacecolor="none", markersize=2.6, markeredgewidth=0.7)
    dashed = []
    if best and best not in edge:
        axes.axvline(*errors([best.accuracy]), color=MUTED, linewidth=1.2, linestyle="--")
        dashed = ["the dashed line is the best control"]
    drawing.error_scale(axes, "x")
    axes.set_xlabel("test accuracy (%), logarithmic in the error")
    gaps = [f"{task_name(line.task)} missing" for line in lines if isinstance(line, Missing)]
    alt = [f"{row_name(row)} {show.percent(row.accuracy)} %" for row in rows] + gaps
    learned = [row for row in rows if row.task != "control"]
    found = which("The most accurate learned latent is that of", [(dataset, leaders(learned), "")] if learned else [])
    if best and learned:
        above = sum(row.accuracy > best.accuracy and distance(row, best) != LEVEL for row in learned)
        found += (f" The best control ({short_name(best)}, {show.percent(best.accuracy)} %) is exceeded by "
                  f"{above or 'none'} of {show.plural(len(learned), 'learned latent')}.")
    marks = [("small circles single seeds", any(len(row.runs) > 1 for row in rows if row not in edge)),
             ("upright ticks references", any(line.reference is not None for line in lines))]
    marked = ", ".join(["lines are Wilson 95 % intervals", *(words for words, drawn in marks if drawn)])
    notes = reading(marked, *colours(row for row in rows if row not in edge), *dashed, *off_scale(edge))
    return Drawing(save(figure), f"Mean test accuracy on {dataset_name(dataset)}: {'; '.join(alt)}.",
                   f"{found} {notes}".lstrip())


def reading(*parts: str) -> str:
    """How to read a figure, one sentence per part; "" without parts."""
    return " ".join(f"{words[0].upper()}{words[1:]}." for words in parts)


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
        axes.set_title("accuracy (%)" if score == "accuracy" else score)
        axes.legend()
    if len(record.history) == 1:
        panels[-1].set_xlim(0, 2)
    seeds = " Thin lines are the other seeds." if len(row.runs) > 1 else ""
    alt = (f"Validation loss from {show.significant(first.val_loss)} to {show.significant(last.val_loss)}, training "
           f"loss from {show.significant(first.train_loss)} to {show.significant(last.train_loss)}, over "
           f"{show.plural(len(record.history), 'epoch')}.")
    if last.val_accuracy is not None:
        alt += f" Validation accuracy ends at {show.percent(last.val_accuracy)} %."
    decoder = row.task == "1.2.1" and record.recipe.fields["encoder"] == "conv_depths"  # no history has its last epochs
    undrawn = " The decoder's last epochs are not drawn." * decoder
    return Drawing(save(figure), alt, f"The loss is {show.plain(record.run.objective)}.{undrawn}{seeds}")


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
    values = [show.percent(row.accuracy) for row in drawn]
    figure, axes = drawing.rows_of_labels(dataset_name(dataset), [row.label for row in drawn], values, pitch=24,
                                          bottom=drawing.foot(1))
    for y, row in enumerate(drawn):
        axes.plot(errors([row.low, row.high]), [y - 0.1] * 2, color=BLUE, linewidth=1.6, solid_capstyle="butt")
        for name, (marker, colour, field) in SCORES.items():
            filled = colour if name == "classifier" else "none"
            axes.plot(errors([getattr(row, field)]), [y + 0.1 if filled == "none" else y - 0.1], marker, color=colour,
                      markersize=5, markerfacecolor=filled, label=name if y == 0 else None)
    drawing.error_scale(axes, "x")
    axes.set_xlabel("test accuracy (%)")
    drawing.legend_below(figure, axes, columns=3)
    words = []
    for name, (_, _, field) in SCORES.items():
        best = max(getattr(row, field) for row in rows)
        first = [row.label for row in rows if getattr(row, field) == best]
        words.append(f"{show.listing(first)} by {name} ({show.percent(best)} %)")
    found = f"The most accurate of {len(rows)} methods on {dataset_name(dataset)}: {', '.join(words)}."
    notes = ["where labels trained the encoder, the classifier is the one that was trained with it"
             ] if rows[0].task == "1.2.2" else []
    return Drawing(save(figure), found,
                   f"{found} {reading('lines are Wilson 95 % intervals', *notes, *off_scale(edge))}")


@styled
def label_fractions(dataset: str, found: Sequence[Curve], known: Sequence[str] = ()) -> Drawing:
    """Accuracy against the share of a data set's labels that was used, with intervals, and seeds where present.

    known: the names of all data sets' curves; a name looks the same in each figure.
    """
    known = [*known, *(name for name in short_names(found) if name not in known)]
    figure, axes = drawing.narrow(f"{dataset_name(dataset)}: test accuracy (%)", 150, bottom=drawing.foot(len(found)))
    free = list(range(len(CURVES)))
    for i, (name, curve) in enumerate(zip(short_names(found), found, strict=True)):
        own = known.index(name) % len(CURVES)
        own = own if own in free or not free else free[0]  # two recipes may share a name
        free = [one for one in free if one != own]
        style, marker, colour = CURVES[own]
        shift = 1.05 ** (i - (len(found) - 1) / 2)  # next to each other, so that no interval covers another
        shares = [100 * share * shift for share, _ in curve.points]
        axes.plot(shares, errors(row.accuracy for _, row in curve.points), linestyle=style, marker=marker, color=colour,
                  label=show.shorten(name, 50), markersize=4.5)
        for x, (_, row) in zip(shares, curve.points, strict=True):
            axes.plot([x, x], errors([row.low, row.high]), color=colour, linewidth=1.6)
            if len(row.accuracies) > 1:
                axes.plot([x] * len(row.accuracies), errors(row.accuracies), marker, color=colour, markersize=2.6,
                          markerfacecolor="none", markeredgewidth=0.7)
    ticks = sorted({share for curve in found for share, _ in curve.points})
    axes.set_xscale("log")
    axes.set_xticks([100 * share for share in ticks], [f"{100 * share:g}" for share in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    drawing.error_scale(axes, "y")
    axes.set_xlabel("labels used (%)")
    axes.grid(axis="y")
    drawing.legend_below(figure, axes)
    several = any(len(row.runs) > 1 for curve in found for _, row in curve.points)
    marks = "lines are Wilson 95 % intervals" + ", small markers single seeds" * several
    words = [f"{curve.name} " + " and ".join(
        f"{show.percent(row.accuracy)} % with {100 * share:g} % of the labels"
        for share, row in (curve.points[0], curve.points[-1])) for curve in found]
    return Drawing(save(figure), f"{dataset_name(dataset)}: {'; '.join(words)}.",
                   f"{by_fraction(dataset, found) or ranking(dataset, found)} "
                   f"{reading(marks, *filter(None, map(uneven, found)))}")


@styled
def reliability(record: Record, arrays: dict[str, np.ndarray]) -> Drawing | None:
    """Accuracy against confidence in BINS bins, and the expected calibration error: the mean distance of the two
    (Guo 2017, arXiv:1706.04599); None where the record has no confidences.
    """
    if "test_confidence" not in arrays:
        return None
    confidence = arrays["test_confidence"].astype(np.float64)  # (N,)
    correct = arrays["test_labels"] == arrays["test_predictions"]
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)  # (N,), its bin
    total, gap = len(confidence), 0.0
    figure, axes = drawing.narrow("accuracy (%) against confidence (%)", 150)
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="--")
    for own in (place == i for i in np.unique(place)):
        images, sure, right = own.sum(), confidence[own].mean(), correct[own].mean()
        low, high = wilson_interval(right, images)
        axes.bar(100 * sure, 100 * images / total, width=4, color=MUTED, alpha=0.35)
        axes.plot([100 * sure] * 2, [100 * low, 100 * high], color=BLUE, linewidth=1.6)
        axes.plot([100 * sure], [100 * right], "o", color=BLUE, markersize=5)
        gap += images * abs(right - sure) / total
    axes.set(xlim=(0, 102), ylim=(0, 102), xlabel="probability of the predicted class (%)")
    axes.grid()
    mean, accuracy = confidence.mean(), correct.mean()
    smoothed = record.recipe.fields.get("label_smoothing", True)  # only 1.2.2 can turn it off
    low, equal = mean < accuracy, show.percent(mean) == show.percent(accuracy)
    cancelling = ", so confidences that are too low and too high cancel" if gap >= 5e-5 else ""
    verdict = f"equals the accuracy{cancelling}" if equal else (
        f"is too {'low' if low else 'high'} for an accuracy of {show.percent(accuracy)} %"
        + (", to which label smoothing contributes" if low and smoothed else ""))
    text = (f"The expected calibration error is {100 * gap:.2f} points. The mean confidence, {show.percent(mean)} %, "
            f"{verdict}.")
    return Drawing(save(figure), text, f"{text} Calibrated dots would be on the dashed line. Lines are Wilson 95 % "
                   f"intervals, grey bars the share of the {show.count(total)} test images.")


def dot_colour(row: Row) -> str:
    """Controls grey, rows that used labels orange, the others blue."""
    return MUTED if row.task == "control" else BLUE if row.labels == "none" else ORANGE


def colours(rows: Iterable[Row]) -> list[str]:
    """What the colours of dot_colour() mean, as far as they occur."""
    found = set(map(dot_colour, rows))
    words = [f"{name} dots are {what}" for colour, name, what in (
        (MUTED, "grey", "controls"), (ORANGE, "orange", "rows that used labels")) if colour in found]
    return [show.listing(words)] if words else []


def dot_names(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The names that name_dots writes, those of controls in grey."""
    return [(short_name(row), MUTED if row.task == "control" else INK) for row in rows]


@styled
def minutes(dataset: str, rows: Sequence[Row]) -> Drawing | None:
    """Accuracy against minutes of those rows whose times are comparable; None below two of them."""
    known = [(row.seconds / 60, row) for row in rows if row.seconds]
    edge = far_controls([row for _, row in known])
    drawn = [(time, row) for time, row in known if row not in edge]
    if len(drawn) < 2:
        return None
    figure, axes = drawing.narrow(f"{dataset_name(dataset)}: test accuracy (%)", 165)
    for time, row in drawn:
        axes.plot([time, time], errors([row.low, row.high]), color=dot_colour(row), linewidth=1.2)
        axes.plot([time], errors([row.accuracy]), "o", color=dot_colour(row), markersize=5)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(low / 1.3, high * 1.3)
    axes.xaxis.set_minor_locator(NullLocator())
    drawing.error_scale(axes, "y")
    axes.set_xlabel("minutes of a run, training and scoring")
    axes.grid()
    middle, low_end, high_end = (errors(getattr(row, name) for _, row in drawn) for name in ("accuracy", "low", "high"))
    times = [time for time, _ in drawn]
    drawing.name_dots(axes, list(zip(times, middle, strict=True)), dot_names([row for _, row in drawn]),
                      list(zip(times, low_end, high_end, strict=True)))
    front = [f"{row_name(row)} ({show.percent(row.accuracy)} %, {'' if row.timed_alone else '≤ '}{time:.1f} min)"
             for time, row in sorted(known, key=itemgetter(0))
             if all(other.accuracy < row.accuracy for short, other in known if short < time)]
    notes, left = [], len(rows) - len(known)
    if left:
        notes.append(f"{show.plural(left, 'row')} without a comparable time {'is' if left == 1 else 'are'} left out")
    if (machines := len(machines_of(run for _, row in known for run in row.timed))) > 1:
        notes.append(f"the machines are of {machines} kinds")
    if not all(row.timed_alone for _, row in known):
        notes.append("times of older records (≤) are upper bounds, so the order of rows in time is uncertain")
    text = (f"{dataset_name(dataset)}: no row is both quicker and more accurate than any of these: "
            f"{show.listing(front)}.")
    return Drawing(save(figure), text,
                   text + " " + reading("lines are Wilson 95 % intervals", *colours(row for _, row in drawn), *notes,
                                        *off_scale(edge)))


def class_spans(row: Row) -> dict[str, tuple[float, float, float]]:
    """Mean accuracy over seeds and its Wilson 95 % interval of each class that has test images."""
    found = {}
    for label in row.runs[0].record.data.classes:
        name = f"{HEADLINE}/{label}"
        mean = mean_of(row.runs, name)
        if mean is not None:
            found[label] = (mean, *wilson_interval(mean, row.runs[0].record.metrics[name].n))
    return found


@styled
def classes(dataset: str, rows: Sequence[Row]) -> Drawing | None:
    """Accuracy of each class, hardest last: the best row of each task with intervals, the others as small dots."""
    edge = far_controls(rows)
    spans = [(row, class_spans(row)) for row in rows if row not in edge]
    names = sorted(set.intersection(*(set(found) for _, found in spans)))
    if not 1 < len(names) <= MOST_NAMED:
        return None
    names.sort(key=lambda name: -fmean(found[name][0] for _, found in spans))
    best = [max((entry for entry in spans if entry[0].task == task),
                key=lambda entry: (len(entry[0].runs) > 2, entry[0].accuracy))
            for task in dict.fromkeys(row.task for row, _ in spans)]
    labels = [show.shorten(show.plain(name), 14) for name in names]
    figure, axes = drawing.narrow(dataset_name(dataset), 18 * len(names), bottom=drawing.foot(len(best)),
                                  left=12 + LETTER * 8.5 * max(map(len, labels)))
    least = 50 / min(images for images in rows[0].runs[0].record.data.class_counts["test"] if images)  # half an image
    means = np.array([[found[name][0] for name in names] for _, found in spans])  # (rows, classes)
    for line in means:
        axes.plot(errors(line, least), range(len(names)), "o", color=MUTED, markersize=2.5, alpha=0.6)
    for i, (row, found) in enumerate(best):
        _, marker, colour = CURVES[i % len(CURVES)]
        places = np.arange(len(names)) + 0.6 * ((i + 0.5) / len(best) - 0.5)
        axes.plot(errors((found[name][0] for name in names), least), places, marker, color=colour, markersize=4,
                  label=show.shorten(row_name(row), 44))
        for y, name in zip(places, names, strict=True):
            axes.plot(errors(found[name][1:], least), [y, y], color=colour, linewidth=1)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), labels, parse_math=False)
    axes.tick_params(axis="y", length=0)
    drawing.error_scale(axes, "x")
    axes.set_xlabel("test accuracy of the class (%)")
    axes.grid(axis="x")
    drawing.legend_below(figure, axes)
    lowest = means == means.min(1, keepdims=True)
    hardest = lowest[lowest.sum(1) == 1].sum(0)  # (classes,): rows for which this class alone is the hardest
    times = hardest.max()
    first = [show.plain(name) for name, number in zip(names, hardest, strict=True) if number == times > 0]
    compared = show.plural(len(spans), "method")
    text = f"{dataset_name(dataset)}: " + (
        f"class {first[0]} is the hardest for {times} of {compared}." if len(first) == 1 else
        f"no class is the hardest for more than {times} of {compared}.")
    notes = [f"classes are sorted by their mean over methods, from {show.plain(names[0])} to {show.plain(names[-1])}",
             "lines are Wilson 95 % intervals of the best row of each task (of those with three seeds, if there are "
             "any), small dots all rows", *off_scale(edge)]
    if (means == 1).any():
        notes.append("an accuracy of 100 % is at the right end")
    return Drawing(save(figure), text, f"{text} {reading(*notes)}")


@styled
def mcnemar_matrix(dataset: str, rows: Sequence[Row], pairs: Sequence[Pair]) -> Drawing:
    """Which pairs of rows differ significantly, as a staircase: a name ends its row and heads its column."""
    ranked = sorted(rows, key=lambda row: -row.accuracy)
    place = {id(row): i for i, row in enumerate(ranked)}
    names = [show.shorten(short_name(row), 30) for row in ranked]
    side = min([16.0, *((WIDTH - 8 - LETTER * SMALL * len(name)) / (i + 1) for i, name in enumerate(names))])
    figure, axes = drawing.narrow(dataset_name(dataset), max(side, 9.0) * len(names), left=4, bottom=2, top=22)
    axes.set(xlim=(-0.5, (WIDTH - 11) / side - 0.5), ylim=(len(names) - 0.5, -0.5))
    axes.set_axis_off()
    for pair in pairs:
        x, y = sorted((place[id(pair.first)], place[id(pair.second)]))
        axes.plot([x], [y], "s", color=MUTED, markersize=0.86 * side, alpha=0.15, markeredgewidth=0)
        if pair.adjusted < SIGNIFICANT:
            ahead = ranked[x] is (pair.first if pair.only_first > pair.only_second else pair.second)
            axes.plot([x], [y], "^" if ahead else ">", color=BLUE if ahead else ORANGE, markersize=0.5 * side)
    for i, name in enumerate(names):
        axes.text(i - 0.4, i, name, va="center", fontsize=SMALL, parse_math=False)
    alike = [row_name(pair.second if pair.first is ranked[0] else pair.first) for pair in pairs
             if pair.adjusted >= SIGNIFICANT and ranked[0] in (pair.first, pair.second)]
    every = 2 * len(pairs) == len(rows) * (len(rows) - 1)
    text = f"{dataset_name(dataset)}: {differing(pairs)} significantly"
    compared = any(ranked[0] in (pair.first, pair.second) for pair in pairs)
    of_first = (f"Not shown to differ from the most accurate row, {row_name(ranked[0])}: "
                f"{show.listing(alike) or 'none'}." if compared else
                f"The most accurate row, {row_name(ranked[0])}, has no seed in common with another.")
    return Drawing(save(figure), f"{text}. {of_first}",
                   f"{text} by McNemar's test (5 % after Holm's correction). " + reading(
                       "the most accurate row is at the top", "a blue arrow up: the row named above is better", "an "
                       "orange arrow to the right: the row named at the end of the line is better", "no arrow: they do "
                       "not differ significantly", "one seed each, whatever the means over seeds are",
                       *([] if every else ["rows without a seed in common have no cell"])))


@styled
def geometry(dataset: str, rows: Sequence[Row]) -> Drawing | None:
    """Alignment and uniformity of each latent, means over seeds, with names at the dots; None below two of them."""
    scores = ("test/alignment", "test/uniformity")
    found = [(x, y, row) for row in rows if (x := mean_of(row.runs, scores[0])) is not None
             and (y := mean_of(row.runs, scores[1])) is not None]
    if len(found) < 2:
        return None
    figure, axes = drawing.narrow(f"{dataset_name(dataset)}: uniformity (low is even)", 190)
    for x, y, row in sorted(found, key=lambda one: one[2].task != "control"):  # a control never hides a learned row
        axes.plot([x], [y], "o", color=dot_colour(row), markersize=5)
        if len(row.runs) > 1:
            seeds = [[run.record.metrics[score].value for run in row.runs] for score in scores]
            axes.plot(*seeds, "o", color=dot_colour(row), markersize=2.6, markerfacecolor="none", markeredgewidth=0.7)
    axes.margins(0.12, 0.2)  # room for names below the lowest dots
    axes.set_xlabel("alignment (left: two views of an image are close)")
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    axes.grid()
    drawing.name_dots(axes, [(x, y) for x, y, _ in found], dot_names([row for *_, row in found]))
    even = min(found, key=itemgetter(1))
    close = min(found, key=itemgetter(0))
    text = (f"{dataset_name(dataset)}: {row_name(even[2])} spreads images most evenly (uniformity "
            f"{show.significant(even[1])}), and {row_name(close[2])} brings two views of an image closest (alignment "
            f"{show.significant(close[0])}).")
    several = any(len(row.runs) > 1 for *_, row in found)
    circles = ["small circles are single seeds"] * several
    return Drawing(save(figure), text, f"{text} {reading(*circles, *colours(row for *_, row in found))}")


@styled
def training(dataset: str, rows: Sequence[Row]) -> Drawing | None:
    """Training and validation of a task's methods and seeds on one data set; None where nothing was trained.

    Accuracies where all histories have them.  Otherwise losses: as they are where all methods minimise the same, else
    scaled, since objectives differ in unit and size.
    """
    rows = [row for row in rows if len(row.runs[0].record.history) > 1]
    if not rows:
        return None
    epochs = [line for row in rows for run in row.runs for line in run.record.history]
    score = "accuracy" if all(None not in (line.train_accuracy, line.val_accuracy) for line in epochs) else "loss"
    objectives = {row.runs[0].record.run.objective for row in rows}
    scaled = score == "loss" and len(objectives) > 1
    figure, panels = stacked(2, 105, drawing.foot(len(rows)))
    for axes, split, what in zip(panels, ("train", "val"), ("training", "validation"), strict=True):
        for i, row in enumerate(rows):
            style, _, colour = CURVES[i % len(CURVES)]
            draw_runs(axes, row, f"{split}_{score}", show.shorten(row.label, 44), scaled, linestyle=style, color=colour)
        axes.set_title(f"{show.shorten(dataset_name(dataset), 14)}: {what} {score}{' (%)' * (score == 'accuracy')}",
                       parse_math=False)
    drawing.legend_below(figure, panels[1])
    text = f"{dataset_name(dataset)}: {training_finding(rows, score)}"
    notes = ["each loss is scaled: 1 is the validation loss after the first epoch, 0 its lowest"] if scaled else []
    if len(objectives) == 1:  # which also says of what the accuracy is, in rotation prediction
        notes.append(f"the loss is {show.plain(*objectives)}")
    if any(len(row.runs) > 1 for row in rows):
        notes.append("thin lines are further seeds")
    return Drawing(save(figure), text, f"{text} {reading(*notes)}".rstrip())


def training_finding(rows: Sequence[Row], score: str) -> str:
    """When each row's run of the lowest seed had nearly converged."""
    histories = [(row.label, history(row.runs[0].record, f"val_{score}", score == "loss")[1]) for row in rows]
    if score == "accuracy":
        return "the highest validation accuracy is " + show.listing([
            f"{values.max():.2f} % in epoch {values.argmax() + 1} ({name})" for name, values in histories]) + "."
    rising = [name for name, values in histories if values.argmin() == 0]
    falls = [f"{(values <= 0.05).argmax() + 1} of {len(values)} ({name})"
             for name, values in histories if name not in rising]
    words = [f"completes 95 % of its fall by epoch {show.listing(falls)}"] * bool(falls)
    words += [f"is lowest after its first epoch ({show.listing(rising)})"] * bool(rising)
    return f"the validation loss {', and '.join(words)}."
