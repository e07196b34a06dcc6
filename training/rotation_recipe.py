"""Hyper-parameters of the task rotation, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass
from typing import Any

from utils.recipe import FrozenRecipe, knob


@dataclass(frozen=True)
class RotationRecipe(FrozenRecipe):
    """Prediction of four rotations; the defaults are CIFAR-10's."""

    method: str = knob("rotnet", "rotnet: which of 0, 90, 180, 270 degrees (Gidaris et al. 2018)", choices=("rotnet",))


DEFAULT: dict[str, tuple[str, ...]] = {"cifar10": ("rotnet",), "mnist": ("rotnet",), "digits": ("rotnet",)}
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("cifar10", "rotnet"): {"epochs": 10, "translate": 2, "flip": True},
    ("mnist", "rotnet"): {"widths": (32, 64, 128), "epochs": 8, "translate": 2},
    ("digits", "rotnet"): {"widths": (32, 64), "epochs": 40, "batch_size": 64},
}
