"""Settings of the controls, which train nothing: the encoder and the images.  No torch here."""

from dataclasses import dataclass
from typing import Any

from utils.errors import UsageError
from utils.recipe import LatentRecipe, knob


@dataclass(frozen=True)
class ControlRecipe(LatentRecipe):
    """A latent that was not learned."""

    method: str = knob("random", "random: frozen random weights; pca: principal components of the pixels",
                       choices=("random", "pca"))
    encoder: str = knob("conv", "method random: any except pca; method pca: pca",
                        choices=("conv", "mlp", "resnet18", "vit", "patches", "conv_patches", "pca"),
                        methods=("random",))
    widths: tuple[int, ...] = knob((64, 256, 256), "as in every task", least=1, most=65536, methods=("random",))
    pooling: str = knob("max", "as in every task", choices=("max", "mean", "flatten"), methods=("random",))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.method == "pca") != (self.encoder == "pca"):
            raise UsageError(f"--encoder {self.encoder} does not apply to method {self.method} of the controls")


DEFAULT: dict[str, tuple[str, ...]] = {
    "cifar10": ("random", "pca"), "mnist": ("random", "pca"), "digits": ("random", "pca")}
# random: the encoders of task 1.2.3
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("cifar10", "random"): {},
    ("cifar10", "pca"): {"encoder": "pca", "widths": ()},
    ("mnist", "random"): {"widths": (32, 64, 128)},
    ("mnist", "pca"): {"encoder": "pca", "widths": ()},
    ("digits", "random"): {"widths": (32, 64)},
    ("digits", "pca"): {"encoder": "pca", "widths": ()},
}
