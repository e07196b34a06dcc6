"""Whether a run is skipped, resumed or started: its checkpoints, its complete records, other unfinished runs."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from models.saved import Saved
from training.checkpoints import Checkpoint, Checkpoints, differences, newest
from training.loop import Setup
from training.plan import Planned
from training.tasks import setting_of
from utils.command_line import Arguments, processes
from utils.compute import distributed
from utils.errors import UsageError
from utils.files import remove_temporary
from utils.images.datasets import Dataset
from utils.recipe import as_json
from utils.records import schema
from utils.records.arrays import read_arrays
from utils.version import commit_of


def checkpoints_or_skip(title: str, planned: Planned, dataset: Dataset, setup: Setup, arguments: Arguments,
                            many_runs: bool) -> Checkpoints | None:
    """The checkpoints that the run writes and resumes from; or None, after a message, if its record is complete.

    many_runs: the command names several runs, so complete ones are skipped.
    """
    remove_temporary(planned.path)
    rerun_after_restart = distributed.restarts() > 0 and not planned.path.with_suffix(schema.UNFINISHED).exists()
    if (rerun_after_restart or many_runs and not arguments.fresh) and not arguments.quick:
        done, lost = complete_record(planned, dataset.sha256, init_of(setup.init))
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
                raise UsageError(f"--resume: {differing}; give its flags to resume it")
            print(f"{differing}; it is left unchanged", flush=True)
        if arguments.resume:
            print("--resume: there is no unfinished run; starting from the beginning", flush=True)
    return checkpoints


def other_unfinished(planned: Planned) -> list[tuple[Path, Checkpoint]]:
    """Unfinished runs of the same task, data set, method and seed under other names: folder and newest checkpoint.

    Quick runs are matched only with quick runs.
    """
    stem = planned.path.stem[: planned.path.stem.index(f"_seed{planned.seed}")] + f"_seed{planned.seed}"
    found = [folder for folder in sorted(planned.path.parent.glob(f"*{schema.UNFINISHED}"))
             if re.match(rf"{re.escape(stem)}(_|$)", folder.stem) and folder.stem != planned.path.stem
             and folder.stem.endswith("_quick") == planned.path.stem.endswith("_quick")]
    return [(folder, begun) for folder in found if (begun := newest(folder)[1])]


def records_named(path: Path) -> Iterator[tuple[Path, schema.Record]]:
    """The valid records under this name and under it with _run2, _run3, ..."""
    for candidate in [path, *sorted(path.parent.glob(f"{path.stem}_run*.json"))]:
        with suppress(schema.RecordError):
            yield candidate, schema.read_record(candidate)


def complete_record(planned: Planned, sha256: dict[str, str], init: schema.Init | None) -> tuple[Path | None, str]:
    """A valid, complete record of this run on the same images, with its files; or None, and what a record lacks."""
    wanted, lost = ("complete", init, sha256, schema.setting_hash(as_json(planned.recipe))), ""
    for path, record in records_named(planned.path):
        run = record.run
        if (run.status, run.init, record.data.sha256, setting_of(record)) == wanted:
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
