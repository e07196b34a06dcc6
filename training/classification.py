"""Task 1.2.2: learn a latent by classification: encoder and classifier, end to end, no decoder.

    python _main.py --task 1.2.2 --dataset cifar10
    python _main.py --task 1.2.2 --dataset mnist --labels 0.01

The classifier is one linear layer on the 128-d latent, trained with cross-entropy and label smoothing.  Its accuracy
is the headline; linear and kNN scores of the frozen latent are recorded with it.  With `--finetune`, the other tasks
train their encoder, learned without labels, further in the same way.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from models.heads import LinearHead
from training.augment import augmented, cutout
from training.classification_recipe import GROWING, RECIPES, ClassificationRecipe
from training.loop import Diverged, Loop, Setup, Trained, new_encoder
from utils.images.on_device import DeviceData, to_float
from utils.recipe import FrozenEncoderRecipe


def train(recipe: ClassificationRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train encoder and classifier; returns both."""
    return train_jointly(new_encoder(recipe, data, setup), recipe, data, setup)


def finetune(encoder: nn.Module, recipe: FrozenEncoderRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train a learned encoder further, with a new linear classifier and the labelled images (Chen et al. 2020, B.5).

    Except for encoder, length and learning rate this is task 1.2.2's default on these data, so that the two can be
    compared.  Two more differences: only AdamW, since Muon would change the filters equally fast whatever they have
    learned, and images of full size, on which the encoder was trained.
    """
    joint = ClassificationRecipe(**RECIPES[data.recipe_family, "joint"])
    joint = replace(joint, epochs=recipe.finetune_epochs, learning_rate=recipe.finetune_learning_rate,
                    latent_dim=recipe.latent_dim, muon_learning_rate=0.0, resize_from=1.0,
                    alternating_flip=joint.alternating_flip and recipe.flip)  # --no-flip: not here, either
    try:
        return train_jointly(encoder, joint, data, setup)
    except Diverged as error:
        remedy = "--finetune-learning-rate"
        if recipe.epochs:
            remedy += ", and fine-tune a finished run (--init RECORD --epochs 0), which keeps its encoder"
        raise Diverged(error.loss, error.epoch, error.step, error.history, remedy) from None


def train_jointly(encoder: nn.Module, recipe: ClassificationRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train an encoder, and a new classifier on it, with the labelled images; returns both."""
    classifier = LinearHead(recipe.latent_dim, len(data.classes))
    mirrored_first = torch.rand(len(data.images), generator=Generator().manual_seed(setup.seed)) < 0.5
    mirrored_first = mirrored_first.to(data.images.device)
    loop = Loop(recipe, data.of_labelled(), setup, {"encoder": encoder, "classifier": classifier})

    def validation_loss(index: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        logits, labels = classifier(encoder(to_float(data.images[index]))), data.labels[index]
        return F.cross_entropy(logits, labels), logits.argmax(1) == labels

    def smoothed_loss(index: Tensor, generator: Generator, size: tuple[int, int],
                      even_epoch: bool) -> tuple[Tensor, Tensor]:
        mirrored = mirrored_first[index] ^ even_epoch if recipe.alternating_flip else None
        images = cutout(augmented(data.images[index], recipe, generator, mirrored, size), generator,
                        round(recipe.cutout * size[0] / data.image_shape[1]), fill)
        logits, labels = classifier(encoder(images)), data.labels[index]
        return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing), logits.argmax(1) == labels

    fill, full = data.mean_colour(), data.image_shape[1:]
    loop.count_flops(lambda index, generator: smoothed_loss(index, generator, full, False),
                     mean_area(recipe.resize_from), first=recipe.resize_from ** 2)
    for _ in loop.epochs():
        for index in loop.batches():
            size = size_after(loop.progress.step / loop.steps, full, recipe.resize_from)
            loop.step(smoothed_loss, index, size, loop.progress.epoch % 2 == 0)
        loop.end_epoch(validation_loss)
    return loop.finished()


def size_after(done: float, full: tuple[int, int], resize_from: float) -> tuple[int, int]:
    """(H, W) of the training images after a fraction `done` of the steps: progressive resizing (Howard 2018).

    Small images cost less and vary less.  Sides grow in even numbers up to the full size.
    """
    scale = resize_from + (1 - resize_from) * done / GROWING
    height, width = (side if scale >= 1 else min(side, 2 * round(side * scale / 2)) for side in full)
    return height, width


def mean_area(resize_from: float) -> float:
    """Mean area of the training images relative to full size, rounding of sides aside: the mean cost of a step."""
    return GROWING * (1 + resize_from + resize_from ** 2) / 3 + 1 - GROWING
