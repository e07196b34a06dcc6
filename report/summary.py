"""From records to rows of raw numbers: what counts, seeds put together, what is missing."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import TypeVar

from scipy.special import ndtri, stdtrit

import training.tasks
from report import show
from report.load import Loaded
from report.prose import CONTROLS, METHODS, TASKS
from utils.errors import UsageError
from utils.images.datasets import DATASETS, recipe_family
from utils.recipe import as_json, patch_dimensions
from utils.records.schema import Init, Record, recipe_hash

# (task, data set) -> test accuracy to compare with, which is no result of this repository
REFERENCE = {(task, name): accuracy for name, spec in DATASETS.items() for task, accuracy in spec.references.items()}
TOY = "digits"  # the data set that comes last; see Results.aside
OTHER_LOAD = 0.2  # threads: with more of other work next to a run, its minutes are not shown


@dataclass(frozen=True)
class Row:
    """One line of the headline table: the runs that differ only in their seed."""

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
    seeds_interval: tuple[float, float] | None  # Student's 95 % interval of the mean; None below three seeds
    learned: int  # dimensions of the latent that training could change
    latent_dim: int
    control: float | None  # accuracy of the best control on the same data set
    linear: float  # means
    knn: float
    reference: float | None
    anchor: str = ""  # its id on the page, which stays when other runs are added: 'cifar10-1.2.3-cmc'

    @property
    def difference(self) -> float | None:
        return None if self.reference is None else self.accuracy - self.reference

    @property
    def over_control(self) -> float | None:
        return None if self.control is None or self.task == "control" else self.accuracy - self.control

    @property
    def labels(self) -> str:
        """The labels that shaped the latent: 'none' or 'all', or their share."""
        record = self.runs[0].record
        if self.task != "1.2.2" and not record.recipe.fields.get("finetune"):
            return "none"
        share = label_fraction(record)
        return "all" if share in (None, 1.0) else f"{100 * share:g} %"

    @property
    def mark(self) -> str:
        """Those of show.MARKS that apply."""
        method = METHODS.get(self.method)
        chosen = method and method.chosen_on_test or self.runs[0].record.recipe.fields.get("finetune")
        on_test = chosen and self.dataset == "mnist"  # whose test images they were
        return (show.UNLIKE if len(machines_of(self.runs)) > 1 else "") + (show.ON_TEST if on_test else "")

    @property
    def timed(self) -> list[Loaded]:
        """The runs whose times count: two threads or more, no other work, one kind of machine; may be empty.

        Where no record says so, those that do not say how much other work there was: their times are upper bounds.
        """
        loads = [(run, run.record.environment.other_load) for run in self.runs if run.record.environment.threads > 1]
        timed = [run for run, load in loads if load is not None and load < OTHER_LOAD] \
            or [run for run, load in loads if load is None]
        return timed if len(machines_of(timed)) == 1 else []

    @property
    def timed_alone(self) -> bool:
        """Whether the timed runs were alone on the machine; False: their times are upper bounds."""
        return all(run.record.environment.other_load is not None for run in self.timed)

    @property
    def seconds(self) -> float | None:
        """Mean of the timed runs' seconds, training and scoring; None without one."""
        return fmean(run.record.run.seconds for run in self.timed) if self.timed else None

    @property
    def method_and_recipe(self) -> str:
        """'simclr', 'PCA', 'joint (labels=0.1)'."""
        return method_name(self.task, self.method) + (f" ({self.recipe})" if self.recipe else "")

    @property
    def label(self) -> str:
        """The method among those of another task: 'simclr', 'control: PCA'."""
        return f"{'control: ' if self.task == 'control' else ''}{self.method_and_recipe}"


def machines_of(runs: Iterable[Loaded]) -> set[tuple[str, str, int, int, str]]:
    """Device, processor, processes, threads and number format of runs."""
    environments = [run.record.environment for run in runs]
    return {(one.device, one.cpu, one.processes, one.threads, one.precision) for one in environments}


@dataclass(frozen=True)
class Missing:
    """A result that the coursework asks for and that no counted record gives."""

    dataset: str
    task: str
    reference: float
    anchor: str = ""


Line = TypeVar("Line", bound=Row | Missing)
Item = TypeVar("Item")
Key = TypeVar("Key")


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
    def aside(self) -> set[str]:
        """What abstract, discussion and paper leave out: the toy set, where something was learned on another one."""
        return {TOY} if any(row.task != "control" and row.dataset != TOY for row in self.headline) else set()

    @property
    def headline_and_missing(self) -> list[tuple[str, list[Row | Missing]]]:
        """Headline rows and missing results of each data set; a missing result follows the rows of its task."""
        lines: list[Row | Missing] = [*self.headline, *self.missing]
        return by_dataset(sorted(lines, key=lambda line: place(line.dataset, line.task)))


def wilson_interval(accuracy: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a proportion (Wilson 1927, JASA 22, 209-212), as (low, high).

    accuracy: fraction correct in [0, 1], which need not be a multiple of 1/n: here it is a mean over seeds, so that
    scipy's binomtest does not apply.  n: images counted, > 0.  The interval covers the sampling of n test images, not
    the randomness of training.
    """
    z = float(ndtri(0.975))  # quantile of the standard normal distribution
    centre = (accuracy + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval of the mean of at least three values, within [0, 1]; None of fewer."""
    if len(values) < 3:
        return None
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return max(0.0, fmean(values) - half), min(1.0, fmean(values) + half)


def summarise(loaded: list[Loaded]) -> Results:
    """Sort the accepted records into rows, repeats, quick and failed runs, and find what is missing."""
    loaded = with_folders_told_apart(loaded)
    counted, repeats = drop_repeats(with_status(loaded, "complete"))
    groups = grouped(counted, setting)
    alike = Counter((key[:3], changes(runs[0].record)) for key, runs in groups.items())
    rows = [make_row(runs, ambiguous=alike[key[:3], changes(runs[0].record)] > 1) for key, runs in groups.items()]
    best = {dataset: max(found, key=lambda row: row.accuracy).accuracy
            for dataset, found in by_dataset(row for row in rows if row.task == "control" and row.default)}
    rows = [replace(row, control=best.get(row.dataset)) for row in rows]
    rows.sort(key=lambda row: (*place(row.dataset, row.task), not row.default,
                               rank(row.method, [*METHODS, *CONTROLS]), row.recipe, row.runs[0].name))
    rows = with_anchors(rows)
    present = {(row.task, row.dataset) for row in rows if row.default}
    missing = [Missing(dataset, task, reference) for (task, dataset), reference in REFERENCE.items()
               if (task, dataset) not in present]
    return Results(rows, missing, repeats, with_status(loaded, "quick"), with_status(loaded, "failed"))


def with_folders_told_apart(loaded: list[Loaded]) -> list[Loaded]:
    """The runs, where the later of two folders that have one name and other images is called 'folder-pets (2)'.

    Else one folder's classes, controls and maps would be shown as the other's.  The first keeps its name and links.
    """
    versions: dict[str, list[object]] = {}
    for run in sorted(with_status(loaded, "complete"), key=lambda run: run.record.run.started):
        known = versions.setdefault(run.record.run.dataset, [])
        known += [run.record.data.sha256] * (run.record.data.sha256 not in known)
    found = []
    for run in loaded:
        about, digests = run.record.run, versions.get(run.record.run.dataset, [])
        if about.dataset.startswith("folder-") and run.record.data.sha256 in digests[1:]:
            named = {"dataset": f"{about.dataset} ({digests.index(run.record.data.sha256) + 1})"}
            init = about.init
            if init and init.dataset == about.dataset:
                init = init.model_copy(update=named)
            about = about.model_copy(update={**named, "init": init})
            run = replace(run, record=run.record.model_copy(update={"run": about}))
        found.append(run)
    return found


def with_status(loaded: list[Loaded], status: str) -> list[Loaded]:
    """Those runs whose status is complete, quick or failed."""
    return [run for run in loaded if run.record.run.status == status]


def rank(name: str, order: Iterable[str]) -> tuple[int, str]:
    """Sorting key: known names in their order, others after them by name."""
    known = list(order)
    return (known.index(name) if name in known else len(known)), name


def place(dataset: str, task: str) -> tuple:
    """Sorting key: by data set, the embedded toy set last, then by task."""
    return dataset == TOY, rank(dataset, DATASETS), rank(task, TASKS)


def setting(run: Loaded) -> tuple[str, ...]:
    """What two runs share when only their seeds differ."""
    record = run.record
    init = record.run.init
    origin = (init.task, init.dataset, init.method, init.recipe_hash, str(init.labels)) if init else ("",) * 5
    return (record.run.dataset, record.run.task, record.run.method, training.tasks.setting_of(record),
            str(record.derived.protocol), *origin,
            *(digest for _, digest in sorted(record.data.sha256.items())))


def default_hash(init: Init) -> str | None:
    """The hash of today's default recipe of the method that an encoder comes from; None for an unknown method."""
    tasks = training.tasks.TASKS
    if init.task not in tasks or init.method not in tasks[init.task].all_methods:
        return None
    return recipe_hash(as_json(tasks[init.task].default_recipe(recipe_family(init.dataset), init.method)))


def has_earlier_recipe(init: Init) -> bool:
    """Whether the encoder that a run started from was trained with another recipe than today's default."""
    return default_hash(init) not in (None, init.recipe_hash)


def overridden(record: Record) -> list[str]:
    """The recipe fields that the command line changed, except the method, which has a column of its own."""
    return [name for name in record.recipe.overridden if name != "method"]


def changed_fields(record: Record) -> list[str]:
    """The recipe fields that differ from today's defaults, which may not be those that the run was trained with.

    Where a run started from another one, they are those that its command changed: the encoder's have no flags there.
    """
    fields, task = record.recipe.fields, training.tasks.TASKS.get(record.run.task)
    if task is None or record.run.method not in task.all_methods or record.run.init:
        return overridden(record)
    family, encoder = recipe_family(record.run.dataset), str(fields["encoder"])
    default = task.default_recipe(family, record.run.method)
    try:
        alike = as_json(task.default_recipe(family, record.run.method, encoder)) | {"encoder": default.encoder}
    except UsageError:  # today the method takes no such encoder
        return overridden(record)
    idle = () if fields.get("finetune") else ("finetune_epochs", "finetune_learning_rate")
    return [name for name, value in fields.items()
            if name in alike and name != "method" and name not in idle and default.uses(name) and alike[name] != value]


def label_fraction(record: Record) -> float | None:
    """The share of the training labels that was used, in (0, 1]; None where the recipe's value is none."""
    share = record.recipe.number("labels")
    return share if 0 < share <= 1 else None


def changes(record: Record) -> str:
    """How a run departs from its method's default, in words: 'from 1.2.3 simclr, labels=0.01'; "" if it does not."""
    init = record.run.init
    origin = [f"from {show.plain(init.task)} {show.plain(init.method)}"] if init else []
    if init and init.dataset != record.run.dataset:
        origin[0] += f" on {dataset_name(init.dataset)}"
    if init and has_earlier_recipe(init):
        origin[0] += f" recipe {init.recipe_hash}"
    if init and init.labels > (label_fraction(record) or 0):
        origin[0] += f", which was trained with {100 * init.labels:g} % of the labels"
    return ", ".join(origin + [f"{show.plain(name)}={show.field(record.recipe.fields[name])}"
                               for name in overridden(record)])


def with_anchors(rows: list[Row]) -> list[Row]:
    """The rows with an id made of data set, task, method and changes; a number follows where two would be equal."""
    found, seen = [], Counter[str]()
    for row in rows:
        recipe = re.sub(r"^(from \S+ \S+) recipe \S+", r"\1", row.recipe)  # or links would not outlast a new default
        words = "-".join((row.dataset, row.task, row.method, recipe)).lower()
        anchor = re.sub(r"[^a-z0-9.]+", "-", words)[:100].strip("-.")
        in_a_file = anchor.replace(".", "-")
        seen[in_a_file] += 1
        found.append(replace(row, anchor=anchor + (f"-no{seen[in_a_file]}" if seen[in_a_file] > 1 else "")))
    return found


def drop_repeats(complete: list[Loaded]) -> tuple[list[Loaded], list[tuple[Loaded, str]]]:
    """Of runs with one setting and seed the newest counts.  Returns those, by seed, and (repeat, newest's name)."""
    newest: dict[tuple, Loaded] = {}
    repeats = []
    for run in sorted(complete, key=lambda run: (run.record.run.started, run.name), reverse=True):
        init = run.record.run.init  # its seed matters more than the run's own, which is often 0
        kept = newest.setdefault((*setting(run), run.record.run.seed, init.sha256 if init else ""), run)
        if kept is not run:
            repeats.append((run, kept.name))
    counted = sorted(newest.values(), key=lambda run: (run.record.run.seed, run.name))
    return counted, sorted(repeats, key=lambda pair: pair[0].name)


def make_row(runs: list[Loaded], ambiguous: bool) -> Row:
    """Put the seeds of one setting together.  ambiguous: the same changes were made to more than one recipe."""
    first = runs[0].record
    accuracies = tuple(run.record.headline.value for run in runs)
    accuracy = fmean(accuracies)
    low, high = wilson_interval(accuracy, min(run.record.headline.n for run in runs))
    changed, latent_dim = changes(first), int(first.recipe.number("latent_dim"))
    fixed = patch_dimensions(str(first.recipe.fields["encoder"]), latent_dim, first.data.image_shape)  # never trained
    return Row(
        dataset=first.run.dataset, task=first.run.task, method=first.run.method, default=not changed,
        recipe=", ".join(filter(None, [changed, f"recipe {first.recipe.hash}, protocol {first.derived.protocol}"
                                          if ambiguous else ""])),
        runs=tuple(runs), accuracies=accuracies, accuracy=accuracy,
        deviation=stdev(accuracies) if len(accuracies) > 1 else None, low=low, high=high,
        seeds_interval=t_interval(accuracies), latent_dim=latent_dim, control=None,
        learned=0 if first.run.task == "control" else latent_dim - fixed,
        linear=fmean(run.record.metrics["test/linear_top1"].value for run in runs),
        knn=fmean(run.record.metrics["test/knn_top1"].value for run in runs),
        reference=REFERENCE.get((first.run.task, first.run.dataset)))


def mean_of(runs: Sequence[Loaded], metric: str) -> float | None:
    """Mean of a metric over runs; None where one of them lacks it."""
    found = [run.record.metrics[metric].value for run in runs if metric in run.record.metrics]
    return fmean(found) if len(found) == len(runs) else None


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """The items by their key, in their order."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def by_dataset(lines: Iterable[Line]) -> list[tuple[str, list[Line]]]:
    """Lines grouped by data set, in their order."""
    return list(grouped(lines, lambda line: line.dataset).items())


def warnings_of(results: Results) -> list[str]:
    """Sentences on what makes counted runs less comparable or less traceable than they look."""
    found = []
    dirty = sum(run.record.environment.dirty is not False for run in results.counted)
    if dirty:
        found.append(f"{show.plural(dirty, 'run')} came from a working tree with uncommitted changes, or without git: "
                     "the commit alone does not reproduce their code.")
    for dataset, rows in sorted(by_dataset(results.rows)):
        records = [run.record for row in rows for run in row.runs]
        if name := re.fullmatch(r"(folder-.+) \(\d+\)", dataset):
            found.append(f"{dataset} is another folder of the name {name[1]}, or the same one after a change. Its "
                         "images or labels differ, so its rows are not compared with those of the first.")
        versions = sorted({record.derived.protocol for record in records})
        if len(versions) > 1:
            older = [row.method_and_recipe if row.task == "control" else f"{row.task} {row.method_and_recipe}"
                     for row in rows if row.runs[0].record.derived.protocol != versions[-1]]
            found.append(f"The rows on {dataset_name(dataset)} were scored by {len(versions)} versions of the "
                         f"classifier's protocol ({show.listing(list(map(str, versions)))}); no row mixes two. Older "
                         f"than version {versions[-1]}: {show.listing(older)}.")
    copies = grouped(results.counted, lambda run: run.record.artifacts["arrays"].sha256)
    found += [f"{show.listing([run.name for run in runs])} share one array file: they are one run, counted {len(runs)} "
              "times." for _, runs in sorted(copies.items()) if len(runs) > 1]
    for dataset, rows in sorted(by_dataset(results.rows)):
        earlier = [row_name(row) for row in rows
                   if set(changed_fields(row.runs[0].record)) - set(overridden(row.runs[0].record))]
        if earlier:
            were = "was" if len(earlier) == 1 else "were"
            found.append(f"On {dataset_name(dataset)}, {show.listing(earlier)} {were} trained with a recipe other than "
                         "today's default. In the HTML report, the command of each row names the difference.")
    return found


def method_name(task: str, method: str) -> str:
    """'simclr', 'cmc (hybrid)', 'frozen random encoder'; an unknown method by its own name."""
    if task == "control":
        return CONTROLS.get(method, show.plain(method))
    return f"{method} (hybrid)" if method in METHODS and METHODS[method].hybrid else show.plain(method)


def row_name(row: Row) -> str:
    """'1.2.3 simclr', 'control: PCA', '1.2.2 joint (labels=0.1)'."""
    return row.label if row.task == "control" else f"{show.plain(row.task)} {row.label}"


def task_name(task: str) -> str:
    """'1.2.1 autoencoding', 'rotation prediction', 'control'; an unknown task by its own name."""
    if task == "control" or task not in training.tasks.TASKS:
        return show.plain(task)
    title = training.tasks.TASKS[task].title
    return f"{task} {title}" if task[:1].isdigit() else title


def dataset_name(dataset: str) -> str:
    """'CIFAR-10'; an unknown data set by its own name."""
    return DATASETS[dataset].title if dataset in DATASETS else show.plain(dataset)
