"""Score a record's checkpoint again: predictions of its weights, independent of what the record claims.

Encoder and classifier are built from the recipe by this project's own code, and filled from the .safetensors file after
names, shapes, types and finiteness were checked (models/saved.py).  The images are this machine's own.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.scores import CLASSIFIER_DROPOUT, CLASSIFIER_HIDDEN, Standardised, encode, predict
from models.decoders import ConvDecoder, MLPDecoder, build_decoder
from models.heads import LinearHead, MLPClassifier
from models.saved import Saved, fill, load_saved
from utils.errors import RunError
from utils.images.datasets import load_dataset
from utils.images.on_device import DeviceData, Images
from utils.records.environment import choose_device

BATCH = 200  # images at once: with 500 each layer's activations are mapped and unmapped again, a fifth of the time


def load_device_data(dataset: str, data_dir: Path) -> DeviceData:
    """The data set on the fastest available device."""
    return DeviceData.load(load_dataset(dataset, data_dir), choose_device("auto"))


def predict_again(path: Path, data: DeviceData) -> np.ndarray:
    """(N,) classes of the test images by the checkpoint of the record at `path`.  Raises RunError where it has none."""
    saved, device = load_saved(path), data.test_images.device
    classifier = load_classifier(saved).to(device)
    return predict(classifier, latents_of(saved.encoder.to(device), data.test_images)).cpu().numpy()


def latents_of(encoder: nn.Module, images: Images) -> Tensor:
    """(N, H, W, C) uint8 -> (N, latent_dim) float32."""
    encoder = encoder.to(memory_format=torch.channels_last)  # as the images are
    return torch.cat([encode(encoder, part) for part in images.split(BATCH)])


def load_classifier(saved: Saved) -> nn.Module:
    """The classifier that the record's task is scored with, on the CPU, from its checkpoint.  Raises RunError."""
    recipe, classes = saved.record.recipe, len(saved.record.data.classes)
    latent_dim = int(recipe.number("latent_dim"))
    classifier: nn.Module
    if saved.record.run.task == "1.2.2" or recipe.fields.get("finetune"):
        classifier = LinearHead(latent_dim, classes)
    else:
        classifier = Standardised(MLPClassifier(latent_dim, CLASSIFIER_HIDDEN, classes, CLASSIFIER_DROPOUT), latent_dim)
    fill(saved.checkpoint, "classifier", classifier)
    return classifier


def load_decoder(saved: Saved) -> ConvDecoder | MLPDecoder:
    """The decoder of a record of task 1.2.1, in eval mode, from its checkpoint.  Raises RunError and UsageError."""
    record, widths = saved.record, saved.record.recipe.fields.get("decoder_widths")
    if not isinstance(widths, list) or not 0 < len(widths) < 10 or not all(0 < width < 10_000 for width in widths):
        raise RunError("the recipe's decoder_widths are not those of a decoder")
    channels, height, width = record.data.image_shape
    decoder = build_decoder(str(record.recipe.fields["encoder"]), (channels, height, width), tuple(widths),
                            int(record.recipe.number("latent_dim")))
    fill(saved.checkpoint, "decoder", decoder)
    return decoder.eval()
