"""Hyper-parameters of task 1.2.1, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass
from typing import Any, ClassVar

from utils.recipe import ENCODER_WIDTHS, FrozenEncoderRecipe, Method, knob, method_knob

METHODS = {  # in the order of --help and the report
    "plain": Method(
        help="reconstruct the image",
        objective="{r.loss_in_words} (validation: from intact images)",
        title="1.2.1 plain: L1 reconstruction",
        source="Bourlard and Kamp 1988; Hinton and Salakhutdinov 2006",
        text="A decoder g reconstructs the image x from the latent f(x); D is the number of pixels times channels. "
             "The mean absolute error leaves edges sharper than the squared error does, because its optimum is the "
             "median.",
        typst="cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(x_i)) ||)_1",
        alt="the loss is the mean over N images and D values of the absolute difference of x and g of f of x"),
    "denoising": Method(
        help="reconstruct it from a noisy copy (Vincent et al. 2010)",
        objective="{r.loss_in_words} (validation: from intact images)",
        title="1.2.1 denoising",
        source="Vincent et al. 2010",
        text="The encoder receives the image with added Gaussian noise; the decoder reconstructs the clean image.",
        typst="cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(x_i + epsilon_i)) ||)_1, quad epsilon_i tilde cal(N)(0, "
              "sigma^2 I)",
        alt="as L1 reconstruction, but the encoder receives x plus Gaussian noise of standard deviation sigma"),
    "masked": Method(
        help="reconstruct it from a copy with masked squares (He et al. 2022)",
        objective="{r.loss_in_words} (validation: from intact images)",
        title="1.2.1 masked",
        source="He et al. 2022, MAE; here with all pixels in the loss",
        text="The encoder receives the image with the mean colour c in a random part of its patches, where the mask "
             "m is 0.",
        typst="cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(m_i dot.o x_i + (1 - m_i) dot.o c)) ||)_1, quad m_i in "
              "{0, 1}^D",
        alt="as L1 reconstruction, but the encoder receives x where a random mask m is 1, and the mean colour c "
            "where it is 0"),
    "augmented": Method(
        help="reconstruct it from a crop with changed colours (Sundermeyer et al. 2018)",
        objective="{r.loss_in_words} (validation: from intact images)",
        title="1.2.1 augmented: L1 reconstruction from a changed crop",
        source="augmented autoencoder: Sundermeyer et al. 2018",
        text="The encoder receives a random crop t(x) with changed colours; the decoder reconstructs the whole, intact "
             "image. So the latent must contain what the crop reveals about its surroundings, and need not contain "
             "where the crop was or how its colours were changed.",
        typst="cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(t(x_i))) ||)_1",
        alt="as L1 reconstruction, but the encoder receives a random crop t of x with changed colours"),
    "patches": Method(
        help="reconstruct the image's whitened patch features from a crop with changed colours",
        objective="mean squared error of the whitened patch features, plus the pixels' L1 for the decoder alone "
                  "(validation: from intact images)",
        title="1.2.1 patches: reconstruction of whitened patch features",
        source="features: Coates and Ng 2012; reconstruction from a corrupted copy: Vincent et al. 2010",
        text="The decoder h reconstructs not the pixels but frozen features φ(x): how strongly each location of the "
             "image resembles each of many whitened patches, averaged over the quarters of the image. The target is "
             "their first K principal components (directions U, variances Λ, mean μ), each divided by its standard "
             "deviation so that all components count equally. The encoder receives a random crop t(x) with changed "
             "colours, on CIFAR-10 mirrored in half of the cases. A second decoder, of pixels, is trained alongside by "
             "L1 and does not shape the latent.",
        typst="cal(L) = 1/(N K) sum_(i=1)^N lr(|| h(f(t(x_i))) - Lambda^(-1 \\/ 2) U^top (phi(x_i) - mu) ||)^2",
        alt="the mean over N images and K components of the squared difference between h of f of the changed image "
            "and the whitened principal components of the features of the whole image"),
}


@dataclass(frozen=True)
class AutoencodingRecipe(FrozenEncoderRecipe):
    """Autoencoding.  RECIPES, below, has the values that differ per data set and method."""

    methods_in_words: ClassVar[dict[str, Method]] = METHODS
    method: str = method_knob(METHODS)
    pooling: str = knob("flatten", "how the last feature map becomes a vector; a maximum or mean loses positions, "
                        "which a decoder needs", choices=("max", "mean", "flatten"))
    decoder_widths: tuple[int, ...] = knob((128, 64, 32), "channels of the decoder's three resolutions (conv), or "
                                           "units of its hidden layers (mlp)", least=1, most=65536)
    loss: str = knob("l1", "error of the pixels: mean absolute (l1) or mean squared (mse)", choices=("l1", "mse"),
                     methods=("plain", "denoising", "masked", "augmented"))
    noise_std: float = knob(0.3, "standard deviation of the Gaussian noise, as a fraction of the pixel range", above=0,
                            most=10, methods=("denoising",))
    mask_ratio: float = knob(0.5, "expected fraction of the squares that are masked", above=0, most=0.95,
                             methods=("masked",))
    mask_patch: int = knob(4, "side of the squares, pixels", least=1, methods=("masked",))
    colour_noise: float = knob(0.4, "largest relative change of brightness, contrast, saturation of the encoder's "
                               "input; the hue turns by up to a quarter of this fraction of a full turn; a fifth "
                               "of the inputs become grey; 0: unchanged colours", least=0, most=1,
                               methods=("augmented", "patches"))
    target_filters: int = knob(512, "number of whitened patches; the responses to them are reconstructed",
                               least=1, most=65536, methods=("patches",))
    target_components: int = knob(512, "number of principal components of these responses, each scaled to variance 1",
                                  least=1, most=65536, methods=("patches",))
    feature_hidden_dim: int = knob(1024, "hidden units of the feature decoder", least=1, most=65536,
                                   methods=("patches",))

    @property
    def loss_in_words(self) -> str:
        """The error of the pixels."""
        return {"l1": "L1: mean absolute error of the pixels, in [0, 1]",
                "mse": "mean squared error of the pixels, in [0, 1]"}[self.loss]


# No flips on digits: a mirrored digit is a different shape.  To reconstruct pixels, MNIST and digits use the fully
# connected autoencoder that the task asks for.
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("cifar10", "plain"): {"epochs": 20, "flip": True},
    ("cifar10", "denoising"): {"epochs": 20, "flip": True},
    ("cifar10", "masked"): {"epochs": 20, "flip": True, "mask_ratio": 0.75},
    ("cifar10", "augmented"): {
        "encoder": "conv_depths", "epochs": 15, "muon_learning_rate": 0.05, "crop_scale": 0.3, "flip": True},
    ("cifar10", "patches"): {
        "encoder": "patches", "widths": (512, 1024), "epochs": 10, "batch_size": 500, "learning_rate": 1e-3,
        "weight_decay": 0.05, "crop_scale": 0.3, "flip": True},
    ("mnist", "plain"): {
        "encoder": "mlp", "widths": (1024, 512), "decoder_widths": (512, 1024), "epochs": 40, "learning_rate": 1e-3,
        "translate": 2},
    ("mnist", "denoising"): {
        "encoder": "mlp", "widths": (1024, 512), "decoder_widths": (512, 1024), "epochs": 20, "learning_rate": 1e-3,
        "translate": 2},
    ("mnist", "masked"): {
        "encoder": "mlp", "widths": (1024, 512), "decoder_widths": (512, 1024), "epochs": 20, "learning_rate": 1e-3,
        "translate": 2},
    # milder crops and colours than for photographs: half a digit may look like another digit
    ("mnist", "augmented"): {
        "encoder": "mlp", "widths": (1024, 512), "decoder_widths": (512, 1024), "epochs": 20, "learning_rate": 1e-3,
        "crop_scale": 0.6, "rotate_degrees": 10, "colour_noise": 0.2},
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
    ("digits", "augmented"): {
        "encoder": "mlp", "widths": (256, 256), "decoder_widths": (256, 256), "epochs": 30, "batch_size": 64,
        "crop_scale": 0.6},
    ("digits", "patches"): {
        "encoder": "patches", "widths": (512, 1024), "epochs": 10, "batch_size": 500, "learning_rate": 1e-3,
        "weight_decay": 0.05, "crop_scale": 0.3, "mask_patch": 2},
}
# the decoder matches the encoder: fully connected or convolutional
ENCODERS = {kind: {"widths": widths, "decoder_widths": (512, 1024) if kind == "mlp" else (128, 64, 32)}
            for kind, widths in ENCODER_WIDTHS.items()}
