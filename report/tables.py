"""The tables of all rows and of several rows, as dictionaries of strings, which both templates read."""

import shlex
from collections.abc import Sequence
from typing import Any

from report import show, stats, summary
from report.discussion import against_control
from report.load import Rejected
from report.summary import Missing, Results, Row, by_dataset, dataset_name, method_name, row_name, task_name

HEADLINE_HEAD = ["Task", "Method", "Test accuracy %", "SD (n)", "95 % interval, images", "95 % interval, seeds",
                 "Over the best control", "Labels", "Learned dim.", "Reference %", "Difference (points)", "Linear %",
                 "kNN %", "Minutes (n)", "Seeds"]
# Lines of the comparison table after the accuracy and its interval: heading -> score.  Accuracies are shown in percent
COMPARED = {
    "Without the patch components %": "test/learned_top1",
    "Linear %": "test/linear_top1",
    "kNN %": "test/knn_top1",
    "Linear, after the projection head %": "test/projection_linear_top1",
    "Effective rank (of 128)": "test/effective_rank",
    "Alignment (low is close)": "test/alignment",
    "Uniformity (low is even)": "test/uniformity",
    "Agreement %: t-SNE, latents": "test/tsne_agreement",
    "Agreement %: t-SNE, pixels": "test/pixel_tsne_agreement",
    "Agreement %: PCA, latents": "test/pca_agreement",
    "Agreement %: PCA, pixels": "test/pixel_pca_agreement",
    "Reconstruction MAE, train": "train/reconstruction_mae",
    "Reconstruction MAE, validation": "val/reconstruction_mae",
    "Reconstruction MAE, test": "test/reconstruction_mae",
    "Step ratio of paths, within a class": "test/interpolation_step_within",
    "Step ratio of paths, between classes": "test/interpolation_step_between",
}
MOST_NAMED = 30  # classes; above it the names on a map, a table of classes and a confusion matrix cannot be read
SPLITS = {"train": "Train", "val": "Validation", "test": "Test", "labelled": "Labelled"}


def table(caption: str, head: list[str], rows: list[list[str]], right: Sequence[int] = (),
          code: Sequence[int] = (), heads: int = 1, anchors: Sequence[str] = ()) -> dict[str, Any]:
    """One table.  right: columns of numbers; code: columns in a typewriter face.

    heads: how many of the first columns name a row; anchors: for each row, where the last of them leads on the page.
    A row of one cell is the heading of those below it; the last cell of another short row takes the remaining columns.
    """
    numbers = "".join(row[i] for row in rows for i in right if i < len(row))
    note = "\n".join(f"{mark} {meaning}" for mark, meaning in show.MARKS.items() if mark in numbers)
    return {"caption": caption, "head": head, "rows": rows, "right": list(right), "code": list(code), "heads": heads,
            "anchors": list(anchors), "note": note}


def result_table(caption: str, rows: Sequence[Row]) -> dict[str, Any] | None:
    """One line per result; None without rows."""
    return table(caption, ["Task", "Data set", "Method", "Test accuracy %", "95 % interval, images",
                           "95 % interval, seeds", "Number of seeds", "Over the best control (points)", "Reference %"],
                 [[task_name(row.task), dataset_name(row.dataset), row.method_and_recipe, show.percent(row.accuracy),
                   show.interval(row.low, row.high), seeds_interval(row), f"{len(row.runs)}{row.mark}",
                   show.points(row.over_control), show.percent(row.reference)] for row in rows],
                 right=range(3, 9), heads=3, anchors=[row.anchor for row in rows]) if rows else None


def seeds_interval(row: Row) -> str:
    return show.NOTHING if row.seeds_interval is None else show.interval(*row.seeds_interval)


def headline_table(results: Results) -> dict[str, Any]:
    """Rows in groups by data set.  A missing result has its command in place of the numbers."""
    lines: list[tuple[str, list[str]]] = []  # anchor, cells
    for dataset, rows in results.headline_and_missing:
        toy = " (embedded toy set, 8x8 pixels)" if dataset == summary.TOY else ""
        lines.append(("", [f"{dataset_name(dataset)}{toy}"]))
        lines += [(row.anchor, headline_row(row)) for row in rows]
    found = table("Test accuracy of the classifier on the 128-d latent, mean over seeds: every method with its default "
                  "recipe, and the controls.", HEADLINE_HEAD, [cells for _, cells in lines],
                  right=range(2, len(HEADLINE_HEAD)), heads=2, anchors=[anchor for anchor, _ in lines])
    return found | {"note": "\n".join(filter(None, [found["note"], processors(results.headline)]))}


def processors(rows: Sequence[Row]) -> str:
    """'Minutes were measured on AMD EPYC.', with the rows that others computed; "" without minutes."""
    def machine(row: Row) -> str:
        environment = row.timed[0].record.environment
        return show.plain(environment.cpu if environment.device == "cpu" else environment.device)

    groups = summary.grouped((row for row in rows if row.timed), machine)
    ranked = sorted(groups.items(), key=lambda one: -len(one[1]))
    others = [f"{show.listing([f'{row_name(row)} on {dataset_name(row.dataset)}' for row in some])} (on {name})"
              for name, some in ranked[1:]]
    return (f"Minutes were measured on {ranked[0][0]}{', except for ' if others else ''}{show.listing(others)}."
            if ranked else "")


def headline_row(line: Row | Missing) -> list[str]:
    """The cells below HEADLINE_HEAD; of a missing result the task and the command."""
    if isinstance(line, Missing):
        return [task_name(line.task), f"missing: python _main.py --task {line.task} --dataset {line.dataset} "
                                      f"(reference {show.percent(line.reference)} %)"]
    return [task_name(line.task), line.method_and_recipe, show.percent(line.accuracy), spread(line),
            show.interval(line.low, line.high), seeds_interval(line), show.points(line.over_control), line.labels,
            show.count(line.learned), show.percent(line.reference), show.points(line.difference),
            show.percent(line.linear), show.percent(line.knn), minutes(line),
            ", ".join(str(run.record.run.seed) for run in line.runs)]


def variations_table(rows: list[Row]) -> dict[str, Any] | None:
    """The rows that the headline table leaves out, with what was changed; None where there are none."""
    def own(cells: list[str]) -> list[str]:  # without what compares a row with a control or a reference
        return cells[2:5] + cells[11:]

    head = ["Data set", "Task", "Method", "Changes", *own(HEADLINE_HEAD)]
    lines = [[dataset_name(row.dataset), task_name(row.task), method_name(row.task, row.method), row.recipe,
              *own(headline_row(row))] for row in rows]
    return table("Variations: other encoders, fewer labels or images, an encoder from another run, any changed recipe. "
                 "They are not in the table of default recipes.", head, lines, right=range(4, 11), heads=4,
                 anchors=[row.anchor for row in rows]) if rows else None


def comparison_table(task: str, dataset: str, rows: list[Row]) -> dict[str, Any]:
    """One column per method, one line per score that at least one method has."""
    head = ["Mean over seeds", *[row.label for row in rows]]
    lines = [["Test accuracy %", *[show.percent(row.accuracy) for row in rows]],
             ["SD (n)", *[spread(row) for row in rows]],
             ["95 % interval, images", *[show.interval(row.low, row.high) for row in rows]]]
    if plain := next((row for row in rows if (row.task, row.method) == ("1.2.1", "plain")), None):
        lines.append(["Change from plain (points)", *[
            show.points(row.accuracy - plain.accuracy if row is not plain and row.task == plain.task else None)
            for row in rows]])
    for heading, score in COMPARED.items():
        values = [summary.mean_of(row.runs, score) for row in rows]
        if any(value is not None for value in values):
            shown = show.percent if score.endswith(("_top1", "_agreement")) else show.significant
            lines.append([heading, *[shown(value) for value in values]])
    lines += [["Epochs", *[show.field(row.runs[0].record.recipe.fields.get("epochs", show.NOTHING)) for row in rows]],
              ["Minutes (n)", *[minutes(row) for row in rows]]]
    return table(f"{task_name(task).capitalize()}: methods side by side on {dataset_name(dataset)}.", head, lines,
                 right=range(1, len(head)))


def spread(row: Row) -> str:
    """'0.13 (3)': standard deviation over seeds in points, and their number."""
    return f"{show.percent(row.deviation)} ({len(row.runs)}){row.mark}"


def minutes(row: Row) -> str:
    """'24.9 (1)': mean minutes of the timed runs and their number; '≤ 24.9 (1)' unless it is known they were alone."""
    bound = "" if row.timed_alone else "≤ "
    return f"{bound}{show.minutes(row.seconds)} ({len(row.timed)})" if row.timed else show.NOTHING


def mcnemar_table(dataset: str, pairs: list[stats.Pair]) -> dict[str, Any]:
    """Every pair of the headline table's rows on one data set."""
    return table(f"McNemar's test on {dataset_name(dataset)}: {stats.differing(pairs)} at the 5 % level after Holm's "
                 "correction.",
                 ["A", "B", "Seed", "Only A right", "Only B right", "p, exact", "p, Holm"],
                 [[row_name(pair.first), row_name(pair.second), str(pair.seed), show.count(pair.only_first),
                   show.count(pair.only_second), show.probability(pair.p), show.probability(pair.adjusted)]
                  for pair in pairs], right=range(2, 7))


def label_table(dataset: str, curves: list[stats.Curve]) -> dict[str, Any]:
    """One line per point of the figure of label fractions."""
    rows = []
    for curve in curves:
        for share, row in curve.points:
            counts = row.runs[0].record.data.class_counts
            rows.append([curve.name, f"{100 * share:g}", show.count(sum(counts.get("labelled", counts["train"]))),
                         show.percent(row.accuracy), spread(row), show.interval(row.low, row.high),
                         row.recipe or "default"])
    return table(f"Accuracy against label fraction on {dataset_name(dataset)}.",
                 ["What", "Labels %", "Labelled images", "Test accuracy %", "SD (n)", "95 % interval", "Recipe"],
                 rows, right=range(1, 6))


def balance_tables(results: Results) -> list[dict[str, Any]]:
    """Images of each class in each split, one table per data set with at most MOST_NAMED classes."""
    tables = []
    for dataset, rows in by_dataset(results.rows):
        names = [show.plain(name) for name in rows[0].runs[0].record.data.classes]
        splits: dict[tuple[int, ...], tuple[str, list[int]]] = {}  # sorting key -> heading, images of each class
        for record in (run.record for row in rows for run in row.runs):
            for split, counts in record.data.class_counts.items():
                share = summary.label_fraction(record) if split == "labelled" else None
                subset = int(record.recipe.number("subset")) if split in ("train", "labelled") else 0
                heading = SPLITS[split] + (f" ({100 * share:g} %)" if share else "") + (
                    f" (subset {show.count(subset)})" if subset else "")
                if len(counts) == len(names):
                    splits.setdefault((list(SPLITS).index(split), -sum(counts), *counts), (heading, counts))
        if len(names) <= MOST_NAMED:
            columns = [(heading, *map(show.count, [*counts, sum(counts)]))
                       for heading, counts in (splits[key] for key in sorted(splits))]
            head, *lines = zip(("Class", *names, "all"), *columns, strict=True)
            tables.append(table(f"Images of each class in each split of {dataset_name(dataset)}.", list(head),
                                [list(line) for line in lines], right=range(1, len(head))))
    return tables


def all_runs(results: Results) -> list[dict[str, Any]]:
    scores, origins = [], []
    for row in results.rows:
        for run in row.runs:
            record, machine, headline = run.record, run.record.environment, run.record.headline
            linear, knn = (record.metrics[f"test/{score}_top1"].value for score in ("linear", "knn"))
            scores.append([show.plain(run.name), task_name(row.task), dataset_name(row.dataset),
                           method_name(row.task, row.method), row.recipe, str(record.run.seed),
                           f"{show.percent(headline.value)} ({show.correct(headline)})", show.percent(linear),
                           show.percent(knn), show.minutes(record.run.seconds)])
            tree = {True: ", changed", False: "", None: ", no git"}[machine.dirty]
            origins.append([show.plain(run.name), show.plain(shlex.join(["python", *record.run.argv])),
                            show.timestamp(record.run.started), machine.commit[:12] + tree,
                            show.plain(f"torch {machine.torch}, {machine.device}, {machine.precision}"),
                            record.recipe.hash, run.sha256])
    return [table("Scores of every complete run.", ["Record", "Task", "Data set", "Method", "Changes", "Seed",
                  "Test accuracy %", "Linear %", "kNN %", "Minutes"], scores, right=range(5, 10), code=[0]),
            table("Provenance of every complete run.", ["Record", "Command", "Started", "Commit", "Ran on", "Recipe",
                  "SHA-256 of the record"], origins, code=[0, 1, 3, 5, 6])]


def others_table(results: Results, rejected: list[Rejected]) -> dict[str, Any] | None:
    """The records that do not count, each with its reason; None where all do."""
    reasons = [(run, f"quick run of {show.plural(len(run.record.history), 'epoch')}, which only checks that the code "
                     "runs; its accuracy is meaningless") for run in results.quick]
    reasons += [(run, f"failed in epoch {failure.epoch}, step {show.count(failure.step)}: {show.plain(failure.reason)}")
                for run in results.failed if (failure := run.record.failure)]
    reasons += [(run, f"repeat, started {show.timestamp(run.record.run.started)}; counted instead is "
                      f"{show.plain(newer)}, newer and with the same task, data set, method, recipe and seed")
                for run, newer in results.repeats]
    lines = [[show.plain(run.name), f"{task_name(about.task)}, {dataset_name(about.dataset)}, "
              f"{show.plain(about.method)}, seed {about.seed}", reason]
             for run, reason in reasons for about in [run.record.run]]
    lines += [[item.name, show.NOTHING, f"rejected, no valid record: {item.reason}"] for item in rejected]
    return table("Records that are not counted, each with the reason.", ["File", "Run", "Reason"], lines,
                 code=[0]) if lines else None


def readme_table(results: Results) -> str:
    """The headline table in Markdown, from the same strings as the HTML and the PDF."""
    headline, dataset = headline_table(results), ""
    wide = len(headline["head"])
    lines = [["Data set", *headline["head"]], ["---"] * 3 + ["---:"] * (wide - 2)]
    for row in headline["rows"]:
        if len(row) == 1:
            dataset = row[0]
        else:
            lines.append([markdown_text(cell) for cell in (dataset, *row, *[show.NOTHING] * (wide - len(row)))])
    notes = [*filter(None, (headline["note"].replace("\n", " "), *(
        against_control(name, rows, stats.mcnemar_pairs(rows)) for name, rows in by_dataset(results.headline))))]
    table_of_rows = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return table_of_rows + "\n" * bool(notes) + "".join(f"- {markdown_text(note)}\n" for note in notes)


def markdown_text(text: str) -> str:
    """A record's text without the meanings that Markdown, its tables and HTML give to characters."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + c if c in "\\`*_[]|~#$!@" else c for c in text)
