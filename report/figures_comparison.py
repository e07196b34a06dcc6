"""Charts that compare the rows of one data set: time, classes, significance, geometry of the latent, training."""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from report import show
from report.charts import CURVES, far_controls, off_scale, reading
from report.columns import LETTER, SMALL, WIDTH, error_scale, errors, foot, legend_below, name_dots, narrow, styled
from report.drawing import BLUE, MUTED, ORANGE, Drawing, save
from report.elements import MOST_NAMED
from report.findings import short_name
from report.stats import SIGNIFICANT, Pair
from report.summary import Row, dataset_name, mean_of, row_name, wilson_interval
from utils.records.schema import HEADLINE, Record

Spans = dict[str, tuple[float, float, float]]  # class -> mean accuracy over seeds and its Wilson 95 % interval


def dot_colour(row: Row) -> str:
    """Controls grey, rows that used labels orange, the others blue."""
    return MUTED if row.task == "control" else BLUE if row.labels == "none" else ORANGE


COLOURS = "grey dots controls, orange ones rows that used labels"


@styled
def minutes(dataset: str, rows: Sequence[Row]) -> Drawing | None:
    """Accuracy against minutes of those rows whose times are comparable; None below two of them."""
    known = [(row.comparable_seconds / 60, row) for row in rows if row.comparable_seconds]
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
    name_dots(axes, list(zip(times, middle, strict=True)), [short_name(row) for _, row in drawn],
              list(zip(times, low_end, high_end, strict=True)))
    best, quick = max(known, key=lambda entry: entry[1].accuracy), min(known, key=itemgetter(0))
    ahead = [f"{row_name(row)} ({show.percent(row.accuracy)} %, {time:.1f} min)"
             for time, row in sorted(known, key=itemgetter(0))
             if all(other.accuracy < row.accuracy for short, other in known if short < time)]
    left = len(rows) - len(known)
    machines = len(set.union(*(row.machines for _, row in known)))
    notes = [f"{show.plural(left, 'row')} {'is' if left == 1 else 'are'} left out, as no comparable time is known"] \
        if left else []
    if machines > 1:
        notes.append(f"the machines are of {machines} kinds")
    return Drawing(save(figure), f"{dataset_name(dataset)}: {row_name(best[1])} is the most accurate "
                   f"({show.percent(best[1].accuracy)} % in {best[0]:.1f} minutes), {row_name(quick[1])} the quickest "
                   f"({show.percent(quick[1].accuracy)} % in {quick[0]:.1f} minutes).",
                   f"No row is both quicker and more accurate than {show.listing(ahead)}. "
                   + reading(f"lines are Wilson 95 % intervals, {COLOURS}", *notes, *off_scale(edge)))


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
    full = ["an accuracy of 100 % is at the right end"] if any(
        found[name][0] == 1 for _, found in spans for name in names) else []
    return Drawing(save(figure), text + f" By the mean over methods {show.plain(names[0])} is the easiest, "
                   f"{show.plain(names[-1])} the hardest.",
                   f"{text} " + reading("classes are sorted by their mean", "lines are Wilson 95 % intervals of the "
                                        "best row of each task, small dots all rows", *off_scale(edge), *full))


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
                       "an arrow points to the better row, up to the name that heads its column or right to the one "
                       "that ends its row", "blank pairs do not differ", "the most accurate row is at the top",
                       *([] if every else ["rows without a seed in common have no cell"])))


@styled
def geometry(dataset: str, rows: Sequence[Row]) -> Drawing | None:
    """Alignment and uniformity of each latent, means over seeds, with names at the dots; None below two of them."""
    scores = ("test/alignment", "test/uniformity")
    found = [(x, y, row) for row in rows if (x := mean_of(row.runs, scores[0])) is not None
             and (y := mean_of(row.runs, scores[1])) is not None]
    if len(found) < 2:
        return None
    figure, axes = narrow(f"{dataset_name(dataset)}: uniformity (low is even)", 175)
    for x, y, row in found:
        axes.plot([x], [y], "o", color=dot_colour(row), markersize=5)
        if len(row.runs) > 1:
            seeds = [[run.record.metrics[score].value for run in row.runs] for score in scores]
            axes.plot(*seeds, "o", color=dot_colour(row), markersize=2.6, markerfacecolor="none", markeredgewidth=0.7)
    axes.margins(0.12)
    axes.set_xlabel("alignment (left: two views of an image are close)")
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    axes.grid()
    name_dots(axes, [(x, y) for x, y, _ in found], [short_name(row) for *_, row in found])
    close, even = min(found, key=itemgetter(0)), min(found, key=itemgetter(1))
    text = (f"{dataset_name(dataset)}: {row_name(close[2])} brings two views of an image closest (alignment "
            f"{show.significant(close[0])}), {row_name(even[2])} spreads images most evenly (uniformity "
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
    scaled = score == "loss" and len({row.runs[0].record.run.objective for row in rows}) > 1
    bottom = foot(len(rows))
    height = 210 + bottom
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    figure.subplots_adjust(left=0.14, right=0.97, bottom=bottom / height, top=1 - 18 / height, hspace=0.35)
    panels = figure.subplots(2, sharex=True)
    for axes, split in zip(panels, ("train", "val"), strict=True):
        for i, row in enumerate(rows):
            style, _, colour = CURVES[i % len(CURVES)]
            for run in reversed(row.runs):  # the first seed is drawn on top
                first = run is row.runs[0]
                values = history_of(run.record, split, score, scaled)
                axes.plot(range(1, 1 + len(values)), values, linestyle=style, color=colour,
                          linewidth=1.6 if first else 0.6, label=show.shorten(row.label, 44) if first else None)
        what = f"{'training' if split == 'train' else 'validation'} {score}{' (%)' * (score == 'accuracy')}"
        axes.set_title(f"{show.shorten(dataset_name(dataset), 14)}: {what}", parse_math=False)
        axes.grid(axis="y")
    panels[1].set(xlabel="epoch", xlim=(0.5, 0.5 + max(len(row.runs[0].record.history) for row in rows)))
    panels[1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_below(figure, panels[1])
    text = f"{dataset_name(dataset)}: {training_finding(rows, score)}"
    notes = ["each loss is scaled: 1 is the validation loss after the first epoch, 0 its lowest"] if scaled else []
    if any(len(row.runs) > 1 for row in rows):
        notes.append("thin lines are further seeds")
    return Drawing(save(figure), text, f"{text} {reading(*notes)}".rstrip())


def history_of(record: Record, split: str, score: str, scaled: bool) -> np.ndarray:
    """A column of a history, accuracies in percent; scaled: as training() says.  Huge losses are drawn at a limit."""
    values, validation = (np.clip(np.array([getattr(line, f"{part}_{score}") for line in record.history]),
                                  -1e30, 1e30) for part in (split, "val"))
    if not scaled:
        return values * (100 if score == "accuracy" else 1)
    return (values - validation.min()) / ((validation[0] - validation.min()) or 1)


def training_finding(rows: Sequence[Row], score: str) -> str:
    """When each row's run of the lowest seed had nearly converged."""
    histories = [(row.label, history_of(row.runs[0].record, "val", score, score == "loss")) for row in rows]
    if score == "accuracy":
        return "the highest validation accuracy is " + show.listing([
            f"{values.max():.2f} % in epoch {values.argmax() + 1} ({name})" for name, values in histories]) + "."
    return "the validation loss completes 95 % of its fall by epoch " + show.listing([
        f"{(values <= 0.05).argmax() + 1} of {len(values)} ({name})" for name, values in histories]) + "."
