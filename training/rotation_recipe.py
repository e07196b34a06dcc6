"""Hyper-parameters of the task rotation, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass

from utils.recipe import FrozenRecipe, knob


@dataclass(frozen=True)
class RotationRecipe(FrozenRecipe):
    """Telling four rotations apart, as CIFAR-10 has it."""

    method: str = knob("rotnet", "rotnet: which of 0, 90, 180, 270 degrees (Gidaris et al. 2018)", choices=("rotnet",))


RECIPES = {
    "cifar10": {"epochs": 10, "translate": 2, "flip": True},
    "mnist": {"epochs": 8, "widths": (32, 64, 128), "translate": 2},
    "digits": {"epochs": 40, "widths": (32, 64), "batch_size": 64},
}
