"""Charts that compare the rows of one data set: time, classes, significance, geometry of the latent, training."""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from statistics import fmean

import numpy as np
from matplotlib.ticker import NullLocator

from report import show
from report.charts import CURVES, draw_runs, far_controls, history, off_scale, reading, stacked
from report.columns import LETTER, SMALL, WIDTH, error_scale, errors, foot, legend_below, name_dots, narrow, styled
from report.drawing import BLUE, INK, MUTED, ORANGE, Drawing, save
from report.elements import MOST_NAMED
from report.findings import short_name
from report.stats import SIGNIFICANT, Pair
from report.summary import Row, dataset_name, machines_of, mean_of, row_name, wilson_interval
from utils.records.schema import HEADLINE

Spans = dict[str, tuple[float, float, float]]  # class -> mean accuracy over seeds and its Wilson 95 % interval


def dot_colour(row: Row) -> str:
    """Controls grey, rows that used labels orange, the others blue."""
    return MUTED if row.task == "control" else BLUE if row.labels == "none" else ORANGE


def dot_names(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The names that name_dots writes, those of controls in grey."""
    return [(short_name(row), MUTED if row.task == "control" else INK) for row in rows]


COLOURS = "grey dots controls, orange ones rows that used labels"


@styled
def minutes(dataset: str, rows: Sequence[Row]) -> Drawing | None:
    """Accuracy against minutes of those rows whose times are comparable; None below two of them."""
    known = [(row.seconds / 60, row) for row in rows if row.seconds]
    edge = far_controls([row for _, row in known])
    drawn = [(time, row) for time, row in known if row not in edge]
    if len(drawn) < 2:
        return None
    figure, axes = narrow(f"{dataset_name(dataset)}: test accuracy (%)", 165)
    for time, row in drawn:
        axes.plot([time, time], errors([row.low, row.high]), color=dot_colour(row), linewidth=1.2)
        axes.plot([time], errors([row.accuracy]), "o", color=dot_colour(row), markersize=5)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    low, high = low / 1.3, high * 1.3
    ticks = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(low, high)
    axes.xaxis.set_minor_locator(NullLocator())
    error_scale(axes, "y")
    axes.set_xlabel("minutes of a run, training and scoring")
    axes.grid()
    middle, low_end, high_end = (errors(getattr(row, name) for _, row in drawn) for name in ("accuracy", "low", "high"))
    times = [time for time, _ in drawn]
    name_dots(axes, list(zip(times, middle, strict=True)), dot_names([row for _, row in drawn]),
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
            f"{'; '.join(front)}.")
    return Drawing(save(figure), text,
                   f"{text} {reading(f'lines are Wilson 95 % intervals, {COLOURS}', *notes, *off_scale(edge))}")


def class_spans(row: Row) -> Spans:
    """The accuracy of each class that has test images."""
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
    best = [max((entry for entry in spans if entry[0].task == task), key=lambda entry: entry[0].accuracy)
            for task in dict.fromkeys(row.task for row, _ in spans)]
    labels = [show.shorten(show.plain(name), 14) for name in names]
    figure, axes = narrow(dataset_name(dataset), 18 * len(names), bottom=foot(len(best)),
                          left=12 + LETTER * 8.5 * max(map(len, labels)))
    least = 50 / min(images for images in rows[0].runs[0].record.data.class_counts["test"] if images)  # half an image
    for _, found in spans:
        axes.plot(errors((found[name][0] for name in names), least), range(len(names)), "o", color=MUTED,
                  markersize=2.5, alpha=0.6)
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
    error_scale(axes, "x")
    axes.set_xlabel("test accuracy of the class (%)")
    axes.grid(axis="x")
    legend_below(figure, axes)
    hardest = Counter(min(names, key=lambda name: found[name][0]) for _, found in spans)
    name, times = hardest.most_common(1)[0]
    text = (f"{dataset_name(dataset)}: the hardest class is {show.plain(name)} for {times} of "
            f"{show.plural(len(spans), 'method')}.")
    notes = [f"classes are sorted by their mean over methods, from {show.plain(names[0])} to {show.plain(names[-1])}",
             "lines are Wilson 95 % intervals of the best row of each task, small dots all rows", *off_scale(edge)]
    if any(found[name][0] == 1 for _, found in spans for name in names):
        notes.append("an accuracy of 100 % is at the right end")
    return Drawing(save(figure), text, f"{text} {reading(*notes)}")


@styled
def mcnemar_matrix(dataset: str, rows: Sequence[Row], pairs: Sequence[Pair]) -> Drawing:
    """Which pairs of rows differ significantly, as a staircase: a name ends its row and heads its column."""
    ranked = sorted(rows, key=lambda row: -row.accuracy)
    place = {id(row): i for i, row in enumerate(ranked)}
    names = [show.shorten(short_name(row), 30) for row in ranked]
    side = min([16.0, *((WIDTH - 8 - LETTER * SMALL * len(name)) / (i + 1) for i, name in enumerate(names))])
    figure, axes = narrow(dataset_name(dataset), max(side, 9.0) * len(names), left=4, bottom=2, top=22)
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
    text = (f"{dataset_name(dataset)}: {sum(pair.adjusted < SIGNIFICANT for pair in pairs)} of "
            f"{show.plural(len(pairs), 'pair')} differ significantly")
    return Drawing(save(figure), f"{text}. Not shown to differ from the most accurate row, "
                   f"{row_name(ranked[0])}: {show.listing(alike) or 'none'}.",
                   f"{text} by McNemar's test (5 % after Holm's correction). " + reading(
                       "the most accurate row is at the top", "a blue arrow up: the row named above is better", "an "
                       "orange arrow to the right: the row named at the end of the line is better", "no arrow: they do "
                       "not differ significantly",
                       *([] if every else ["rows without a seed in common have no cell"])))


@styled
def geometry(dataset: str, rows: Sequence[Row]) -> Drawing | None:
    """Alignment and uniformity of each latent, means over seeds, with names at the dots; None below two of them."""
    scores = ("test/alignment", "test/uniformity")
    found = [(x, y, row) for row in rows if (x := mean_of(row.runs, scores[0])) is not None
             and (y := mean_of(row.runs, scores[1])) is not None]
    if len(found) < 2:
        return None
    figure, axes = narrow(f"{dataset_name(dataset)}: uniformity (low is even)", 190)
    for x, y, row in sorted(found, key=lambda one: one[2].task != "control"):  # a control never hides a learned row
        axes.plot([x], [y], "o", color=dot_colour(row), markersize=5)
        if len(row.runs) > 1:
            seeds = [[run.record.metrics[score].value for run in row.runs] for score in scores]
            axes.plot(*seeds, "o", color=dot_colour(row), markersize=2.6, markerfacecolor="none", markeredgewidth=0.7)
    axes.margins(0.12, 0.2)  # room for names below the lowest dots
    axes.set_xlabel("alignment (left: two views of an image are close)")
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    axes.grid()
    name_dots(axes, [(x, y) for x, y, _ in found], dot_names([row for *_, row in found]))
    close, even = min(found, key=itemgetter(0)), min(found, key=itemgetter(1))
    text = (f"{dataset_name(dataset)}: {row_name(close[2])} brings two views of an image closest (alignment "
            f"{show.significant(close[0])}), and {row_name(even[2])} spreads images most evenly (uniformity "
            f"{show.significant(even[1])}).")
    return Drawing(save(figure), text, f"{text} {reading(f'small circles are single seeds, {COLOURS}')}")


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
    figure, panels = stacked(2, 105, foot(len(rows)))
    for axes, split, what in zip(panels, ("train", "val"), ("training", "validation"), strict=True):
        for i, row in enumerate(rows):
            style, _, colour = CURVES[i % len(CURVES)]
            draw_runs(axes, row, f"{split}_{score}", show.shorten(row.label, 44), scaled, linestyle=style, color=colour)
        axes.set_title(f"{show.shorten(dataset_name(dataset), 14)}: {what} {score}{' (%)' * (score == 'accuracy')}",
                       parse_math=False)
    legend_below(figure, panels[1])
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
    return "the validation loss completes 95 % of its fall by epoch " + show.listing([
        f"{(values <= 0.05).argmax() + 1} of {len(values)} ({name})" for name, values in histories]) + "."
