"""Hyper-parameters of task 1.2.2, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass
from typing import Any, ClassVar

from utils.errors import UsageError
from utils.recipe import ENCODER_DEFAULTS, ONE_SIZE, Method, Recipe, knob, method_knob

GROWING = 0.75  # fraction of the steps after which images have their full size (progressive resizing)

METHODS = {
    "joint": Method(
        help="train encoder and classifier end to end",
        objective="cross-entropy with label smoothing {r.label_smoothing}, nats (validation: without smoothing)",
        title="1.2.2 joint: cross-entropy with label smoothing",
        source="Szegedy et al. 2016",
        text="Encoder and a linear classifier p are trained together. Of the C classes, the true one, y, has the "
             "target 1 − s + s/C, and each of the others s/C.",
        typst="cal(L) = -1/N sum_(i=1)^N sum_(c=1)^C ((1 - s) [c = y_i] + s/C) log p_c (f(x_i))",
        alt="the loss is the mean cross-entropy of the predicted class probabilities with smoothed one-hot targets"),
}


@dataclass(frozen=True)
class ClassificationRecipe(Recipe):
    """Encoder and linear classifier, trained end to end."""

    methods_in_words: ClassVar[dict[str, Method]] = METHODS
    method: str = method_knob(METHODS)
    label_smoothing: float = knob(0.1, "probability mass taken from the true class (Szegedy et al. 2016)", least=0,
                                  most=0.9)
    alternating_flip: bool = knob(False, "augmentation: mirror each image in every other epoch instead of at random; "
                                  "half of the images start mirrored (Jordan 2024, cifar10-airbench)")
    cutout: int = knob(0, "augmentation: side of the square that is blanked in each image, pixels (DeVries and Taylor "
                       "2017); 0: none", least=0)
    resize_from: float = knob(1.0, "progressive resizing: initial side of the images as a fraction of the full side, "
                              f"which is reached after {GROWING:.0%} of the steps (Howard 2018); 1: no resizing",
                              above=0, most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flip and self.alternating_flip:
            raise UsageError("--flip contradicts --alternating-flip; add --no-alternating-flip")


RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("cifar10", "joint"): {
        "widths": (128, 384, 384), "epochs": 16, "batch_size": 500, "muon_learning_rate": 0.05, "translate": 4,
        "alternating_flip": True, "resize_from": 0.625, "label_smoothing": 0.2},
    # small shifts and rotations, as between writers; no flips: a mirrored digit is a different shape
    ("mnist", "joint"): {
        "widths": (32, 64, 128), "epochs": 16, "translate": 2, "rotate_degrees": 10, "cutout": 8},
    ("digits", "joint"): {"widths": (32, 64), "epochs": 30, "batch_size": 64, "translate": 1},
}
ENCODERS = {kind: values | ({"resize_from": 1.0} if kind in ONE_SIZE else {})
            for kind, values in ENCODER_DEFAULTS.items()}
