"""`--recipe long`: published settings of long trainings, for a device about a hundred times as fast as two CPU cores.

Each entry replaces the task's default entry for its data set and method.  The network is a ResNet18 with the stem for
small images.  Departures from every source: the latent has 128 dimensions instead of 512; training uses 45,000 images
instead of 50,000; AdamW, and Muon for the filters, replace SGD, with the learning rates of the default recipes.  A
long recipe counts as measured by this project only if results/ has a record of it.  No torch here.
"""

from typing import Any, NamedTuple


class LongRecipe(NamedTuple):
    """values: what differs from the recipe's own defaults; source: of these settings; published: their accuracy."""

    values: dict[str, Any]
    source: str
    published: str


RESNET18: dict[str, Any] = {"encoder": "resnet18", "widths": (64, 128, 256, 512), "muon_learning_rate": 0.05,
                            "epochs": 200, "batch_size": 512, "warmup": 0.05, "flip": True}
# two views of full size, crops of at least 8 % of the area, no blur; warm-up: 10 epochs (Chen et al. 2020, section 2.2)
VIEWS: dict[str, Any] = RESNET18 | {"pooling": "mean", "crop_scale": 0.08, "colour_strength": 0.4}
LIGHTLY = "lightly's CIFAR-10 benchmark (docs.lightly.ai, Benchmarks): batch 512, cosine, temperature {}"
KNN = "kNN (k = 200), best epoch on test: {} % after 200 epochs, {} % after 800 (--epochs 800)"

LONG: dict[str, dict[tuple[str, str], LongRecipe]] = {
    "1.2.1": {
        ("cifar10", "plain"): LongRecipe(
            RESNET18 | {"pooling": "flatten"},  # a mean loses positions, which a decoder needs
            "none: the loss of the default recipe, with the epochs and batch size of the other entries",
            "none for reconstructing pixels from 128 dimensions with a ResNet18"),
    },
    "1.2.2": {
        # departures: batch 512, as 128 would leave a fast device idle; the rate falls as a cosine, not in three steps
        ("cifar10", "joint"): LongRecipe(
            RESNET18 | {"pooling": "mean", "translate": 4, "cutout": 16, "label_smoothing": 0.0},
            "DeVries and Taylor 2017 (github.com/uoguelph-mlrg/Cutout): 200 epochs, shifts of 4 pixels, cutout 16; "
            "there batch 128",
            "96.01 % (error 3.99 %, mean of 5 runs), without cutout 95.28 % (--cutout 0)"),
    },
    "1.2.3": {
        ("cifar10", "simclr"): LongRecipe(
            VIEWS | {"temperature": 0.5}, LIGHTLY.format(0.5), KNN.format("84.8", "87.9")),
        ("cifar10", "dcl"): LongRecipe(
            VIEWS | {"temperature": 0.1}, LIGHTLY.format(0.1), KNN.format("84.0", "87.4")),
    },
}


def long_recipes_in_words() -> str:
    """The runs that have a long recipe: "1.2.1 plain on cifar10, 1.2.2 joint on cifar10, ..."."""
    return ", ".join(f"{task} {method} on {family}" for task, recipes in LONG.items() for family, method in recipes)
