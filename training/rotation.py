"""Task rotation: learn a latent by predicting rotations of 0, 90, 180 and 270 degrees (Gidaris et al. 2018).

    python _main.py --task rotation --dataset mnist

No class labels are used: the label is the rotation that was applied.  The encoder is then frozen and its 128-d latent
scored by `evaluation/scoring.py`.
Departure from the paper: an image appears in one random rotation per epoch, not in all four in one batch.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from models.heads import LinearHead
from training.augment import augmented, rotate_quarters
from training.loop import Loop, Setup, Trained, new_encoder
from training.rotation_recipe import RotationRecipe
from utils.compute import distributed
from utils.images.on_device import DeviceData


def train(recipe: RotationRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train encoder and rotation head; returns both."""
    encoder = new_encoder(recipe, data, setup, readout=False)
    head = LinearHead(recipe.latent_dim, 4)
    loop = Loop(recipe, data, setup, {"encoder": encoder, "rotation_head": head})

    def rotation_loss(index: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        quarters = distributed.draw(partial(torch.randint, 4), (len(index),), generator)
        logits = head(encoder.trunk(rotate_quarters(augmented(data.images[index], recipe, generator), quarters)))
        return F.cross_entropy(logits, quarters), logits.argmax(1) == quarters

    loop.count_flops(rotation_loss)
    for _ in loop.epochs():
        for index in loop.batches():
            loop.step(rotation_loss, index)
        loop.end_epoch(rotation_loss)
    trained = loop.finished()
    encoder.fit_readout(data.train_batches())
    return trained
