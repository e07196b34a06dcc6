"""Task control: latents that were not learned, as baselines for every score.

    python _main.py --task control --dataset mnist

A lead over a control does not measure what was learned: each control is another encoder.  control_recipe.py describes
each one.
"""

from models.encoders import calibrate_norms
from training.control_recipe import ControlRecipe
from training.loop import NOT_TRAINED, Setup, Trained, new_encoder
from utils.images.on_device import STATISTICS_FROM, DeviceData


def train(recipe: ControlRecipe, data: DeviceData, setup: Setup) -> Trained:
    """The untrained encoder; components and statistics are fitted, which takes no steps."""
    encoder = new_encoder(recipe, data, setup, readout=False)
    if recipe.method in ("calibrated", "hybrid"):
        calibrate_norms(encoder, data.sample(STATISTICS_FROM))
    encoder.fit_readout(data.train_batches())
    return Trained({"encoder": encoder.eval()}, [], NOT_TRAINED, 0, 0.0)
