"""Recipes: the hyper-parameters of a task, as a frozen dataclass, and the command-line flags made from its fields.

Every field is a flag (`temperature` -> `--temperature`) and an entry of the record.  A recipe never changes; what can
be computed from it is a property or a function.  Imports nothing heavy, because `--help` needs it.
"""

import argparse
import dataclasses
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

from utils.errors import UsageError


def knob(default: Any, help: str, *, above: float | None = None, least: float | None = None, most: float | None = None,
         choices: tuple[str, ...] | None = None, methods: tuple[str, ...] | None = None) -> Any:
    """A recipe's field: its default, its help text with unit and source, and the values that make sense.

    above: exclusive lower bound; least, most: inclusive bounds; choices: the only valid strings; methods: the methods
    that use the field, if not all do.
    """
    if methods:
        help = f"{', '.join(methods)}: {help}"
    return field(default=default, metadata={"help": help, "above": above, "least": least, "most": most,
                                            "choices": choices, "methods": methods})


class Method(NamedTuple):
    """The texts about a method: the only place for what --help, record and report say about it.

    help: for --help, with the source; objective: the loss with its unit, for the record, where {r.NAME} is a field of
    the recipe; title, source, text: for the report; typst, alt: the loss as Typst mathematics and as a sentence;
    chosen_on_test: whether part of the recipe was chosen on test images, which the report marks; hybrid: whether the
    latent joins learned dimensions to frozen ones.
    A control has only help and title.
    """

    help: str
    title: str
    objective: str = ""
    source: str = ""
    text: str = ""
    typst: str = ""
    alt: str = ""
    chosen_on_test: bool = False
    hybrid: bool = False


def method_knob(methods: dict[str, Method]) -> Any:
    """The field `method` of a recipe: choices and help from the methods, the first of which is the default."""
    return knob(next(iter(methods)), "; ".join(f"{name}: {method.help}" for name, method in methods.items()),
                choices=tuple(methods))


ENCODER_WIDTHS = {"conv": (32, 64), "conv_depths": (32, 64), "mlp": (1024, 512), "resnet18": (64, 128, 256, 512),
                  "vit": (128,) * 4, "patches": (512, 1024), "conv_patches": (32, 64)}


@dataclass(frozen=True)
class LatentRecipe:
    """Fields of every latent, trained or not: the encoder and its input.  UsageError for a value out of range."""

    methods_in_words: ClassVar[dict[str, Method]] = {}
    epochs, finetune = 0, False  # no fields here, as a control trains nothing; fields of Recipe and FrozenEncoderRecipe
    method: str = knob("", "one of the task's methods")
    latent_dim: int = knob(128, "dimensions of the latent", least=2, most=65536)
    encoder: str = knob("conv", "conv: convolutional blocks on whitened pixels; mlp: fully connected; resnet18: "
                        "torchvision's with a stem for small images; vit: a small vision transformer; patches: a "
                        "hidden layer on frozen features of whitened patches; conv_depths: principal components "
                        "of conv's outputs at every depth; conv_patches: conv together with the strongest "
                        "principal components of patch features", choices=tuple(ENCODER_WIDTHS))
    widths: tuple[int, ...] = knob((64, 256, 256), "channels of the encoder's blocks (conv, conv_depths, "
                                   "conv_patches), units of its hidden layers (mlp) or of its blocks, all equal (vit), "
                                   "filters and hidden units (patches)", least=1, most=65536)
    pooling: str = knob("max", "how the last feature map becomes a vector (all encoders except mlp and patches)",
                        choices=("max", "mean", "flatten"))
    subset: int = knob(0, "use only this many images of the training split, always the same ones; 0: all", least=0)
    labels: float = knob(1.0, "use the labels of only this fraction of the training images, always the same ones; "
                         "1: all", above=0, most=1)

    def __post_init__(self) -> None:
        for f in fields(self):
            check_value(f, getattr(self, f.name))
        check_widths(self.encoder, self.widths)

    @property
    def objective(self) -> str:
        """The loss with its unit, in words."""
        return self.methods_in_words[self.method].objective.format(r=self)

    def uses(self, name: str) -> bool:
        """Whether the recipe's method uses a field."""
        methods = self.__dataclass_fields__[name].metadata["methods"]
        return not methods or self.method in methods


@dataclass(frozen=True)
class Recipe(LatentRecipe):
    """Fields of every training: its length, optimiser and augmentation."""

    epochs: int = knob(10, "passes over the training split; 0 with --init: score that encoder without training it",
                       least=0, most=10**6)
    batch_size: int = knob(250, "images per step", least=2, most=10**7)
    learning_rate: float = knob(2e-3, "peak learning rate of AdamW", above=0, most=1e30)
    muon_learning_rate: float = knob(0.0, "peak learning rate of Muon for convolution filters, as a relative change "
                                     "per step (Jordan 2024); 0: use AdamW for these too", least=0, most=1)
    weight_decay: float = knob(0.02, "decoupled weight decay (Loshchilov and Hutter 2019); not for biases, "
                               "norms and filters that Muon updates", least=0, most=100)
    warmup: float = knob(0.1, "fraction of the steps in which the learning rate rises linearly; then it falls to 0 as "
                         "a cosine", least=0, most=0.9)
    crop_scale: float = knob(1.0, "augmentation: smallest fraction of the area that a random crop keeps; 1: no crop",
                             least=0.01, most=1)
    translate: int = knob(0, "augmentation: largest random shift, pixels", least=0)
    rotate_degrees: float = knob(0.0, "augmentation: largest random rotation, degrees", least=0, most=180)
    flip: bool = knob(False, "augmentation: mirror half of the images left to right")


@dataclass(frozen=True)
class FrozenEncoderRecipe(Recipe):
    """Fields of tasks that freeze the encoder before scoring it."""

    finetune: bool = knob(False, "before scoring, train the encoder further with the labels and a linear classifier, "
                          "as task 1.2.2 does")
    finetune_epochs: int = knob(4, "epochs of --finetune; each has as many steps as one over the whole training "
                                "split", least=1, most=10**6)
    finetune_learning_rate: float = knob(1e-3, "peak learning rate of --finetune", above=0, most=1e30)


ENCODER_FIELDS = ("encoder", "widths", "pooling", "latent_dim")  # these describe an encoder; --init sets them
FIXED_ENCODERS = ("pca", "patch_pca")  # without trainable weights
# encoders that accept only images of the size they were built for
ONE_SIZE = ("mlp", "vit", "patches", "conv_patches")
# what changes when `--encoder` names an encoder other than the recipe's
ENCODER_DEFAULTS: dict[str, dict[str, Any]] = {
    kind: {"widths": widths, "pooling": "mean" if kind in ("resnet18", "vit") else "max"}
    for kind, widths in ENCODER_WIDTHS.items()}


def patch_dimensions(encoder: str, latent_dim: int, image_shape: Sequence[int]) -> int:
    """How many dimensions of a latent are frozen patch components, which are never trained.  image_shape: C, H, W."""
    return min(patch_filters(image_shape), latent_dim * 5 // 8) if encoder == "conv_patches" else 0


def patch_filters(image_shape: Sequence[int]) -> int:
    """Number of patch filters for images of this size; small images have patches of only 9 pixels and need fewer."""
    return 512 if min(image_shape[1:]) >= 16 else 128


def check_widths(encoder: str, widths: tuple[int, ...]) -> None:
    """UsageError unless the encoder can have these widths."""
    if encoder.startswith("conv") and not widths:
        raise UsageError(f"--widths: {encoder} takes one number per block, at least one")
    if encoder == "resnet18" and tuple(widths) != ENCODER_WIDTHS["resnet18"]:
        raise UsageError("--widths: resnet18 always has 64 128 256 512; leave the flag out")
    if encoder == "patches" and len(widths) != 2:
        raise UsageError("--widths: patches takes two numbers, filters and hidden units, for example 512 1024")
    if encoder == "vit" and (len(set(widths)) != 1 or widths[0] % 32):
        raise UsageError("--widths: vit takes one number per block, all equal and a multiple of 32, "
                         "for example 128 128 128")


def whitening_side(image_shape: Sequence[int]) -> int:
    """Side of the patches that conv encoders whiten: 2; 3 for images of one channel with 16 rows or more."""
    return 2 if image_shape[0] > 1 or image_shape[1] < 16 else 3


def vit_patch(image_shape: Sequence[int]) -> int:
    """Side of the vision transformer's patches."""
    return 4 if min(image_shape[1:]) >= 16 else 2


PATCH_GRID = 2  # responses to whitened patches are averaged over PATCH_GRID x PATCH_GRID cells


def patch_features(filters: int) -> int:
    """The number of patch features of an image: positive and negative responses in each cell."""
    return 2 * filters * PATCH_GRID**2


def check_decoder(encoder: str, widths: tuple[int, ...], image_shape: Sequence[int]) -> None:
    """UsageError unless the encoder's decoder can have these widths: mlp has an mlp decoder, the others a conv one."""
    if encoder != "mlp" and (len(widths) != 3 or any(side % 4 for side in image_shape[1:])):
        raise UsageError("--decoder-widths: a conv decoder takes three, and images whose sides are multiples of 4")


def check_components(recipe: LatentRecipe, image_shape: Sequence[int]) -> None:
    """UsageError for more principal components of patch features than there are features."""
    filters, flag = patch_filters(image_shape), "latent_dim"
    if recipe.method == "patches":
        filters, flag = getattr(recipe, "target_filters"), "target_components"  # noqa: B009
    elif recipe.encoder != "patch_pca":
        return
    if getattr(recipe, flag) > patch_features(filters):
        raise UsageError(f"{flag_of(flag)} {getattr(recipe, flag)}: {filters} filters have {patch_features(filters)} "
                         "features; give at most as many components")


def check_fits(recipe: LatentRecipe, image_shape: Sequence[int]) -> None:
    """UsageError, naming the flag to change, if a value makes no sense for images of (C, H, W)."""
    sides, blocks = image_shape[1:], len(recipe.widths)
    for name in ("translate", "cutout", "mask_patch"):
        pixels = getattr(recipe, name, 0)
        if pixels >= min(sides) and recipe.uses(name):
            raise UsageError(f"{flag_of(name)} {pixels}: must be below {min(sides)}, the side of the images in pixels")
    check_components(recipe, image_shape)
    if decoder_widths := getattr(recipe, "decoder_widths", ()):
        check_decoder(recipe.encoder, decoder_widths, image_shape)
    encoder = getattr(recipe, "view_encoder", recipe.encoder)
    if encoder == "vit" and any(side % vit_patch(image_shape) for side in sides):
        raise UsageError(f"--encoder vit: the images' sides must be multiples of {vit_patch(image_shape)}, not "
                         f"{sides[0]} x {sides[1]}")
    needed = whitening_side(image_shape) - 1 + (2**blocks if encoder in ("conv", "conv_depths", "conv_patches") else 1)
    if min(sides) < needed:
        raise UsageError(f"--widths names {blocks} blocks, too many for {sides[0]} x {sides[1]} images: give fewer, or "
                         "for a folder a larger --image-size")
    least = max(needed, 4)
    for name, step in (("view_scale", 1), ("resize_from", 2)):  # resizing keeps sides even
        fraction = getattr(recipe, name, 1.0)
        smallest = min(step * round(fraction * side / step) for side in sides)
        if fraction < 1 and (encoder in ONE_SIZE or recipe.pooling == "flatten"):
            raise UsageError(f"{flag_of(name)} {fraction}: encoder {encoder} with {recipe.pooling} pooling accepts "
                             f"only images of one size; give {flag_of(name)} 1")
        if fraction < 1 and smallest < least:
            raise UsageError(f"{flag_of(name)} {fraction}: images of {smallest} pixels per side are too small for this "
                             f"encoder, which needs {least}; give a larger fraction")


def check_value(f: "dataclasses.Field[Any]", value: Any) -> None:
    """UsageError, naming the flag and the valid values, unless the value fits the field."""
    allowed, name = f.metadata, flag_of(f.name)
    if allowed["choices"] and value not in allowed["choices"]:
        raise UsageError(f"{name} {value}: choose from {', '.join(allowed['choices'])}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, str | bool):
            continue
        if number != number or number in (float("inf"), float("-inf")):
            raise UsageError(f"{name} {number}: must be a finite number")
        for bound, holds, words in (("above", operator.gt, "above"), ("least", operator.ge, "at least"),
                                    ("most", operator.le, "at most")):
            if allowed[bound] is not None and not holds(number, allowed[bound]):
                raise UsageError(f"{name} {number}: must be {words} {allowed[bound]}")


def flag_of(name: str) -> str:
    """`batch_size` -> `--batch-size`."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser, recipes: dict[str, type[LatentRecipe]], varying: set[str]) -> None:
    """One flag per field of every task's recipe, grouped by the task that first has it.

    Tasks that share a field share its flag.  A flag that is not given is absent from the parsed namespace.
    varying: the fields whose default depends on data set, method or encoder.
    """
    added: set[str] = set()
    shared = [("encoder and images of every task", LatentRecipe), ("training of every task but control", Recipe),
              ("tasks 1.2.1, 1.2.3 and rotation", FrozenEncoderRecipe)]
    for title, recipe in [*shared, *((f"task {name}", r) for name, r in recipes.items())]:
        group = parser.add_argument_group(title)
        for f in fields(recipe):
            if f.name not in added and f.name != "method":  # --method is a flag of the run: it takes several
                added.add(f.name)
                add_flag(group, f, "by recipe" if f.name in varying else str(f.default))


def add_flag(group: Any, f: "dataclasses.Field[Any]", default: str) -> None:
    """One field as one argparse flag.  default: in words."""
    options: dict[type, dict[str, Any]] = {
        bool: {"action": argparse.BooleanOptionalAction},
        tuple: {"type": int, "nargs": "+", "metavar": "N"},
        str: {"metavar": "|".join(f.metadata["choices"] or ())},
        int: {"type": int, "metavar": "N"},
        float: {"type": float, "metavar": "X"}}
    text = f"{f.metadata['help']} (default: {default.lower()})".replace("%", "%%")
    group.add_argument(flag_of(f.name), help=text, default=argparse.SUPPRESS, **options[type(f.default)])


def flag_values(namespace: argparse.Namespace, recipe: type[LatentRecipe]) -> dict[str, Any]:
    """The recipe's fields that the command line gives, as {name: value}."""
    names = [f.name for f in fields(recipe) if f.name != "method"]
    given = {name: getattr(namespace, name) for name in names if hasattr(namespace, name)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def as_json(recipe: LatentRecipe) -> dict[str, Any]:
    """Every field, as JSON types (tuples become lists)."""
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
