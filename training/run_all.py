"""All runs of a command in turn: skip complete ones, resume unfinished ones, train the rest.

Several processes may run the same command over one results folder, on one machine or on many that share it: only one
process works on a run (utils/records/lock.py), and the others skip it.  The processes of one torchrun count as one: the
first of them decides, holds the lock and writes.
"""

import dataclasses
from contextlib import ExitStack
from functools import partial

import torch

from evaluation.scoring import NotFinite
from models.saved import load_saved
from training.loop import Diverged, Setup
from training.plan import Options, Planned
from training.resume import checkpoints_or_skip
from training.run import QUICK_IMAGES, train_and_score
from training.tasks import TASKS
from utils.compute import distributed
from utils.compute.convolution import conv3x3
from utils.compute.precision import choose_precision, measure_conv
from utils.errors import RunError, UsageError
from utils.images.datasets import Dataset, load_dataset
from utils.recipe import as_json
from utils.records.environment import choose_device
from utils.records.lock import Held, held


def run_all(plans: dict[str, list[Planned]], options: Options) -> None:
    """Every planned run, data set by data set; if there are several, complete ones are skipped unless `fresh`.

    A run that diverges, or that another process holds, does not stop the others; RunError at the end names those that
    diverged.  Where there is only one run, Held names its holder.
    """
    with distributed.joined(choose_device(options.device)) as device:
        run_all_on(plans, options, device)


def run_all_on(plans: dict[str, list[Planned]], options: Options, device: torch.device) -> None:
    """Every planned run, on this device."""
    check_same_command(plans, options)
    init = distributed.first_then_others(partial(load_saved, options.init)) if options.init else None

    def load(name: str) -> Dataset:
        dataset = distributed.first_then_others(partial(load_dataset, name, options.data_dir, options.image_size))
        distributed.check_equal({f"{dataset.name}: {part}": digest for part, digest in dataset.sha256.items()})
        return dataset

    loaded = {name: load(name) for name in list(plans)[:1]}  # before the measurement, to report errors early
    conv_gflops = distributed.from_first(lambda: measure_conv(device, conv3x3))
    precision = choose_precision(conv_gflops) if options.precision == "auto" else options.precision
    speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in conv_gflops.items())
    processes = f" in {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
    print(f"device: {device.type}{processes}, precision: {precision} (convolution GFLOP/s: {speeds})", flush=True)
    if conv_gflops[precision] == 0:
        raise UsageError(f"--precision {precision}: {device.type} cannot compute in it here; take float32 or auto")
    failures: list[str] = []
    many_runs = sum(len(runs) for runs in plans.values()) > 1
    for dataset_name, runs in plans.items():
        dataset = loaded.pop(dataset_name, None) or load(dataset_name)
        for planned in runs:
            title = f"{planned.task} {dataset.name} {planned.recipe.method} seed {planned.seed}"
            setup = Setup(device, precision, conv_gflops, planned.seed, options.quick, init,
                          cuda_graph=options.cuda_graph)
            try:
                with ExitStack() as lock:
                    distributed.from_first(partial(lock.enter_context, held(planned.path)))
                    run_unless_complete(title, planned, dataset, setup, options, many_runs)
            except Held as error:
                if not many_runs:
                    raise
                print(f"{title}: {error}, skipped", flush=True)
            except (Diverged, NotFinite) as error:
                failures.append("; ".join([f"{title}: {error}", *getattr(error, "__notes__", [])]))
                print(failures[-1], flush=True)
    if failures:
        raise RunError("; ".join(failures))


def check_same_command(plans: dict[str, list[Planned]], options: Options) -> None:
    """UsageError unless torchrun's processes, perhaps on several machines, were all given the same runs."""
    runs = {planned.path.stem: planned.recipe for runs in plans.values() for planned in runs}
    distributed.check_equal({"the runs": ", ".join(runs), "--precision": options.precision})
    distributed.check_equal({f"{name}: {field}": value for name, recipe in runs.items()
                             for field, value in as_json(recipe).items()})


def run_unless_complete(title: str, planned: Planned, dataset: Dataset, setup: Setup, options: Options,
                        many_runs: bool) -> None:
    """Do one run, whose lock this process holds, and print one line with its result."""
    checkpoints = distributed.from_first(
        lambda: checkpoints_or_skip(title, planned, dataset, setup, options, many_runs))
    if checkpoints is None:
        return
    setup = dataclasses.replace(setup, precision=checkpoints.identity["precision"])
    print(f"\n{title} ({TASKS[planned.task].title})", flush=True)
    if planned.recipe.subset:
        dataset = dataset.subset(planned.recipe.subset)
    if options.quick:
        dataset = dataset.head(**QUICK_IMAGES)
    record, path = train_and_score(planned.task, dataset, planned.recipe, planned.overridden,
                                   dataclasses.replace(setup, checkpoints=checkpoints), planned.path, options.argv)
    score = record.headline
    print(f"{title}: test accuracy {100 * score.value:.2f} % ({score.correct} of {score.n})"
          f"{', a quick run' if options.quick else ''} -> {path}", flush=True)


