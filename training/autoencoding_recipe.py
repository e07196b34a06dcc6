"""Hyper-parameters of task 1.2.1, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass

from utils.recipe import Recipe, knob


@dataclass(frozen=True)
class AutoencodingRecipe(Recipe):
    """The convolutional autoencoder, as CIFAR-10 has it."""

    method: str = knob("plain", "plain: the input itself is reconstructed", choices=("plain",))
    pooling: str = knob("flatten", "how the last feature map becomes a vector: a maximum forgets where things are, "
                        "which a decoder must know", choices=("max", "flatten"))
    decoder_widths: tuple[int, ...] = knob((128, 64, 32), "channels of the decoder's three resolutions (conv), or "
                                           "units of its hidden layers (mlp)", least=1,
                                           most=65536)


RECIPES = {
    "cifar10": {"epochs": 4, "flip": True},
    # no flips: a mirrored digit is another shape; fully connected, as the task asks on MNIST
    "mnist": {"epochs": 20, "encoder": "mlp", "widths": (1024, 512), "decoder_widths": (512, 1024),
              "learning_rate": 1e-3, "translate": 2},
    "digits": {"epochs": 30, "encoder": "mlp", "widths": (256, 256), "decoder_widths": (256, 256), "batch_size": 64},
}
