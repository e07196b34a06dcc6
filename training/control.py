"""Task control: latents that were not learned, as baselines for every score.

    python _main.py --task control --dataset mnist

random: the encoder with its initial weights, frozen.  pca: the 128 principal components of the training images' pixels.
"""

from training.control_recipe import ControlRecipe
from training.loop import NOT_TRAINED, Setup, Trained, new_encoder
from utils.images.on_device import DeviceData


def train(recipe: ControlRecipe, data: DeviceData, setup: Setup) -> Trained:
    """The untrained encoder; principal components are fitted, which takes no steps."""
    return Trained({"encoder": new_encoder(recipe, data, setup).eval()}, [], NOT_TRAINED, 0, 0.0)
