"""Comparisons between rows: McNemar's test, accuracy against label fraction."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr

from report import show
from report.load import Loaded
from report.summary import Row, dataset_name, default_hash, label_fraction, method_name, overridden

SIGNIFICANT = 0.05  # for p-values after Holm's correction


class Pair(NamedTuple):
    """McNemar's test of two rows on the same test images, both from runs with one seed."""

    first: Row
    second: Row
    seed: int
    only_first: int  # images that only the first row's run classifies correctly
    only_second: int
    p: float  # exact, two-sided
    adjusted: float  # by Holm's correction over the pairs that are tested together


class Curve(NamedTuple):
    """Rows that differ only in how many labels were used, by rising fraction."""

    name: str
    points: list[tuple[float, Row]]  # (fraction of the labels, row)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value of McNemar's test (1947), from the numbers of images that only one of two classifies
    correctly: under the null hypothesis each of these falls to either side with probability 1/2.
    """
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method (1979, Scand. J. Stat. 6, 65-70); same order."""
    order, adjusted = np.argsort(values), np.empty(len(values))
    steps = np.arange(len(values), 0, -1) * np.asarray(values)[order]
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted.tolist()


def mcnemar_pairs(rows: Sequence[Row]) -> list[Pair]:
    """Every two rows of one data set; see tested()."""
    return tested(combinations(rows, 2))


def tested(pairs: Iterable[tuple[Row, Row]]) -> list[Pair]:
    """Those pairs of rows that share a seed and the test images, by the lowest such seed."""
    found = []
    for first, second in pairs:
        shared = common_runs(first, second)
        if shared is not None:
            a, b = (run.arrays["test_predictions"] == run.arrays["test_labels"] for run in shared)  # (N,) each
            only = int((a & ~b).sum()), int((b & ~a).sum())
            found.append(Pair(first, second, shared[0].record.run.seed, *only, mcnemar(*only), 1.0))
    return [pair._replace(adjusted=p) for pair, p in zip(found, holm([pair.p for pair in found]), strict=True)]


def differing(pairs: Sequence[Pair]) -> str:
    """'3 of 10 pairs differ', '1 of 10 pairs differs': how many are significant."""
    number = sum(pair.adjusted < SIGNIFICANT for pair in pairs)
    return f"{number} of {show.plural(len(pairs), 'pair')} {'differs' if number == 1 else 'differ'}"


def common_runs(first: Row, second: Row) -> tuple[Loaded, Loaded] | None:
    """The two rows' runs of the lowest seed that both have, if those read the same test set; else None."""
    others = {run.record.run.seed: run for run in second.runs}
    for run in first.runs:
        other = others.get(run.record.run.seed)
        if other is not None and all(run.record.data.sha256[key] == other.record.data.sha256[key]
                                     for key in ("test_images", "test_labels")):
            return run, other
    return None


def label_curves(rows: Sequence[Row]) -> list[Curve]:
    """Accuracy against label fraction for the rows of one data set: the curves with at least two fractions."""
    defaults = {(row.task, row.method, run.record.recipe.hash) for row in rows if row.default for run in row.runs}
    groups: dict[tuple[str, ...], dict[float, Row]] = {}
    for row in sorted(rows, key=lambda row: len(overridden(row.runs[0].record))):
        share = label_fraction(row.runs[0].record)
        if share is not None:  # of two rows with one fraction, the one with fewer changes
            fields = row.runs[0].record.recipe.fields  # two recipes never form one curve
            shared = sorted((name, str(value)) for name, value in fields.items() if name not in ("labels", "epochs"))
            key = (curve_name(row, defaults), row.task, row.method, str(shared))
            groups.setdefault(key, {}).setdefault(share, row)
    return [Curve(key[0], sorted(points.items())) for key, points in sorted(groups.items()) if len(points) > 1]


def short_names(curves: Sequence[Curve]) -> list[str]:
    """The curves' names without the encoders' origins, which the table has, where they differ without them."""
    short = [curve.name.partition(", from ")[0] for curve in curves]
    return [name if short.count(name) == 1 else curve.name for name, curve in zip(short, curves, strict=True)]


def curve_name(row: Row, defaults: set[tuple[str, str, str]]) -> str:
    """What the points of one curve share: 'contrastive simclr, frozen', 'random initialisation, trained end to end'.

    Only epochs may differ, which the table shows.  defaults: (task, method, recipe hash) of the default rows.
    """
    fields, start = row.runs[0].record.recipe.fields, encoder_origin(row, defaults)
    if row.task == "control":
        name = method_name(row.task, row.method)
    elif row.task == "1.2.2":
        name = "trained end to end" if start else "random initialisation, trained end to end"
    else:
        task = {"1.2.1": "autoencoder", "1.2.3": "contrastive"}.get(row.task, show.plain(row.task))
        name = f"{task} {method_name(row.task, row.method)}, {'fine-tuned' if fields.get('finetune') else 'frozen'}"
    others = [f"{name}={show.field(fields[name])}" for name in overridden(row.runs[0].record)
              if name not in ("labels", "epochs", "finetune")]
    return ", ".join([name, *([f"from {show.plain(start)}"] if start else []), *map(show.plain, others)])


def encoder_origin(row: Row, defaults: set[tuple[str, str, str]]) -> str:
    """The run that a row's encoder comes from, in words; "" for random weights and for its own method's default run."""
    init = row.runs[0].record.run.init
    if init is None:
        return ""
    default = (init.task, init.method, init.recipe_hash) in defaults or init.recipe_hash == default_hash(init)
    own = (init.task, init.dataset, init.method, init.labels) == (row.task, row.dataset, row.method, 0)
    if default and own:
        return ""
    seen = f", which was trained with {100 * init.labels:g} % of labels" if init.labels else ""
    elsewhere = f" on {dataset_name(init.dataset)}" if init.dataset != row.dataset else ""
    return f"{init.task} {init.method}{elsewhere}" + ("" if default else f" recipe {init.recipe_hash}") + seen
