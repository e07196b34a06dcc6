"""Attempts with more and more epochs until validation passes the reference."""

import dataclasses
from pathlib import Path

import pytest
import torch

from benchmarks import time_to_reference
from evaluation import scores
from report.summary import REFERENCE
from training.loop import Setup
from utils.errors import UsageError
from utils.images.datasets import load_dataset
from utils.images.on_device import DeviceData

CPU = Setup(torch.device("cpu"), "float32", {"float32": 100.0, "bfloat16": 0.0}, seed=0)


def test_epochs_double_from_attempt_to_attempt_up_to_the_recipe_s() -> None:
    assert time_to_reference.attempts(1, 20, "") == [1, 2, 4, 8, 16, 20]
    assert time_to_reference.attempts(3, 24, "") == [3, 6, 12, 24]
    assert time_to_reference.attempts(4, 4, "") == [4]
    with pytest.raises(UsageError, match="has 4"):
        time_to_reference.attempts(5, 4, "")


@pytest.mark.parametrize("task", ["1.2.2", "1.2.3"])
def test_attempts_end_when_validation_passes_and_need_no_test_images(task: str, capsys, monkeypatch,
                                                                      tmp_path: Path) -> None:
    monkeypatch.setattr(scores, "CLASSIFIER_EPOCHS", 1)
    monkeypatch.setattr(scores, "CLASSIFIER_STEPS", 2)
    monkeypatch.setitem(time_to_reference.CELLS, "cell", (task, "digits"))
    dataset = load_dataset("digits", tmp_path).head(train=150, val=50, test=10)
    dataset = dataclasses.replace(dataset, test_images=dataset.test_images[:0], test_labels=dataset.test_labels[:0])
    data = DeviceData.load(dataset, CPU.device)
    for reference, expected in ((0.0, [1]), (1.0, [1, 2])):  # the second cannot be passed
        monkeypatch.setitem(REFERENCE, (task, "digits"), reference)
        done = time_to_reference.until_passed("cell", [1, 2], data, CPU)
        assert [attempt.epochs for attempt in done] == expected
        assert all(0 < attempt.accuracy <= 1 and attempt.seconds > 0 for attempt in done)
        assert time_to_reference.in_json("cell", done)["passed"] == (reference == 0)
        time_to_reference.show({"cell": done})
        assert ("not passed" in capsys.readouterr().out) == (reference == 1)
