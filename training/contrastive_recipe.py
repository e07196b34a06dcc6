"""Hyper-parameters of task 1.2.3, and what differs per data set.  No torch here: `--help` reads this file."""

from dataclasses import dataclass

from utils.recipe import Recipe, knob


@dataclass(frozen=True)
class ContrastiveRecipe(Recipe):
    """Agreement of two augmented views (SimCLR), as CIFAR-10 has it."""

    method: str = knob("simclr", "simclr: NT-Xent between two views (Chen et al. 2020)", choices=("simclr",))
    temperature: float = knob(0.2, "softmax temperature of NT-Xent, unitless", above=0)
    projection_hidden_dim: int = knob(512, "hidden units of the projection head", least=1, most=65536)
    projection_dim: int = knob(128, "dimensions in which views are compared", least=1, most=65536)
    colour_strength: float = knob(0.4, "largest relative change of brightness, contrast, saturation; hue turns by a "
                                  "quarter of it", least=0, most=1)
    colour_probability: float = knob(0.8, "fraction of the views whose colours change", least=0, most=1)
    grey_probability: float = knob(0.2, "fraction of the views that become grey", least=0, most=1)


RECIPES = {
    "cifar10": {"epochs": 8, "crop_scale": 0.2, "flip": True},
    # milder crops than of photographs: a digit cut in half may be another digit; rotations instead of flips
    "mnist": {"epochs": 6, "widths": (32, 64, 128), "crop_scale": 0.4, "rotate_degrees": 15},
    "digits": {"epochs": 60, "batch_size": 128, "widths": (32, 64), "crop_scale": 0.5, "rotate_degrees": 10},
}
