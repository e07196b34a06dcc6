"""Hyper-parameters of the controls, which train nothing: the encoder and its images.  No torch here."""

from dataclasses import dataclass
from typing import Any

from utils.errors import UsageError
from utils.recipe import ENCODER_DEFAULTS, FIXED_ENCODERS, LatentRecipe, Method, knob, method_knob

METHODS = {
    "random": Method(title="frozen random encoder", help="random initial weights"),
    "calibrated": Method(title="random encoder, batch norms calibrated",
                         help="the same, with the norms' statistics set from training images"),
    "depths": Method(title="random encoder, read at every depth",
                     help="the calibrated network with encoder conv_depths, read at every depth"),
    "pca": Method(title="PCA of pixels", help="principal components of the pixels"),
    "patch_pca": Method(title="PCA of patch features", help="principal components of frozen patch features, from which "
                        "1.2.1 patches and 1.2.3 cmc start"),
    "hybrid": Method(title="cmc without training",
                     help="calibrated random weights together with the patch components")}
RANDOM = ("random", "calibrated")  # methods that take any encoder with weights


@dataclass(frozen=True)
class ControlRecipe(LatentRecipe):
    """A latent that was not learned."""

    method: str = method_knob(METHODS)
    encoder: str = knob("conv", "methods random and calibrated: any encoder except pca and patch_pca; each other "
                        "method has its own",
                        choices=(*ENCODER_DEFAULTS, *FIXED_ENCODERS), methods=RANDOM)
    widths: tuple[int, ...] = knob((64, 256, 256), "as in every task", least=1, most=65536,
                                   methods=(*RANDOM, "depths", "hybrid"))
    pooling: str = knob("max", "as in every task", choices=("max", "mean", "flatten"),
                        methods=(*RANDOM, "depths", "hybrid"))

    def __post_init__(self) -> None:
        super().__post_init__()
        own = OWN_ENCODER.get(self.method)
        if self.encoder != own if own else self.encoder in FIXED_ENCODERS:
            raise UsageError(f"--encoder {self.encoder} does not apply to method {self.method} of the controls")


OWN_ENCODER = {"pca": "pca", "patch_pca": "patch_pca", "depths": "conv_depths", "hybrid": "conv_patches"}
# with weights: the encoders of task 1.2.3
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("cifar10", "random"): {},
    ("cifar10", "calibrated"): {},
    ("cifar10", "depths"): {"encoder": "conv_depths"},
    ("cifar10", "pca"): {"encoder": "pca", "widths": ()},
    ("cifar10", "patch_pca"): {"encoder": "patch_pca", "widths": ()},
    ("cifar10", "hybrid"): {"encoder": "conv_patches"},
    ("mnist", "random"): {"widths": (32, 64, 128)},
    ("mnist", "calibrated"): {"widths": (32, 64, 128)},
    ("mnist", "depths"): {"encoder": "conv_depths", "widths": (32, 64, 128)},
    ("mnist", "pca"): {"encoder": "pca", "widths": ()},
    ("mnist", "patch_pca"): {"encoder": "patch_pca", "widths": ()},
    ("mnist", "hybrid"): {"encoder": "conv_patches", "widths": (32, 64, 128)},
    ("digits", "random"): {"widths": (32, 64)},
    ("digits", "calibrated"): {"widths": (32, 64)},
    ("digits", "depths"): {"encoder": "conv_depths", "widths": (32, 64)},
    ("digits", "pca"): {"encoder": "pca", "widths": ()},
    ("digits", "patch_pca"): {"encoder": "patch_pca", "widths": ()},
    ("digits", "hybrid"): {"encoder": "conv_patches", "widths": (32, 64)},
}
