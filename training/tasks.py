"""The table of tasks.  A new task is one training script, its recipe and one line here.  Imports no torch."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

from training import autoencoding_recipe, classification_recipe, contrastive_recipe, control_recipe, rotation_recipe
from training.long_recipes import LONG, LongRecipe
from utils.command_line import MOST_COLUMNS
from utils.recipe import ENCODER_DEFAULTS, LatentRecipe, as_json
from utils.records.schema import Record, setting_hash

Layer = tuple[dict[str, Any], str]  # values of a recipe's fields, and where they come from, in words


@dataclass(frozen=True)
class Task:
    """title: in words; script: the module whose `train` learns the latent; recipe: its hyper-parameters.

    recipes: by (data set, method), every value that differs from the recipe's own default; encoders: by encoder, what
    `--encoder` changes when it names another one; long: by (data set, method), what `--recipe long` has in place of
    `recipes`; default: the methods that run when none is named, if not only the first.
    """

    title: str
    script: str
    recipe: type[LatentRecipe]
    recipes: dict[tuple[str, str], dict[str, Any]]
    encoders: dict[str, dict[str, Any]] = field(default_factory=lambda: ENCODER_DEFAULTS)
    long: dict[tuple[str, str], LongRecipe] = field(default_factory=dict)
    default: tuple[str, ...] = ()

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Every method of the task."""
        return self.recipe.__dataclass_fields__["method"].metadata["choices"]

    @property
    def default_methods(self) -> tuple[str, ...]:
        """The methods that run when none is named."""
        return self.default or self.all_methods[:1]

    def layers(self, family: str, method: str, encoder: str | None = None, long: bool = False) -> list[Layer]:
        """What differs from the recipe's own defaults; where layers share a field, the last one counts.

        family: the data set whose recipes are used (DatasetSpec.recipe_family); encoder: in place of the entry's own;
        long: the entry of --recipe long.
        """
        entry, file = self.recipes.get((family, method), {}), source_file(self.recipe)
        if long:
            entry, file = self.long[family, method].values, "--recipe long: training/long_recipes.py"
        layers = [({"method": method}, ""), (entry, f'{file}, ("{family}", "{method}")')]
        if encoder is not None and encoder != entry.get("encoder", self.recipe.encoder):
            layers.append((self.encoders.get(encoder, {}) | {"encoder": encoder}, f"set by encoder {encoder}"))
        return layers

    def default_recipe(self, family: str, method: str | None = None, encoder: str | None = None,
                       long: bool = False) -> LatentRecipe:
        """The recipe made of layers(); method: by default the first that runs when none is named."""
        method = self.default_methods[0] if method is None else method
        return self.recipe(**flattened(self.layers(family, method, encoder, long)))


def flattened(layers: list[Layer]) -> dict[str, Any]:
    """The value of every field in the layers."""
    return {name: value for values, _ in layers for name, value in values.items()}


def source_file(cls: type) -> str:
    """The file that defines a class, below the project's root."""
    return f"{cls.__module__.replace('.', '/')}.py"


TASKS = {
    "1.2.1": Task("autoencoding", "training.autoencoding", autoencoding_recipe.AutoencodingRecipe,
                  autoencoding_recipe.RECIPES, autoencoding_recipe.ENCODERS, LONG["1.2.1"]),
    "1.2.2": Task("classification-guided", "training.classification", classification_recipe.ClassificationRecipe,
                  classification_recipe.RECIPES, classification_recipe.ENCODERS, LONG["1.2.2"]),
    "1.2.3": Task("contrastive", "training.contrastive", contrastive_recipe.ContrastiveRecipe,
                  contrastive_recipe.RECIPES, contrastive_recipe.ENCODERS, LONG["1.2.3"]),
    "rotation": Task("rotation prediction", "training.rotation", rotation_recipe.RotationRecipe,
                     rotation_recipe.RECIPES),
    "control": Task("controls, nothing learned", "training.control", control_recipe.ControlRecipe,
                    control_recipe.RECIPES, default=tuple(control_recipe.METHODS)),
}


def setting_of(record: Record) -> str:
    """setting_hash of a record's recipe; fields that were added to the recipe since then have their defaults."""
    task = TASKS.get(record.run.task)
    defaults = as_json(task.recipe()) if task else {}
    return setting_hash(defaults | record.recipe.fields)


def tasks_in_words() -> str:
    """For --help: every task's methods and, on a separate line, those that run by default."""
    def paragraph(text: str, indent: str) -> str:
        return textwrap.fill(text, MOST_COLUMNS, initial_indent=indent, subsequent_indent=12 * " ")

    lines = []
    for name, task in TASKS.items():
        methods = task.recipe.__dataclass_fields__["method"].metadata["help"]
        lines.append(paragraph(f"{name:10}{task.title}.  {methods}", "  "))
        if len(task.all_methods) > 1:
            lines.append(paragraph(f"default: {', '.join(task.default_methods)}", 12 * " "))
    return "\n".join(lines)
