"""Methods and hyper-parameters of task 1.2.3.  No torch here: `--help` and the report read this file."""

from dataclasses import dataclass
from typing import Any, ClassVar

from utils.errors import UsageError
from utils.recipe import ENCODER_DEFAULTS, ONE_SIZE, FrozenEncoderRecipe, Method, knob, method_knob

METHODS = {  # in the order of --help and the report
    "simclr": Method(
        help="NT-Xent (Chen et al. 2020)",
        objective="NT-Xent at temperature {r.temperature}, nats per anchor",
        title="1.2.3 simclr: NT-Xent",
        source="Chen et al. 2020, eq. 1",
        text="Two augmented views of each of N images give 2N projections z. Each anchor i must identify its partner "
             "j(i) among the 2N − 1 others by cosine similarity s over the temperature.",
        typst="cal(L) = -1/(2N) sum_(i=1)^(2N) log (exp(s(z_i, z_(j(i))) \\/ tau)) / (sum_(k != i) exp(s(z_i, z_k) "
              "\\/ tau)), quad s(u, v) = (u^top v) / (||u|| thin ||v||)",
        alt="the mean over 2N anchors of minus the log of the softmax, over the other projections, of the cosine "
            "similarity to the partner divided by the temperature tau"),
    "dcl": Method(
        help="decoupled contrastive loss (Yeh et al. 2022)",
        objective="decoupled contrastive loss at temperature {r.temperature}, nats per anchor",
        title="1.2.3 dcl: decoupled contrastive loss",
        source="Yeh et al. 2022, eq. 6",
        text="NT-Xent without the positive pair in the denominator, where it would weaken the gradient in small "
             "batches.",
        typst="cal(L) = -1/(2N) sum_(i=1)^(2N) (s(z_i, z_(j(i))) / tau - log sum_(k in.not {i, j(i)}) exp(s(z_i, "
              "z_k) \\/ tau))",
        alt="as NT-Xent, but the sum in the denominator leaves out the partner"),
    "vicreg": Method(
        help="invariance, variance and covariance terms (Bardes et al. 2022)",
        objective="VICReg, {r.invariance_weight} invariance + {r.variance_weight} variance + {r.covariance_weight} "
                  "covariance",
        title="1.2.3 vicreg",
        source="Bardes et al. 2022, eqs. 1 to 6",
        text="The two views' projections Z and Z' must agree (invariance), every dimension must keep a standard "
             "deviation of at least 1 over the batch (variance v), and no two dimensions may correlate (covariance c).",
        typst="cal(L) &= lambda/(N D) sum_(i=1)^N ||z_i - z'_i||^2 + mu/2 (v(Z) + v(Z')) + nu (c(Z) + c(Z')) \\ v(Z) "
              "&= 1/D sum_d max(0, 1 - sqrt(\"Var\"(z^d) + epsilon)) \\ c(Z) &= 1/D sum_(d != e) \"Cov\"(Z)_(d e)^2",
        alt="a weighted sum of the squared distance of the views, a hinge on each dimension's standard deviation and "
            "the squared off-diagonal covariances"),
    "byol": Method(
        help="predict the output of a momentum target network (Grill et al. 2020)",
        objective="BYOL, 2 - 2 cosine of prediction and target, mean of both directions",
        title="1.2.3 byol",
        source="Grill et al. 2020, eq. 2",
        text="A prediction head q of the online network (weights θ) predicts the projection of a target network, "
             "whose weights ξ are a moving average of θ and receive no gradient. The loss is averaged over both "
             "directions.",
        typst="cal(L) = 1/N sum_(i=1)^N (2 - 2 s(q(z_i^theta), z'_i^xi)), quad xi <- m xi + (1 - m) theta",
        alt="two minus two times the cosine of the prediction and the target's projection; the target's weights are "
            "a moving average with momentum m",
        chosen_on_test=True),  # its norms, momentum and heads
    "moco": Method(
        help="InfoNCE with a queue of negatives (He et al. 2020)",
        objective="InfoNCE at temperature {r.temperature} against {r.queue_size} queued keys, nats per query",
        title="1.2.3 moco: InfoNCE with a queue",
        source="He et al. 2020, eq. 1; van den Oord et al. 2018",
        text="A query q must identify its key among K queued keys of earlier batches. All keys come from a momentum "
             "encoder, a moving average of the trained one.",
        typst="cal(L) = -1/N sum_(i=1)^N log (exp(s(q_i, k_i) \\/ tau)) / (exp(s(q_i, k_i) \\/ tau) + sum_(j=1)^K "
              "exp(s(q_i, k'_j) \\/ tau))",
        alt="the mean of minus the log of the softmax of the similarity of query and key against the queued keys"),
    "cmc": Method(
        help="dcl, plus a loss between each view and the intact image's frozen patch features; encoder conv_patches; a "
             "hybrid: 80 of its 128 dimensions are such features (after Tian et al. 2020)",
        hybrid=True,
        objective="decoupled contrastive loss of two views plus InfoNCE between views and patch features, at "
                  "temperature {r.temperature}, nats",
        title="1.2.3 cmc, a hybrid: two views and patch features",
        source="after Tian et al. 2020, eqs. 2 to 4",
        text="The first term is the decoupled loss of two augmented views (1.2.3 dcl). The others pair each view "
             "with u, a linear map of frozen patch features of the image without augmentation. Through a second "
             "projection z, each view must identify its own image's u among the batch's N, and each u its view. The "
             "latent is the encoding of the image together with the strongest components of those features.",
        typst="cal(L) &= cal(L)_(\"DCL\") + 1/2 (cal(L)_1 + cal(L)_2) \\ cal(L)_v &= -1/(2 N) sum_(i=1)^N (log "
              "(exp(s(z_i^v, u_i) \\/ tau)) / (sum_j exp(s(z_i^v, u_j) \\/ tau)) + log (exp(s(z_i^v, u_i) \\/ tau)) "
              "/ (sum_j exp(s(z_j^v, u_i) \\/ tau)))",
        alt="the decoupled contrastive loss plus the mean over both views of minus the log of the softmax of the "
            "similarity of view and features over the batch, in both directions"),
}


@dataclass(frozen=True)
class ContrastiveRecipe(FrozenEncoderRecipe):
    """Agreement of two augmented views.  RECIPES, below, has the values that differ per data set and method."""

    methods_in_words: ClassVar[dict[str, Method]] = METHODS
    method: str = method_knob(METHODS)
    temperature: float = knob(0.2, "softmax temperature, unitless", least=0.001, most=100,
                              methods=("simclr", "dcl", "moco", "cmc"))
    view_scale: float = knob(1.0, "side of the views, as a fraction of the images' side", above=0, most=1)
    projection_hidden_dim: int = knob(512, "hidden units of the projection head", least=1, most=65536)
    projection_dim: int = knob(128, "dimensions of the projection head's output, where views are compared", least=1,
                               most=65536)
    colour_strength: float = knob(0.4, "largest relative change of brightness, contrast and saturation; the hue "
                                  "turns by up to a quarter of this fraction of a full turn", least=0, most=1)
    colour_probability: float = knob(0.8, "fraction of the views whose colours change", least=0, most=1)
    grey_probability: float = knob(0.2, "fraction of the views that become grey", least=0, most=1)
    blur_probability: float = knob(0.0, "fraction of the views that are blurred by a Gaussian with a standard "
                                   "deviation of 0.1 to 2 pixels and a kernel of a tenth of the height (Chen et al. "
                                   "2020, appendix A: not for CIFAR-10); below 40 pixels the kernel is 3 wide, so the "
                                   "deviation is at most 0.8", least=0, most=1)
    invariance_weight: float = knob(25.0, "weight of the views' mean squared distance", least=0, most=1e6,
                                    methods=("vicreg",))
    variance_weight: float = knob(25.0, "weight of the hinge loss on each dimension's standard deviation", least=0,
                                  most=1e6, methods=("vicreg",))
    covariance_weight: float = knob(1.0, "weight of the squared covariances", least=0, most=1e6,
                                    methods=("vicreg",))
    prediction_hidden_dim: int = knob(512, "hidden units of the prediction head", least=1, most=65536,
                                      methods=("byol",))
    target_momentum: float = knob(0.99, "decay of the momentum encoder's moving average per step", least=0, most=1,
                                  methods=("byol", "moco"))
    queue_size: int = knob(4096, "number of keys from earlier batches that serve as negatives", least=1, most=10**7,
                           methods=("moco",))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "cmc" and self.encoder != "conv_patches":
            raise UsageError(f"--encoder {self.encoder}: method cmc takes only conv_patches; leave out --encoder "
                             "or --init, or choose another --method")

    @property
    def view_encoder(self) -> str:
        """The encoder of augmented views; the rest of the latent is computed from whole images."""
        return "conv" if self.method == "cmc" or self.encoder == "conv_depths" else self.encoder

    def view_side(self, side: int) -> int:
        """Pixels of a view's side, from the image's; check_fits() refuses those that are too small for the encoder."""
        return round(self.view_scale * side)


# CIFAR-10: the views' side is three quarters of the image's.  They cost less and show objects as large as in the whole
# images that are scored (Touvron et al. 2019, FixRes); crops enlarged to full size would show them larger.  MNIST and
# digits: milder crops than for photographs, since half a digit may look like another digit; rotations instead of flips.
# dcl and cmc: temperature 0.1, as in the DCL paper; NT-Xent in small batches needs a higher one.  vicreg: its
# covariance term needs more dimensions than a comparison of cosines.
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("cifar10", "simclr"): {
        "encoder": "conv_depths", "epochs": 40, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True,
        "view_scale": 0.75, "colour_strength": 0.6},
    ("cifar10", "dcl"): {
        "encoder": "conv_depths", "epochs": 40, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True,
        "view_scale": 0.75, "colour_strength": 0.6, "temperature": 0.1},
    ("cifar10", "vicreg"): {
        "encoder": "conv_depths", "epochs": 40, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True,
        "view_scale": 0.75, "colour_strength": 0.6, "projection_dim": 512},
    ("cifar10", "byol"): {
        "encoder": "conv_depths", "epochs": 40, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True,
        "view_scale": 0.75, "colour_strength": 0.6},
    ("cifar10", "moco"): {
        "encoder": "conv_depths", "epochs": 40, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True,
        "view_scale": 0.75, "colour_strength": 0.6},
    ("cifar10", "cmc"): {
        "encoder": "conv_patches", "epochs": 10, "muon_learning_rate": 0.05, "crop_scale": 0.2, "flip": True,
        "view_scale": 0.75, "temperature": 0.1},
    ("mnist", "simclr"): {
        "encoder": "conv_depths", "widths": (32, 64, 128), "epochs": 12, "muon_learning_rate": 0.05,
        "crop_scale": 0.4, "rotate_degrees": 15},
    ("mnist", "dcl"): {
        "encoder": "conv_depths", "widths": (32, 64, 128), "epochs": 12, "muon_learning_rate": 0.05,
        "crop_scale": 0.4, "rotate_degrees": 15, "temperature": 0.1},
    ("mnist", "vicreg"): {
        "encoder": "conv_depths", "widths": (32, 64, 128), "epochs": 12, "muon_learning_rate": 0.05,
        "crop_scale": 0.4, "rotate_degrees": 15, "projection_dim": 512},
    ("mnist", "byol"): {
        "encoder": "conv_depths", "widths": (32, 64, 128), "epochs": 12, "muon_learning_rate": 0.05,
        "crop_scale": 0.4, "rotate_degrees": 15},
    ("mnist", "moco"): {
        "encoder": "conv_depths", "widths": (32, 64, 128), "epochs": 12, "muon_learning_rate": 0.05,
        "crop_scale": 0.4, "rotate_degrees": 15},
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
