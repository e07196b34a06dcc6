"""One run, from the recipe to the record: measure, load, train, score, write."""

import datetime
import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from evaluation import figure_arrays, scores
from models.saved import Saved, save_weights
from training.checkpoints import LAST
from training.classification import finetune
from training.loop import Diverged, Setup, Trained, forward_flops
from training.tasks import TASKS
from utils.compute import distributed
from utils.compute.precision import DTYPES
from utils.console import in_words
from utils.errors import RunError
from utils.images.datasets import Dataset
from utils.images.on_device import DeviceData
from utils.recipe import LatentRecipe, as_json
from utils.records.arrays import write_arrays
from utils.records.environment import describe
from utils.records.schema import (
    HEADLINE,
    Confusion,
    Data,
    Derived,
    Failure,
    Init,
    Metric,
    RecipeFields,
    Record,
    Run,
    Selection,
    recipe_hash,
    write_record,
)
from utils.records.thumbnails import write_thumbnails

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


def run(task: str, dataset: Dataset, recipe: LatentRecipe, overridden: list[str], setup: Setup, target: Path,
        argv: list[str]) -> tuple[Record, Path]:
    """Train, score and write `target` (.json, with .npz and .safetensors beside it).

    Returns the record and where it lies: where a complete record is there already, it stays, and the new one gets a
    name of its own.  Raises Diverged, after writing a record that says `failed`, when the loss is no longer finite.
    Of several processes the first one scores and writes; all of them return the record.
    """
    clock = time.monotonic()
    fields = as_json(recipe, overridden)
    checkpoints = setup.checkpoints
    # what is known before the training is checked before the training
    begun = Run(task=task, dataset=dataset.name, method=recipe.method, objective="", seed=setup.seed, argv=argv,
                started=checkpoints.started if checkpoints else now(), seconds=0.0,
                status="quick" if setup.quick else "complete", init=described(setup.init),
                resumed=checkpoints.resumed if checkpoints else 0)

    def seconds() -> float:
        return time.monotonic() - clock + (checkpoints.lost if checkpoints else 0.0)

    known = {"schema": 2,
             "recipe": RecipeFields(fields=fields, overridden=overridden, hash=recipe_hash(fields)),
             "data": Data(image_shape=list(dataset.image_shape), classes=list(dataset.classes),
                          class_counts=class_counts(dataset, recipe.labels), split_seed=dataset.split_seed,
                          sha256=dataset.sha256, source=dataset.source),
             "environment": describe(setup.device, setup.precision, setup.conv_gflops)}
    data = DeviceData.load(dataset, setup.device, recipe.labels)
    try:
        with checkpoints.stoppable() if checkpoints else nullcontext():
            trained = importlib.import_module(TASKS[task].script).train(recipe, data, setup)
            if getattr(recipe, "finetune", False):
                trained = trained.then(finetune(trained.modules["encoder"], recipe, data, setup))
    except Diverged as error:
        path = target.with_name(f"{target.stem}_failed.json")
        failed = Record(
            **known, run=begun.model_copy(update={"seconds": seconds(), "status": "failed"}),
            derived=Derived(steps=error.step - 1, parameters={}, training_flops=0.0, evaluation_flops=0.0),
            selection=None, history=error.history, metrics={}, confusion=None, artifacts={},
            failure=Failure(reason=str(error), epoch=error.epoch, step=error.step))
        distributed.from_first(lambda: write(failed, path))
        if checkpoints:
            checkpoints.remove()
        error.add_note(f"recorded in {path}")
        raise

    def score_and_write() -> tuple[Record, Path]:
        scores = score(trained, recipe, data, setup)
        with writing(target):
            if setup.quick:
                path = target
                path.unlink(missing_ok=True)  # an earlier one, whose arrays are replaced now
            else:
                path = free_path(target)
            artifacts = {"arrays": write_arrays(path.with_suffix(".npz"), scores.arrays),
                         "checkpoint": save_weights(path.with_suffix(".safetensors"), scores.modules)}
            if not setup.quick and dataset.image_shape[0] in (1, 3):
                shown = dataset.test_images[scores.arrays["map_index"]]
                artifacts["thumbnails"] = write_thumbnails(path.parent, dataset.name, shown, owner=path.stem)
        record = Record(
            **known, run=begun.model_copy(update={"seconds": seconds(), "objective": trained.objective}),
            derived=Derived(
                steps=trained.steps, training_flops=trained.flops, evaluation_flops=scores.flops,
                parameters={name: sum(p.numel() for p in module.parameters())
                            for name, module in scores.modules.items()}),
            selection=Selection(rule="the last epoch" if trained.history else "nothing was trained",
                                epoch=len(trained.history)), history=trained.history,
            metrics=scores.metrics, confusion=scores.confusion, artifacts=artifacts)
        write(record, path)
        if checkpoints:
            checkpoints.remove()
        return record, path
    return distributed.from_first(score_and_write)


def write(record: Record, path: Path) -> None:
    """Raises RunError where it cannot be written."""
    with writing(path):
        write_record(record, path)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """What goes wrong in it becomes a RunError; the folder is made again where somebody took it away meanwhile."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise RunError(f"{target}: could not be written ({error.strerror or error}); {LAST}") from None


def now() -> str:
    """The time as records have it, UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def free_path(path: Path) -> Path:
    """The path itself, or with _run2, _run3, ... where a record lies there already: no result is overwritten."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.stem}_run{number}.json"), number + 1
    return candidate


def described(init: Saved | None) -> Init | None:
    """The run whose encoder a run starts from, as its record names it."""
    if init is None:
        return None
    record = init.record
    fields, before = record.recipe.fields, record.run.init
    own = fields["labels"] if record.run.task == "1.2.2" or fields.get("finetune") else 0.0
    return Init(record=init.name, task=record.run.task, dataset=record.run.dataset, method=record.run.method,
                recipe_hash=record.recipe.hash, seed=record.run.seed, labels=max(own, before.labels if before else 0.0),
                sha256=record.artifacts["checkpoint"].sha256)


def class_counts(dataset: Dataset, labels: float) -> dict[str, list[int]]:
    """Images of each class in each split, and where not all labels are used, in the labelled part of train."""
    counts = dataset.class_counts()
    if labels < 1:
        labelled = dataset.train_labels[dataset.labelled(labels)[0]]
        counts["labelled"] = np.bincount(labelled, minlength=len(dataset.classes)).tolist()
    return counts


def score(trained: Trained, recipe: LatentRecipe, data: DeviceData, setup: Setup) -> Scores:
    """Every score of a latent.  Prints what it is doing, since it takes a few minutes on real data."""
    clock = time.monotonic()
    modules, metrics = dict(trained.modules), {}
    encoder, protocol = modules["encoder"], "classifier trained jointly with the encoder"
    print("scoring: latents", end="", flush=True)
    latents = scores.encode_splits(encoder, data)
    flops = (len(data.images) + len(data.test_images)) * forward_flops(encoder, *data.image_shape)
    print(", classifier", end="", flush=True)
    if "classifier" not in modules:
        epochs = QUICK_CLASSIFIER_EPOCHS if setup.quick else scores.classifier_epochs(len(data.labelled))
        modules["classifier"], kept = scores.train_classifier(latents, len(data.classes), setup.seed, epochs,
                                                                         DTYPES[setup.precision])
        flops += 3 * epochs * len(data.labelled) * forward_flops(modules["classifier"], recipe.latent_dim)
        protocol = (f"MLP of two hidden layers of {scores.CLASSIFIER_HIDDEN} units on the frozen latent, "
                    f"epoch {kept} of {epochs} by validation accuracy")
    predictions = {split: scores.predict(modules["classifier"], latents[split].z) for split in scores.SPLITS}
    metrics.update(scores.accuracy_metrics("classifier_top1", protocol, predictions, latents))
    confusion, per_class = scores.confusion_of(HEADLINE, predictions["test"], data.test_labels, data.classes,
                                                   protocol)
    metrics.update(per_class)
    metrics.update(probe_metrics(latents, len(data.classes)))
    if "projection_head" in modules:
        metrics.update(projection_metrics(modules["projection_head"], latents))
    metrics.update(scores.geometry_metrics(encoder, latents["test"].z, data))
    arrays, more = portraits(modules, latents, data)
    arrays["test_labels"] = data.test_labels.cpu().numpy().astype(np.uint16)
    arrays["test_predictions"] = predictions["test"].cpu().numpy().astype(np.uint16)
    print(f" ({in_words(time.monotonic() - clock)})", flush=True)
    return Scores(metrics | more, confusion, arrays, modules, flops)


def probe_metrics(latents: dict[str, scores.Latents], classes: int) -> dict[str, Metric]:
    """Linear and kNN accuracy on validation and test."""
    held_out = ("val", "test")
    print(", linear probe", end="", flush=True)
    probe = scores.linear_probe(latents)
    linear = {split: probe(latents[split].z) for split in held_out}
    print(", kNN", end="", flush=True)
    k = min(scores.NEIGHBOURS, len(latents["labelled"].z))
    nearest = {split: scores.knn_predict(latents["labelled"], latents[split].z, classes) for split in held_out}
    return {**scores.accuracy_metrics("linear_top1", "logistic regression on the frozen latent, standardised",
                                          linear, latents),
            **scores.accuracy_metrics("knn_top1", f"k = {k} nearest labelled training latents by cosine, majority",
                                          nearest, latents)}


def projection_metrics(head: nn.Module, latents: dict[str, scores.Latents]) -> dict[str, Metric]:
    """Linear accuracy behind the projection head, which is thrown away otherwise."""
    print(", linear probe behind the head", end="", flush=True)
    with torch.no_grad():
        behind = {split: scores.Latents(head(part.z), part.labels) for split, part in latents.items()}
    predictions = {"test": scores.linear_probe(behind)(behind["test"].z)}
    return scores.accuracy_metrics("projection_linear_top1", "logistic regression on the projection head's output, "
                                       "standardised", predictions, behind)


def portraits(modules: dict[str, nn.Module], latents: dict[str, scores.Latents], data: DeviceData,
              ) -> figure_arrays.Portrait:
    """What the report's figures show, and the numbers beside them."""
    print(", maps", end="", flush=True)
    arrays, metrics = figure_arrays.maps(latents["test"].z, data)
    arrays.update(figure_arrays.neighbours(latents, data))
    if "decoder" in modules:
        print(", reconstructions", end="", flush=True)
        decoder, z = modules["decoder"], latents["test"].z
        paths, evenness = figure_arrays.interpolations(decoder, z, data)
        arrays.update(figure_arrays.reconstructions(decoder, z, data) | paths)
        metrics.update(scores.reconstruction_metrics(decoder, latents, data) | evenness)
    return arrays, metrics
