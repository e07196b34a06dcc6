"""Settings of the controls: nothing is trained, so only the encoder and the images count.  No torch here."""

from dataclasses import dataclass
from typing import ClassVar

from utils.errors import UsageError
from utils.recipe import LatentRecipe, knob


@dataclass(frozen=True)
class ControlRecipe(LatentRecipe):
    """What a latent is worth that nobody learned."""

    method: str = knob("random", "random: frozen random weights; pca: principal components of the pixels",
                       choices=("random", "pca"))
    encoder: str = knob("conv", "of method random: any but pca; of method pca: pca",
                        choices=("conv", "mlp", "resnet18", "vit", "patches", "conv_patches", "pca"),
                        methods=("random",))
    widths: tuple[int, ...] = knob((64, 256, 256), "as of every task", least=1, most=65536, methods=("random",))
    pooling: str = knob("max", "as of every task", choices=("max", "mean", "flatten"), methods=("random",))
    epochs: ClassVar[int] = 0  # nothing is trained

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.method == "pca") != (self.encoder == "pca"):
            raise UsageError(f"--encoder {self.encoder} has no part in method {self.method} of the controls")


# the encoders of task 1.2.3
RECIPES = {"cifar10": {}, "mnist": {"widths": (32, 64, 128)}, "digits": {"widths": (32, 64)}}
METHODS = {"pca": {"encoder": "pca", "widths": ()}}
