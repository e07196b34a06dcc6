"""Which runs a command line asks for: tasks, methods, data sets and seeds as a list of planned runs.  No torch here."""

import dataclasses
import difflib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.long_recipes import LongRecipe, long_recipes_in_words
from training.tasks import TASKS, Task, flattened, source_file
from utils.command_line import Arguments, processes
from utils.errors import UsageError
from utils.images.datasets import check_subset, image_shape, recipe_family, short_name
from utils.recipe import ENCODER_FIELDS, ENCODER_WIDTHS, LatentRecipe, Recipe, as_json, check_fits, flag_of, flag_values
from utils.records.schema import Record, RecordError, checkpoint_file, read_record, recipe_hash


@dataclass(frozen=True)
class Planned:
    """One run that the command line asks for.

    overridden: the recipe fields that the command line changed; origins: where each field's value comes from, in
    words; path: of the record to be written; long: what --recipe long took.
    """

    task: str
    recipe: LatentRecipe
    overridden: list[str]
    origins: dict[str, str]
    seed: int
    path: Path
    long: LongRecipe | None = None


def choose_tasks(name: str) -> dict[str, Task]:
    """The tasks that a name selects.  Raises UsageError, with the nearest valid choice."""
    if name == "all":
        return TASKS
    if name not in TASKS:
        words = {"all": "all"} | {word: key for key, task in TASKS.items() for word in (key, task.title,
                                                                                     *task.all_methods)}
        close = difflib.get_close_matches(name.strip().lower(), words, n=1, cutoff=0.3)
        hint = f"did you mean {words[close[0]]}? " if close else ""
        raise UsageError(f"--task {name}: no such task; {hint}choose from {', '.join(TASKS)}, all")
    return {name: TASKS[name]}


def check_divides(batch_size: int, count: int, name: str = "--batch-size") -> None:
    """UsageError unless batches of this size divide evenly over `count` processes, with at least two images each."""
    if count > 1 and (batch_size % count or batch_size < 2 * count):
        remedy = (f"give a multiple of {count}, at least {2 * count}" if name == "--batch-size" else
                  "use another number of processes")
        raise UsageError(f"{name} {batch_size}: is shared by {count} processes, so {remedy}")


def check_methods_have(recipe: type[LatentRecipe], methods: list[str], given: set[str]) -> None:
    """UsageError for a flag that none of the methods uses."""
    for f in dataclasses.fields(recipe):
        having = f.metadata["methods"]
        if f.name in given and having and not set(methods) & set(having):
            raise UsageError(f"{flag_of(f.name)} does not apply to method {', '.join(methods)}, only to "
                             f"{', '.join(having)}")


def check_flags_fit(arguments: Arguments, tasks: dict[str, Task]) -> None:
    """UsageError for a recipe flag that one of the chosen tasks does not have."""
    given = {name for task in TASKS.values() for name in flag_values(arguments, task.recipe)}
    for name, task in tasks.items():
        foreign = sorted(given - set(flag_values(arguments, task.recipe)))
        if foreign and not (name == "control" and len(tasks) > 1):  # only the controls train nothing
            raise UsageError(f"{flag_of(foreign[0])} is not part of the recipe of task {name}")


def plan(arguments: Arguments, tasks: dict[str, Task], dataset: str, init: Record | None) -> list[Planned]:
    """The runs on one data set: every task, method and seed.  Raises UsageError for a recipe value out of range."""
    runs = []
    family, shape = recipe_family(dataset), image_shape(dataset, arguments.image_size)
    if init and init.data.image_shape != list(shape):
        raise UsageError(f"--init {arguments.init}: its encoder takes images of {init.data.image_shape} "
                         f"(channels, height, width), those of {dataset} are {list(shape)}")
    for name, task in tasks.items():
        if init and name == "control":
            raise UsageError("--init: a control does not start from another run")
        methods = arguments.method or task.default_methods
        methods = list(dict.fromkeys(task.all_methods if "all" in methods else methods))
        check_methods_have(task.recipe, methods, set(flag_values(arguments, task.recipe)))
        for method in methods:
            default = task.default_recipe(family, method)
            long = task.long.get((family, method)) if arguments.recipe == "long" else None
            if arguments.recipe == "long" and not long:
                raise UsageError(f"--recipe long: {name} {method} on {dataset} has none; there is one for "
                                 f"{long_recipes_in_words()}")
            recipe, given, origins = chosen_recipe(arguments, task, family, method, init)
            overridden = sorted(field for field in (origins if long else given)
                                if getattr(recipe, field) != getattr(default, field))
            check_fits(recipe, shape)
            check_subset(dataset, recipe.subset)
            if isinstance(recipe, Recipe):
                check_divides(recipe.batch_size, processes())
                if recipe.finetune:
                    batch = as_json(TASKS["1.2.2"].default_recipe(family))["batch_size"]
                    check_divides(batch, processes(), "--finetune: its batch size")
            stem = f"{name}_{short_name(dataset, arguments.image_size)}_{method}"
            suffix = "" if recipe == default else f"_{recipe_hash(as_json(recipe))}"
            if init:
                suffix += f"_from-{init.run.task}-{init.run.method}"
            if arguments.quick:
                if isinstance(recipe, Recipe) and recipe.epochs:
                    short: dict[str, Any] = {"epochs": 1} | ({"finetune_epochs": 1} if recipe.finetune else {})
                    recipe = dataclasses.replace(recipe, **short)
                    origins |= dict.fromkeys(short, "--quick")
                suffix += "_quick"
            for seed in dict.fromkeys(arguments.seed):
                path = arguments.results_dir / f"{stem}_seed{seed}{suffix}.json"
                runs.append(Planned(name, recipe, overridden, origins, seed, path, long))
    return runs


def chosen_recipe(arguments: Arguments, task: Task, family: str, method: str,
                  init: Record | None) -> tuple[LatentRecipe, dict[str, Any], dict[str, str]]:
    """The recipe that the command line asks for, the values that its flags give, and every field's origin in words."""
    long = arguments.recipe == "long"
    default = task.default_recipe(family, method, long=long)
    given = {field: value for field, value in flag_values(arguments, task.recipe).items() if default.uses(field)}
    # 15.0 degrees, where the table has 15, would be recorded as another setting
    given = {field: getattr(default, field) if value == getattr(default, field) else value
             for field, value in given.items()}
    fields = init.recipe.fields if init else {}
    inherited: dict[str, Any] = {field: tuple(value) if isinstance(value, list) else value
                                 for field, value in fields.items() if field in ENCODER_FIELDS}
    for field, value in inherited.items():
        if given.get(field, value) != value:
            raise UsageError(f"{flag_of(field)}: {arguments.init} has {fields[field]}; leave the flag out")
    layers = [*task.layers(family, method, (inherited | given).get("encoder"), long),
              (inherited, f"--init {arguments.init}"), (given, "command line")]
    recipe = task.recipe(**flattened(layers))
    if recipe.epochs == 0 and not init and default.epochs > 0:
        raise UsageError("--epochs 0 trains nothing; give --init RECORD to score that run's encoder as it is")
    if recipe.epochs == 0 and recipe.method == "joint":
        raise UsageError("--epochs 0: task 1.2.2 is the joint training; score the encoder under the task it came from")
    tuning = {"finetune_epochs", "finetune_learning_rate"}
    if not recipe.finetune and (idle := sorted(tuning & set(given))):
        raise UsageError(f"{flag_of(idle[0])} applies only with --finetune")
    scoring = {f.name for f in dataclasses.fields(LatentRecipe)} | tuning | {"epochs", "finetune"}
    if recipe.finetune and as_json(TASKS["1.2.2"].default_recipe(family))["alternating_flip"]:
        scoring.add("flip")  # which --no-flip turns off
    if "epochs" in given and recipe.epochs == 0 and (idle := sorted(set(given) - scoring)):
        raise UsageError(f"{flag_of(idle[0])} does not apply: --epochs 0 trains nothing")
    origins = {field: f"default, {source_file(cls)}"
               for cls in reversed(task.recipe.__mro__) for field in cls.__dict__.get("__annotations__", {})}
    origins |= {field: origin for values, origin in layers for field in values}
    origins = {f.name: origins[f.name] + ("" if recipe.uses(f.name) else f"; not used by {method}")
               for f in dataclasses.fields(recipe)}
    return recipe, given, origins | {"method": "command line" if arguments.method else f"default on {family}"}


def described(plans: dict[str, list[Planned]]) -> str:
    """Every field of each recipe, its value and where that comes from: what --show-recipe prints.

    plans: the planned runs by data set.  Runs that differ only in their seeds share a block.
    """
    blocks = []
    for dataset, planned in plans.items():
        for _, same in itertools.groupby(planned, key=lambda run: (run.task, run.recipe)):
            runs = list(same)
            first, seeds = runs[0], ", ".join(str(run.seed) for run in runs)
            values = {name: " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
                      for name, value in as_json(first.recipe).items()}
            width, wide = max(map(len, values)), max(map(len, values.values()))
            lines = [f"  {name:{width}}  {value:{wide}}  {first.origins[name]}" for name, value in values.items()]
            title = f"{first.task} ({TASKS[first.task].title}) on {dataset}, seed {seeds} -> {first.path}"
            if first.long:
                lines += [f"  settings:  {first.long.source}",
                          f"  published: {first.long.published}; not measured here (training/long_recipes.py)"]
            blocks.append("\n".join([title, *lines]))
    return "\n\n".join(blocks)


def read_init(path: Path, quick: bool) -> Record:
    """The record of --init.  UsageError where no run, quick or not, can start from it; RunError without its weights."""
    try:
        record = read_record(path)
    except RecordError as error:
        raise UsageError(f"--init {path}: {str(error).removeprefix(f'{path.name}: ')}") from None
    if record.run.status == "quick" and not quick:
        raise UsageError(f"--init {path}: this was a quick run; start from a complete run, or add --quick")
    if "checkpoint" not in record.artifacts:
        raise UsageError(f"--init {path}: this run has no checkpoint")
    if record.recipe.fields.get("encoder") not in ENCODER_WIDTHS:
        raise UsageError(f"--init {path}: its encoder cannot be trained; name a run whose encoder is one of "
                         f"{', '.join(ENCODER_WIDTHS)}")
    checkpoint_file(path, record)
    return record
