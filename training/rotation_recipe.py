"""Hyper-parameters of the task rotation, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass
from typing import Any, ClassVar

from utils.recipe import FrozenEncoderRecipe, Method, method_knob

METHODS = {
    "rotnet": Method(
        help="predict a rotation of 0, 90, 180 or 270 degrees (Gidaris et al. 2018)",
        objective="cross-entropy of four rotations, nats; accuracy is that of the rotation",
        title="rotation: cross-entropy of four rotations",
        source="Gidaris et al. 2018",
        text="The image is rotated by a random number r of quarter turns R; a linear head p predicts r from the "
             "latent.",
        typst="cal(L) = -1/N sum_(i=1)^N log p_(r_i) (f(R^(r_i) x_i)), quad r_i in {0, 1, 2, 3}",
        alt="the mean of minus the log probability of the true rotation given the rotated image's latent"),
}


@dataclass(frozen=True)
class RotationRecipe(FrozenEncoderRecipe):
    """Prediction of four rotations.  RECIPES, below, has the values that differ per data set."""

    methods_in_words: ClassVar[dict[str, Method]] = METHODS
    method: str = method_knob(METHODS)


RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("cifar10", "rotnet"): {"epochs": 10, "translate": 2, "flip": True},
    ("mnist", "rotnet"): {"widths": (32, 64, 128), "epochs": 8, "translate": 2},
    ("digits", "rotnet"): {"widths": (32, 64), "epochs": 40, "batch_size": 64},
}
