"""The runs of a command line in turn: skip what is complete, go on with what is unfinished, train the rest.

Several processes may do the same command over one results folder, on one machine or on many that share it: each run is
held by one of them (records/lock.py), and the others pass it over.  Under torchrun several processes are one here: the
first of them decides, holds and writes.
"""

import dataclasses
import re
from contextlib import ExitStack
from pathlib import Path

import torch

from models.saved import load_saved
from training.checkpoints import Checkpoint, Checkpoints, differences, newest
from training.loop import Diverged, Setup
from training.plan import Options, Planned
from training.run import QUICK_IMAGES, described, now, run
from training.tasks import TASKS
from utils.compute import distributed
from utils.compute.convolution import conv3x3
from utils.compute.precision import choose_precision, measure_conv
from utils.errors import RunError, UsageError
from utils.files import remove_temporary
from utils.images.datasets import Dataset, load_dataset
from utils.recipe import Recipe, as_json
from utils.records.environment import choose_device, commit_of
from utils.records.lock import Held, held
from utils.records.schema import UNFINISHED, Init, Record, RecordError, read_record, setting_hash


def run_all(plans: dict[str, list[Planned]], options: Options) -> None:
    """Every planned run, data set by data set.  Of several, those that are complete are skipped unless `fresh`.

    A run that diverges, or that another process holds, does not stop the others; RunError at the end names what
    diverged.  Of one run alone, Held says who holds it.
    """
    with distributed.joined(choose_device(options.device)) as device:
        run_each(plans, options, device)


def run_each(plans: dict[str, list[Planned]], options: Options, device: torch.device) -> None:
    """Every planned run, on this device."""
    for planned in (planned for runs in plans.values() for planned in runs):
        if isinstance(planned.recipe, Recipe):
            distributed.check_divides(planned.recipe.batch_size)
    conv_gflops = distributed.from_first(lambda: measure_conv(device, conv3x3))
    precision = choose_precision(conv_gflops) if options.precision == "auto" else options.precision
    speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in conv_gflops.items())
    processes = f" in {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
    print(f"device: {device.type}{processes}, precision: {precision} (convolution GFLOP/s: {speeds})", flush=True)
    if conv_gflops[precision] == 0:
        raise UsageError(f"--precision {precision}: {device.type} cannot compute in it here; take float32 or auto")
    init = distributed.first_then_others(lambda: load_saved(options.init)) if options.init else None
    failures: list[str] = []
    several = sum(len(runs) for runs in plans.values()) > 1
    for dataset_name, runs in plans.items():
        dataset = distributed.first_then_others(
            lambda name=dataset_name: load_dataset(name, options.data_dir, options.image_size))
        if init and list(dataset.image_shape) != init.record.data.image_shape:
            raise UsageError(f"--init {options.init}: its encoder takes images of {init.record.data.image_shape} "
                             f"(channels, height, width), those of {dataset_name} are {list(dataset.image_shape)}")
        for planned in runs:
            title = f"{planned.task} {dataset.name} {planned.recipe.method} seed {planned.seed}"
            setup = Setup(device, precision, conv_gflops, planned.seed, options.quick, init)
            try:
                with ExitStack() as lock:
                    distributed.from_first(lambda path=planned.path, lock=lock: lock.enter_context(held(path)))
                    train_one(title, planned, dataset, setup, options, several)
            except Held as error:
                if not several:
                    raise
                print(f"{title}: {error}, skipped", flush=True)
            except Diverged as error:
                failures.append(f"{title}: {error}; {'; '.join(error.__notes__)}")
                print(failures[-1], flush=True)
    if failures:
        raise RunError("; ".join(failures))


def train_one(title: str, planned: Planned, dataset: Dataset, setup: Setup, options: Options, several: bool) -> None:
    """One run, which this process holds, and what became of it in one line."""
    checkpoints = distributed.from_first(lambda: checkpoints_unless_done(title, planned, dataset, setup, options,
                                                                         several))
    if checkpoints is None:
        return
    setup = dataclasses.replace(setup, precision=checkpoints.identity["precision"])
    print(f"\n{title} ({TASKS[planned.task].title})", flush=True)
    if planned.recipe.subset:
        dataset = dataset.subset(planned.recipe.subset)
    if options.quick:
        dataset = dataset.head(**QUICK_IMAGES)
    record, path = run(planned.task, dataset, planned.recipe, planned.overridden,
                       dataclasses.replace(setup, checkpoints=checkpoints), planned.path, options.argv)
    score = record.headline
    print(f"{title}: test accuracy {100 * score.value:.2f} % ({score.correct} of {score.n})"
          f"{', a quick run' if options.quick else ''} -> {path}", flush=True)


def checkpoints_unless_done(title: str, planned: Planned, dataset: Dataset, setup: Setup, options: Options,
                            several: bool) -> Checkpoints | None:
    """What the run writes and goes on from; None where its record is complete already, after saying so."""
    remove_temporary(planned.path)
    again = distributed.restarts() > 0 and not planned.path.with_suffix(UNFINISHED).exists()
    done = complete_record(planned, dataset.sha256, described(setup.init))
    if done and (again or several and not options.fresh) and not options.quick:
        print(f"{title}: complete already in {done}, skipped (--fresh trains it again)", flush=True)
        return None
    checkpoints = take_up(planned, dataset, setup, options)
    if checkpoints.resumed:
        done = finished_record(planned.path, checkpoints)
        if done:  # it was ended between writing its record and taking its checkpoints away
            checkpoints.remove()
            print(f"{title}: complete already in {done}", flush=True)
            return None
    if distributed.launched():
        checkpoints.folder.mkdir(exist_ok=True)  # tells torchrun's next attempt that it is not done
    return checkpoints


def take_up(planned: Planned, dataset: Dataset, setup: Setup, options: Options) -> Checkpoints:
    """The run's checkpoints: those of the unfinished run that it goes on with, or none yet.

    Raises UsageError where what lies there is another run, or with --resume where only another recipe's does.
    """
    folder = planned.path.with_suffix(UNFINISHED)
    there = newest(folder)
    precision = setup.precision
    if options.precision == "auto" and there:  # a start-up measurement may come out otherwise the next time
        precision = there.identity.get("precision", precision)
    init = described(setup.init)
    identity = {"task": planned.task, "dataset": dataset.name, "seed": planned.seed, "quick": setup.quick,
                "device": setup.device.type, "precision": precision,
                "recipe": as_json(planned.recipe), "images": dataset.sha256,
                "init": init and init.model_dump()}
    checkpoints = Checkpoints(folder, identity, now(), commit_of()[0], options.checkpoint_seconds)
    if options.fresh and not distributed.restarts():  # a restart goes on with what the command began
        checkpoints.remove()
        return checkpoints
    checkpoints.adopt()
    if not checkpoints.resumed:
        for other, begun in unfinished_beside(planned):
            differing = f"{other} is unfinished, and differs: {differences(begun.identity, identity)}"
            if options.resume:
                raise UsageError(f"--resume: {differing}; give its flags to go on with it")
            print(f"{differing}; it stays as it is", flush=True)
        if options.resume:
            print("--resume: nothing is unfinished here; it starts from the beginning", flush=True)
    return checkpoints


def unfinished_beside(planned: Planned) -> list[tuple[Path, Checkpoint]]:
    """Unfinished runs of the same task, data set, method and seed under other names: folder and newest checkpoint.

    Where this is a quick run, quick ones; else none of them.
    """
    stem = re.match(r".*_seed\d+", planned.path.stem)[0]
    found = [folder for folder in sorted(planned.path.parent.glob(f"*{UNFINISHED}"))
             if re.match(rf"{re.escape(stem)}(_|$)", folder.stem) and folder != planned.path.with_suffix(UNFINISHED)
             and folder.stem.endswith("_quick") == planned.path.stem.endswith("_quick")]
    return [(folder, begun) for folder in found if (begun := newest(folder))]


def records_of(path: Path) -> list[tuple[Path, Record]]:
    """The valid records under this name, and with _run2, _run3, ... after it."""
    found = []
    for candidate in [path, *sorted(path.parent.glob(f"{path.stem}_run*.json"))]:
        try:
            found.append((candidate, read_record(candidate)))
        except RecordError:
            continue
    return found


def complete_record(planned: Planned, sha256: dict[str, str], init: Init | None) -> Path | None:
    """A valid record of this complete run, on these images; None without one."""
    wanted = (setting_hash(as_json(planned.recipe)), sha256, "complete", init)
    for path, record in records_of(planned.path):
        if (setting_hash(record.recipe.fields), record.data.sha256, record.run.status, record.run.init) == wanted:
            return path
    return None


def finished_record(path: Path, checkpoints: Checkpoints) -> Path | None:
    """The record of the run that these checkpoints are of, where it was written; None else.

    Two runs can start within one second, or in the same one where the clock was set back; no two took the same time.
    """
    begun = newest(checkpoints.folder, stage=1)
    epochs = begun.progress.history if begun else []
    return next((found for found, record in records_of(path) if record.run.started == checkpoints.started
                 and record.history[:len(epochs)] == epochs), None)
