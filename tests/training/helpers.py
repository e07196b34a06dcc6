"""Shared by the tests of training/: settings of a run on the CPU, and a training without scores."""

import dataclasses
import importlib
from typing import Any

import torch

from training.loop import Setup, Trained
from training.tasks import TASKS
from utils.images.on_device import DeviceData
from utils.recipe import LatentRecipe

CPU = Setup(torch.device("cpu"), "float32", {"float32": 100.0, "bfloat16": 0.0}, seed=0, quick=True)
# features of 64 pixels do not need as many filters as photographs
FEW_FILTERS = {"target_filters": 32, "target_components": 32, "widths": (32, 64)}


def short_recipe(task: str, method: str | None = None, **given: Any) -> LatentRecipe:
    """The recipe of a task on digits with two epochs, or with the given values."""
    trained = {} if task == "control" else {"epochs": 2}
    return dataclasses.replace(TASKS[task].default_recipe("digits", method), **(trained | given))


def train(task: str, method: str | None, data: DeviceData, setup: Setup = CPU, **given: Any) -> Trained:
    """A short training."""
    return importlib.import_module(TASKS[task].script).train(short_recipe(task, method, **given), data, setup)


def check_same(one: Trained, other: Trained) -> None:
    """The same weights and losses, bit for bit."""
    rows = [[row.model_dump(exclude={"seconds"}) for row in trained.history] for trained in (one, other)]
    assert rows[0] == rows[1] and one.steps == other.steps and set(one.modules) == set(other.modules)
    for name, module in one.modules.items():
        theirs = other.modules[name].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in module.state_dict().items()), name
