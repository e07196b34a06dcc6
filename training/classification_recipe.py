"""Hyper-parameters of task 1.2.2, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass

from utils.recipe import Recipe, knob


@dataclass(frozen=True)
class ClassificationRecipe(Recipe):
    """Encoder and linear classifier, trained end to end."""

    method: str = knob("joint", "joint: encoder and classifier are trained end to end", choices=("joint",))
    label_smoothing: float = knob(0.1, "probability mass taken from the true class (Szegedy et al. 2016)", least=0,
                                  most=0.9)


RECIPES = {
    "cifar10": {"epochs": 14, "batch_size": 500, "muon_learning_rate": 0.05, "translate": 2, "flip": True,
                "label_smoothing": 0.2},
    # small shifts and rotations, as between writers; no flips: a mirrored digit is another shape
    "mnist": {"epochs": 10, "widths": (32, 64, 128), "translate": 2, "rotate_degrees": 10},
    "digits": {"epochs": 30, "widths": (32, 64), "batch_size": 64, "translate": 1},
}
