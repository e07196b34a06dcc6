"""One run: train, score, write the record."""

import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.scores import PROTOCOL
from evaluation.scoring import NotFinite, score
from models.saved import save_weights
from training.checkpoints import LAST
from training.classification import finetune
from training.contrastive import random_view
from training.contrastive_recipe import ContrastiveRecipe
from training.loop import Diverged, Setup, Trained
from training.resume import init_of
from training.tasks import TASKS
from utils.compute import distributed
from utils.compute.precision import round_as_saved
from utils.errors import RunError
from utils.images.datasets import Dataset
from utils.images.on_device import DeviceData
from utils.recipe import FrozenRecipe, LatentRecipe, as_json
from utils.records.arrays import write_arrays
from utils.records.environment import describe, load_since, work_of_others
from utils.records.schema import (
    Artifact,
    ArtifactName,
    Data,
    Derived,
    Failure,
    RecipeFields,
    Record,
    Run,
    Selection,
    recipe_hash,
    utc_now,
    write_record,
)
from utils.records.thumbnails import write_thumbnails

QUICK_IMAGES = {"train": 1000, "val": 200, "test": 500}  # what --quick trains and scores on


def train_and_score(task: str, dataset: Dataset, recipe: LatentRecipe, overridden: list[str], setup: Setup,
                    target: Path, argv: list[str]) -> tuple[Record, Path]:
    """Train, score and write `target` (.json, along with .npz and .safetensors).

    Returns the record and its path: an existing complete record is kept, and the new one gets a name of its own.
    Raises Diverged or NotFinite, after writing a record with status `failed`, where loss or latents are not finite.
    Of several processes the first one scores and writes; all of them return the record.
    """
    clock, work_before = time.monotonic(), work_of_others()
    fields = as_json(recipe)
    checkpoints = setup.checkpoints
    # everything known before the training is validated before the training
    begun = Run(task=task, dataset=dataset.name, method=recipe.method, objective="", seed=setup.seed, argv=argv,
                started=checkpoints.started if checkpoints else utc_now(), seconds=0.0,
                status="quick" if setup.quick else "complete", init=init_of(setup.init),
                resumed=checkpoints.resumed if checkpoints else 0)

    def seconds() -> float:
        return time.monotonic() - clock + (checkpoints.lost if checkpoints else 0.0)

    environment = describe(setup.device, setup.precision, setup.conv_gflops)
    known: dict[str, Any] = {
        "schema": 4,
        "recipe": RecipeFields(fields=fields, overridden=overridden, hash=recipe_hash(fields)),
        "data": Data.model_validate({
            "image_shape": list(dataset.image_shape), "classes": list(dataset.classes),
            "class_counts": class_counts(dataset, recipe.labels), "split_seed": dataset.split_seed,
            "sha256": dataset.sha256, "source": dataset.source}),
        "environment": environment}
    data = DeviceData.load(dataset, setup.device, recipe.labels)

    def score_and_write(trained: Trained) -> tuple[Record, Path]:
        for module in trained.modules.values():
            round_as_saved(module)
        views = TASKS["1.2.3"].default_recipe(data.recipes)  # the same views for every task: runs are measured alike
        assert isinstance(views, ContrastiveRecipe)
        scores = score(trained.modules, data, lambda images, generator: random_view(images, views, generator),
                       setup.seed, setup.precision, setup.quick)
        with writing(target):
            if setup.quick:
                path = target
                path.unlink(missing_ok=True)  # an earlier quick record, whose arrays are about to be replaced
            else:
                path = free_path(target)
            artifacts: dict[ArtifactName, Artifact] = {
                "arrays": write_arrays(path.with_suffix(".npz"), scores.arrays),
                "checkpoint": save_weights(path.with_suffix(".safetensors"), scores.modules)}
            if not setup.quick and dataset.image_shape[0] in (1, 3):
                shown = dataset.test_images[scores.arrays["map_index"]]
                artifacts["thumbnails"] = write_thumbnails(path.parent, dataset.name, shown, owner=path.stem)
        record = Record(
            **known | {"environment": environment.model_copy(
                update={"other_load": load_since(work_before, time.monotonic() - clock)})},
            run=begun.model_copy(update={"seconds": seconds(), "objective": trained.objective}),
            derived=Derived(
                steps=trained.steps, training_flops=trained.flops, evaluation_flops=scores.flops,
                protocol=PROTOCOL,
                parameters={name: sum(p.numel() for p in module.parameters())
                            for name, module in scores.modules.items()}),
            selection=Selection(rule="the last epoch" if trained.history else "nothing was trained",
                                epoch=len(trained.history)), history=trained.history,
            metrics=scores.metrics, confusion=scores.confusion, artifacts=artifacts)
        write(record, path)
        if checkpoints:
            checkpoints.remove()
        return record, path

    try:
        with checkpoints.stoppable() if checkpoints else nullcontext():
            trained = importlib.import_module(TASKS[task].script).train(recipe, data, setup)
            if isinstance(recipe, FrozenRecipe) and recipe.finetune:
                trained = trained.then(finetune(trained.modules["encoder"], recipe, data, setup))
        return distributed.from_first(lambda: score_and_write(trained))
    except (Diverged, NotFinite) as error:
        if isinstance(error, Diverged):
            epoch, steps, step, history = error.epoch, error.step - 1, error.step, error.history
        else:
            epoch, steps, step, history = len(trained.history), trained.steps, trained.steps, trained.history
        path = target.with_name(f"{target.stem}_failed.json")
        failed = Record(
            **known, run=begun.model_copy(update={"seconds": seconds(), "status": "failed"}),
            derived=Derived(steps=steps, parameters={}, training_flops=0.0, evaluation_flops=0.0, protocol=PROTOCOL),
            selection=None, history=history, metrics={}, confusion=None, artifacts={},
            failure=Failure(reason=str(error), epoch=epoch, step=step))
        distributed.from_first(lambda: write(failed, path))
        if checkpoints:
            checkpoints.remove()
        error.add_note(f"recorded in {path}")
        raise


def write(record: Record, path: Path) -> None:
    """Write a record.  Raises RunError where that fails."""
    with writing(path):
        write_record(record, path)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn an OSError into a RunError; makes the folder again if it was removed in the meantime."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise RunError(f"{target}: could not be written ({error.strerror or error}); {LAST}") from None


def free_path(path: Path) -> Path:
    """The path itself, or with _run2, _run3, ... where a record exists already: no result is overwritten."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.stem}_run{number}.json"), number + 1
    return candidate


def class_counts(dataset: Dataset, labels: float) -> dict[str, list[int]]:
    """Images per class in each split, and in the labelled part of train where not all labels are used."""
    counts = dataset.class_counts()
    if labels < 1:
        labelled = dataset.train_labels[dataset.labelled(labels)[0]]
        counts["labelled"] = np.bincount(labelled, minlength=len(dataset.classes)).tolist()
    return counts
