"""What the report shows of one row: its first seed's run in full, as a dictionary of strings (see report.content)."""

import shlex
from typing import Any

from report import charts, pictures, show, summary
from report.charts import Drawing
from report.elements import figure, table
from report.load import Loaded
from report.summary import Row, dataset_name, method_name
from utils.records.schema import Metric, Record


def run_section(name: str, row: Row, drawings: dict[str, Drawing]) -> dict[str, Any]:
    """Everything about a row's run of the lowest seed.  name: unique on the page."""
    run = row.runs[0]
    record = run.record
    about = [dataset_name(record.run.dataset), method_name(record.run.task, record.run.method), row.recipe]
    drawn = [("curves", charts.curves(row)), ("reconstructions", pictures.reconstructions(record, run.arrays)),
             ("interpolations", pictures.interpolations(record, run.arrays)),
             ("neighbours", pictures.neighbours(record, run.arrays))]
    return {
        "id": name, "title": ", ".join(filter(None, [*about, f"seed {record.run.seed}"])),
        "dataset": dataset_name(record.run.dataset), "default": "yes" if row.default else "",
        "lead": lead(row), "metrics": metrics_table(record), "classes": class_table(record),
        **{kind: figure(f"{name}-{kind}", drawing, drawings) for kind, drawing in drawn},
        "maps": [figure(f"{name}-{kind}", drawing, drawings) for kind, drawing in pictures.maps(record, run.arrays)],
        "legend": pictures.legend(record), "confusion": confusion(record), "notes": notes(record),
        "history": history_table(record) if record.history else None,
        "recipe": recipe_table(record), "provenance": provenance(run),
    }


def lead(row: Row) -> str:
    """The run's headline in one sentence, and which other seeds stand behind the row."""
    record = row.runs[0].record
    metric = record.headline
    low, high = summary.wilson_interval(metric.value, metric.n)
    others = [str(run.record.run.seed) for run in row.runs[1:]]
    more = f" Other {'seed' if len(others) == 1 else 'seeds'} of this row: {show.listing(others)}." if others else ""
    idle = "" if record.history else " Nothing was trained but the classifiers."
    return (f"Test accuracy {show.percent(metric.value)} % ({show.count(metric.correct)} of "
            f"{show.count(metric.n)} images; 95 % interval {show.interval(low, high)}), "
            f"in {show.duration(record.run.seconds)}.{more}{idle}")


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


def confusion(record: Record) -> dict[str, Any] | None:
    """The confusion matrix as a table of shaded cells; None where there are too many classes to read it.

    share: of the true class's images, 0 to 1; the templates make it at most 0.6 opaque, so that one text colour keeps
    its contrast on every shade, on the light page and on the dark one.
    """
    names, counts = [show.plain(name) for name in record.data.classes], record.confusion.counts
    if len(names) > charts.MOST_NAMED:
        return None
    total, correct = sum(map(sum, counts)), sum(row[i] for i, row in enumerate(counts))
    told = f"Of {show.count(total)} test images {show.count(correct)} lie on the diagonal."
    largest = summary.largest_confusion(counts)
    if largest is not None:
        i, j, images = largest
        told += f" The largest confusion: {show.plural(images, 'image')} of class {names[i]} taken for {names[j]}."
    rows = [{"name": name, "cells": [{"text": str(number), "share": f"{number / max(1, sum(row)):.2f}"}
                                     for number in row]} for name, row in zip(names, counts, strict=True)]
    return {"caption": f"Confusion matrix: true class down, predicted class across. {told}",
            "names": [show.shorten(name, 8) for name in names], "rows": rows}


def class_table(record: Record) -> dict[str, Any] | None:
    """Accuracy of each class under every metric that is split by class; None without such metrics."""
    split_up = sorted({name.rpartition("/" + label)[0] for label in record.data.classes for name in record.metrics
                       if name.count("/") > 1 and name.endswith("/" + label)} & set(record.metrics))
    if not split_up or len(record.data.classes) > charts.MOST_NAMED:
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
    if classes <= charts.MOST_NAMED:
        return []
    return [f"With {show.count(classes)} classes the confusion matrix, the table of classes and the names on the maps "
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
    init = record.run.init
    if init is not None:
        facts.append(("encoder from", f"{init.record} ({init.task} {init.method}, seed {init.seed}, recipe "
                                      f"{init.recipe_hash}), checkpoint SHA-256 {init.sha256}"))
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
