"""One run, from the recipe to the record: measure, load, train, score, write."""

import datetime
import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    Artifact,
    Confusion,
    Data,
    Derived,
    Epoch,
    Failure,
    Metric,
    Record,
    Run,
    Selection,
    recipe_hash,
    write_arrays,
    write_record,
)
from utils.record import Recipe as RecipeEntry

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
        argv: list[str]) -> Record:
    """Train, score and write `target` (.json, with .npz and .safetensors beside it).  Returns the record.

    Raises Diverged, after writing a record that says `failed`, when the loss is no longer finite.
    """
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    environment = describe(setup.device, setup.precision, setup.conv_gflops)  # now: the code may be edited meanwhile
    data = DeviceData.load(dataset, setup.device)
    train = importlib.import_module(TASKS[task].script).train

    def record(objective: str, history: list[Epoch], steps: int, status: str, **rest: Any) -> Record:
        fields = as_json(recipe)
        return Record(
            schema=1,
            run=Run(task=task, dataset=dataset.name, method=recipe.method, objective=objective, seed=setup.seed,
                    argv=argv, started=started.strftime("%Y-%m-%dT%H:%M:%SZ"), seconds=time.monotonic() - clock,
                    status=status),
            recipe=RecipeEntry(fields=fields, overridden=overridden, hash=recipe_hash(fields)),
            data=Data(image_shape=list(dataset.image_shape), classes=list(dataset.classes),
                      class_counts=dataset.class_counts(), split_seed=dataset.split_seed, sha256=dataset.sha256,
                      source=dataset.source),
            derived=Derived(steps=steps, parameters=rest.pop("parameters", {}),
                            training_flops=rest.pop("training_flops", 0.0),
                            evaluation_flops=rest.pop("evaluation_flops", 0.0)),
            history=history, environment=environment, **rest)

    try:
        trained = train(recipe, data, setup)
    except Diverged as error:
        failed = record("", error.history, error.step, "failed", selection=None, metrics={}, confusion=None,
                        artifacts={}, failure=Failure(reason=str(error), epoch=error.epoch, step=error.step))
        write_record(failed, target.with_name(target.stem + "_failed.json"))
        raise
    scores = score(task, trained, data, setup)
    artifacts: dict[str, Artifact] = {
        "arrays": write_arrays(target.with_suffix(".npz"), scores.arrays),
        "checkpoint": save_checkpoint(target.with_suffix(".safetensors"), scores.modules)}
    done = record(
        trained.objective, trained.history, trained.steps, "quick" if setup.quick else "complete",
        parameters={name: sum(p.numel() for p in module.parameters()) for name, module in scores.modules.items()},
        training_flops=trained.flops, evaluation_flops=scores.flops,
        selection=Selection(rule="the last epoch", epoch=len(trained.history)),
        metrics=scores.metrics, confusion=scores.confusion, artifacts=artifacts)
    write_record(done, target)
    return done


def score(task: str, trained: Trained, data: DeviceData, setup: Setup) -> Scores:
    """Every score of a frozen latent.  Prints what it is doing, since it takes a few minutes on real data."""
    clock = time.monotonic()
    encoder = trained.modules["encoder"]
    print("scoring: latents", end="", flush=True)
    latents = evaluation.encode_splits(encoder, data)
    modules, arrays = dict(trained.modules), {}
    print(", classifier", end="", flush=True)
    if "classifier" in modules:
        classifier, protocol = modules["classifier"], "classifier trained jointly with the encoder"
    else:
        epochs = QUICK_CLASSIFIER_EPOCHS if setup.quick else evaluation.CLASSIFIER_EPOCHS
        classifier, kept = evaluation.train_classifier(latents, len(data.classes), setup.seed, epochs)
        modules["classifier"] = classifier
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
    images = len(data.images) + len(data.test_images)
    flops = images * forward_flops(encoder, *data.image_shape)
    if task != "1.2.2":
        flops += 3 * forward_flops(classifier, latents["train"].z.shape[1]) * len(data.train) * epochs
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
