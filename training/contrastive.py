"""Task 1.2.3: learn a latent by contrast of two augmented views, without labels.

    python _main.py --task 1.2.3 --dataset cifar10
    python _main.py --task 1.2.3 --dataset mnist --method vicreg

Two views of each image should agree; the methods differ in what prevents the latent from collapsing to a point
(contrastive_methods.py).  Afterwards the heads are discarded, and `evaluation/scoring.py` scores the frozen latent.  On
digits this is the vector below the heads.  On MNIST and CIFAR-10 it is 128 principal components of all blocks' outputs
(models/encoders.py, ConvDepthsEncoder); in cmc, that vector joined to patch components (ConvPatchEncoder).
Departures: that latent, a small encoder, no blur unless --blur-probability is given, AdamW, and Muon for the filters.
"""

from torch import Generator, Tensor

from training.augment import augmented, colour_jitter, gaussian_blur
from training.contrastive_methods import METHODS
from training.contrastive_recipe import ContrastiveRecipe
from training.loop import Loop, Setup, Trained, new_encoder
from utils.images.on_device import DeviceData


def train(recipe: ContrastiveRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train encoder and heads; returns them all."""
    height, width = map(recipe.view_side, data.image_shape[1:])
    encoder = new_encoder(recipe, data, setup, readout=False)
    method = METHODS[recipe.method](encoder, recipe, data, setup)
    loop = Loop(recipe, data, setup, {"encoder": encoder, **method.heads})
    method.start(loop)

    def contrastive_loss(index: Tensor, generator: Generator) -> tuple[Tensor, None]:
        view0, view1 = (random_view(data.images[index], recipe, generator, (height, width)) for _ in range(2))
        return method.loss(view0, view1, index), None

    loop.count_flops(contrastive_loss, once=method.flops_once)
    for _ in loop.epochs():
        for index in loop.batches():
            loop.step(contrastive_loss, index, then=method.after_step)
        loop.end_epoch(contrastive_loss)
    trained = loop.finished()
    encoder.fit_readout(data.train_batches())  # conv_depths: fits the latent that is scored; `trained` has this encoder
    return trained


def random_view(images: Tensor, recipe: ContrastiveRecipe, generator: Generator,
                size: tuple[int, int] | None = None) -> Tensor:
    """(B, H, W, C) uint8 images -> one augmented view of each, (B, C, H, W) in [0, 1]; size: another (H, W)."""
    moved = augmented(images, recipe, generator, size=size)
    coloured = colour_jitter(moved, generator, strength=recipe.colour_strength, probability=recipe.colour_probability,
                             grey_probability=recipe.grey_probability)
    return gaussian_blur(coloured, generator, recipe.blur_probability)
