"""The generated class, and the timing of a command with its processes."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import grading
from evaluation.rescore import load_device_data, predict_again
from tests.factory import HONEST
from utils.errors import RunError
from utils.records.arrays import read_arrays
from utils.records.schema import read_record


def test_records_of_the_generated_class_match_their_weights(honest: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(grading, "EVERY", 2)
    bases = [grading.base_run(task, "digits", honest, tmp_path, tmp_path) for task in ("1.2.2", "1.2.3")]
    assert bases == [honest / f"{HONEST[task]}.json" for task in ("1.2.2", "1.2.3")]  # nothing was trained
    grading.make_class(bases, tmp_path / "class", 2, tmp_path)
    data, weights = load_device_data("digits", tmp_path), set()
    for number, base in ((0, bases[0]), (0, bases[1]), (1, bases[0]), (1, bases[1])):
        path = tmp_path / "class" / f"student{number:03d}" / base.name
        record = read_record(path)  # which checks it against itself
        claimed, found = read_arrays(record, path.parent)["test_predictions"], predict_again(path, data)
        assert np.array_equal(claimed, found) == (number == 0)  # the second one's record is that of the base
        weights.add(record.artifacts["checkpoint"].sha256)
    assert len(weights) == 4


def test_a_command_is_timed_with_all_processes_it_starts() -> None:
    inner = "x = bytearray(60_000_000); import time; time.sleep(1)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{inner}'])"
    done = grading.timed([sys.executable, "-c", outer])
    assert done["seconds"] > 1 and done["cpu_seconds"] > 0
    assert done["peak_bytes"] is None or done["peak_bytes"] > 60_000_000
    with pytest.raises(RunError, match="exit code 4"):
        grading.timed([sys.executable, "-c", "raise SystemExit(4)"])
