"""One run, from the recipe to the record: measure, load, train, score, write."""

import datetime
import importlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from training import evaluation
from training.loop import DeviceData, Diverged, Setup, Trained, forward_flops, in_words
from training.tasks import TASKS
from utils.checkpoint import save_checkpoint
from utils.data import Dataset
from utils.environment import describe
from utils.recipe import Recipe, as_json
from utils.record import (
    HEADLINE,
    Confusion,
    Data,
    Derived,
    Failure,
    Metric,
    RecipeFields,
    Record,
    Run,
    Selection,
    recipe_hash,
    write_arrays,
    write_record,
)

QUICK_IMAGES = {"train": 1000, "val": 200, "test": 500}  # what --quick trains and scores on
QUICK_CLASSIFIER_EPOCHS = 5


@dataclass(frozen=True)
class Scores:
    """What scoring a trained latent gives, in the record's terms; modules: what the checkpoint holds."""

    metrics: dict[str, Metric]
    confusion: Confusion
    arrays: dict[str, np.ndarray]
    modules: dict[str, nn.Module]
    flops: float


def run(task: str, dataset: Dataset, recipe: Recipe, overridden: list[str], setup: Setup, target: Path,
        argv: list[str]) -> tuple[Record, Path]:
    """Train, score and write `target` (.json, with .npz and .safetensors beside it).

    Returns the record and where it lies: where a complete record is there already, it stays, and the new one gets a
    name of its own.  Raises Diverged, after writing a record that says `failed`, when the loss is no longer finite.
    """
    clock = time.monotonic()
    fields = as_json(recipe)
    # what is known before the training is checked before the training
    begun = Run(task=task, dataset=dataset.name, method=recipe.method, objective="", seed=setup.seed, argv=argv,
                started=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), seconds=0.0,
                status="quick" if setup.quick else "complete")
    known = {"schema": 1,
             "recipe": RecipeFields(fields=fields, overridden=overridden, hash=recipe_hash(fields)),
             "data": Data(image_shape=list(dataset.image_shape), classes=list(dataset.classes),
                          class_counts=dataset.class_counts(), split_seed=dataset.split_seed, sha256=dataset.sha256,
                          source=dataset.source),
             "environment": describe(setup.device, setup.precision, setup.conv_gflops)}
    data = DeviceData.load(dataset, setup.device)
    try:
        trained = importlib.import_module(TASKS[task].script).train(recipe, data, setup)
    except Diverged as error:
        path = target.with_name(f"{target.stem}_failed.json")
        write_record(Record(
            **known, run=begun.model_copy(update={"seconds": time.monotonic() - clock, "status": "failed"}),
            derived=Derived(steps=error.step - 1, parameters={}, training_flops=0.0, evaluation_flops=0.0),
            selection=None, history=error.history, metrics={}, confusion=None, artifacts={},
            failure=Failure(reason=str(error), epoch=error.epoch, step=error.step)), path)
        error.add_note(f"recorded in {path}")
        raise
    scores = score(trained, data, setup)
    if not setup.quick:
        target = free_path(target)
    artifacts = {"arrays": write_arrays(target.with_suffix(".npz"), scores.arrays),
                 "checkpoint": save_checkpoint(target.with_suffix(".safetensors"), scores.modules)}
    record = Record(
        **known, run=begun.model_copy(update={"seconds": time.monotonic() - clock, "objective": trained.objective}),
        derived=Derived(
            steps=trained.steps, training_flops=trained.flops, evaluation_flops=scores.flops,
            parameters={name: sum(p.numel() for p in module.parameters()) for name, module in scores.modules.items()}),
        selection=Selection(rule="the last epoch", epoch=len(trained.history)), history=trained.history,
        metrics=scores.metrics, confusion=scores.confusion, artifacts=artifacts)
    write_record(record, target)
    return record, target


def free_path(path: Path) -> Path:
    """The path itself, or with _run2, _run3, ... where a record lies there already: no result is overwritten."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.stem}_run{number}.json"), number + 1
    return candidate


def score(trained: Trained, data: DeviceData, setup: Setup) -> Scores:
    """Every score of a frozen latent.  Prints what it is doing, since it takes a few minutes on real data."""
    clock = time.monotonic()
    encoder = trained.modules["encoder"]
    print("scoring: latents", end="", flush=True)
    latents = evaluation.encode_splits(encoder, data)
    modules, arrays = dict(trained.modules), {}
    flops = (len(data.images) + len(data.test_images)) * forward_flops(encoder, *data.image_shape)
    print(", classifier", end="", flush=True)
    if "classifier" in modules:
        classifier, protocol = modules["classifier"], "classifier trained jointly with the encoder"
    else:
        epochs = QUICK_CLASSIFIER_EPOCHS if setup.quick else evaluation.CLASSIFIER_EPOCHS
        classifier, kept = evaluation.train_classifier(latents, len(data.classes), setup.seed, epochs)
        modules["classifier"] = classifier
        flops += 3 * epochs * len(data.train) * forward_flops(classifier, latents["train"].z.shape[1])
        protocol = (f"MLP of two hidden layers of {evaluation.CLASSIFIER_HIDDEN} units on the frozen latent, "
                    f"epoch {kept} of {epochs} by validation accuracy")
    predictions = {split: evaluation.predict(classifier, latents[split].z) for split in evaluation.SPLITS}
    metrics = evaluation.accuracy_metrics("classifier_top1", protocol, predictions, latents)
    metrics.update(probe_metrics(latents, len(data.classes)))
    if "decoder" in modules:
        print(", reconstructions", end="", flush=True)
        metrics.update(evaluation.reconstruction_metrics(modules["decoder"], latents, data))
        arrays.update(evaluation.reconstructions(modules["decoder"], latents["test"].z, data))
    confusion, per_class = evaluation.confusion_of(HEADLINE, predictions["test"], data.test_labels, data.classes,
                                                   protocol)
    metrics.update(per_class)
    print(", map", end="", flush=True)
    arrays.update(evaluation.latent_map(latents["test"].z))
    arrays["test_labels"] = data.test_labels.cpu().numpy().astype(np.uint16)
    arrays["test_predictions"] = predictions["test"].cpu().numpy().astype(np.uint16)
    print(f" ({in_words(time.monotonic() - clock)})", flush=True)
    return Scores(metrics, confusion, arrays, modules, flops)


def probe_metrics(latents: dict[str, evaluation.Latents], classes: int) -> dict[str, Metric]:
    """Linear and kNN accuracy on validation and test."""
    held_out = ("val", "test")
    print(", linear probe", end="", flush=True)
    probe = evaluation.linear_probe(latents)
    linear = {split: probe(latents[split].z) for split in held_out}
    print(", kNN", end="", flush=True)
    nearest = {split: evaluation.knn_predict(latents["train"], latents[split].z, classes) for split in held_out}
    return {**evaluation.accuracy_metrics("linear_top1", "logistic regression on the frozen latent, standardised",
                                          linear, latents),
            **evaluation.accuracy_metrics("knn_top1", f"k = {evaluation.NEIGHBOURS} nearest training latents by "
                                          "cosine, majority", nearest, latents)}
