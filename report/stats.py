"""Comparisons between rows: McNemar's test, accuracy against label fraction, how the classes are spread.

Raw numbers only, as in report.rows; report.comparison_tables puts them into words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.special import bdtr

from report import show
from report.load import Loaded
from report.summary import Row, dataset_name, method_name, overridden
from utils.records.schema import Record

# What a record from before these fields stands for
UNSAID = {"labels": 1.0, "subset": 0, "finetune": False, "encoder": ""}


@dataclass(frozen=True)
class Pair:
    """McNemar's test of two rows on the same test images, both from runs with one seed."""

    first: Row
    second: Row
    seed: int
    only_first: int  # images that only the first row's run names rightly
    only_second: int
    p: float  # exact, two-sided
    adjusted: float  # Holm's correction over the pairs of the data set


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value of McNemar's test (1947): of the discordant images each falls either way with chance 1/2.

    only_first, only_second: images that one of the two names rightly and the other does not.
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), discordant, 0.5)))


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method (1979, Scand. J. Stat. 6, 65-70); same order."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted


def mcnemar_pairs(rows: Sequence[Row]) -> list[Pair]:
    """Every two rows of one data set that have a seed and the test images in common, by the lowest such seed."""
    found = []
    for first, second in combinations(rows, 2):
        shared = common_runs(first, second)
        if shared is not None:
            a, b = (run.arrays["test_predictions"] == run.arrays["test_labels"] for run in shared)  # (N,) each
            only = int((a & ~b).sum()), int((b & ~a).sum())
            found.append((first, second, shared[0].record.run.seed, *only, mcnemar(*only)))
    return [Pair(*entry, adjusted) for entry, adjusted in zip(found, holm([entry[-1] for entry in found]), strict=True)]


def common_runs(first: Row, second: Row) -> tuple[Loaded, Loaded] | None:
    """The two rows' runs of the lowest seed that both have, where they read the same test set; else None."""
    others = {run.record.run.seed: run for run in second.runs}
    for run in first.runs:
        other = others.get(run.record.run.seed)
        if other is not None and all(run.record.data.sha256[key] == other.record.data.sha256[key]
                                     for key in ("test_images", "test_labels")):
            return run, other
    return None


@dataclass(frozen=True)
class Line:
    """Rows that differ in nothing but how many labels were used, by rising fraction."""

    name: str
    points: tuple[tuple[float, Row], ...]  # (fraction of the labels, row)


def field(record: Record, name: str) -> object:
    """A field of the recipe, or what a record without it stands for."""
    return record.recipe.fields.get(name, UNSAID.get(name))


def label_fraction(record: Record) -> float | None:
    """The share of the training labels that was used, in (0, 1]; None where the recipe says no such thing."""
    share = field(record, "labels")
    return float(share) if isinstance(share, int | float) and 0 < share <= 1 else None


def label_lines(rows: Sequence[Row]) -> list[Line]:
    """Lines of accuracy against label fraction for the rows of one data set: those with at least two fractions."""
    defaults = {(row.task, row.method, run.record.recipe.hash)
                for row in rows if row.default for run in row.runs}
    groups: dict[tuple, dict[float, Row]] = {}
    for row in sorted(rows, key=lambda row: len(overridden(row.runs[0].record))):
        share = label_fraction(row.runs[0].record)
        if share is not None:
            groups.setdefault(line_key(row, defaults), {}).setdefault(share, row)  # of two the one with fewer changes
    lines = [Line(line_name(key), tuple(sorted(points.items()))) for key, points in groups.items() if len(points) > 1]
    return sorted(lines, key=lambda line: line.name)


def line_key(row: Row, defaults: set[tuple[str, str, str]]) -> tuple[str, ...]:
    """What the points of one line share.  Epochs may differ, as few labels are seen more often; the table tells.

    defaults: (task, method, recipe hash) of the default rows.  An encoder that comes from the default run of the same
    task and method counts as that method's own.
    """
    record = row.runs[0].record
    apart = {"labels", "epochs", "finetune"}
    others = [f"{name}={show.field(record.recipe.fields[name])}" for name in overridden(record) if name not in apart]
    return row.task, row.method, origin(row, defaults), str(bool(field(record, "finetune"))), ", ".join(others)


def origin(row: Row, defaults: set[tuple[str, str, str]]) -> str:
    """The run that a row's encoder comes from, in words; "" for random weights and for its own method's default."""
    init = row.runs[0].record.run.init
    if init is None:
        return ""
    default = (init.task, init.method, init.recipe_hash) in defaults
    own = (init.task, init.dataset, init.method, init.labels) == (row.task, row.dataset, row.method, 0)
    if default and own:
        return ""
    seen = f", which had seen {100 * init.labels:g} % of labels" if init.labels else ""
    elsewhere = f" on {dataset_name(init.dataset)}" if init.dataset != row.dataset else ""
    return f"{init.task} {init.method}{elsewhere}" + ("" if default else f" recipe {init.recipe_hash}") + seen


def line_name(key: tuple[str, ...]) -> str:
    """'contrastive simclr, fine-tuned', 'random initialisation, trained end to end'."""
    task, method, start, finetuned, others = key
    if task == "control":
        name = method_name(task, method)
    elif task == "1.2.2" and not start:
        name = "random initialisation, trained end to end"
    elif task == "1.2.2":
        name = "trained end to end"
    else:
        word = {"1.2.1": "autoencoder", "1.2.3": "contrastive"}.get(task, show.plain(task))
        name = f"{word} {method_name(task, method)}, {'fine-tuned' if finetuned == 'True' else 'frozen'}"
    return ", ".join(filter(None, [name, f"from {show.plain(start)}" if start else "", show.plain(others)]))


def class_spread(rows: Sequence[Row]) -> list[tuple[str, float | None, list[int]]]:
    """(split, label fraction or None, images of each class) of one data set, each different spread once."""
    found: dict[tuple, tuple[str, float | None, list[int]]] = {}
    for run in (run for row in rows for run in row.runs):
        for split, counts in run.record.data.class_counts.items():
            share = label_fraction(run.record) if split == "labelled" else None
            found.setdefault((split, tuple(counts)), (split, share, counts))
    order = ("train", "val", "test", "labelled")
    return sorted(found.values(), key=lambda entry: (order.index(entry[0]), -sum(entry[2])))
