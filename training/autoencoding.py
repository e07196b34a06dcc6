"""Task 1.2.1: learn a latent by autoencoding, without labels.

    python _main.py --task 1.2.1 --dataset mnist

Encoder and decoder minimise the mean absolute error of the pixels (L1).  The decoder is only there to train the
encoder, whose 128-d latent is then frozen and scored by `training/evaluation.py`.
"""

from torch import Generator, Tensor

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
                "L1: mean absolute error of the pixels, in [0, 1]")

    def reconstruction_loss(images: Tensor) -> Tensor:
        return (decoder(encoder(images)) - images).abs().mean()

    def validation_loss(index: Tensor, generator: Generator) -> tuple[Tensor, None]:
        return reconstruction_loss(to_float(data.images[index])), None

    for _ in loop.epochs():
        for index in loop.batches():
            loop.step(reconstruction_loss(loop.augmented(index)))
        loop.end_epoch(loop.validate(validation_loss))
    return loop.finished()
