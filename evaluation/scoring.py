"""Score a trained latent: every metric, confusion matrix and figure array that its record holds."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Generator, Tensor, nn

from evaluation import figure_arrays, scores
from models.encoders import ConvPatchEncoder
from utils.compute.convolution import forward_flops
from utils.compute.precision import DTYPES, round_as_saved
from utils.console import duration_in_words
from utils.errors import RunError
from utils.images.on_device import DeviceData
from utils.records.schema import HEADLINE, Confusion, Metric

QUICK_CLASSIFIER_EPOCHS = 5
LOWER = "try a lower --learning-rate"


class NotFinite(RunError):
    """Weights or latents are not finite, so they cannot be scored."""


def expected_seconds(trained: dict[str, nn.Module], data: DeviceData, quick: bool) -> float:
    """About how long score() takes on two idle cores, for the time estimate; a GPU does most of it ten times faster."""
    labelled = len(data.labelled)
    epochs = QUICK_CLASSIFIER_EPOCHS if quick else scores.classifier_epochs(labelled)
    classifiers = 0 if "classifier" in trained else 1 + isinstance(trained.get("encoder"), ConvPatchEncoder)
    steps = classifiers * epochs * max(1, labelled // scores.CLASSIFIER_BATCH)
    images = len(data.images) + len(data.test_images)
    return 3.0 + (0.03 * steps + 5e-4 * images) * (1.0 if data.images.device.type == "cpu" else 0.1)


@dataclass(frozen=True)
class Scores:
    """The scores of a latent, in the record's terms; modules: what the saved weights hold."""

    metrics: dict[str, Metric]
    confusion: Confusion
    arrays: dict[str, np.ndarray]
    modules: dict[str, nn.Module]
    flops: float


def score(trained: dict[str, nn.Module], data: DeviceData, view: Callable[[Tensor, Generator], Tensor], seed: int,
          precision: str, quick: bool) -> Scores:
    """Every score of a latent.  Prints its progress, since it takes a few minutes on real data.

    trained: the modules by name, among them "encoder"; view: one augmented view of a batch, for geometry_metrics();
    precision: in which the classifier is trained; quick: train it for a few epochs only.
    Raises NotFinite.
    """
    clock = time.monotonic()
    modules, metrics = dict(trained), dict[str, Metric]()
    encoder, protocol = modules["encoder"], "classifier trained jointly with the encoder"
    for name, module in modules.items():
        if not all(value.isfinite().all() for value in module.state_dict().values()):
            raise NotFinite(f"weights of the {name.replace('_', ' ')} exceed what float16 can hold: {LOWER}")
    print("scoring: latents", end="", flush=True)
    latents = scores.encode_splits(encoder, data)
    if not all(part.z.isfinite().all() for part in latents.values()):
        print(flush=True)
        raise NotFinite(f"the latents are not finite, because weights grew too large: {LOWER}")
    flops = (len(data.images) + len(data.test_images)) * forward_flops(encoder, *data.image_shape)
    print(", classifier", end="", flush=True)
    if "classifier" not in modules:
        epochs = QUICK_CLASSIFIER_EPOCHS if quick else scores.classifier_epochs(len(data.labelled))
        modules["classifier"], kept = scores.train_classifier(latents, len(data.classes), seed, epochs,
                                                              DTYPES[precision])
        round_as_saved(modules["classifier"])
        classifiers = 1
        if isinstance(encoder, ConvPatchEncoder):
            metrics.update(learned_metrics(encoder, latents, data, seed, epochs, precision))
            classifiers = 2
        flops += classifiers * 3 * epochs * len(data.labelled) * forward_flops(modules["classifier"],
                                                                               latents["test"].z.shape[1])
        protocol = (f"MLP of two hidden layers of {scores.CLASSIFIER_HIDDEN} units on the frozen latent, "
                    f"epoch {kept} of {epochs} by validation accuracy")
    predict = partial(scores.predict, modules["classifier"])
    metrics.update(scores.accuracy_metrics("classifier_top1", protocol, predict, latents, scores.SPLITS))
    predicted = predict(latents["test"].z)
    confusion, per_class = scores.confusion_of(HEADLINE, predicted, data.test_labels, data.classes, protocol)
    metrics.update(per_class)
    metrics.update(probe_metrics(latents, len(data.classes)))
    if "projection_head" in modules:
        metrics.update(projection_metrics(modules["projection_head"], latents))
    metrics.update(scores.geometry_metrics(encoder, latents["test"].z, data, view))
    arrays, more = figures(modules, latents, data)
    arrays["test_labels"] = data.test_labels.cpu().numpy().astype(np.uint16)
    arrays["test_predictions"] = predicted.cpu().numpy().astype(np.uint16)
    arrays["test_confidence"] = scores.confidence(modules["classifier"], latents["test"].z).cpu().numpy().astype(
        np.float16)
    print(f" ({duration_in_words(time.monotonic() - clock)})", flush=True)
    return Scores(metrics | more, confusion, arrays, modules, flops)


def learned_metrics(encoder: ConvPatchEncoder, latents: dict[str, scores.Latents], data: DeviceData, seed: int,
                    epochs: int, precision: str) -> dict[str, Metric]:
    """Accuracy of the same classifier on the learned dimensions of a hybrid latent alone."""
    learned = {name: scores.Latents(part.z[:, : encoder.conv_dim], part.labels) for name, part in latents.items()}
    classifier, kept = scores.train_classifier(learned, len(data.classes), seed, epochs, DTYPES[precision])
    protocol = (f"the headline's classifier on the {encoder.conv_dim} dimensions that are not patch features, epoch "
                f"{kept} of {epochs}")
    return scores.accuracy_metrics("learned_top1", protocol, partial(scores.predict, classifier), learned, ("test",))


def probe_metrics(latents: dict[str, scores.Latents], classes: int) -> dict[str, Metric]:
    """Linear and kNN accuracy on validation and test."""
    print(", linear probe", end="", flush=True)
    linear = scores.accuracy_metrics("linear_top1", "logistic regression on the frozen latent, standardised",
                                     scores.linear_probe(latents), latents, ("val", "test"))
    print(", kNN", end="", flush=True)
    labelled = latents["labelled"]
    protocol = f"k = {min(scores.NEIGHBOURS, len(labelled.z))} nearest labelled training latents by cosine, majority"
    return linear | scores.accuracy_metrics(
        "knn_top1", protocol, lambda z: scores.knn_predict(labelled, z, classes), latents, ("val", "test"))


def projection_metrics(head: nn.Module, latents: dict[str, scores.Latents]) -> dict[str, Metric]:
    """Linear accuracy on the output of the projection head, which is otherwise discarded."""
    print(", linear probe behind the head", end="", flush=True)
    with torch.no_grad():
        behind = {split: scores.Latents(head(part.z), part.labels) for split, part in latents.items()}
    return scores.accuracy_metrics("projection_linear_top1", "logistic regression on the projection head's output, "
                                   "standardised", scores.linear_probe(behind), behind, ("test",))


def figures(modules: dict[str, nn.Module], latents: dict[str, scores.Latents], data: DeviceData,
            ) -> figure_arrays.Figures:
    """The arrays that the report's figures draw, and their metrics."""
    print(", maps", end="", flush=True)
    arrays, metrics = figure_arrays.maps(latents["test"].z, data)
    arrays.update(figure_arrays.neighbours(latents, data))
    if "decoder" in modules:
        print(", reconstructions", end="", flush=True)
        decoder, z = modules["decoder"], latents["test"].z
        paths, evenness = figure_arrays.interpolations(decoder, z, data)
        arrays |= figure_arrays.reconstructions(decoder, z, data) | paths | figure_arrays.principal_axes(decoder, z)
        metrics.update(scores.reconstruction_metrics(decoder, latents, data) | evenness)
    return arrays, metrics
