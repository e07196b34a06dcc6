"""The runs of a command in turn: skip complete ones, resume unfinished ones, train, score and record the rest.

Several processes may run the same command over one results folder, on one machine or on many that share it: only one
process works on a run (utils/records/lock.py), and the others skip it.  The processes of one torchrun count as one: the
first of them decides, holds the lock and writes.
"""

import dataclasses
import importlib
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.scores import PROTOCOL
from evaluation.scoring import NotFinite, score
from models.saved import Saved, load_saved, save_weights
from training.checkpoints import LAST, Checkpoint, Checkpoints, differences, newest
from training.classification import finetune
from training.contrastive import random_view
from training.contrastive_recipe import ContrastiveRecipe
from training.loop import NOT_TRAINED, Diverged, Setup, Trained, new_encoder
from training.plan import Planned
from training.tasks import TASKS, setting_of
from utils.command_line import TOO_LARGE, Arguments, is_out_of_memory, processes
from utils.compute import distributed
from utils.compute.convolution import conv3x3
from utils.compute.precision import choose_precision, measure_conv, round_as_saved
from utils.errors import RunError, UsageError
from utils.files import remove_temporary
from utils.images.datasets import Dataset, load_dataset
from utils.images.on_device import DeviceData
from utils.recipe import FrozenEncoderRecipe, LatentRecipe, Recipe, as_json
from utils.records import schema
from utils.records.arrays import read_arrays, write_arrays
from utils.records.environment import choose_device, describe, load_since, work_of_others
from utils.records.lock import Held, held
from utils.records.thumbnails import write_thumbnails
from utils.version import commit_of

QUICK_IMAGES = {"train": 1000, "val": 200, "test": 500}  # what --quick trains and scores on


def run_all(plans: dict[str, list[Planned]], arguments: Arguments, argv: list[str]) -> None:
    """Every planned run, data set by data set; if there are several, complete ones are skipped unless --fresh.

    A run that diverges, needs too much memory or is held by another process does not stop the others; RunError at the
    end names those that failed.  Where there is only one run, Held names its holder.  argv: the command line, for the
    records.
    """
    failures: list[str] = []
    many_runs = sum(map(len, plans.values())) > 1

    def load(name: str) -> Dataset:
        dataset = distributed.first_then_others(partial(load_dataset, name, arguments.data_dir, arguments.image_size))
        distributed.check_equal({f"{dataset.name}: {part}": digest for part, digest in dataset.sha256.items()})
        return dataset

    with distributed.joined(choose_device(arguments.device)) as device:
        check_same_command(plans, arguments.precision)
        init = distributed.first_then_others(partial(load_saved, arguments.init)) if arguments.init else None
        loaded = {name: load(name) for name in list(plans)[:1]}  # before the measurement, to report errors early
        conv_gflops = distributed.from_first(lambda: measure_conv(device, conv3x3))
        precision = arguments.precision
        if precision == "auto":
            precision = choose_precision(distributed.from_first(lambda: measure_conv(device, conv3x3, threads=1)))
        speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in conv_gflops.items())
        together = f" in {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
        print(f"device: {device.type}{together}, precision: {precision} (convolution GFLOP/s: {speeds})", flush=True)
        if conv_gflops[precision] == 0:
            raise UsageError(f"--precision {precision}: {device.type} cannot compute in it here; take float32 or auto")
        for dataset_name, runs in plans.items():
            dataset = loaded.pop(dataset_name, None) or load(dataset_name)
            check_unseen(init, dataset)
            identity = " ".join([*dataset.sha256.values(), init.record.artifacts["checkpoint"].sha256 if init else ""])
            for planned in runs:
                title = f"{planned.task} {dataset.name} {planned.recipe.method} seed {planned.seed}"
                setup = Setup(device, precision, conv_gflops, planned.seed, arguments.quick, init,
                              cuda_graph=arguments.cuda_graph)
                try:
                    with ExitStack() as lock:
                        distributed.from_first(partial(lock.enter_context, held(planned.path, identity)))
                        run_unless_complete(title, planned, dataset, setup, arguments, many_runs, argv)
                except Held as error:
                    if not many_runs:
                        raise
                    print(f"{title}: {error}, skipped", flush=True)
                except UsageError as error:  # a run of the same name is in the way of this one alone
                    if not many_runs or arguments.resume:
                        raise
                    failures.append(f"{title}: {error}")
                    print(failures[-1], flush=True)
                except (Diverged, NotFinite) as error:
                    failures.append("; ".join([f"{title}: {error}", *getattr(error, "__notes__", [])]))
                    print(failures[-1], flush=True)
                except (MemoryError, RuntimeError) as error:
                    if not many_runs or processes() > 1 or not is_out_of_memory(error):
                        raise
                    failures.append(f"{title}: {TOO_LARGE}")
                    print(failures[-1], flush=True)
    if failures:
        raise RunError("; ".join(failures))


def check_unseen(init: Saved | None, dataset: Dataset) -> None:
    """UsageError where an encoder was trained on this folder when it had other images.

    What is a test image today may have been a training image then: other images give another random test split.
    """
    if init is None or init.record.run.dataset != dataset.name:
        return
    before = init.record.data.sha256
    if any(before[part] != dataset.sha256[part] for part in ("test_images", "test_labels")):
        raise UsageError(f"--init {init.name}: its encoder was trained on other images of {dataset.name}, and may have "
                         "seen today's test images; name a run on today's images, or put the test images into test/")


def check_same_command(plans: dict[str, list[Planned]], precision: str) -> None:
    """UsageError unless torchrun's processes, perhaps on several machines, were all given the same runs."""
    runs = {planned.path.stem: planned.recipe for runs in plans.values() for planned in runs}
    fields = {f"{name}: {field}": value for name, recipe in runs.items() for field, value in as_json(recipe).items()}
    distributed.check_equal({"the runs": ", ".join(runs), "--precision": precision} | fields)


def run_unless_complete(title: str, planned: Planned, dataset: Dataset, setup: Setup, arguments: Arguments,
                        many_runs: bool, argv: list[str]) -> None:
    """Do one run, whose lock this process holds, and print one line with its result."""
    checkpoints = distributed.from_first(
        lambda: checkpoints_or_skip(title, planned, dataset, setup, arguments, many_runs))
    if checkpoints is None:
        return
    setup = dataclasses.replace(setup, precision=checkpoints.identity["precision"], checkpoints=checkpoints)
    print(f"\n{title} ({TASKS[planned.task].title})", flush=True)
    if planned.recipe.subset:
        dataset = dataset.subset(planned.recipe.subset)
    if arguments.quick:
        dataset = dataset.head(**QUICK_IMAGES)
    record, path = train_and_score(
        planned.task, dataset, planned.recipe, planned.overridden, setup, planned.path, argv)
    headline = record.headline
    print(f"{title}: test accuracy {100 * headline.value:.2f} % ({headline.correct} of {headline.n})"
          f"{', a quick run' if arguments.quick else ''} -> {path}", flush=True)


def checkpoints_or_skip(title: str, planned: Planned, dataset: Dataset, setup: Setup, arguments: Arguments,
                        many_runs: bool) -> Checkpoints | None:
    """The checkpoints that the run writes and resumes from; or None, after a message, if its record is complete.

    many_runs: the command names several runs, so complete ones are skipped.
    """
    remove_temporary(planned.path)
    rerun_after_restart = distributed.restarts() > 0 and not planned.path.with_suffix(schema.UNFINISHED).exists()
    if (rerun_after_restart or many_runs and not arguments.fresh) and not arguments.quick:
        done, lost = complete_record(planned, dataset.sha256, init_of(setup.init), arguments.precision)
        if done:
            weights = "" if done.with_suffix(".safetensors").exists() else ", its weights are missing"
            print(f"{title}: complete already in {done}{weights}, skipped (--fresh trains it again)", flush=True)
            return None
        if lost:
            print(f"{title}: its complete record cannot be used ({lost}); it is trained again under a new name",
                  flush=True)
    checkpoints = open_checkpoints(planned, dataset, setup, arguments)
    if checkpoints.resumed:
        done = finished_record(planned.path, checkpoints)
        if done:  # the process ended after writing its record, before removing its checkpoints
            checkpoints.remove()
            print(f"{title}: complete already in {done}", flush=True)
            return None
    if processes() > 1:
        checkpoints.folder.mkdir(exist_ok=True)  # tells torchrun's next attempt that the run is not done
    return checkpoints


def open_checkpoints(planned: Planned, dataset: Dataset, setup: Setup, arguments: Arguments) -> Checkpoints:
    """The run's checkpoints: those of the unfinished run that it resumes, or none yet.

    Raises UsageError where the folder holds another run, and with --resume where only another recipe is unfinished.
    """
    folder = planned.path.with_suffix(schema.UNFINISHED)
    found = newest(folder)[1]
    precision = setup.precision
    if arguments.precision == "auto" and found:  # the start-up measurement may choose differently this time
        precision = found.identity.get("precision", precision)
    init = init_of(setup.init)
    identity = {"task": planned.task, "dataset": dataset.name, "seed": planned.seed, "quick": setup.quick,
                "device": setup.device.type, "precision": precision,
                "recipe": as_json(planned.recipe), "images": dataset.sha256,
                "init": init and init.model_dump()}
    checkpoints = Checkpoints(folder, identity, schema.utc_now(), commit_of()[0], 60 * arguments.checkpoint_minutes)
    if arguments.fresh and not distributed.restarts():  # a restart by torchrun resumes what the command started
        checkpoints.remove()
        return checkpoints
    checkpoints.adopt()
    if not checkpoints.resumed:
        for other, begun in other_unfinished(planned):
            differing = f"{other} is unfinished, and differs: {differences(begun.identity, identity)}"
            if arguments.resume:
                raise UsageError(f"--resume: {differing}; repeat its flags to resume it, or leave out --resume")
            print(f"{differing}; it is left unchanged", flush=True)
        if arguments.resume:
            print("--resume: there is no unfinished run; starting from the beginning", flush=True)
    return checkpoints


def other_unfinished(planned: Planned) -> list[tuple[Path, Checkpoint]]:
    """Unfinished runs of the same task, data set, method and seed under other names: folder and newest checkpoint.

    Quick runs are matched only with quick runs.
    """
    stem = planned.path.stem[: planned.path.stem.rindex(f"_seed{planned.seed}")] + f"_seed{planned.seed}"
    found = [folder for folder in sorted(planned.path.parent.glob(f"*{schema.UNFINISHED}"))
             if re.match(rf"{re.escape(stem)}(_|$)", folder.stem) and folder.stem != planned.path.stem
             and folder.stem.endswith("_quick") == planned.path.stem.endswith("_quick")]
    return [(folder, begun) for folder in found if (begun := newest(folder)[1])]


def records_named(path: Path) -> Iterator[tuple[Path, schema.Record]]:
    """The valid records under this name and under it with _run2, _run3, ..."""
    for candidate in [path, *sorted(path.parent.glob(f"{path.stem}_run*.json"))]:
        with suppress(schema.RecordError):
            yield candidate, schema.read_record(candidate)


def complete_record(planned: Planned, sha256: dict[str, str], init: schema.Init | None,
                    precision: str) -> tuple[Path | None, str]:
    """A valid, complete record of this run on the same images, with its files; or None, and what a record lacks.

    precision: the number format that it must have; "auto": any.
    """
    wanted, lost = ("complete", init, sha256, schema.setting_hash(as_json(planned.recipe))), ""
    for path, record in records_named(planned.path):
        run = record.run
        fits = precision in ("auto", record.environment.precision)
        if fits and (run.status, run.init, record.data.sha256, setting_of(record)) == wanted:
            found = lost_file(path, record)
            if not found:
                return path, ""
            lost = lost or found
    return None, lost


def lost_file(path: Path, record: schema.Record) -> str:
    """Why the files of a record cannot be used: its arrays, or weights that another run wrote; or "".

    Weights may be missing, because git ignores them.
    """
    try:
        read_arrays(record, path.parent)
        checkpoint = record.artifacts.get("checkpoint")
        if checkpoint and (path.parent / checkpoint.name).exists():
            schema.checkpoint_file(path, record)
    except (schema.RecordError, OSError) as error:
        return str(error)
    return ""


def finished_record(path: Path, checkpoints: Checkpoints) -> Path | None:
    """The record of the run that these checkpoints belong to; None where it was not written.

    Two runs can start in the same second, but no two have the same history of times.
    """
    begun = newest(checkpoints.folder, stage=1)[1]
    epochs = begun.progress.history if begun else []
    return next((found for found, record in records_named(path) if record.run.started == checkpoints.started
                 and record.history[:len(epochs)] == epochs and not lost_file(found, record)), None)


def init_of(init: Saved | None) -> schema.Init | None:
    """The run whose encoder a run starts from, as its record names it."""
    if init is None:
        return None
    record = init.record
    fields, before = record.recipe.fields, record.run.init
    own = record.recipe.number("labels") if record.run.task == "1.2.2" or fields.get("finetune") else 0.0
    return schema.Init(
        record=init.name, task=record.run.task, dataset=record.run.dataset, method=record.run.method,
        recipe_hash=record.recipe.hash, seed=record.run.seed, labels=max(own, before.labels if before else 0.0),
        sha256=record.artifacts["checkpoint"].sha256)


def train_and_score(task: str, dataset: Dataset, recipe: LatentRecipe, overridden: list[str], setup: Setup,
                    target: Path, argv: list[str]) -> tuple[schema.Record, Path]:
    """Train, score and write `target` (.json, along with .npz and .safetensors).

    Returns the record and its path: an existing complete record is kept, and the new one gets a name of its own.
    Raises Diverged or NotFinite, after writing a record with status `failed`, where loss or latents are not finite.
    Of several processes the first one scores and writes; all of them return the record.
    """
    clock, work_before = time.monotonic(), work_of_others()
    fields, checkpoints = as_json(recipe), setup.checkpoints
    # everything known before the training is validated before the training
    begun = schema.Run(
        task=task, dataset=dataset.name, method=recipe.method, objective="", seed=setup.seed, argv=argv,
        started=checkpoints.started if checkpoints else schema.utc_now(), seconds=0.0,
        status="quick" if setup.quick else "complete", init=init_of(setup.init),
        resumed=checkpoints.resumed if checkpoints else 0)
    environment = describe(setup.device, setup.precision, setup.conv_gflops)
    known: dict[str, Any] = {
        "schema": 4,
        "recipe": schema.RecipeFields(fields=fields, overridden=overridden, hash=schema.recipe_hash(fields)),
        "data": schema.Data.model_validate({
            "image_shape": list(dataset.image_shape), "classes": list(dataset.classes),
            "class_counts": dataset.class_counts(recipe.labels), "split_seed": dataset.split_seed,
            "sha256": dataset.sha256, "source": dataset.source}),
        "environment": environment}
    data = DeviceData.load(dataset, setup.device, recipe.labels)

    def write(path: Path, status: str, trained: Trained, evaluation_flops: float = 0.0, **more: Any) -> schema.Record:
        """Write the record, then delete the run's checkpoints."""
        seconds = time.monotonic() - clock + (checkpoints.lost if checkpoints else 0.0)
        record = schema.Record(
            **known | more, history=trained.history,
            run=begun.model_copy(update={"seconds": seconds, "status": status, "objective": trained.objective}),
            derived=schema.Derived(
                steps=trained.steps, training_flops=trained.flops, evaluation_flops=evaluation_flops, protocol=PROTOCOL,
                parameters={name: sum(p.numel() for p in module.parameters())
                            for name, module in trained.modules.items()}))
        with writing(path):
            schema.write_record(record, path)
        if checkpoints:
            checkpoints.remove()
        return record

    def score_and_write(trained: Trained) -> tuple[schema.Record, Path]:
        for module in trained.modules.values():
            round_as_saved(module)
        views = TASKS["1.2.3"].default_recipe(data.recipe_family)  # the same views for every task
        assert isinstance(views, ContrastiveRecipe)
        scores = score(trained.modules, data, lambda images, generator: random_view(images, views, generator),
                       setup.seed, setup.precision, setup.quick)
        with writing(target):
            if setup.quick:
                for old, record in list(records_named(target)):
                    if record.data.sha256 == dataset.sha256:  # an earlier quick record of the same images
                        old.unlink(missing_ok=True)
            path = free_path(target)
            artifacts: dict[schema.ArtifactName, schema.Artifact] = {
                "arrays": write_arrays(path.with_suffix(".npz"), scores.arrays),
                "checkpoint": save_weights(path.with_suffix(".safetensors"), scores.modules)}
            if not setup.quick and dataset.image_shape[0] in (1, 3):
                shown = dataset.test_images[scores.arrays["map_index"]]
                artifacts["thumbnails"] = write_thumbnails(path.parent, dataset.name, shown, owner=path.stem)
        other_load = load_since(work_before, time.monotonic() - clock) if processes() == 1 else None
        return write(
            path, begun.status, dataclasses.replace(trained, modules=scores.modules), scores.flops,
            environment=environment.model_copy(update={"other_load": other_load}),
            selection=schema.Selection(rule="the last epoch" if trained.history else "nothing was trained",
                                       epoch=len(trained.history)),
            metrics=scores.metrics, confusion=scores.confusion, artifacts=artifacts), path

    try:
        with checkpoints.stoppable() if checkpoints else nullcontext():
            if isinstance(recipe, Recipe) and not recipe.epochs:
                trained = Trained({"encoder": new_encoder(recipe, data, setup).eval()}, [], NOT_TRAINED, 0, 0.0)
            else:
                trained = importlib.import_module(TASKS[task].script).train(recipe, data, setup)
            if isinstance(recipe, FrozenEncoderRecipe) and recipe.finetune:
                trained = trained.then(finetune(trained.modules["encoder"], recipe, data, setup))
        return distributed.from_first(lambda: score_and_write(trained))
    except (Diverged, NotFinite) as error:
        if isinstance(error, Diverged):
            epoch, step, ended = error.epoch, error.step, Trained({}, error.history, "", error.step - 1, 0.0)
        else:
            epoch, step = len(trained.history), trained.steps
            ended = dataclasses.replace(trained, modules={}, objective="", flops=0.0)
        path = target.with_name(f"{target.stem}_failed.json")
        failure = schema.Failure(reason=str(error), epoch=epoch, step=step)
        distributed.from_first(lambda: write(path, "failed", ended, selection=None, metrics={}, confusion=None,
                                             artifacts={}, failure=failure))
        error.add_note(f"recorded in {path}")
        raise


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn an OSError into a RunError; makes the folder again if it was removed in the meantime."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise RunError(f"{target}: could not be written ({error.strerror or error}); {LAST}") from None


def free_path(path: Path) -> Path:
    """The path itself, or with _run2, _run3, ... where a record exists already: no result is overwritten.

    A record that was renamed still refers to its files by their first name.
    """
    candidate, number = path, 2
    named = ""
    for file in path.parent.glob("*.json"):
        with suppress(OSError):  # somebody else's, perhaps
            named += file.read_text("utf-8", "replace")
    while candidate.exists() or f'"{candidate.stem}.npz"' in named:
        candidate, number = path.with_name(f"{path.stem}_run{number}.json"), number + 1
    return candidate
