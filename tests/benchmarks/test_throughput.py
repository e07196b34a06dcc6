"""This project's speed against the others, and the published figures of --recipe."""

import dataclasses
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import common, contestants, throughput
from tests.factory import make_record
from training.loop import Setup
from training.tasks import TASKS
from utils.errors import RunError
from utils.images.on_device import DeviceData
from utils.recipe import Recipe

CPU = Setup(torch.device("cpu"), "float32", {"float32": 100.0, "bfloat16": 0.0}, seed=0)


def in_this_process(task: str, recipe: Recipe, data: DeviceData, setup: Setup) -> common.Contestant:
    """As contestants.this_project(), without starting a process."""
    return common.Contestant("this project", lambda: contestants.train_timed(task, recipe, data, setup, epoch=3))


@pytest.mark.parametrize("task", throughput.COMPARED)
def test_every_contestant_trains_and_is_in_the_table(task: str, capsys, monkeypatch) -> None:
    if task == "1.2.3":  # once in a separate process is enough
        monkeypatch.setattr(contestants, "this_project", in_this_process)
    recipe = dataclasses.replace(common.even_recipe(task), widths=(4, 4), batch_size=8)
    data = contestants.random_data(20, (3, 32, 32), CPU.device)
    table = throughput.compare_speed(task, recipe, data, CPU, 1, workers=(0,))
    throughput.show_speed(task, table | {"share_of_conv_peak": 0.5}, 100.0)
    names = list(table["contestants"])
    assert [name.split(",")[0] for name in names[1:]] == ["tutorial loop", "lightly"][: 1 + (task == "1.2.3")]
    assert table["contestants"][names[0]]["this_project_is_times_as_fast"] == 1
    assert table["gflops_per_second"] > 0
    assert all(row["images_per_second"] > 0 for row in table["contestants"].values())
    printed = capsys.readouterr().out
    assert all(name in printed for name in [*names, "50 % of the 100 GFLOP/s"])
    json.dumps(table, allow_nan=False)
    timed = contestants.train_timed(task, recipe, data, CPU)
    assert (timed.images, capsys.readouterr().out) == (16, "")  # two whole batches, nothing printed


def test_without_lightly_its_row_is_omitted(capsys, monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(contestants, "this_project", in_this_process)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lightly" else find(name))
    recipe = dataclasses.replace(common.even_recipe("1.2.3"), widths=(4, 4), batch_size=8)
    table = throughput.compare_speed("1.2.3", recipe, contestants.random_data(8, (3, 32, 32), CPU.device), CPU, 1, (0,))
    assert len(table["contestants"]) == 2
    assert "lightly is not installed" in capsys.readouterr().out


def test_published_epochs_are_reproduced_and_interpolated_in_their_logarithm() -> None:
    for epochs, accuracy, *_ in throughput.PUBLISHED:
        assert throughput.epochs_for(accuracy) == pytest.approx(epochs)
        assert throughput.accuracy_after(epochs) == pytest.approx(accuracy)
    (e0, a0, *_), (e1, a1, *_) = throughput.PUBLISHED[2:4]
    assert throughput.epochs_for((a0 + a1) / 2) == pytest.approx(math.sqrt(e0 * e1))
    for accuracy in (0.3, 0.5, 0.7153, 0.75, 0.9):
        assert throughput.accuracy_after(throughput.epochs_for(accuracy)) == pytest.approx(accuracy)


@pytest.mark.parametrize("ask, value", [(throughput.epochs_for, 0.2), (throughput.epochs_for, 0.95),
                                        (throughput.accuracy_after, 0.5), (throughput.accuracy_after, 2000)])
def test_nothing_is_extrapolated_beyond_the_published_figures(ask: Callable[[float], float], value: float) -> None:
    with pytest.raises(RunError, match="no published figure"):
        ask(value)


def test_own_accuracy_is_the_mean_over_seeds_of_the_default_recipe(tmp_path: Path, capsys) -> None:
    method = TASKS["1.2.3"].default_recipe("cifar10").method
    for seed, accuracy in enumerate((0.7, 0.74)):
        make_record(tmp_path, method=method, accuracy=accuracy, seed=seed, n=100)
    make_record(tmp_path, method=method, accuracy=0.9, seed=2, n=100, fields={"batch_size": 100})  # not the default
    make_record(tmp_path, method=method, accuracy=0.9, seed=3, n=100, status="quick",
                name=f"1.2.3_cifar10_{method}_seed3_quick")
    own = throughput.own_record(tmp_path)
    assert own["accuracies"]["classifier_top1"] == pytest.approx(0.72)
    assert own["n"] == 2
    assert not own["today"]  # these recipes have made-up fields
    assert "70.00 % test" in capsys.readouterr().out
    with pytest.raises(RunError, match="no record"):
        throughput.own_record(tmp_path / "nowhere")


def test_the_coursework_loop_trains_and_its_minutes_are_those_of_its_own_epochs(capsys, monkeypatch) -> None:
    monkeypatch.setattr(contestants, "COURSEWORK_BATCH", 4)
    monkeypatch.setattr(contestants, "this_project", lambda *arguments: common.Contestant(
        "this project", lambda: common.Timed(seconds=1.0, images=100)))
    own = {"accuracies": {"classifier_top1": 0.8, "linear_top1": 0.75}, "seconds": 60.0, "n": 1, "today": True,
           "machine": "one"}
    data = contestants.random_data(20, (3, 32, 32), CPU.device)
    measured = throughput.compare_recipes(own, data, CPU, 1, 45_000, None, ("coursework",), workers=(0,))
    speed = measured["speeds"]["ResNet-style coursework loop, 0 workers"]["images_per_second"]
    rival, (epochs, accuracy) = measured["coursework"], throughput.COURSEWORK
    assert rival["seconds"] == pytest.approx(epochs * 45_000 / speed)
    assert rival["ratio_to_records"] == pytest.approx(rival["seconds"] / 60)
    assert rival["ratio_here"] == pytest.approx(rival["seconds"] / (measured["own_epochs"] * 450))
    printed = capsys.readouterr().out
    assert f"{100 * accuracy:.2f}" in printed and "ResNet18" not in printed and "x as fast" in printed
    json.dumps(measured, allow_nan=False)


def test_the_coursework_network_is_residual_and_learns_its_batch() -> None:
    loop = contestants.coursework_contrastive(contestants.random_data(8, (3, 32, 32), CPU.device), CPU)
    (encoder,) = loop.modules
    assert [block.shortcut[0].weight.shape[0] for block in encoder if hasattr(block, "shortcut")] == [64, 128, 256]
    batch = next(iter(torch.utils.data.DataLoader(loop.images, 8)))
    assert encoder(batch[0][0]).shape == (8, 128)
    losses = [loop.step(batch) for _ in range(8)]
    assert losses[-1] < losses[0]
