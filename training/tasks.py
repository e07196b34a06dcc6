"""The table of tasks.  A new task is one training script, its recipe and one line here.  Imports no torch."""

from dataclasses import dataclass
from typing import Any

from training import autoencoding_recipe, classification_recipe, contrastive_recipe, rotation_recipe
from utils.recipe import Recipe


@dataclass(frozen=True)
class Task:
    """title: in words; script: module whose `train` learns the latent; recipe, per_dataset: its hyper-parameters."""

    title: str
    script: str
    recipe: type[Recipe]
    per_dataset: dict[str, dict[str, Any]]

    def default_recipe(self, family: str) -> Recipe:
        """The recipe of a data set; family: the data set whose recipe it uses (DatasetSpec.recipes)."""
        return self.recipe(**self.per_dataset[family])


TASKS = {
    "1.2.1": Task("autoencoding", "training.autoencoding",
                  autoencoding_recipe.AutoencodingRecipe, autoencoding_recipe.RECIPES),
    "1.2.2": Task("classification-guided", "training.classification",
                  classification_recipe.ClassificationRecipe, classification_recipe.RECIPES),
    "1.2.3": Task("contrastive", "training.contrastive",
                  contrastive_recipe.ContrastiveRecipe, contrastive_recipe.RECIPES),
    "rotation": Task("rotation prediction", "training.rotation",
                     rotation_recipe.RotationRecipe, rotation_recipe.RECIPES),
}
