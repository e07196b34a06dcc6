"""Two test processes with one thread each: on two cores, two processes with two threads wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the processes that tests start

import gc
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
from filelock import FileLock

from tests.factory import HONEST

# the files that take longest, in the order in which the test processes take them; any order is right
FIRST = ("report/test_paper.py", "theory/test_collapse.py", "playground/test_playground.py", "report/test_render.py",
         "training/test_checkpoints.py", "training/test_training.py", "utils/images/test_chunks.py",
         "grading/test_score.py", "training/test_devices.py", "test_main.py", "report/test_run_section.py",
         "benchmarks/test_device.py", "grading/test_check.py", "report/test_explorer.py",
         "report/test_verification.py", "grading/test_command.py", "utils/test_command_line.py",
         "theory/test_mutual_information.py", "benchmarks/test_throughput.py")
UNIX_ONLY = ["grading", "utils/compute/test_allocator.py", "utils/records/test_lock.py"]  # import what Windows lacks
collect_ignore = [] if os.name == "posix" else UNIX_ONLY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: else one process may begin one when the other has nothing left to do."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(FIRST)))


def pytest_collection_finish() -> None:
    """Whatever is imported stays: else each full garbage collection looks through it, thirty times in all."""
    gc.freeze()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[..., Path]:
    """What one of the test processes makes for all of them, which must leave it as it is."""
    own = tmp_path_factory.getbasetemp()
    common = own if worker_id == "master" else own.parent  # each process of pytest-xdist has a folder in there

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        """The folder of this name.  fill: called with the empty folder by the first process that asks."""
        folder, done = common / name, common / f"{name}.done"
        with FileLock(common / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def honest(made_once: Callable[..., Path]) -> Path:
    """Three short runs on the digits (HONEST), with their checkpoints, under the names of the default recipes."""
    return made_once("honest", train_honestly)


def train_honestly(folder: Path) -> None:
    import _main
    from evaluation import figure_arrays, scores
    from training import run

    with (patch.object(run, "measure_conv", cache(run.measure_conv)),
          patch.object(figure_arrays, "tsne", figure_arrays.first_components),
          patch.object(scores, "CLASSIFIER_EPOCHS", 4), patch.object(scores, "CLASSIFIER_STEPS", 50)):
        for task in HONEST:
            epochs = "8" if task == "1.2.1" else "2"  # for reconstructions better than a constant image
            _main.main(["--task", task, "--epochs", epochs, "--dataset", "digits", "--results-dir", str(folder)])
    for path in list(folder.glob("*.json")):
        stem = path.stem.rsplit("_", 1)[0]  # without the recipe's hash
        record = json.loads(path.read_text())
        for artifact in record["artifacts"].values():
            artifact["name"] = artifact["name"].replace(path.stem, stem)
        path.unlink()
        (folder / f"{stem}.json").write_text(json.dumps(record))
        for suffix in (".npz", ".safetensors"):
            path.with_suffix(suffix).rename(folder / f"{stem}{suffix}")
