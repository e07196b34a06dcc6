"""Task 1.2.2: learn a latent by classification: encoder and classifier, end to end, no decoder.

    python _main.py --task 1.2.2 --dataset cifar10
    python _main.py --task 1.2.2 --dataset mnist --labels 0.01

The classifier is one linear layer on the 128-d latent, trained with cross-entropy and label smoothing.  Its accuracy
is the headline; linear and kNN scores of the frozen latent stand beside it.  `--finetune` of the other tasks trains an
encoder that was learned without labels on, in the same way.
"""

from dataclasses import replace

import torch.nn.functional as F
from torch import Generator, Tensor, nn

from models.heads import LinearHead
from training.classification_recipe import RECIPES, ClassificationRecipe
from training.loop import DeviceData, Diverged, Loop, Setup, Trained, forward_flops, new_encoder
from utils.augment import to_float
from utils.recipe import FrozenRecipe


def train(recipe: ClassificationRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train encoder and classifier; returns both."""
    return train_jointly(new_encoder(recipe, data, setup), recipe, data, setup)


def finetune(encoder: nn.Module, recipe: FrozenRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train a learned encoder on, with a new linear classifier and the labelled images (Chen et al. 2020, B.5).

    But for its length and learning rate as task 1.2.2 does by default on these data, so that the two can be compared;
    and by AdamW alone, since Muon turns the filters by as much whatever they have learned.
    """
    joint = ClassificationRecipe(**RECIPES[data.recipes])
    joint = replace(joint, epochs=recipe.finetune_epochs, learning_rate=recipe.finetune_learning_rate,
                    latent_dim=recipe.latent_dim, muon_learning_rate=0.0)
    try:
        return train_jointly(encoder, joint, data, setup)
    except Diverged as error:
        raise Diverged(error.loss, error.epoch, error.step, error.history, "--finetune-learning-rate") from None


def train_jointly(encoder: nn.Module, recipe: ClassificationRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train an encoder, and a new classifier on it, with the labelled images; returns both."""
    classifier = LinearHead(recipe.latent_dim, len(data.classes))
    flops = forward_flops(encoder, *data.image_shape) + forward_flops(classifier, recipe.latent_dim)
    loop = Loop(recipe, data.of_labelled(), setup, {"encoder": encoder, "classifier": classifier}, flops,
                f"cross-entropy with label smoothing {recipe.label_smoothing}, nats (validation: without smoothing)")

    def validation_loss(index: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        logits, labels = classifier(encoder(to_float(data.images[index]))), data.labels[index]
        return F.cross_entropy(logits, labels), logits.argmax(1) == labels

    def smoothed_loss(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = classifier(encoder(images))
        return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing), logits.argmax(1) == labels

    training_loss = loop.data_parallel(smoothed_loss)
    for _ in loop.epochs():
        for index in loop.batches():
            loss, correct = training_loss(loop.augmented(index), data.labels[index])
            loop.step(loss, correct)
        loop.end_epoch(loop.validate(validation_loss))
    return loop.finished()
