"""Hyper-parameters of task 1.2.1, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass
from typing import Any

from utils.recipe import ENCODER_WIDTHS, FrozenRecipe, knob


@dataclass(frozen=True)
class AutoencodingRecipe(FrozenRecipe):
    """Autoencoding; the defaults are those of the convolutional autoencoder on CIFAR-10."""

    method: str = knob("plain", "plain: reconstruct the input; denoising: from a noisy copy (Vincent et al. 2010); "
                       "masked: from a copy with squares missing (He et al. 2022); patches: reconstruct its whitened "
                       "patch features from a crop with changed colours",
                       choices=("plain", "denoising", "masked", "patches"))
    pooling: str = knob("flatten", "how the last feature map becomes a vector: a maximum loses positions, which a "
                        "decoder needs", choices=("max", "mean", "flatten"))
    decoder_widths: tuple[int, ...] = knob((128, 64, 32), "channels of the decoder's three resolutions (conv), or "
                                           "units of its hidden layers (mlp)", least=1,
                                           most=65536)
    noise_std: float = knob(0.3, "standard deviation of the Gaussian noise, as a fraction of the pixel range", above=0,
                            methods=("denoising",))
    mask_ratio: float = knob(0.5, "expected fraction of the squares that are missing", above=0, most=0.95,
                             methods=("masked",))
    mask_patch: int = knob(4, "side of those squares, pixels", least=1, methods=("masked",))
    colour_noise: float = knob(0.4, "largest relative change of brightness, contrast, saturation of the encoder's "
                               "input; the hue changes by a quarter of it", least=0, most=1, methods=("patches",))
    target_filters: int = knob(512, "whitened patches whose responses are the features that are reconstructed",
                               least=1, most=65536, methods=("patches",))
    target_components: int = knob(512, "principal components of those features, all of variance 1", least=1,
                                  most=65536, methods=("patches",))
    feature_hidden_dim: int = knob(1024, "hidden units of the decoder of the features", least=1, most=65536,
                                   methods=("patches",))


DEFAULT: dict[str, tuple[str, ...]] = {"cifar10": ("patches",), "mnist": ("patches",), "digits": ("plain",)}
# No flips on digits: a mirrored digit is another shape.  Where pixels are reconstructed, MNIST and digits have the
# fully connected autoencoder that the task asks for.
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("cifar10", "plain"): {"epochs": 4, "flip": True},
    ("cifar10", "denoising"): {"epochs": 4, "flip": True},
    ("cifar10", "masked"): {"epochs": 4, "flip": True},
    ("cifar10", "patches"): {
        "encoder": "patches", "widths": (512, 1024), "epochs": 10, "batch_size": 500, "learning_rate": 1e-3,
        "weight_decay": 0.05, "crop_scale": 0.3, "flip": True},
    ("mnist", "plain"): {
        "encoder": "mlp", "widths": (1024, 512), "decoder_widths": (512, 1024), "epochs": 20, "learning_rate": 1e-3,
        "translate": 2},
    ("mnist", "denoising"): {
        "encoder": "mlp", "widths": (1024, 512), "decoder_widths": (512, 1024), "epochs": 20, "learning_rate": 1e-3,
        "translate": 2},
    ("mnist", "masked"): {
        "encoder": "mlp", "widths": (1024, 512), "decoder_widths": (512, 1024), "epochs": 20, "learning_rate": 1e-3,
        "translate": 2},
    # milder crops and colours than for photographs: a digit cut in half may be another digit
    ("mnist", "patches"): {
        "encoder": "patches", "widths": (512, 1024), "epochs": 7, "batch_size": 500, "learning_rate": 1e-3,
        "weight_decay": 0.05, "crop_scale": 0.6, "rotate_degrees": 10, "colour_noise": 0.2},
    ("digits", "plain"): {
        "encoder": "mlp", "widths": (256, 256), "decoder_widths": (256, 256), "epochs": 30, "batch_size": 64,
        "mask_patch": 2},
    ("digits", "denoising"): {
        "encoder": "mlp", "widths": (256, 256), "decoder_widths": (256, 256), "epochs": 30, "batch_size": 64,
        "mask_patch": 2},
    ("digits", "masked"): {
        "encoder": "mlp", "widths": (256, 256), "decoder_widths": (256, 256), "epochs": 30, "batch_size": 64,
        "mask_patch": 2},
    ("digits", "patches"): {
        "encoder": "patches", "widths": (512, 1024), "epochs": 10, "batch_size": 500, "learning_rate": 1e-3,
        "weight_decay": 0.05, "crop_scale": 0.3, "mask_patch": 2},
}
# the decoder matches the encoder: fully connected or convolutional
ENCODERS = {kind: {"widths": widths, "decoder_widths": (512, 1024) if kind == "mlp" else (128, 64, 32)}
            for kind, widths in ENCODER_WIDTHS.items()}
