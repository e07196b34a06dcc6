"""What the report shows, as one dictionary of strings: the HTML and the PDF are both filled from it and so agree.

It holds strings, lists and dictionaries only and is written to JSON for the PDF.  Tables look alike throughout:
{caption, head, rows, right: which columns are numbers, code: which are set in a typewriter face}.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from report import figures, tables, texts
from report import format as show
from report.figures import Drawing
from report.load import Loaded, Rejected
from report.tables import Missing, Results, Row, dataset_name, task_name
from utils.record import Metric, Record

HEADLINE_HEAD = ["Task", "Method", "Test accuracy %", "SD (n)", "95 % interval", "Reference %", "Difference (points)",
                 "Linear %", "kNN %", "Minutes", "Seeds"]


def make_page(loaded: list[Loaded], rejected: list[Rejected]) -> tuple[dict[str, Any], dict[str, Drawing]]:
    """The report's content and its drawings by file name."""
    results = tables.summarise(loaded)
    drawings: dict[str, Drawing] = {}
    page = {
        "title": texts.TITLE,
        "verdict": verdict(results, rejected),
        "headline": headline_table(results),
        "overview": figure("overview", figures.overview(results.rows, results.missing), drawings),
        "warnings": tables.warnings_of(results),
        "reading": [{"term": term, "text": text} for term, text in texts.READING],
        "tasks": task_sections(results, drawings),
        "others": [table for table in other_tables(results, rejected) if table["rows"]],
        "limits": limits(results),
    }
    return page, drawings


def table(caption: str, head: list[str], rows: list[list[str]], right: Sequence[int] = (),
          code: Sequence[int] = ()) -> dict[str, Any]:
    """One table as the templates read it (see the top of this file)."""
    return {"caption": caption, "head": head, "rows": rows, "right": list(right), "code": list(code)}


def figure(name: str, drawing: Drawing | None, drawings: dict[str, Drawing]) -> dict[str, str] | None:
    """Keep a drawing under a file name and return what the templates need of it; None stays None."""
    if drawing is None:
        return None
    file = f"{name}.{drawing.suffix}"
    drawings[file] = drawing
    return {"file": file, "alt": drawing.alt, "caption": drawing.caption}


def verdict(results: Results, rejected: list[Rejected]) -> list[str]:
    """The abstract: what there is, how it compares, what is missing and what was left out."""
    if not results.rows:
        sentences = ["There is no record of a complete run yet, so there is nothing to compare. The table names the "
                     "commands that make them; python _main.py --task 1.2.2 --dataset digits is the quickest, as it "
                     "needs no download."]
        return sentences + left_out(results, rejected)
    cells = len(tables.REFERENCE) - len(results.missing)
    here = {0: "none is", 1: "1 is", len(tables.REFERENCE): "all are"}.get(cells, f"{cells} are")
    sentences = [f"This report stands on {show.plural(len(results.counted), 'complete run')}. "
                 f"Of the {len(tables.REFERENCE)} results that the coursework asks for, {here} here."]
    if results.missing:
        names = [f"{gap.task} on {dataset_name(gap.dataset)}" for gap in results.missing]
        sentences.append(f"Missing: {show.listing(names)}.")
    compared = [row for row in results.rows if row.default and row.difference is not None]
    for word, chosen in (("above", [row for row in compared if row.difference > 0]),
                         ("not above", [row for row in compared if row.difference <= 0])):
        if chosen:
            sentences.append(f"Mean test accuracy is {word} the known reference in {len(chosen)} of {len(compared)} "
                             f"rows: {show.listing([compared_name(row, compared) for row in chosen])}.")
    inside = [compared_name(row, compared) for row in compared if row.low <= row.reference <= row.high]
    if inside:
        sentences.append(f"The 95 % interval contains the reference for {show.listing(inside)}: "
                         "there the difference can be chance.")
    return sentences + left_out(results, rejected)


def compared_name(row: Row, compared: list[Row]) -> str:
    """'1.2.3 on CIFAR-10 (+1.20 points)', with the method where that cell has several rows."""
    several = sum((other.task, other.dataset) == (row.task, row.dataset) for other in compared) > 1
    method = f" with {' '.join(filter(None, (show.plain(row.method), row.recipe)))}" if several else ""
    return f"{row.task} on {dataset_name(row.dataset)}{method} ({show.points(row.difference)} points)"


def left_out(results: Results, rejected: list[Rejected]) -> list[str]:
    """One sentence on the records that do not count; none when all do."""
    groups = [(len(results.quick), "quick run"), (len(results.failed), "failed run"), (len(results.repeats), "repeat"),
              (len(rejected), "rejected file")]
    told = [show.plural(number, noun) for number, noun in groups if number]
    return [f"Not counted, and listed at the end: {show.listing(told)}."] if told else []


def headline_table(results: Results) -> dict[str, Any]:
    """Rows in groups by data set.  A missing result has its command in place of the numbers."""
    groups = []
    for dataset, lines in tables.by_dataset(results.rows, results.missing):
        name = dataset_name(dataset) + (" (embedded toy set, 8x8 pixels)" if dataset == "digits" else "")
        groups.append({"name": name, "rows": [headline_row(line) for line in lines]})
    return {"caption": "Test accuracy of the classifier on the 128-d latent, mean over seeds, per task and data set.",
            "head": HEADLINE_HEAD, "groups": groups}


def headline_row(line: Row | Missing) -> dict[str, Any]:
    """The cells below HEADLINE_HEAD, or the command where the result is missing."""
    if isinstance(line, Missing):
        return {"task": task_name(line.task), "missing": line.command, "reference": show.percent(line.reference)}
    recipe = line.recipe if line.default else f"not the default recipe: {line.recipe}"
    return {"task": task_name(line.task), "method": show.plain(line.method), "recipe": recipe, "cells": [
        show.percent(line.accuracy), f"{show.percent(line.deviation)} ({len(line.runs)})",
        show.interval(line.low, line.high), show.percent(line.reference), show.points(line.difference),
        show.percent(line.linear), show.percent(line.knn), show.minutes(line.seconds),
        ", ".join(str(run.record.run.seed) for run in line.runs)]}


def task_sections(results: Results, drawings: dict[str, Drawing]) -> list[dict[str, Any]]:
    """One section a task with one part a run, in the order of the headline table."""
    tasks = sorted({row.task for row in results.rows}, key=tables.task_place)
    sections, number = [], 0
    for position, task in enumerate(tasks, start=1):
        runs = []
        for row in (row for row in results.rows if row.task == task):
            for run in row.runs:
                number += 1
                runs.append(run_section(f"run-{number}", run, row, drawings))
        sections.append({"id": f"task-{position}", "title": f"Task {task_name(task)}",
                         "about": texts.ABOUT.get(task, ""), "runs": runs})
    return sections


def run_section(name: str, run: Loaded, row: Row, drawings: dict[str, Drawing]) -> dict[str, Any]:
    """Everything about one run."""
    record = run.record
    title = f"{dataset_name(record.run.dataset)}, {show.plain(record.run.method)}, seed {record.run.seed}"
    drawn = [("curves", figures.curves(record)), ("confusion", figures.confusion(record)),
             ("map", figures.latent_map(record, run.arrays)),
             ("reconstructions", figures.reconstructions(record, run.arrays))]
    return {
        "id": name, "title": title,
        "recipe_note": row.recipe if row.default else f"Not the default recipe: {row.recipe}.",
        "lead": lead(record), "metrics": metrics_table(record), "classes": class_table(record),
        **{kind: figure(f"{name}-{kind}", drawing, drawings) for kind, drawing in drawn},
        "notes": notes(record), "history": history_table(record), "recipe": recipe_table(record),
        "provenance": provenance(run),
    }


def lead(record: Record) -> str:
    """The run's headline in one sentence."""
    metric = record.headline
    low, high = tables.wilson_interval(metric.value, metric.n)
    return (f"Test accuracy {show.percent(metric.value)} % ({show.count(metric.correct)} of "
            f"{show.count(metric.n)} images; 95 % interval {show.interval(low, high)}), "
            f"in {show.duration(record.run.seconds)}.")


def metrics_table(record: Record) -> dict[str, Any]:
    """Every score but the accuracies of single classes: one row a score, one column a split."""
    whole = [name for name in record.metrics if name.count("/") == 1]
    splits = [split for split in ("test", "val", "train") if any(name.startswith(f"{split}/") for name in whole)]
    rows = []
    for score in sorted({name.partition("/")[2] for name in whole}):
        found = {split: record.metrics[f"{split}/{score}"] for split in splits if f"{split}/{score}" in whole}
        protocols = sorted({show.plain(metric.protocol) for metric in found.values()})
        rows.append([show.plain(score), *[metric_cell(found.get(split)) for split in splits], "; ".join(protocols)])
    head = ["Score", *[split.capitalize() for split in splits], "How it was measured"]
    return table("Scores.", head, rows, right=range(1, 1 + len(splits)), code=[0])


def metric_cell(metric: Metric | None) -> str:
    """'75.31 % (7,531 of 10,000)' for an accuracy, else the value and how many images it is a mean of."""
    if metric is None:
        return show.NOTHING
    if metric.correct is None:
        return f"{show.significant(metric.value)} ({show.count(metric.n)})"
    return f"{show.percent(metric.value)} % ({show.count(metric.correct)} of {show.count(metric.n)})"


def class_table(record: Record) -> dict[str, Any] | None:
    """Accuracy of each class under every metric that is split by class; None without such metrics."""
    split_up = sorted({name.rpartition("/" + label)[0] for label in record.data.classes for name in record.metrics
                       if name.count("/") > 1 and name.endswith("/" + label)} & set(record.metrics))
    if not split_up or len(record.data.classes) > figures.MOST_NAMED:
        return None
    rows = []
    for label, images in zip(record.data.classes, record.data.class_counts["test"], strict=True):
        found = [record.metrics.get(f"{name}/{label}") for name in split_up]
        rows.append([show.plain(label), show.count(images),
                     *[show.percent(metric.value) if metric else show.NOTHING for metric in found]])
    head = ["Class", "Test images", *[f"{show.plain(name)} %" for name in split_up]]
    return table("Accuracy by class.", head, rows, right=list(range(1, len(head))))


def notes(record: Record) -> list[str]:
    """What is not shown, and why."""
    classes = len(record.data.classes)
    if classes <= figures.MOST_NAMED:
        return []
    return [f"With {show.count(classes)} classes the confusion matrix, the table of classes and the map's legend "
            "cannot be read and are left out; the record holds the numbers."]


def history_table(record: Record) -> dict[str, Any]:
    """The numbers behind the curves."""
    rows = [[str(row.epoch), show.count(row.step), f"{row.lr:.3g}", show.significant(row.train_loss),
             show.significant(row.val_loss), show.percent(row.train_accuracy), show.percent(row.val_accuracy),
             show.duration(row.seconds)] for row in record.history]
    head = ["Epoch", "Step", "Learning rate", "Train loss", "Val. loss", "Train acc. %", "Val. acc. %", "Time"]
    return table("The numbers behind the curves.", head, rows, right=list(range(8)))


def recipe_table(record: Record) -> dict[str, Any]:
    """Every hyper-parameter, and whether the command line set it."""
    changed = set(record.recipe.overridden)
    rows = [[show.plain(name), show.field(value), "given on the command line" if name in changed else "default"]
            for name, value in record.recipe.fields.items()]
    return table(f"Recipe (hash {record.recipe.hash}).", ["Field", "Value", "Set by"], rows, code=[0, 1])


def provenance(run: Loaded) -> dict[str, Any]:
    """Where the run comes from and what it ran on, as a two-column table."""
    record = run.record
    facts = run_facts(record) + machine_facts(record) + data_facts(record)
    facts.append(("record", f"{run.name}, SHA-256 {run.sha256}"))
    facts += [(kind, f"{artifact.name}, SHA-256 {artifact.sha256}")
              for kind, artifact in sorted(record.artifacts.items())]
    return table("Provenance.", ["What", "Value"], [[what, show.plain(value)] for what, value in facts], code=[1])


def run_facts(record: Record) -> list[tuple[str, str]]:
    """The command, the code and the work done."""
    parameters = [f"{show.plain(name)} {show.count(number)}" for name, number in record.derived.parameters.items()]
    tree = {True: ", with changes that are not in the commit", False: "", None: ", no git"}[record.environment.dirty]
    facts = [
        ("command", shlex.join(["python", *record.run.argv])),
        ("started", show.timestamp(record.run.started)),
        ("wall time", show.duration(record.run.seconds)),
        ("commit", record.environment.commit + tree),
        ("parameters", ", ".join(parameters) or "none"),
        ("steps", show.count(record.derived.steps)),
        ("training FLOPs (counted)", show.flops(record.derived.training_flops)),
        ("evaluation FLOPs (counted)", show.flops(record.derived.evaluation_flops)),
    ]
    if record.selection is not None:
        facts.append(("epoch scored", f"{record.selection.epoch} ({record.selection.rule})"))
    return facts


def machine_facts(record: Record) -> list[tuple[str, str]]:
    """What the run ran on."""
    machine = record.environment
    speeds = [f"{name} {speed:.0f} GFLOP/s" for name, speed in machine.conv_gflops.items()]
    return [
        ("device", f"{machine.device}, {show.plural(machine.threads, 'thread')}, {machine.precision}"),
        ("processor", machine.cpu + (f" ({', '.join(machine.cpu_flags)})" if machine.cpu_flags else "")),
        ("convolution speed, measured", ", ".join(speeds) or "not measured"),
        ("versions", f"Python {machine.python}, torch {machine.torch}, torchvision {machine.torchvision}, "
                     f"numpy {machine.numpy}"),
        ("platform", machine.platform),
    ]


def data_facts(record: Record) -> list[tuple[str, str]]:
    """What the run read."""
    data = record.data
    sizes = ", ".join(f"{split} {show.count(data.size(split))}" for split in ("train", "val", "test"))
    return [
        ("images", f"{sizes} (split seed {data.split_seed}); {len(data.classes)} classes; "
                   f"{' x '.join(map(str, data.image_shape))} (C x H x W)"),
        ("source", data.source),
        *[(f"SHA-256 of {name.replace('_', ' ')}", digest) for name, digest in sorted(data.sha256.items())],
    ]


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
    return told + texts.LIMITS


def readme_table(loaded: list[Loaded]) -> str:
    """The headline table in Markdown, from the same strings as the HTML and the PDF."""
    headline = headline_table(tables.summarise(loaded))
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
