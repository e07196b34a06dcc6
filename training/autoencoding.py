"""Task 1.2.1: learn a latent by autoencoding, without labels.

    python _main.py --task 1.2.1 --dataset mnist
    python _main.py --task 1.2.1 --dataset mnist --method masked

Encoder and decoder minimise the mean absolute error of the pixels (L1; --loss mse: the mean squared error), or in one
method an error of features.  The decoder only serves to train the encoder (in method patches, to show reconstructions),
whose 128-d latent is then frozen and scored by `evaluation/scoring.py`.  The methods (autoencoding_recipe.py) differ in
the encoder's input and in the target: the image after its random shift or flip (plain, denoising, masked), the whole
image from which a crop was taken (augmented), or that image's features (patches).

An encoder that is read at every depth (models/encoders.py, ConvDepthsEncoder) is trained through its own bottleneck.
Then the readout that gives the latent is fitted, and the decoder is trained further to decode this latent.

Departures: the noise is not clipped; the masked autoencoder keeps the missing pixels' places (a transformer would drop
those tokens) and its loss counts all pixels, since the decoder reads only the latent.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from evaluation.scores import encode
from models.decoders import build_decoder
from models.encoders import Encoder
from models.patches import COMPONENTS_FITTED_TO, IMAGES_PER_COMPONENT, PatchComponents, patch_targets
from training.augment import augmented, colour_jitter, random_affine, uniform
from training.autoencoding_recipe import AutoencodingRecipe
from training.loop import Loop, Setup, Trained, new_encoder
from utils.compute import distributed
from utils.compute.precision import DTYPES
from utils.images.on_device import DeviceData, to_float

DECODER_SHARE = 5  # a latent read at every depth: the decoder is trained for it in a fifth as many epochs


def train(recipe: AutoencodingRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train encoder and decoder, and with patches a decoder of features; returns them all."""
    encoder = new_encoder(recipe, data, setup, readout=False)
    decoder = build_decoder(recipe.encoder, data.image_shape, recipe.decoder_widths, recipe.latent_dim)
    modules: dict[str, nn.Module] = {"encoder": encoder, "decoder": decoder}
    on_features, target_flops = recipe.method == "patches", 0.0
    if on_features:
        whitened = PatchComponents(data.image_shape, recipe.target_filters, recipe.target_components).to(setup.device)
        whitened.fit_to_data(data.sample(max(COMPONENTS_FITTED_TO, IMAGES_PER_COMPONENT * recipe.target_components)))
        targets, target_flops = patch_targets(whitened, data, setup.precision)
        hidden = recipe.feature_hidden_dim
        features = nn.Sequential(nn.Linear(recipe.latent_dim, hidden, bias=False), nn.BatchNorm1d(hidden), nn.GELU(),
                                 nn.Linear(hidden, recipe.target_components))
        modules["feature_decoder"] = features
    loop = Loop(recipe, data, setup, modules)
    missing = data.mean_colour()

    def reconstruction_loss(seen: Tensor, images: Tensor, index: Tensor) -> Tensor:
        z = encoder.trunk(seen)
        if not on_features:
            return pixel_error(decoder(z), images, recipe.loss)
        return (features(z) - targets[index]).square().mean() + pixel_error(decoder(z.detach()), images, "l1")

    def augmented_loss(index: Tensor, generator: Generator) -> tuple[Tensor, None]:
        if recipe.method != "augmented":
            images = augmented(data.images[index], recipe, generator)
            target = to_float(data.images[index]) if on_features else images
        else:  # the target is mirrored along with the crop: a crop does not reveal whether it is mirrored
            mirrored = uniform(len(index), 0, 1, generator) < (0.5 if recipe.flip else 0)
            images = augmented(data.images[index], recipe, generator, mirrored)
            target = random_affine(to_float(data.images[index]), generator, flip=mirrored)
        return reconstruction_loss(corrupt(images, missing, recipe, generator), target, index), None

    def validation_loss(index: Tensor, generator: Generator) -> tuple[Tensor, None]:
        images = to_float(data.images[index])
        return reconstruction_loss(images, images, index), None

    loop.count_flops(augmented_loss, once=target_flops)
    for _ in loop.epochs():
        for index in loop.batches():
            loop.step(augmented_loss, index)
        loop.end_epoch(validation_loss)
    trained = loop.finished()
    encoder.fit_readout(data.train_batches())
    if encoder.trunk is encoder or recipe.finetune:  # fine-tuning drops the decoder
        return trained
    flops = train_decoder(encoder, decoder, recipe, data, setup)
    return replace(trained, flops=trained.flops + flops,
                   objective=f"{trained.objective}; then the same for the decoder alone, on the latent that is read")


def train_decoder(encoder: Encoder, decoder: nn.Module, recipe: AutoencodingRecipe, data: DeviceData,
                  setup: Setup) -> float:
    """Train a decoder further, to decode the frozen latents of intact images.  Returns the FLOPs.

    These epochs do not change the latent, so they are not part of the history.
    """
    print("training the decoder further, on the latent that is scored", flush=True)
    distributed.copy_first(encoder.buffers())  # an eigenvector's sign may differ between machines
    z = encode(encoder, data.images).to(DTYPES[setup.precision])  # (N, latent_dim)
    epochs = -(-recipe.epochs // DECODER_SHARE)
    loop = Loop(replace(recipe, epochs=epochs), data, setup, {"decoder": decoder})

    def decoding_loss(index: Tensor, generator: Generator) -> tuple[Tensor, None]:
        return pixel_error(decoder(z[index]), to_float(data.images[index]), recipe.loss), None

    loop.count_flops(decoding_loss)
    for _ in loop.epochs():
        for index in loop.batches():
            loop.step(decoding_loss, index)
        loop.end_epoch(decoding_loss)
    return loop.finished().flops


def pixel_error(decoded: Tensor, images: Tensor, loss: str) -> Tensor:
    """Mean absolute (l1) or mean squared (mse) error of (B, C, H, W) pixels in [0, 1]."""
    return F.mse_loss(decoded, images) if loss == "mse" else (decoded - images).abs().mean()


def corrupt(images: Tensor, missing: Tensor, recipe: AutoencodingRecipe, generator: Generator) -> Tensor:
    """The encoder's input for (B, C, H, W) images.  missing: (C,), the value of a masked pixel."""
    if recipe.method == "denoising":
        noise = distributed.draw(torch.randn, images.shape, generator)
        return images + recipe.noise_std * noise
    if recipe.method == "masked":  # each square of a fixed grid, with probability mask_ratio
        (height, width), side = images.shape[2:], recipe.mask_patch
        grid = (len(images), 1, -(-height // side), -(-width // side))
        chosen = (distributed.draw(torch.rand, grid, generator) < recipe.mask_ratio).float()
        masked = F.interpolate(chosen, scale_factor=float(side))[:, :, :height, :width] > 0.5  # (B, 1, H, W)
        return torch.where(masked, missing.view(1, -1, 1, 1), images)
    if recipe.method in ("augmented", "patches"):
        return colour_jitter(images, generator, strength=recipe.colour_noise, probability=0.8,
                             grey_probability=0.2 if recipe.colour_noise else 0.0)
    return images
