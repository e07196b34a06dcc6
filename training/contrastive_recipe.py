"""Hyper-parameters of task 1.2.3, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass

from utils.errors import UsageError
from utils.recipe import ENCODER_DEFAULTS, ONE_SIZE, FrozenRecipe, check_takes_sizes, knob


@dataclass(frozen=True)
class ContrastiveRecipe(FrozenRecipe):
    """Agreement of two augmented views (SimCLR), as CIFAR-10 has it."""

    method: str = knob("simclr", "simclr: NT-Xent (Chen et al. 2020); dcl: decoupled (Yeh et al. 2022); vicreg: "
                       "variance, invariance, covariance (Bardes et al. 2022); byol: a momentum target is predicted "
                       "(Grill et al. 2020); moco: a queue of negatives (He et al. 2020); cmc: dcl, and both views "
                       "against the intact image's frozen patch features, with encoder conv_patches (after Tian et al. "
                       "2020)",
                       choices=("simclr", "dcl", "vicreg", "byol", "moco", "cmc"))
    temperature: float = knob(0.2, "softmax temperature, unitless", above=0, methods=("simclr", "dcl", "moco", "cmc"))
    view_scale: float = knob(1.0, "side of the views, as a fraction of the images'", above=0, most=1)
    projection_hidden_dim: int = knob(512, "hidden units of the projection head", least=1, most=65536)
    projection_dim: int = knob(128, "dimensions in which views are compared", least=1, most=65536)
    colour_strength: float = knob(0.4, "largest relative change of brightness, contrast, saturation; hue turns by a "
                                  "quarter of it", least=0, most=1)
    colour_probability: float = knob(0.8, "fraction of the views whose colours change", least=0, most=1)
    grey_probability: float = knob(0.2, "fraction of the views that become grey", least=0, most=1)
    invariance_weight: float = knob(25.0, "weight of the views' mean squared distance", least=0, methods=("vicreg",))
    variance_weight: float = knob(25.0, "weight of the hinge on each dimension's deviation", least=0,
                                  methods=("vicreg",))
    covariance_weight: float = knob(1.0, "weight of the squared covariances", least=0, methods=("vicreg",))
    prediction_hidden_dim: int = knob(512, "hidden units of the prediction head", least=1, most=65536,
                                      methods=("byol",))
    target_momentum: float = knob(0.99, "share of itself that the momentum encoder keeps at each step", least=0, most=1,
                                  methods=("byol", "moco"))
    queue_size: int = knob(4096, "keys of earlier batches, the negatives", least=1, most=10**7, methods=("moco",))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "cmc" and self.encoder != "conv_patches":
            raise UsageError(f"--encoder {self.encoder}: method cmc takes conv_patches alone; leave it out, or choose "
                             "another --method")
        check_takes_sizes(self.view_encoder, self.pooling, "--view-scale", self.view_scale)

    @property
    def view_encoder(self) -> str:
        """The encoder that augmented views pass: in cmc the other part of the latent is of whole images."""
        return "conv" if self.method == "cmc" else self.encoder


DEFAULT = {"cifar10": ("cmc",), "mnist": ("simclr",), "digits": ("simclr",)}
# CIFAR-10: views of three quarters of the side, see view_size() in contrastive.py.  MNIST and digits: milder crops than
# for photographs, since a digit cut in half may be another digit; rotations instead of flips.  dcl and cmc: temperature
# 0.1, as the authors of DCL have it; NT-Xent in small batches wants a higher one.  vicreg: its covariance term needs
# more dimensions than a comparison of cosines.
RECIPES = {
    ("cifar10", "simclr"): {
        "epochs": 24, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True, "view_scale": 0.75},
    ("cifar10", "dcl"): {
        "epochs": 24, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True, "view_scale": 0.75,
        "temperature": 0.1},
    ("cifar10", "vicreg"): {
        "epochs": 24, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True, "view_scale": 0.75,
        "projection_dim": 512},
    ("cifar10", "byol"): {
        "epochs": 24, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True, "view_scale": 0.75},
    ("cifar10", "moco"): {
        "epochs": 24, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True, "view_scale": 0.75},
    ("cifar10", "cmc"): {
        "encoder": "conv_patches", "epochs": 10, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True,
        "view_scale": 0.75, "temperature": 0.1},
    ("mnist", "simclr"): {"widths": (32, 64, 128), "epochs": 6, "crop_scale": 0.4, "rotate_degrees": 15},
    ("mnist", "dcl"): {
        "widths": (32, 64, 128), "epochs": 6, "crop_scale": 0.4, "rotate_degrees": 15, "temperature": 0.1},
    ("mnist", "vicreg"): {
        "widths": (32, 64, 128), "epochs": 6, "crop_scale": 0.4, "rotate_degrees": 15, "projection_dim": 512},
    ("mnist", "byol"): {"widths": (32, 64, 128), "epochs": 6, "crop_scale": 0.4, "rotate_degrees": 15},
    ("mnist", "moco"): {"widths": (32, 64, 128), "epochs": 6, "crop_scale": 0.4, "rotate_degrees": 15},
    ("mnist", "cmc"): {
        "encoder": "conv_patches", "widths": (32, 64, 128), "epochs": 10, "crop_scale": 0.4, "rotate_degrees": 15,
        "temperature": 0.1},
    ("digits", "simclr"): {
        "widths": (32, 64), "epochs": 60, "batch_size": 128, "crop_scale": 0.5, "rotate_degrees": 10,
        "queue_size": 512},
    ("digits", "dcl"): {
        "widths": (32, 64), "epochs": 60, "batch_size": 128, "crop_scale": 0.5, "rotate_degrees": 10,
        "queue_size": 512, "temperature": 0.1},
    ("digits", "vicreg"): {
        "widths": (32, 64), "epochs": 60, "batch_size": 128, "crop_scale": 0.5, "rotate_degrees": 10,
        "queue_size": 512, "projection_dim": 512},
    ("digits", "byol"): {
        "widths": (32, 64), "epochs": 60, "batch_size": 128, "crop_scale": 0.5, "rotate_degrees": 10,
        "queue_size": 512},
    ("digits", "moco"): {
        "widths": (32, 64), "epochs": 60, "batch_size": 128, "crop_scale": 0.5, "rotate_degrees": 10,
        "queue_size": 512},
    ("digits", "cmc"): {
        "encoder": "conv_patches", "widths": (32, 64), "epochs": 10, "batch_size": 128, "crop_scale": 0.5,
        "rotate_degrees": 10, "queue_size": 512, "temperature": 0.1},
}
ENCODERS = {kind: values | ({"view_scale": 1.0} if kind in ONE_SIZE else {})
            for kind, values in ENCODER_DEFAULTS.items()}
