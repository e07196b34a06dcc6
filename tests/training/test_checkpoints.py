"""A resumed run ends like an uninterrupted one, bit for bit; damaged checkpoints are skipped."""

import dataclasses
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from evaluation import figure_arrays, scores
from tests.training import helpers
from tests.training.helpers import CPU, FEW_FILTERS, check_same, short_recipe
from training import run
from training.checkpoints import KEPT, STOPPING, Checkpoints, Interrupted, differences, newest
from training.loop import Loop, Setup, Trained
from training.run import train_and_score
from training.tasks import TASKS
from utils.errors import RunError, UsageError
from utils.images.on_device import DeviceData
from utils.records.arrays import read_arrays
from utils.records.schema import Record

IDENTITY = {"recipe": {"epochs": 2}, "seed": 0}
STARTED = "2026-01-01T00:00:00Z"
NARROW = {"widths": (16, 32)}  # what is kept of an encoder does not depend on its size, how long that takes does


class Killed(BaseException):
    """As sudden as kill -9: nothing in between catches it."""


@pytest.fixture(scope="module", autouse=True)
def quick_scores() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_arrays, "tsne", figure_arrays.first_components)
        patch.setattr("evaluation.scoring.QUICK_CLASSIFIER_EPOCHS", 2)
        patch.setattr(scores, "CLASSIFIER_HIDDEN", 128)
        patch.setattr(scores, "linear_probe", lambda latents: lambda z: torch.zeros(len(z), dtype=torch.int64))
        yield


@pytest.fixture(scope="module")
def whole_rotation(digits, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Never interrupted."""
    return train(tmp_path_factory.mktemp("whole"), digits, "rotation", batch_size=80)


@pytest.fixture(scope="module")
def whole_moco(digits, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("whole"), digits, "1.2.3", "moco")


def checkpoints(folder: Path, every: float = 1e9, identity: dict | None = None) -> Checkpoints:
    return Checkpoints(folder / "run.unfinished", identity or IDENTITY, STARTED, "0" * 40, every)


def resuming(folder: Path, every: float) -> Setup:
    """From whatever checkpoints the folder holds."""
    kept = checkpoints(folder, every)
    kept.adopt()
    return dataclasses.replace(CPU, checkpoints=kept)


def train(folder: Path, digits, task: str, method: str | None = None, every: float = 1e9, **given) -> Trained:
    """A short training without scores."""
    folder.mkdir(exist_ok=True)
    return helpers.train(task, method, DeviceData.load(digits, CPU.device), resuming(folder, every), **NARROW | given)


def go(folder: Path, digits, task: str, method: str | None = None, every: float = 1e9, **given) -> Record:
    """A short run."""
    recipe, setup = short_recipe(task, method, **NARROW | given), resuming(folder, every)
    return train_and_score(task, digits, recipe, sorted(given), setup, folder / "run.json", ["_main.py", "--quick"])[0]


@contextmanager
def killed_after(steps: int) -> Iterator[None]:
    """The process is gone after so many optimiser steps, with the next one's forward pass done."""
    done, whole = [0], Loop.step

    def step(self, *arguments, **options) -> None:
        if done[0] == steps:
            raise Killed
        done[0] += 1
        whole(self, *arguments, **options)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Loop, "step", step)
        yield


def same(a: Path, record_a: Record, b: Path, record_b: Record) -> None:
    """Everything but wall times."""
    rows_a, rows_b = ([row.model_dump(exclude={"seconds"}) for row in r.history] for r in (record_a, record_b))
    assert rows_a == rows_b
    assert record_a.metrics == record_b.metrics and record_a.derived == record_b.derived
    arrays_a, arrays_b = read_arrays(record_a, a), read_arrays(record_b, b)
    assert all(np.array_equal(arrays_a[name], arrays_b[name]) for name in arrays_a | arrays_b)
    weights_a, weights_b = load_file(a / "run.safetensors"), load_file(b / "run.safetensors")
    assert all(torch.equal(weights_a[name], weights_b[name]) for name in weights_a | weights_b)


JOINT = {"muon_learning_rate": 0.05, "alternating_flip": True, "cutout": 3, "resize_from": 0.75}
GIVEN = {"patches": FEW_FILTERS, "joint": JOINT}
RUNS = [(task, method, GIVEN.get(method, {}))
        for task, one in TASKS.items() if task != "control" for method in one.all_methods]
RUNS += [("1.2.3", "simclr", {"encoder": "vit", "widths": (32, 32)})]


@pytest.mark.parametrize("task, method, given", RUNS, ids=lambda value: str(value)[:20])
def test_killed_twice_and_resumed_is_as_never_interrupted(task, method, given, digits, tmp_path: Path) -> None:
    """Every task and method, training alone: the same weights have the same scores."""
    whole = train(tmp_path / "whole", digits, task, method, **given)
    for after in (whole.steps // 3, whole.steps // 2):  # it resumes in the first epoch, then in the second
        with killed_after(after):
            train(tmp_path / "killed", digits, task, method, every=0.0, **given)
    check_same(whole, train(tmp_path / "killed", digits, task, method, **given))


def test_a_whole_run_killed_and_resumed_has_the_same_record(digits, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    given = {"finetune": True, "finetune_epochs": 2}
    whole = go(tmp_path / "whole", digits, "1.2.3", **given)
    for after in (whole.derived.steps // 3, whole.derived.steps // 2):
        with killed_after(after):
            go(tmp_path / "killed", digits, "1.2.3", every=0.0, **given)
    record = go(tmp_path / "killed", digits, "1.2.3", **given)
    same(tmp_path / "whole", whole, tmp_path / "killed", record)
    assert record.run.resumed == 2 and whole.run.resumed == 0
    assert record.run.started == STARTED
    assert not (tmp_path / "killed" / "run.unfinished").exists()


@pytest.mark.parametrize("left_out", ["module.encoder", "optimiser.adamw", "random.loop", "kept.moco"])
def test_the_comparison_catches_a_checkpoint_that_lacks_something(left_out, digits, whole_moco, tmp_path,
                                                                  monkeypatch) -> None:
    """The oracle above must see a state that was not carried over."""
    with killed_after(4):
        train(tmp_path, digits, "1.2.3", "moco", every=0.0)
    load = Checkpoints.load

    def broken(self):
        progress, tensors = load(self)
        for name in tensors:
            if name.startswith(left_out) and (tensors[name].is_floating_point() or name == "random.loop"):
                tensors[name] = torch.Generator().manual_seed(5).get_state() if name == "random.loop" else \
                    tensors[name] + 0.1
        return progress, tensors
    monkeypatch.setattr(Checkpoints, "load", broken)
    resumed = train(tmp_path, digits, "1.2.3", "moco")
    with pytest.raises(AssertionError):
        check_same(whole_moco, resumed)


def half_done(folder: Path, digits) -> list[Path]:
    """An unfinished run with two checkpoints, newest last."""
    with killed_after(5):
        train(folder, digits, "rotation", every=0.0, batch_size=80)
    files = sorted((folder / "run.unfinished").glob("*.json"))
    assert len(files) == KEPT
    return files


@pytest.mark.parametrize("harm", ["truncated tensors", "truncated json", "no tensors", "one flipped bit"])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before(harm, digits, whole_rotation, tmp_path: Path,
                                                            capsys) -> None:
    newest_json = half_done(tmp_path, digits)[-1]
    tensors = newest_json.with_suffix(".safetensors")
    match harm:
        case "truncated tensors":
            tensors.write_bytes(tensors.read_bytes()[:-100])
        case "truncated json":
            newest_json.write_bytes(newest_json.read_bytes()[:50])
        case "no tensors":
            tensors.unlink()
        case "one flipped bit":
            data = bytearray(tensors.read_bytes())
            data[-1] ^= 1
            tensors.write_bytes(data)
    check_same(whole_rotation, train(tmp_path, digits, "rotation", batch_size=80))
    assert "skipping a damaged checkpoint" in capsys.readouterr().err


def test_with_every_checkpoint_damaged_it_starts_over(digits, tmp_path: Path) -> None:
    for path in half_done(tmp_path, digits):
        path.write_text("{")
    record = go(tmp_path, digits, "rotation", batch_size=80)
    assert record.run.resumed == 0 and len(record.history) == 2


def test_a_full_disk_costs_the_checkpoint_not_the_training(digits, tmp_path: Path, monkeypatch, capsys) -> None:
    def full(*arguments) -> None:
        raise OSError(28, os.strerror(28))
    monkeypatch.setattr("training.checkpoints.write_bytes", full)
    assert len(train(tmp_path, digits, "rotation", every=0.0).history) == 2
    assert "could not be written (No space left on device)" in capsys.readouterr().err


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_writes_a_checkpoint_and_says_how_to_resume(number, digits, tmp_path: Path, monkeypatch) -> None:
    step, done = Loop.step, []

    def interrupted(self, *arguments, **options) -> None:
        step(self, *arguments, **options)
        done.append(1)
        for _ in range(1 if number == signal.SIGINT else 2) if len(done) == 3 else ():  # the others come twice
            os.kill(os.getpid(), number)
    monkeypatch.setattr(Loop, "step", interrupted)
    came = signal.signal(number, signal.default_int_handler)  # behind nohup or & it is ignored, and stays so
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="the checkpoint of step 3 is in .*resumes from it"):
        go(tmp_path, digits, "rotation", batch_size=80)
    assert signal.getsignal(number) == before
    signal.signal(number, came)
    assert newest(tmp_path / "run.unfinished")[1].progress.step == 3
    monkeypatch.undo()
    assert go(tmp_path, digits, "rotation", batch_size=80).run.resumed == 1


def test_interruptions_while_scoring_are_counted(digits, tmp_path: Path, monkeypatch) -> None:
    def killed(*_: object) -> None:
        raise Killed
    with monkeypatch.context() as patch:
        patch.setattr(run, "score", killed)
        for _ in range(3):
            with pytest.raises(Killed):
                go(tmp_path, digits, "rotation", batch_size=80)
    assert go(tmp_path, digits, "rotation", batch_size=80).run.resumed == 3


def test_only_checkpoints_are_removed(digits, tmp_path: Path) -> None:
    kept = checkpoints(tmp_path)
    kept.folder.mkdir()
    own = ["stage1-step000000001.json", "stage1-step000000001.safetensors", ".stage1-step000000001.json.ab.tmp"]
    for name in [*own, "notes.txt"]:
        (kept.folder / name).write_text("")
    kept.remove()
    assert [path.name for path in kept.folder.iterdir()] == ["notes.txt"]
    (kept.folder / "notes.txt").unlink()
    kept.remove()
    assert not kept.folder.exists()


def test_another_run_s_checkpoint_is_refused_with_the_difference(digits, tmp_path: Path) -> None:
    half_done(tmp_path, digits)
    other = checkpoints(tmp_path, identity={"recipe": {"epochs": 3}, "seed": 0})
    with pytest.raises(UsageError, match="epochs 2 there, 3 here; --fresh starts over"):
        other.adopt()
    other.identity |= {"images": {"test_images": "c0ffee"}}
    with pytest.raises(UsageError, match="its own command, or give another --results-dir; --fresh deletes"):
        other.adopt()
    assert newest(tmp_path / "run.unfinished")[1]


def test_differences_name_what_only_one_has() -> None:
    assert differences({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "e": 4}, "f": 5}) == \
        "d 3 there, None here; e None there, 4 here; f None there, 5 here"


def test_a_checkpoint_of_other_code_is_refused(digits, tmp_path: Path) -> None:
    for path in half_done(tmp_path, digits):
        facts = json.loads(path.read_text())
        tensors = load_file(path.with_suffix(".safetensors"))
        tensors["module.encoder.extra"] = torch.zeros(1)
        data = save(tensors)
        path.with_suffix(".safetensors").write_bytes(data)
        path.write_text(json.dumps(facts | {"tensors": hashlib.sha256(data).hexdigest()}))
    with pytest.raises(RunError, match="another version of the code"):
        train(tmp_path, digits, "rotation", batch_size=80)
