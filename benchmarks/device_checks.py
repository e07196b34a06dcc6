"""What benchmarks/device.py checks and times on a device; each function returns lines of its table."""

import contextlib
import hashlib
import importlib
import io
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks import contestants as make
from benchmarks.common import Timed, even_recipe
from benchmarks.same_numbers import same_numbers
from evaluation.embed import embed_folder
from evaluation.rescore import predict_again
from training.checkpoints import Checkpoints, Interrupted
from training.loop import Loop, Setup, Trained
from training.run import train_and_score
from training.tasks import TASKS
from utils.compute.precision import DTYPES, synchronise
from utils.errors import RunError, reason
from utils.images.datasets import Dataset
from utils.images.on_device import DeviceData, StreamedImages, shared
from utils.recipe import Recipe

# Largest relative difference of a step's loss from the CPU's.  Weights changed by 1e-6 of themselves, ten times
# float32's rounding, changed the losses by up to 4e-4 in 10 steps and 2e-3 in 50 (digits, on a CPU).
EARLY, EARLY_STEPS, LATE = 1e-3, 10, 2e-2
EMBEDDED = 1e-3  # largest difference of a latent from the CPU's, relative to the largest number of any latent
REPREDICTED = 0.01  # largest share of test images whose predicted class is another than the CPU's
TRAINED = tuple(task for task in TASKS if task != "control")
SCORED = ("1.2.1", "1.2.2", "1.2.3")  # trained, scored and embedded: with decoder, with classifier, with neither
OTHERS: dict[str, tuple[Callable[..., make.Conventional], ...]] = {
    "1.2.1": (make.tutorial_autoencoding,), "1.2.2": (make.tutorial_classification,),
    "1.2.3": (make.tutorial_contrastive, make.lightly_contrastive), "rotation": (make.tutorial_rotation,)}
# by method, what the recipes of the other data sets use, and few filters, which are enough for 64 pixels
CHANGES: dict[str, dict[str, Any]] = {
    "masked": {"encoder": "conv", "widths": (32, 64), "decoder_widths": (32, 32, 16)},
    "patches": {"widths": (32, 64), "target_filters": 32, "target_components": 32},
    "simclr": {"encoder": "conv_depths"},
    "joint": {"muon_learning_rate": 0.05, "alternating_flip": True, "cutout": 3, "resize_from": 0.75}}


@dataclass(frozen=True)
class Line:
    """A line of the table.  measured, allowed: in words; differs: beyond what is allowed; values: for the JSON."""

    name: str
    measured: str
    allowed: str
    differs: bool
    values: dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much is done: training steps that are compared, batches that are timed, and whether networks are tiny."""

    steps: int
    batches: int
    tiny: bool = False


def trainings(size: Size) -> Iterator[tuple[str, Recipe]]:
    """(task, recipe on digits) of every method that trains."""
    for task in TRAINED:
        entry = TASKS[task]
        for method in entry.all_methods:
            changes = CHANGES.get(method, {}) | ({"batch_size": 32} if size.tiny else {})
            recipe = replace(entry.default_recipe("digits", method), **changes)
            assert isinstance(recipe, Recipe)
            yield task, recipe


def checked(name: str, allowed: str, work: Callable[[], tuple[str, bool, dict[str, Any]]]) -> Line:
    """A line from (measured, differs, values); an error counts as a difference."""
    print(f"  {name}", flush=True)
    try:
        with quiet():
            measured, differs, values = work()
    except (RuntimeError, TypeError) as error:  # TypeError: a format that the device lacks
        measured, differs, values = reason(error)[:60], True, {"error": str(error)}
    return Line(name, measured, allowed, differs, values)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress what a training prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def train(task: str, recipe: Recipe, data: DeviceData, setup: Setup) -> Trained:
    """The task's own training."""
    return importlib.import_module(TASKS[task].script).train(recipe, data, setup)


# The same losses as on the CPU


class EnoughSteps(Exception):
    """Ends a training."""


def first_losses(task: str, recipe: Recipe, data: DeviceData, setup: Setup, steps: int) -> list[float]:
    """The loss of each of the first steps."""
    found: list[float] = []
    whole = Loop.step

    def step(loop: Loop, *arguments: Any, **options: Any) -> None:
        whole(loop, *arguments, **options)
        loop._read()
        found.append(loop.progress.losses[-1])
        if len(found) == steps:
            raise EnoughSteps

    with patch.object(Loop, "step", step), same_numbers(), contextlib.suppress(EnoughSteps):
        train(task, recipe, data, setup)
    return found


def compare_losses(dataset: Dataset, setup: Setup, size: Size) -> list[Line]:
    """The losses of every task in float32, from the same weights, batches and random numbers as on the CPU."""
    lines = []
    for task, recipe in trainings(size):
        images = len(dataset.train_index)
        recipe = replace(recipe, epochs=-(-size.steps // (images // min(recipe.batch_size, images))))

        def compare(task: str = task, recipe: Recipe = recipe) -> tuple[str, bool, dict]:
            there, here = (first_losses(
                task, recipe, DeviceData.load(dataset, device),
                replace(setup, device=device, precision="float32", cuda_graph=False), size.steps)
                for device in (setup.device, torch.device("cpu")))
            apart = [abs(a - b) / abs(b) for a, b in zip(there, here, strict=True)]
            early, late = max(apart[:EARLY_STEPS]), max(apart)
            return (f"{early:.1e}, {late:.1e}", not (early <= EARLY and late <= LATE),
                    {"losses": there, "cpu_losses": here, "largest_early": early, "largest": late})
        lines.append(checked(f"{task} {recipe.method}: losses, {size.steps} steps", f"{EARLY:g}, {LATE:g}", compare))
    return lines


# The same bytes in every run


def digest(trained: Trained) -> str:
    """SHA-256 of all weights, buffers and losses."""
    found = hashlib.sha256(repr([(row.train_loss, row.val_loss) for row in trained.history]).encode())
    for name, module in sorted(trained.modules.items()):
        for key, value in module.state_dict().items():
            found.update(f"{name}.{key}".encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def resumed(task: str, recipe: Recipe, data: DeviceData, setup: Setup, after: int) -> Trained:
    """A training that is stopped, as by Ctrl-C, after so many steps, and resumed from its checkpoint."""
    whole = Loop.step

    def step(loop: Loop, *arguments: Any, **options: Any) -> None:
        whole(loop, *arguments, **options)
        assert loop.checkpoints
        loop.checkpoints.stop = loop.progress.step == after

    with TemporaryDirectory() as folder:
        def setup_with_checkpoints() -> Setup:
            kept = Checkpoints(Path(folder) / "run.unfinished", {}, "2026-01-01T00:00:00Z", "0" * 40, every=1e9)
            kept.adopt()
            return replace(setup, checkpoints=kept)
        with patch.object(Loop, "step", step), contextlib.suppress(Interrupted):
            train(task, recipe, data, setup_with_checkpoints())
            raise RunError("the training did not stop")
        again = setup_with_checkpoints()
        trained = train(task, recipe, data, again)
        if not again.checkpoints or not again.checkpoints.resumed:
            raise RunError("the training started over")
        return trained


def compare_runs(dataset: Dataset, setup: Setup, size: Size) -> list[Line]:
    """Two epochs of every task in the device's own precision must give the same bytes: repeated, and interrupted.

    On CUDA also without the CUDA graph, and with images that stay in the host's memory.
    """
    data, lines = DeviceData.load(dataset, setup.device), []
    streamed = replace(data, images=StreamedImages(shared(dataset.train_images), setup.device))
    for task, recipe in trainings(size):
        recipe = replace(recipe, epochs=2)

        def compare(task: str = task, recipe: Recipe = recipe) -> tuple[str, bool, dict]:
            first = train(task, recipe, data, setup)
            others = {"repeated": lambda: train(task, recipe, data, setup),
                      "resumed": lambda: resumed(task, recipe, data, setup, max(1, 3 * first.steps // 4))}
            if setup.device.type == "cuda":
                others["without graph"] = lambda: train(task, recipe, data, replace(setup, cuda_graph=False))
                others["images streamed"] = lambda: train(task, recipe, streamed, setup)
            unequal = [name for name, other in others.items() if digest(other()) != digest(first)]
            measured = f"not equal: {', '.join(unequal)}" if unequal else f"equal: {', '.join(others)}"
            return measured, bool(unequal), {"compared": list(others), "unequal": unequal}
        lines.append(checked(f"{task} {recipe.method}: bytes, {setup.precision}", "equal", compare))
    return lines


# Scoring and embedding


def compare_scores(dataset: Dataset, setup: Setup, size: Size) -> list[Line]:
    """Records scored on the device, and their weights' predictions and latents there and on the CPU."""
    cpu = torch.device("cpu")
    lines = []
    for task in SCORED:
        recipe = TASKS[task].default_recipe("digits")
        assert isinstance(recipe, Recipe)
        recipe = replace(recipe, epochs=1, batch_size=32 if size.tiny else recipe.batch_size)

        def compare(task: str = task, recipe: Recipe = recipe) -> tuple[str, bool, dict]:
            with TemporaryDirectory() as name:
                folder, images = Path(name), Path(name) / "images"
                record, path = train_and_score(task, dataset, recipe, [], replace(setup, quick=True),
                                               folder / "run.json", ["_main.py", "--quick"])
                there, here = (predict_again(path, DeviceData.load(dataset, device)) for device in (setup.device, cpu))
                right = int((here == dataset.test_labels).sum())
                n = len(here)
                share = max(float((there != here).mean()), abs(right - (record.headline.correct or 0)) / n)
                images.mkdir()
                for number, image in enumerate(dataset.test_images[:20]):
                    Image.fromarray(image[:, :, 0]).save(images / f"{number:02d}.png")
                a, b = (embedded(path, images, folder / f"{number}.npz", device)
                        for number, device in enumerate((setup.device, cpu)))
                apart = float(np.abs(a - b).max() / np.abs(b).max())
            return (f"{100 * share:.1f} %, {apart:.1e}",
                    not (share <= REPREDICTED and apart <= EMBEDDED),
                    {"predictions_differ": share, "latents_differ": apart})
        lines.append(checked(f"{task} {recipe.method}: scored", f"{100 * REPREDICTED:g} %, {EMBEDDED:g}", compare))
    return lines


def embedded(record: Path, images: Path, out: Path, device: torch.device) -> np.ndarray:
    """(N, latent_dim): what --embed writes."""
    embed_folder(record, images, out, device)
    return np.load(out)["latents"]


# Speed


def measure_speed(setup: Setup, size: Size) -> list[Line]:
    """Images/s of each task on noise of CIFAR-10's size, against the other loops, the matrix peak, and memory."""
    peak = matrix_peak(setup.device, DTYPES[setup.precision], 256 if size.tiny else None)
    lines = []
    for task in TRAINED:
        recipe = even_recipe(task)
        recipe = replace(recipe, widths=(8, 8), batch_size=8) if size.tiny else recipe

        def measure(task: str = task, recipe: Recipe = recipe) -> tuple[str, bool, dict]:
            data = make.random_data(size.batches * recipe.batch_size, (3, 32, 32), torch.device("cpu"))
            timed, memory = measured_apart(task, recipe, data, setup)
            share = (timed.flops or 0.0) / timed.seconds / peak
            words, values = [f"{timed.images_per_second:,.0f} images/s"], asdict(timed) | {
                "images_per_second": timed.images_per_second, "share_of_matrix_peak": share, "peak_bytes": memory}
            for other in OTHERS[task]:
                if other is make.lightly_contrastive and importlib.util.find_spec("lightly") is None:
                    continue
                loop = other(recipe, make.on(data, setup.device), setup)
                speed = conventional_speed(loop, 0 if size.tiny or setup.device.type == "cpu" else
                                           min(8, os.cpu_count() or 1))
                values[loop.name] = speed
                words.append(f"{timed.images_per_second / speed:.1f} x {loop.name}")
            words.append(f"{100 * share:.0f} % of {peak / 1e12:.3g} TFLOP/s")
            if memory:
                words.append(f"{memory / 2**30:.1f} GiB")
            return "; ".join(words), False, values
        lines.append(checked(f"{task} {recipe.method}: speed, {setup.precision}", "-", measure))
    return lines


def conventional_speed(loop: make.Conventional, workers: int) -> float:
    """Images/s of the loop's second epoch; the first starts the workers."""
    loop.warm_up()
    contestant = loop.with_workers(workers)
    contestant.run()
    return contestant.run().images_per_second


def measured_apart(task: str, recipe: Recipe, data: DeviceData, setup: Setup) -> tuple[Timed, int | None]:
    """timed_with_memory() in a process of its own."""
    with make.process_apart(setup.device) as apart:
        return apart.submit(timed_with_memory, task, recipe, data, setup).result()


def timed_with_memory(task: str, recipe: Recipe, data: DeviceData, setup: Setup) -> tuple[Timed, int | None]:
    """The third epoch of the task's training, and the most bytes that this process has used on the device."""
    timed = make.train_timed(task, recipe, data, setup, epoch=3)
    return timed, peak_memory(setup.device)


def peak_memory(device: torch.device) -> int | None:
    """Most bytes in a GPU's tensors, or that a process on the CPU had; on MPS, what the driver holds now.

    None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def matrix_peak(device: torch.device, dtype: torch.dtype, side: int | None = None) -> float:
    """FLOP/s of a product of two square matrices; side: by default 8192 on a GPU, 2048 on a CPU."""
    side = side or (2048 if device.type == "cpu" else 8192)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = math.inf
    for _ in range(6):
        synchronise(device)
        start = time.perf_counter()
        a @ b
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
