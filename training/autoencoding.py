"""Task 1.2.1: learn a latent by autoencoding, without labels.

    python _main.py --task 1.2.1 --dataset mnist
    python _main.py --task 1.2.1 --dataset mnist --method masked

Encoder and decoder minimise the mean absolute error of the pixels (L1).  The decoder is only there to train the
encoder, whose 128-d latent is then frozen and scored by `training/evaluation.py`.  What the encoder sees:

    plain      the image itself
    denoising  the image with Gaussian noise (Vincent et al. 2010)
    masked     the image with squares missing (He et al. 2022)

The target is the intact image in all three.  Departures: the noise is not clipped; the masked autoencoder keeps a place
for what is missing (a transformer would drop those tokens) and its loss counts all pixels, since the decoder reads
nothing but the latent.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from models.decoder import build_decoder
from training.autoencoding_recipe import AutoencodingRecipe
from training.loop import DeviceData, Loop, Setup, Trained, forward_flops, new_encoder
from utils.augment import to_float


def train(recipe: AutoencodingRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train encoder and decoder; returns both."""
    encoder = new_encoder(recipe, data, setup)
    decoder = build_decoder(recipe.encoder, data.image_shape, recipe.decoder_widths, recipe.latent_dim)
    flops = forward_flops(encoder, *data.image_shape) + forward_flops(decoder, recipe.latent_dim)
    loop = Loop(recipe, data, setup, {"encoder": encoder, "decoder": decoder}, flops,
                "L1: mean absolute error of the pixels, in [0, 1] (validation: from intact images)")

    def reconstruction_loss(seen: Tensor, images: Tensor) -> Tensor:
        return (decoder(encoder(seen)) - images).abs().mean()

    def validation_loss(index: Tensor, generator: Generator) -> tuple[Tensor, None]:
        images = to_float(data.images[index])
        return reconstruction_loss(images, images), None

    for _ in loop.epochs():
        for index in loop.batches():
            images = loop.augmented(index)
            loop.step(reconstruction_loss(corrupt(images, encoder, recipe, loop.generator), images))
        loop.end_epoch(loop.validate(validation_loss))
    return loop.finished()


def corrupt(images: Tensor, encoder: nn.Module, recipe: AutoencodingRecipe, generator: Generator) -> Tensor:
    """What the encoder is shown of (B, C, H, W) images."""
    if recipe.method == "denoising":
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        return images + recipe.noise_std * noise
    if recipe.method == "masked":
        missing = random_squares(images, recipe.mask_ratio, recipe.mask_patch, generator)
        return torch.where(missing, encoder.normalise.mean, images)  # the mean is what the network sees as 0
    return images


def random_squares(images: Tensor, ratio: float, side: int, generator: Generator) -> Tensor:
    """(B, 1, H, W) bool: squares of `side` pixels on a fixed grid, each True with probability `ratio`."""
    b, _, height, width = images.shape
    grid = (b, 1, -(-height // side), -(-width // side))
    chosen = (torch.rand(grid, generator=generator, device=images.device) < ratio).float()
    return F.interpolate(chosen, scale_factor=float(side))[:, :, :height, :width] > 0.5
