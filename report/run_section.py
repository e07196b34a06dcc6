"""What the report shows of one row: the run of its lowest seed, as a dictionary of strings."""

import shlex
from itertools import islice
from typing import Any

from report import charts, pictures, show, summary
from report.load import Loaded
from report.summary import Row, dataset_name, grouped, has_earlier_recipe, row_name
from report.tables import MOST_NAMED, table
from utils.console import duration_in_words
from utils.records.schema import HEADLINE, Metric, Record

MOST_CONFUSED = 5  # pairs of classes that are named


def run_section(row: Row) -> dict[str, Any]:
    """Everything about a row's run of the lowest seed.  Variations have neither maps nor paths."""
    run, record, init = row.runs[0], row.runs[0].record, row.runs[0].record.run.init
    about = f"{dataset_name(row.dataset)}, {row_name(row)}"
    maps = dict(pictures.maps(record, run.arrays)) if row.default else {}  # or the page gets heavy
    readable = len(record.data.classes) <= MOST_NAMED
    return {
        "id": row.anchor, "title": f"{about}, seed {record.run.seed}", "name": about, "default": row.default,
        "lead": lead(row), "commands": repeat_commands(row),
        "encoder_changed": init is not None and has_earlier_recipe(init),
        "recorded": show.plain(shlex.join(["python", *record.run.argv])),
        "ran": f"{show.plural(record.environment.threads, 'thread')}, {record.environment.precision}",
        "curves": charts.curves(row), "reconstructions": pictures.reconstructions(run.arrays),
        "interpolations": pictures.interpolations(record, run.arrays) if row.default else None,
        "columns": [*pictures.principal_axes(run.arrays),
                    *(draw(record, run.arrays) for draw in (pictures.misclassified, charts.reliability)
                      if row.default and row.task != "control")],
        "maps": [drawing for key, drawing in maps.items() if not key.endswith("pca")],
        "pca_maps": [drawing for key, drawing in maps.items() if key.endswith("pca")],
        "legend": pictures.legend(record), "map_settings": pictures.map_settings(run.arrays),
        "notes": [] if readable else [
            f"The confusion matrix, the table of classes and the names on the maps are left out because "
            f"{show.count(len(record.data.classes))} classes cannot be read there; the record holds the numbers."],
        "history": history_table(record) if record.history else None, "metrics": metrics_table(record),
        "confusion": confusion(record) if readable else None, "classes": class_table(record) if readable else None,
        "recipe": recipe_table(record), "provenance": provenance(run),
    }


def lead(row: Row) -> str:
    """The run's headline in one sentence, and the row's other seeds."""
    record = row.runs[0].record
    metric = record.headline
    others = [str(run.record.run.seed) for run in row.runs[1:]]
    more = f" Other {'seed' if len(others) == 1 else 'seeds'} of this row: {show.listing(others)}." if others else ""
    idle = "" if record.history else " Only the classifiers were trained."
    return (f"Test accuracy {show.percent(metric.value)} % ({show.correct(metric)} images; 95 % interval "
            f"{show.interval(*summary.wilson_interval(metric.value, metric.n))}), in "
            f"{duration_in_words(record.run.seconds)}.{more}{idle}")


def metrics_table(record: Record) -> dict[str, Any]:
    """Every score except the accuracies of single classes: one row per score, one column per split."""
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
    """'75.31 % (7,531 of 10,000)' for an accuracy, else the value and the number of images that it is a mean of."""
    if metric is None:
        return show.NOTHING
    if metric.correct is None:
        return f"{show.significant(metric.value)} ({show.count(metric.n)})"
    return f"{show.percent(metric.value)} % ({show.correct(metric)})"


def confusion(record: Record) -> dict[str, Any]:
    """The confusion matrix as a table of shaded cells.

    share: of the true class's images, 0 to 1; the templates make it at most 0.6 opaque, so that one text colour keeps
    its contrast on every shade, on the light page and on the dark one.
    """
    assert record.confusion is not None, "every complete record has a confusion matrix"
    names, counts = [show.plain(name) for name in record.data.classes], record.confusion.counts
    errors = {(i, j): number for i, row in enumerate(counts) for j, number in enumerate(row) if i != j and number}
    most = max(errors.values(), default=0)
    rows = [{"name": name, "short": short, "cells": [{"text": str(number), "share": f"{number / max(1, sum(row)):.2f}",
                                                      "error": f"{errors[i, j] / most:.2f}" if (i, j) in errors else ""}
                                                     for j, number in enumerate(row)]}
            for i, (name, short, row) in enumerate(zip(names, show.distinct(names, 16), counts, strict=True))]
    return {"caption": f"Confusion matrix, true class down and predicted class across: {show.correct(record.headline)} "
                       f"test images are on the diagonal.{confused(errors, names)}",
            "names": show.distinct(names, 8), "rows": rows}


def confused(errors: dict[tuple[int, int], int], names: list[str]) -> str:
    """The most frequent confusions in words, with a leading space.  errors: (true, predicted class) -> images."""
    if not errors:
        return ""
    ordered = sorted(errors.items(), key=lambda error: -error[1])
    shown = [f"{names[i]} predicted as {names[j]} ({show.plural(number, 'image')})"
             for (i, j), number in islice(ordered, MOST_CONFUSED)]
    last = ordered[len(shown) - 1][1]
    ties = sum(number == last for _, number in ordered[MOST_CONFUSED:])
    more = f"; {show.plural(ties, 'other pair')} also {'has' if ties == 1 else 'have'} {last}" if ties else ""
    return f" Most frequent confusions: {show.listing(shown)}{more}."


def class_table(record: Record) -> dict[str, Any]:
    """Accuracy of the headline classifier on each class; a class without a test image has none."""
    rows = []
    for label, images in zip(record.data.classes, record.data.class_counts["test"], strict=True):
        metric = record.metrics.get(f"{HEADLINE}/{label}")
        rows.append([show.plain(label), show.count(images), show.percent(metric.value if metric else None)])
    return table("Accuracy by class.", ["Class", "Test images", f"{HEADLINE} %"], rows, right=[1, 2])


def history_table(record: Record) -> dict[str, Any]:
    rows = [[str(row.epoch), show.count(row.step), f"{row.lr:.3g}", show.significant(row.train_loss),
             show.significant(row.val_loss), show.percent(row.train_accuracy), show.percent(row.val_accuracy),
             duration_in_words(row.seconds)] for row in record.history]
    head = ["Epoch", "Step", "Learning rate", "Train loss", "Val. loss", "Train acc. %", "Val. acc. %", "Time"]
    return table("The numbers behind the curves.", head, rows, right=range(8))


def recipe_table(record: Record) -> dict[str, Any]:
    """Every hyper-parameter, and whether the command line set it."""
    rows = [[show.plain(name), show.field(value),
             "given on the command line" if name in record.recipe.overridden else "default"]
            for name, value in record.recipe.fields.items()]
    return table(f"Recipe (hash {record.recipe.hash}).", ["Field", "Value", "Set by"], rows, code=[0, 1])


def repeat_commands(row: Row) -> list[str]:
    """What trains all seeds of a row again in a clone of this repository, after the encoders that they start from."""
    same = grouped(row.runs, lambda run: run.record.run.init.record if run.record.run.init else "")
    return [command for runs in same.values() for command in commands_of(runs)]


def commands_of(runs: list[Loaded]) -> list[str]:
    """What trains again the runs of a row that start from one encoder, and before it what trains that encoder."""
    record = runs[0].record
    run, init, side = record.run, record.run.init, record.data.image_shape[-1]
    words = command_words(run.task, run.dataset, run.method, [one.record.run.seed for one in runs], side)
    if init:
        words += ["--init", f"results/{init.record}"]
    for name in summary.changed_fields(record):
        flag, value = name.replace("_", "-"), record.recipe.fields[name]
        values = value if isinstance(value, list) else [value]
        words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", *map(str, values)]
    if len(runs) > 1:  # a command of one run always trains it
        words += ["--fresh"]
    first = [command_words(init.task, init.dataset, init.method, [init.seed], side)] if init else []
    return [show.plain(shlex.join(one)) for one in (*first, words)]


def command_words(task: str, dataset: str, method: str, seeds: list[int], side: int) -> list[str]:
    """The words of a command that trains a method's default recipe.  side: of the images, in pixels."""
    folder = dataset.startswith("folder-")
    return ["python", "_main.py", "--task", task, "--dataset", "folder:PATH" if folder else dataset, "--method", method,
            "--seed", *map(str, seeds), *(["--image-size", str(side)] if folder else [])]


def provenance(run: Loaded) -> dict[str, Any]:
    """The command, the code, the work done, the machine and the data, as a two-column table."""
    record = run.record
    machine, data, init = record.environment, record.data, record.run.init
    tree = {True: ", with changes that are not in the commit", False: "", None: ", no git"}[machine.dirty]
    parameters = [f"{show.plain(name)} {show.count(number)}" for name, number in record.derived.parameters.items()]
    speeds = [f"{name} {speed:.0f} GFLOP/s" for name, speed in machine.conv_gflops.items()]
    sizes = ", ".join(f"{split} {show.count(data.size(split))}" for split in ("train", "val", "test"))
    facts: dict[str, str] = {
        "command": shlex.join(["python", *record.run.argv]),
        "started": show.timestamp(record.run.started),
        "wall time": duration_in_words(record.run.seconds),
        "commit": machine.commit + tree,
        "parameters": ", ".join(parameters) or "none",
        "steps": show.count(record.derived.steps),
        "training FLOPs (counted)": show.flops(record.derived.training_flops),
        "evaluation FLOPs (counted)": show.flops(record.derived.evaluation_flops),
        **({"encoder from": f"{init.record} ({init.task} {init.method}, seed {init.seed}, recipe {init.recipe_hash}), "
                            f"checkpoint SHA-256 {init.sha256}"} if init else {}),
        "device": f"{machine.device}, {show.plural(machine.threads, 'thread')}, {machine.precision}",
        "processor": machine.cpu + (f" ({', '.join(machine.cpu_flags)})" if machine.cpu_flags else ""),
        "convolution speed, measured": ", ".join(speeds) or "not measured",
        "versions": f"Python {machine.python}, torch {machine.torch}, torchvision {machine.torchvision}, "
                    f"numpy {machine.numpy}",
        "platform": machine.platform,
        "images": f"{sizes} (split seed {data.split_seed}); {len(data.classes)} classes; "
                  f"{' x '.join(map(str, data.image_shape))} (C x H x W)",
        "source": data.source,
        **{f"SHA-256 of {name.replace('_', ' ')}": digest for name, digest in sorted(data.sha256.items())},
        "record": f"{run.name}, SHA-256 {run.sha256}",
        **{kind: f"{one.name}, SHA-256 {one.sha256}" for kind, one in sorted(record.artifacts.items())},
    }
    return table("Provenance.", ["What", "Value"], [[what, show.plain(value)] for what, value in facts.items()],
                 code=[1])
