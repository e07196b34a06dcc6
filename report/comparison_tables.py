"""What stands side by side: methods of a task, pairs under McNemar's test, label fractions, classes, all runs.

Tables and figures as dictionaries of strings (see report.content).
"""

import shlex
from itertools import groupby
from typing import Any

from report import charts, show, stats, summary
from report.charts import Drawing
from report.elements import figure, table
from report.load import Loaded
from report.summary import Results, Row, dataset_name, method_name, row_name, task_name

SIGNIFICANT = 0.05  # of the p-values after Holm's correction

# (what, score) of the comparison table, after the accuracy and its interval; accuracies are shown in percent
COMPARED = [
    ("Linear %", "test/linear_top1"), ("kNN %", "test/knn_top1"),
    ("Linear, behind the projection head %", "test/projection_linear_top1"),
    ("Effective rank (of 128)", "test/effective_rank"), ("Alignment (low is close)", "test/alignment"),
    ("Uniformity (low is even)", "test/uniformity"),
    ("Agreement %: t-SNE, latents", "test/tsne_agreement"),
    ("Agreement %: t-SNE, pixels", "test/pixel_tsne_agreement"),
    ("Agreement %: PCA, latents", "test/pca_agreement"), ("Agreement %: PCA, pixels", "test/pixel_pca_agreement"),
    ("Reconstruction MAE, train", "train/reconstruction_mae"),
    ("Reconstruction MAE, validation", "val/reconstruction_mae"),
    ("Reconstruction MAE, test", "test/reconstruction_mae"),
    ("Step ratio of paths, within a class", "test/interpolation_step_within"),
    ("Step ratio of paths, between classes", "test/interpolation_step_between"),
]


def by_name(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Rows of each data set, in their order."""
    return [(dataset, list(group)) for dataset, group in groupby(rows, key=lambda row: row.dataset)]


def task_comparison(task: str, name: str, results: Results, drawings: dict[str, Drawing]) -> dict[str, Any]:
    """A task's methods side by side with the controls: a table a data set and one figure; {} for a lone row."""
    groups = []
    for dataset, rows in by_name(results.headline):
        mine = [row for row in rows if row.task == task]
        controls = [row for row in rows if row.task == "control" and task != "control"]
        if mine and len(mine + controls) > 1:
            groups.append((dataset, mine + controls))
    return {"tables": [comparison_table(task, dataset, rows) for dataset, rows in groups],
            "figure": figure(f"{name}-methods", charts.methods(groups) if groups else None, drawings)}


def comparison_table(task: str, dataset: str, rows: list[Row]) -> dict[str, Any]:
    """One column a method, one line a score; lines that no method has are left out."""
    head = ["Mean over seeds", *[f"{'control: ' if row.task == 'control' else ''}"
                                 f"{method_name(row.task, row.method)}{f' ({row.recipe})' if row.recipe else ''}"
                                 for row in rows]]
    lines = [["Test accuracy %", *[show.percent(row.accuracy) for row in rows]],
             ["SD (n)", *[spread(row) for row in rows]],
             ["95 % interval", *[show.interval(row.low, row.high) for row in rows]]]
    for what, score in COMPARED:
        values = [summary.mean_of(row.runs, score) for row in rows]
        if any(value is not None for value in values):
            shown = show.percent if score.endswith(("_top1", "_agreement")) else show.measure
            lines.append([what, *[shown(value) for value in values]])
    lines.append(["Minutes", *[show.minutes(row.seconds) for row in rows]])
    return table(f"{task_name(task).capitalize()}: methods side by side on {dataset_name(dataset)}.", head, lines,
                 right=range(1, len(head)))


def spread(row: Row) -> str:
    """'0.13 (3)': standard deviation over seeds in points, and their number."""
    return f"{show.percent(row.deviation)} ({len(row.runs)})"


def before_and_after(results: Results) -> list[tuple[str, dict[str, Any]]]:
    """The plain autoencoder beside the others, as (data set's name, table of accuracy and error and their moves)."""
    found = []
    for dataset, rows in by_name([row for row in results.headline if row.task == "1.2.1"]):
        plain = next((row for row in rows if row.method == "plain"), None)
        if plain is not None and len(rows) > 1:
            found.append((dataset_name(dataset), table(
                f"Before and after: the plain autoencoder beside the others on {dataset_name(dataset)}.",
                ["Method", "Test accuracy %", "Change (points)", "Test MAE", "Change"],
                [after_row(row, plain) for row in rows], right=range(1, 5))))
    return found


def after_row(row: Row, plain: Row) -> list[str]:
    """One method's accuracy and reconstruction error, with their differences from the plain autoencoder's."""
    name = method_name(row.task, row.method) + (f" ({row.recipe})" if row.recipe else "")
    error, before = (summary.mean_of(one.runs, "test/reconstruction_mae") for one in (row, plain))
    change = None if error is None or before is None else error - before
    moved = None if row is plain else row.accuracy - plain.accuracy
    return [name, show.percent(row.accuracy), show.points(moved), show.measure(error),
            show.signed(None if row is plain else change)]


def mcnemar_tables(results: Results) -> list[dict[str, Any]]:
    """Every pair of the headline table's rows on one data set, in one table a data set."""
    found = []
    for dataset, rows in by_name(results.headline):
        pairs = stats.mcnemar_pairs(rows)
        if pairs:
            apart = sum(pair.adjusted < SIGNIFICANT for pair in pairs)
            found.append(table(
                f"McNemar's test on {dataset_name(dataset)}: {apart} of {show.plural(len(pairs), 'pair')} differ at "
                "the 5 % level after Holm's correction.",
                ["A", "B", "Seed", "Only A right", "Only B right", "p, exact", "p, Holm"],
                [[row_name(pair.first), row_name(pair.second), str(pair.seed), show.count(pair.only_first),
                  show.count(pair.only_second), show.probability(pair.p), show.probability(pair.adjusted)]
                 for pair in pairs], right=range(2, 7)))
    return found


def label_section(results: Results, drawings: dict[str, Drawing]) -> dict[str, Any]:
    """Accuracy against label fraction: one figure, and one table a data set; None and [] where no run used a part."""
    groups = [(dataset, stats.label_lines(rows)) for dataset, rows in by_name(results.rows)]
    groups = [(dataset, lines) for dataset, lines in groups if lines]
    return {"figure": figure("labels", charts.label_fractions(groups) if groups else None, drawings),
            "tables": [label_table(dataset, lines) for dataset, lines in groups]}


def label_table(dataset: str, lines: list[stats.Line]) -> dict[str, Any]:
    """One row a point of the figure."""
    rows = []
    for line in lines:
        for share, row in line.points:
            counts = row.runs[0].record.data.class_counts
            rows.append([line.name, f"{100 * share:g}", show.count(sum(counts.get("labelled", counts["train"]))),
                         show.percent(row.accuracy), spread(row), show.interval(row.low, row.high),
                         row.recipe or "default"])
    return table(f"Accuracy against label fraction on {dataset_name(dataset)}.",
                 ["What", "Labels %", "Labelled images", "Test accuracy %", "SD (n)", "95 % interval", "Recipe"],
                 rows, right=range(1, 6))


def balance_tables(results: Results) -> list[dict[str, Any]]:
    """Images of each class in each split, one table a data set; none above the number of classes that can be read."""
    found = []
    for dataset, rows in by_name(results.rows):
        classes = rows[0].runs[0].record.data.classes
        spreads = [entry for entry in stats.class_spread(rows) if len(entry[2]) == len(classes)]
        if len(classes) <= charts.MOST_NAMED:
            head = ["Class", *[split_name(split, share) for split, share, _ in spreads]]
            lines = [[show.plain(name), *[show.count(counts[i]) for _, _, counts in spreads]]
                     for i, name in enumerate(classes)]
            lines.append(["all", *[show.count(sum(counts)) for _, _, counts in spreads]])
            found.append(table(f"Images of each class in each split of {dataset_name(dataset)}.", head, lines,
                               right=range(1, len(head))))
    return found


def split_name(split: str, share: float | None) -> str:
    """'Train', 'Labelled (10 %)'."""
    name = {"val": "Validation"}.get(split, split.capitalize())
    return name if share is None else f"{name} ({100 * share:g} %)"


def all_runs(results: Results) -> list[dict[str, Any]]:
    """Every complete run: its scores, and where it comes from."""
    runs = [(row, run) for row in results.rows for run in row.runs]
    return [table("Scores of every complete run.", ["Record", "Task", "Data set", "Method", "Changes", "Seed",
                  "Test accuracy %", "Linear %", "kNN %", "Minutes"], [scores_of(row, run) for row, run in runs],
                  right=range(5, 10), code=[0]),
            table("Provenance of every complete run.", ["Record", "Command", "Started", "Commit", "Ran on", "Recipe",
                  "SHA-256 of the record"], [origin_of(run) for _, run in runs], code=[0, 1, 3, 5, 6])]


def scores_of(row: Row, run: Loaded) -> list[str]:
    """One run's line of scores."""
    metrics, metric = run.record.metrics, run.record.headline
    counted = f"{show.percent(metric.value)} ({show.count(metric.correct)} of {show.count(metric.n)})"
    return [show.plain(run.name), task_name(row.task), dataset_name(row.dataset), method_name(row.task, row.method),
            row.recipe, str(run.record.run.seed), counted, show.percent(metrics["test/linear_top1"].value),
            show.percent(metrics["test/knn_top1"].value), show.minutes(run.record.run.seconds)]


def origin_of(run: Loaded) -> list[str]:
    """One run's line of provenance."""
    record, machine = run.record, run.record.environment
    tree = {True: ", changed", False: "", None: ", no git"}[machine.dirty]
    return [show.plain(run.name), show.plain(shlex.join(["python", *record.run.argv])),
            show.timestamp(record.run.started), machine.commit[:12] + tree,
            show.plain(f"torch {machine.torch}, {machine.device}, {machine.precision}"), record.recipe.hash, run.sha256]
