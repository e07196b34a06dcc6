"""Task 1.2.3: learn a latent by contrast of two augmented views, without labels (SimCLR, Chen et al. 2020).

    python _main.py --task 1.2.3 --dataset cifar10

Two views of each image should agree, views of different images should not: NT-Xent on the projection head's output.
The head is then thrown away; the 128-d latent below it is frozen and scored by `training/evaluation.py`.
Departures from the paper: a small encoder with a linear 128-d latent, no blur at this resolution, AdamW.
"""

import torch
from torch import Generator, Tensor

from models.heads import ProjectionHead
from training.contrastive_recipe import ContrastiveRecipe
from training.loop import DeviceData, Loop, Setup, Trained, forward_flops, new_encoder
from utils.augment import colour_jitter
from utils.losses import nt_xent


def train(recipe: ContrastiveRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train encoder and projection head; returns both."""
    encoder = new_encoder(recipe, data, setup)
    head = ProjectionHead(recipe.latent_dim, recipe.projection_hidden_dim, recipe.projection_dim)
    flops = 2 * (forward_flops(encoder, *data.image_shape) + forward_flops(head, recipe.latent_dim))
    loop = Loop(recipe, data, setup, {"encoder": encoder, "projection_head": head}, flops,
                f"NT-Xent at temperature {recipe.temperature}, nats per anchor")

    def view(index: Tensor, generator: Generator) -> Tensor:
        return colour_jitter(loop.augmented(index, generator), generator, strength=recipe.colour_strength,
                             probability=recipe.colour_probability, grey_probability=recipe.grey_probability)

    def contrastive_loss(index: Tensor, generator: Generator) -> Tensor:
        views = torch.cat([view(index, generator), view(index, generator)])  # (2B, C, H, W)
        z0, z1 = head(encoder(views)).chunk(2)  # (B, projection_dim) each
        return nt_xent(z0, z1, recipe.temperature)

    for _ in loop.epochs():
        for index in loop.batches():
            loop.step(contrastive_loss(index, loop.generator))
        loop.end_epoch(loop.validate(lambda index, generator: (contrastive_loss(index, generator), None)))
    return loop.finished()
