"""Hyper-parameters of task 1.2.1, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass

from utils.recipe import ENCODER_WIDTHS, FrozenRecipe, knob


@dataclass(frozen=True)
class AutoencodingRecipe(FrozenRecipe):
    """The convolutional autoencoder, as CIFAR-10 has it."""

    method: str = knob("plain", "plain: the input itself is reconstructed; denoising: from a noisy copy (Vincent et al."
                       " 2010); masked: from a copy with squares missing (He et al. 2022); patches: its whitened patch "
                       "features are reconstructed, from a crop in other colours",
                       choices=("plain", "denoising", "masked", "patches"))
    pooling: str = knob("flatten", "how the last feature map becomes a vector: a maximum forgets where things are, "
                        "which a decoder must know", choices=("max", "mean", "flatten"))
    decoder_widths: tuple[int, ...] = knob((128, 64, 32), "channels of the decoder's three resolutions (conv), or "
                                           "units of its hidden layers (mlp)", least=1,
                                           most=65536)
    noise_std: float = knob(0.3, "standard deviation of the Gaussian noise, of the pixel range", above=0,
                            methods=("denoising",))
    mask_ratio: float = knob(0.5, "expected fraction of the squares that are missing", above=0, most=0.95,
                             methods=("masked",))
    mask_patch: int = knob(4, "side of those squares, pixels", least=1, methods=("masked",))
    colour_noise: float = knob(0.4, "largest relative change of brightness, contrast, saturation in what the encoder "
                               "sees; the hue turns by a quarter of it", least=0, most=1, methods=("patches",),
                               later=True)
    target_filters: int = knob(512, "whitened patches whose responses are the features that are reconstructed",
                               least=1, most=65536, methods=("patches",), later=True)
    target_components: int = knob(512, "principal components of those features, all of variance 1", least=1,
                                  most=65536, methods=("patches",), later=True)
    feature_hidden_dim: int = knob(1024, "hidden units of the decoder of the features", least=1, most=65536,
                                   methods=("patches",), later=True)


RECIPES = {
    "cifar10": {"method": "patches", "epochs": 4, "flip": True},
    # no flips: a mirrored digit is another shape; the autoencoders of pixels are fully connected, as the task asks
    "mnist": {"method": "patches", "epochs": 20, "encoder": "mlp", "widths": (1024, 512), "decoder_widths": (512, 1024),
              "learning_rate": 1e-3, "translate": 2},
    "digits": {"epochs": 30, "encoder": "mlp", "widths": (256, 256), "decoder_widths": (256, 256), "batch_size": 64,
               "mask_patch": 2},
}
METHODS = {
    "patches": {"encoder": "patches", "widths": (512, 1024), "decoder_widths": (128, 64, 32), "epochs": 10,
                "batch_size": 500, "learning_rate": 1e-3, "weight_decay": 0.05, "crop_scale": 0.3},
    # milder crops and colours than of photographs: a digit cut in half may be another digit
    "patches/mnist": {"epochs": 7, "crop_scale": 0.6, "translate": 0, "rotate_degrees": 10, "colour_noise": 0.2},
}
# a decoder like the encoder: fully connected or convolutional
ENCODERS = {kind: {"widths": widths, "decoder_widths": (512, 1024) if kind == "mlp" else (128, 64, 32)}
            for kind, widths in ENCODER_WIDTHS.items()}
