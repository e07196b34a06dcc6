"""From records to plain rows of raw numbers: what counts, how seeds are put together, what is missing.

Nothing here rounds or formats; report.page_content does, through report.show.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from report import show
from report.load import Loaded
from utils.records.schema import Record, setting_hash

# The test accuracies that these six tasks are known for, as fractions.  They are the figures to be compared with, not
# results of this repository.
REFERENCE = {
    ("1.2.1", "mnist"): 0.9735, ("1.2.2", "mnist"): 0.9937, ("1.2.3", "mnist"): 0.9684,
    ("1.2.1", "cifar10"): 0.5534, ("1.2.2", "cifar10"): 0.8227, ("1.2.3", "cifar10"): 0.7499,
}
TASKS = {"1.2.1": "autoencoding", "1.2.2": "classification-guided", "1.2.3": "contrastive",
         "rotation": "rotation prediction", "control": "control"}
METHODS = ("plain", "denoising", "masked", "patches", "joint", "simclr", "dcl", "vicreg", "byol", "moco", "cmc",
           "rotnet", "random", "pca")
CONTROLS = {"random": "frozen random encoder", "pca": "PCA"}  # methods of task control
DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "digits": "Digits"}
NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True)
class Row:
    """One line of the headline table: the runs that differ in nothing but their seed."""

    dataset: str
    task: str
    method: str
    default: bool  # the method's own recipe, from random weights
    recipe: str  # what was changed; "" for the default recipe, its hash where one method has several
    runs: tuple[Loaded, ...]  # by seed
    accuracies: tuple[float, ...]  # test/classifier_top1, in the same order
    accuracy: float  # their mean
    deviation: float | None  # their sample standard deviation; None for one run
    low: float  # Wilson 95 % interval of the mean accuracy
    high: float
    linear: float  # means
    knn: float
    seconds: float
    reference: float | None
    difference: float | None  # accuracy - reference


@dataclass(frozen=True)
class Missing:
    """A result that the coursework asks for and that no counted record gives."""

    dataset: str
    task: str
    reference: float
    command: str


@dataclass(frozen=True)
class Results:
    """Everything that the report shows, sorted into what counts and what does not."""

    rows: list[Row]
    missing: list[Missing]
    repeats: list[tuple[Loaded, str]]  # a complete run and the name of the newer one that counts
    quick: list[Loaded]
    failed: list[Loaded]

    @property
    def counted(self) -> list[Loaded]:
        """The complete runs, without repeats."""
        return [run for row in self.rows for run in row.runs]

    @property
    def headline(self) -> list[Row]:
        """The default recipes and the controls: what is compared first."""
        return [row for row in self.rows if row.default]

    @property
    def variations(self) -> list[Row]:
        """Other encoders, fewer labels or images, another run's encoder to start from, any other changed recipe."""
        return [row for row in self.rows if not row.default]


def wilson_interval(accuracy: float, n: int, z: float = NORMAL_95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927, JASA 22, 209-212), as (low, high).

    accuracy: fraction correct in [0, 1], which need not be a multiple of 1/n (here it is a mean over seeds).
    n: images counted, > 0.  It covers which n images were drawn as the test set, and nothing of the training.
    """
    centre = (accuracy + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def summarise(loaded: list[Loaded]) -> Results:
    """Sort the believed records into rows, repeats, quick and failed runs, and name what is missing."""
    counted, repeats = drop_repeats(with_status(loaded, "complete"))
    groups: dict[tuple[str, ...], list[Loaded]] = {}
    for run in counted:
        groups.setdefault(setting(run), []).append(run)
    alike = Counter((key[:3], changes(runs[0].record)) for key, runs in groups.items())
    rows = [make_row(runs, several=alike[key[:3], changes(runs[0].record)] > 1) for key, runs in groups.items()]
    rows.sort(key=lambda row: (*place(row.dataset, row.task), not row.default, method_place(row.method), row.recipe,
                               row.runs[0].name))
    return Results(rows, find_missing(rows), repeats, with_status(loaded, "quick"), with_status(loaded, "failed"))


def with_status(loaded: list[Loaded], status: str) -> list[Loaded]:
    """Those runs whose status is complete, quick or failed."""
    return [run for run in loaded if run.record.run.status == status]


def place(dataset: str, task: str) -> tuple:
    """Sorting key: known names in their order, unknown ones after them by name, the embedded toy set last."""
    known = list(DATASETS)
    return (dataset == "digits", known.index(dataset) if dataset in known else len(known), dataset, *task_place(task))


def task_place(task: str) -> tuple[int, str]:
    """Sorting key: the known tasks in their order, others after them by name."""
    known = list(TASKS)
    return known.index(task) if task in known else len(known), task


def method_place(method: str) -> tuple[int, str]:
    """Sorting key: the known methods in their order, others after them by name."""
    return METHODS.index(method) if method in METHODS else len(METHODS), method


def setting(run: Loaded) -> tuple[str, ...]:
    """What two runs share when only their seeds differ."""
    record = run.record
    init = record.run.init
    origin = (init.task, init.dataset, init.method, init.recipe_hash, str(init.labels)) if init else ("",) * 5
    return (record.run.dataset, record.run.task, record.run.method, setting_hash(record.recipe.fields), *origin,
            *(digest for _, digest in sorted(record.data.sha256.items())))


def overridden(record: Record) -> list[str]:
    """The recipe fields that the command line changed, but the method, which has a column of its own."""
    return [name for name in record.recipe.overridden if name != "method"]


def changes(record: Record) -> str:
    """What tells a run from its method's default, in words: 'from 1.2.3 simclr, labels=0.01'; "" where nothing does."""
    init = record.run.init
    origin = [f"from {show.plain(init.task)} {show.plain(init.method)}"] if init else []
    if init and init.dataset != record.run.dataset:
        origin[0] += f" on {dataset_name(init.dataset)}"
    if init and init.labels > record.recipe.fields.get("labels", 1.0):
        origin[0] += f", which had seen {100 * init.labels:g} % of the labels"
    return ", ".join(origin + [f"{show.plain(name)}={show.field(record.recipe.fields[name])}"
                               for name in overridden(record)])


def drop_repeats(complete: list[Loaded]) -> tuple[list[Loaded], list[tuple[Loaded, str]]]:
    """Of runs with one setting and seed the newest counts.  Returns those, by seed, and (repeat, newest's name)."""
    newest: dict[tuple, Loaded] = {}
    repeats = []
    for run in sorted(complete, key=lambda run: (run.record.run.started, run.name), reverse=True):
        key = (*setting(run), run.record.run.seed)
        if key in newest:
            repeats.append((run, newest[key].name))
        else:
            newest[key] = run
    counted = sorted(newest.values(), key=lambda run: (run.record.run.seed, run.name))
    return counted, sorted(repeats, key=lambda pair: pair[0].name)


def make_row(runs: list[Loaded], several: bool) -> Row:
    """Put the seeds of one setting together.  several: the same changes were made to more than one recipe."""
    first = runs[0].record
    accuracies = tuple(run.record.headline.value for run in runs)
    accuracy = fmean(accuracies)
    low, high = wilson_interval(accuracy, min(run.record.headline.n for run in runs))
    reference = REFERENCE.get((first.run.task, first.run.dataset))
    changed = changes(first)
    return Row(
        dataset=first.run.dataset, task=first.run.task, method=first.run.method, default=not changed,
        recipe=", ".join(filter(None, [changed, f"recipe {first.recipe.hash}" if several else ""])),
        runs=tuple(runs), accuracies=accuracies, accuracy=accuracy,
        deviation=stdev(accuracies) if len(accuracies) > 1 else None, low=low, high=high,
        linear=mean_of(runs, "test/linear_top1"), knn=mean_of(runs, "test/knn_top1"),
        seconds=fmean(run.record.run.seconds for run in runs),
        reference=reference, difference=None if reference is None else accuracy - reference)


def mean_of(runs: Sequence[Loaded], metric: str) -> float | None:
    """Mean of a metric over runs; None where one of them lacks it."""
    found = [run.record.metrics.get(metric) for run in runs]
    return None if None in found else fmean(one.value for one in found)


def find_missing(rows: list[Row]) -> list[Missing]:
    """Those of the six results asked for that no row with a default recipe gives."""
    present = {(row.task, row.dataset) for row in rows if row.default}
    return [Missing(dataset, task, reference, f"python _main.py --task {task} --dataset {dataset}")
            for (task, dataset), reference in REFERENCE.items() if (task, dataset) not in present]


def by_dataset(rows: list[Row], missing: list[Missing]) -> list[tuple[str, list[Row | Missing]]]:
    """Rows and gaps of each data set, in the order of `place`: tasks in theirs, rows before the gap of their task."""
    lines = sorted([*rows, *missing], key=lambda line: place(line.dataset, line.task))
    groups: dict[str, list[Row | Missing]] = {}
    for line in lines:
        groups.setdefault(line.dataset, []).append(line)
    return list(groups.items())


def largest_confusion(counts: list[list[int]]) -> tuple[int, int, int] | None:
    """(true class, predicted class, images) of the largest entry off the diagonal; None without errors."""
    entries = [(number, i, j) for i, row in enumerate(counts) for j, number in enumerate(row) if i != j]
    number, i, j = max(entries, key=lambda entry: (entry[0], -entry[1], -entry[2]))
    return (i, j, number) if number else None


def warnings_of(results: Results) -> list[str]:
    """Sentences on what makes counted runs less comparable or less traceable than they look."""
    found = []
    dirty = sorted(run.name for run in results.counted if run.record.environment.dirty is not False)
    if dirty:
        found.append(f"{show.plural(len(dirty), 'run')} came from a working tree that differed from its commit, or had "
                     "no git: the commit alone does not give their code back.")
    for dataset in sorted({row.dataset for row in results.rows}):
        digests = {tuple(sorted(run.record.data.sha256.items())) for row in results.rows for run in row.runs
                   if row.dataset == dataset}
        if len(digests) > 1:
            found.append(f"The runs on {dataset_name(dataset)} did not all read the same images and labels: their "
                         f"SHA-256 differ ({len(digests)} versions). Their accuracies do not compare.")
    copies = Counter(run.record.artifacts["arrays"].sha256 for run in results.counted)
    for digest in sorted(digest for digest, number in copies.items() if number > 1):
        names = [run.name for run in results.counted if run.record.artifacts["arrays"].sha256 == digest]
        found.append(f"{show.listing(names)} share one array file: they are one run, counted {len(names)} times.")
    for row in results.rows:
        machines = {(run.record.environment.device, run.record.environment.cpu) for run in row.runs}
        if len(machines) > 1:
            found.append(f"The seeds of {row.task} on {dataset_name(row.dataset)} ran on {len(machines)} different "
                         "machines: their mean time means little.")
    return found


def method_name(task: str, method: str) -> str:
    """'simclr', 'frozen random encoder'; an unknown method by its own name."""
    return CONTROLS.get(method, show.plain(method)) if task == "control" else show.plain(method)


def row_name(row: Row) -> str:
    """'1.2.3 simclr', 'control: PCA', '1.2.2 joint (labels=0.1)'."""
    name = f"{show.plain(row.task)}{':' if row.task == 'control' else ''} {method_name(row.task, row.method)}"
    return name + (f" ({row.recipe})" if row.recipe else "")


def task_name(task: str) -> str:
    """'1.2.1 autoencoding', 'rotation prediction'; an unknown task by its own name."""
    title = TASKS.get(task, show.plain(task))
    return f"{task} {title}" if task[:1].isdigit() and task in TASKS else title


def dataset_name(dataset: str) -> str:
    """'CIFAR-10'; an unknown data set by its own name."""
    return DATASETS.get(dataset, show.plain(dataset))
