"""The table of tasks.  A new task is one training script, its recipe and one line here.  Imports no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training import autoencoding_recipe, classification_recipe, contrastive_recipe, control_recipe, rotation_recipe
from utils.recipe import ENCODER_DEFAULTS, LatentRecipe

Values = dict[str, dict[str, Any]]  # recipe fields, by data set, method or encoder


@dataclass(frozen=True)
class Task:
    """title: in words; script: module whose `train` learns the latent; recipe and tables: its hyper-parameters.

    methods: those that run when none is named, on data sets whose own recipe names none; per_method: by method, and by
    "method/data set" where a method's values differ there.
    """

    title: str
    script: str
    recipe: type[LatentRecipe]
    methods: tuple[str, ...]
    per_dataset: Values
    per_method: Values = field(default_factory=dict)
    per_encoder: Values = field(default_factory=lambda: ENCODER_DEFAULTS)

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Every method of the task."""
        return self.recipe.__dataclass_fields__["method"].metadata["choices"]

    def default_methods(self, family: str) -> tuple[str, ...]:
        """Those that run when none is named, on a data set with these recipes."""
        named = self.per_dataset[family].get("method")
        return (named,) if named else self.methods

    def default_recipe(self, family: str, method: str | None = None, encoder: str | None = None) -> LatentRecipe:
        """The recipe of a data set, and of a method and an encoder where they are named.

        family: the data set whose recipe it uses (DatasetSpec.recipes).
        """
        method = method or self.default_methods(family)[0]
        values = self.per_dataset[family] | {"method": method}
        for key in (method, f"{method}/{family}"):
            values |= self.per_method.get(key, {})
        recipe = self.recipe(**values)
        if encoder in (None, recipe.encoder):
            return recipe
        return self.recipe(**(values | {"encoder": encoder} | self.per_encoder.get(encoder, {})))


@dataclass(frozen=True)
class Planned:
    """One run that the command line asks for."""

    task: str
    recipe: LatentRecipe
    overridden: list[str]  # recipe fields that the command line changed
    seed: int
    path: Path  # of its record


TASKS = {
    "1.2.1": Task("autoencoding", "training.autoencoding", autoencoding_recipe.AutoencodingRecipe, ("plain",),
                  autoencoding_recipe.RECIPES, autoencoding_recipe.METHODS, autoencoding_recipe.ENCODERS),
    "1.2.2": Task("classification-guided", "training.classification", classification_recipe.ClassificationRecipe,
                  ("joint",), classification_recipe.RECIPES, per_encoder=classification_recipe.ENCODERS),
    "1.2.3": Task("contrastive", "training.contrastive", contrastive_recipe.ContrastiveRecipe, ("simclr",),
                  contrastive_recipe.RECIPES, contrastive_recipe.METHODS, contrastive_recipe.ENCODERS),
    "rotation": Task("rotation prediction", "training.rotation", rotation_recipe.RotationRecipe, ("rotnet",),
                     rotation_recipe.RECIPES),
    "control": Task("controls, nothing learned", "training.control", control_recipe.ControlRecipe, ("random", "pca"),
                    control_recipe.RECIPES, control_recipe.METHODS),
}
