"""What the report shows, as one dictionary of strings: the HTML and the PDF are both filled from it and so agree.

It holds strings, lists and dictionaries only and is written to JSON for the PDF.  Tables look alike throughout:
{caption, head, rows, right: which columns are numbers, code: which are set in a typewriter face} (report.elements).
"""

from itertools import groupby
from typing import Any

from report import charts, comparison_tables, pictures, prose, show, stats, summary
from report.charts import Drawing
from report.elements import figure, table
from report.load import Loaded, Rejected
from report.run_section import run_section
from report.summary import Missing, Results, Row, dataset_name, method_name, row_name, task_name
from report.verification import Verdict, verification_sentence, verification_table

HEADLINE_HEAD = ["Task", "Method", "Test accuracy %", "SD (n)", "95 % interval", "Reference %", "Difference (points)",
                 "Linear %", "kNN %", "Minutes", "Seeds"]
LABEL_COMMANDS = ["python _main.py --task 1.2.2 --dataset mnist --labels 0.01",
                  "python _main.py --task 1.2.3 --dataset mnist --init RECORD --labels 0.01 --finetune"]


def make_page(loaded: list[Loaded], rejected: list[Rejected],
              theory: tuple[list[dict[str, Any]], dict[str, Drawing]] = ((), {}),
              verdicts: list[tuple[Loaded, Verdict]] | None = None) -> tuple[dict, dict[str, Drawing]]:
    """The report's content and its drawings by file name.

    theory: sections and drawings of report.theory; verdicts: of report.verification, None where nobody asked.
    """
    results = summary.summarise(loaded)
    drawings: dict[str, Drawing] = dict(theory[1])
    page = {
        "title": prose.TITLE,
        "verdict": verdict(results, rejected) + ([] if verdicts is None else [verification_sentence(verdicts)]),
        "headline": headline_table(results),
        "overview": figure("overview", charts.overview(results.headline, results.missing), drawings),
        "warnings": summary.warnings_of(results),
        "variations": variations_table(results),
        "verification": verification_table(verdicts) if verdicts else None,
        "reading": [{"term": term, "text": text} for term, text in prose.READING],
        "methods": prose.METHODS,
        "labels": comparison_tables.label_section(results, drawings) | {"commands": LABEL_COMMANDS},
        "mcnemar": comparison_tables.mcnemar_tables(results),
        "balance": comparison_tables.balance_tables(results),
        "tasks": task_sections(results, drawings),
        "theory": list(theory[0]),
        "runs": comparison_tables.all_runs(results) if results.rows else [],
        "others": [table for table in other_tables(results, rejected) if table["rows"]],
        "limits": limits(results),
    }
    return page, drawings


def verdict(results: Results, rejected: list[Rejected]) -> list[str]:
    """The abstract: what there is, how it compares, what is missing and what was left out."""
    if not results.rows:
        sentences = ["There is no record of a complete run yet, so there is nothing to compare. The table names the "
                     "commands that make them; python _main.py --task 1.2.2 --dataset digits is the quickest, as it "
                     "needs no download."]
        return sentences + left_out(results, rejected)
    cells = len(summary.REFERENCE) - len(results.missing)
    here = {0: "none is", 1: "1 is", len(summary.REFERENCE): "all are"}.get(cells, f"{cells} are")
    sentences = [f"This report stands on {show.plural(len(results.counted), 'complete run')}. "
                 f"Of the {len(summary.REFERENCE)} results that the coursework asks for, {here} here."]
    if results.missing:
        names = [f"{gap.task} on {dataset_name(gap.dataset)}" for gap in results.missing]
        sentences.append(f"Missing: {show.listing(names)}.")
    compared = [row for row in results.headline if row.difference is not None]
    for word, chosen in (("above", [row for row in compared if row.difference > 0]),
                         ("not above", [row for row in compared if row.difference <= 0])):
        if chosen:
            sentences.append(f"Mean test accuracy is {word} the known reference in {len(chosen)} of {len(compared)} "
                             f"rows: {differences(chosen, compared)}.")
    inside = [row for row in compared if row.low <= row.reference <= row.high]
    if inside:
        sentences.append(f"The 95 % interval contains the reference for {differences(inside, compared)}: "
                         "there the difference can be chance.")
    return sentences + findings(results) + left_out(results, rejected)


def findings(results: Results) -> list[str]:
    """What stands out on each data set: the highest row, the controls, McNemar's pairs, the fewest labels."""
    told = []
    for dataset, rows in comparison_tables.by_name(results.headline):
        best = max(rows, key=lambda row: row.accuracy)
        controls = [f"{method_name(row.task, row.method)} {show.percent(row.accuracy)} %" for row in rows
                    if row.task == "control"]
        pairs = stats.mcnemar_pairs(rows)
        parts = []
        if len(rows) > 1:
            parts.append(f"highest of {len(rows)} rows is {row_name(best)} with {show.percent(best.accuracy)} % "
                         f"(n = {len(best.runs)})")
        if controls:
            parts.append(f"the controls give {show.listing(controls)}")
        if pairs:
            apart = sum(pair.adjusted < comparison_tables.SIGNIFICANT for pair in pairs)
            parts.append(f"{apart} of {show.plural(len(pairs), 'pair')} differ by McNemar's test after Holm's "
                         "correction")
        if parts:
            told.append(f"On {dataset_name(dataset)} {'; '.join(parts)}.")
    return told + label_findings(results)


def label_findings(results: Results) -> list[str]:
    """Each line's accuracy with the fewest labels, one sentence a data set."""
    told = []
    for dataset, rows in comparison_tables.by_name(results.rows):
        lines = stats.label_lines(rows)
        if lines:
            lowest = min(line.points[0][0] for line in lines)
            found = [f"{line.name} {show.percent(line.points[0][1].accuracy)} %" for line in lines
                     if line.points[0][0] == lowest]
            told.append(f"With {100 * lowest:g} % of the labels of {dataset_name(dataset)}: {'; '.join(found)}.")
    return told


def differences(chosen: list[Row], compared: list[Row]) -> str:
    """'1.2.1 on MNIST (plain +0.88, masked +1.05) and 1.2.2 on MNIST (+0.08)', in percentage points."""
    told = []
    for (task, dataset), group in groupby(chosen, key=lambda row: (row.task, row.dataset)):
        several = sum((row.task, row.dataset) == (task, dataset) for row in compared) > 1
        gaps = [f"{method_and_recipe(row)} {show.points(row.difference)}" if several else show.points(row.difference)
                for row in group]
        told.append(f"{task} on {dataset_name(dataset)} ({', '.join(gaps)} points)")
    return show.listing(told)


def method_and_recipe(row: Row) -> str:
    """'simclr', or with what tells the recipe from another default one."""
    return " ".join(filter(None, [method_name(row.task, row.method), row.recipe]))


def left_out(results: Results, rejected: list[Rejected]) -> list[str]:
    """One sentence on the records that do not count; none when all do."""
    groups = [(len(results.quick), "quick run"), (len(results.failed), "failed run"), (len(results.repeats), "repeat"),
              (len(rejected), "rejected file")]
    told = [show.plural(number, noun) for number, noun in groups if number]
    return [f"Not counted, and listed at the end: {show.listing(told)}."] if told else []


def headline_table(results: Results) -> dict[str, Any]:
    """Rows in groups by data set.  A missing result has its command in place of the numbers."""
    groups = []
    for dataset, lines in summary.by_dataset(results.headline, results.missing):
        name = dataset_name(dataset) + (" (embedded toy set, 8x8 pixels)" if dataset == "digits" else "")
        groups.append({"name": name, "rows": [headline_row(line) for line in lines]})
    return {"caption": "Test accuracy of the classifier on the 128-d latent, mean over seeds, per task and data set: "
                       "every method with its default recipe, and the controls.",
            "head": HEADLINE_HEAD, "groups": groups}


def variations_table(results: Results) -> dict[str, Any] | None:
    """The rows that the headline table leaves out, with what was changed; None where there are none."""
    if not results.variations:
        return None
    rows = [[dataset_name(row.dataset), task_name(row.task), method_name(row.task, row.method), row.recipe,
             show.percent(row.accuracy), comparison_tables.spread(row), show.interval(row.low, row.high),
             show.percent(row.linear), show.percent(row.knn), show.minutes(row.seconds), seeds(row)]
            for row in results.variations]
    head = ["Data set", "Task", "Method", "Changes", "Test accuracy %", "SD (n)", "95 % interval", "Linear %", "kNN %",
            "Minutes", "Seeds"]
    return table("Variations: other encoders, fewer labels or images, an encoder from another run, any changed recipe. "
                 "They fill no place of the table above.", head, rows, right=range(4, 11))


def seeds(row: Row) -> str:
    """'0, 1, 2'."""
    return ", ".join(str(run.record.run.seed) for run in row.runs)


def headline_row(line: Row | Missing) -> dict[str, Any]:
    """The cells below HEADLINE_HEAD, or the command where the result is missing."""
    if isinstance(line, Missing):
        return {"task": task_name(line.task), "missing": line.command, "reference": show.percent(line.reference)}
    cells = [show.percent(line.accuracy), comparison_tables.spread(line), show.interval(line.low, line.high),
             show.percent(line.reference), show.points(line.difference), show.percent(line.linear),
             show.percent(line.knn), show.minutes(line.seconds), seeds(line)]
    return {"task": task_name(line.task), "method": method_name(line.task, line.method), "recipe": line.recipe,
            "cells": cells}


def task_sections(results: Results, drawings: dict[str, Drawing]) -> list[dict[str, Any]]:
    """One section a task: its methods side by side, then one part a row, in the order of the tables."""
    tasks = sorted({row.task for row in results.rows}, key=summary.task_place)
    sections, number = [], 0
    for position, task in enumerate(tasks, start=1):
        runs = []
        for row in (row for row in results.rows if row.task == task):
            number += 1
            runs.append(run_section(f"run-{number}", row, drawings))
        sections.append({"id": f"task-{position}",
                         "title": "Controls" if task == "control" else f"Task {task_name(task)}",
                         "about": prose.ABOUT.get(task, ""), "runs": runs,
                         "comparison": comparison_tables.task_comparison(task, f"task-{position}", results, drawings),
                         "before": before_and_after(results, runs, drawings) if task == "1.2.1" else []})
    return sections


def before_and_after(results: Results, runs: list[dict[str, Any]],
                     drawings: dict[str, Drawing]) -> list[dict[str, Any]]:
    """The plain autoencoder beside the others: a table a data set, and the same images from each or else its own."""
    found = []
    for dataset, one in comparison_tables.before_and_after(results):
        named = [(show.plain(row.method), row.runs[0].arrays) for row in results.headline
                 if row.task == "1.2.1" and dataset_name(row.dataset) == dataset]
        together = figure(f"before-{len(found) + 1}", pictures.side_by_side(named), drawings)
        shown = [run["reconstructions"] | {"caption": f"{run['title']}: {run['reconstructions']['caption']}"}
                 for run in runs if run["default"] and run["reconstructions"] and run["dataset"] == dataset]
        found.append({"table": one, "figures": [together] if together else shown})
    return found


def explorable(results: Results) -> list[tuple[str, Loaded]]:
    """A title and the run of the lowest seed of each headline row, for the explorer."""
    return [(f"{dataset_name(row.dataset)}, {row_name(row)}", row.runs[0]) for row in results.headline]


def other_tables(results: Results, rejected: list[Rejected]) -> list[dict[str, Any]]:
    """The records that do not count, each with its reason."""
    return [
        table("Quick runs: they try the code out on a part of the work, and their accuracy means nothing.",
              ["File", "Run", "Epochs"], [[*identity(run), str(len(run.record.history))] for run in results.quick],
              code=[0]),
        table("Failed runs.", ["File", "Run", "Epoch", "Step", "Reason"],
              [[*identity(run), str(run.record.failure.epoch), show.count(run.record.failure.step),
                show.plain(run.record.failure.reason)] for run in results.failed], code=[0]),
        table("Repeats: same task, data set, method, recipe and seed as a newer run, which counts in their place.",
              ["File", "Run", "Started", "Counted instead"],
              [[*identity(run), show.timestamp(run.record.run.started), show.plain(newer)]
               for run, newer in results.repeats], code=[0, 3]),
        table("Rejected files: they cannot be believed.", ["File", "Reason"],
              [[item.name, item.reason] for item in rejected], code=[0]),
    ]


def identity(run: Loaded) -> list[str]:
    """File name, and task, data set, method and seed in words."""
    about = run.record.run
    words = [task_name(about.task), dataset_name(about.dataset), show.plain(about.method), f"seed {about.seed}"]
    return [show.plain(run.name), ", ".join(words)]


def limits(results: Results) -> list[str]:
    """What the numbers do not say."""
    told = []
    if results.rows:
        seeds = sorted({len(row.runs) for row in results.rows})
        spread = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        told.append(f"Each row stands on {spread} {'seed' if seeds[-1] == 1 else 'seeds'}. "
                    "A standard deviation of so few values is itself rough.")
        machines = sorted({f"{show.plain(run.record.environment.device)}, {show.plain(run.record.environment.cpu)}"
                           for run in results.counted})
        told.append(f"The counted runs come from {show.plural(len(machines), 'machine type')} ({'; '.join(machines)}). "
                    "Minutes elsewhere will differ, and last digits may.")
    return told + prose.LIMITS


def readme_table(loaded: list[Loaded]) -> str:
    """The headline table in Markdown, from the same strings as the HTML and the PDF."""
    headline = headline_table(summary.summarise(loaded))
    head = ["Data set", *headline["head"]]
    lines = [markdown_row(head), markdown_row(["---"] * 3 + ["---:"] * 9)]
    for group in headline["groups"]:
        for row in group["rows"]:
            if "missing" in row:
                cells = [f"missing: `{row['missing']}`", *[show.NOTHING] * 3, row["reference"], *[show.NOTHING] * 5]
            else:
                recipe = f" ({row['recipe']})" if row["recipe"] else ""
                cells = [markdown_text(row["method"] + recipe), *row["cells"]]
            lines.append(markdown_row([markdown_text(group["name"]), markdown_text(row["task"]), *cells]))
    return "\n".join(lines) + "\n"


def markdown_row(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def markdown_text(text: str) -> str:
    """A record's text without the meanings that Markdown, its tables and HTML give to characters."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + c if c in "\\`*_[]|~#$!@" else c for c in text)
