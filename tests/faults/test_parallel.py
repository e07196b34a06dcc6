"""Two processes do what one does: the same losses but for rounding; and what a careless training would show.

The runs are those of parallel_worker.py, in two processes of torchrun's and, at the same time, in one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.faults.parallel_worker import CASES, REVERSED, STEPS

ROOT = Path(__file__).parent.parent.parent
ROUNDING = 2e-5  # relative, of float32 losses over all steps, where nothing enlarges rounding (see ENLARGED)
# AdamW makes full steps of a gradient that is 0 but for rounding, as that of a bias before a norm is; the norm takes
# that out again, but where its running averages are used instead, as in moco's target, it is seen
ENLARGED = ("moco", "byol", "patches")
FLOAT64 = 1e-6  # where it is not enlarged: what single layers still round to float32 is left
EXACT = [f"{case}: float64" for case in ENLARGED]
BROKEN = ["simclr: local norms", "byol: local norms", "simclr: ungathered", "dcl: ungathered", "vicreg: ungathered",
          "moco: ungathered", "cmc: ungathered", "simclr: own numbers", "rotnet: own numbers", "joint: own gradients"]


@pytest.fixture(scope="session")
def curves(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict]:
    """Everything that the cases give, in one process and in two."""
    folder = tmp_path_factory.mktemp("parallel")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    worker = str(ROOT / "tests" / "faults" / "parallel_worker.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    jobs = {"one": [sys.executable, worker, str(folder / "one.pt"), *CASES, f"simclr: {REVERSED}", *EXACT],
            "two": [*torchrun, worker, str(folder / "two.pt"), *CASES, *EXACT, *BROKEN]}
    running = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                text=True) for command in jobs.values()]
    for process in running:
        errors = process.communicate(timeout=500)[1]
        assert process.returncode == 0, errors
    one, two = (torch.load(folder / f"{name}.pt") for name in jobs)
    assert (one["processes"], two["processes"]) == (1, 2)
    return one["results"], two["results"]


def apart(ours: dict, theirs: dict) -> float:
    """Largest relative difference of the losses of the steps."""
    one, two = ours["steps"], theirs["steps"]
    assert len(one) == len(two) >= STEPS
    return float(((one - two).abs() / one.abs()).max())


@pytest.mark.parametrize("case", [case for case in CASES if case not in ENLARGED])
def test_two_halves_of_a_batch_are_one_batch(case: str, curves: tuple[dict, dict]) -> None:
    one, two = curves[0][case], curves[1][case]
    assert apart(one, two) < ROUNDING
    for row, other in zip(one["rows"], two["rows"], strict=True):  # train and validation, loss and accuracy
        assert [value is None for value in row] == [value is None for value in other]
        given = [(value, another) for value, another in zip(row, other, strict=True) if value is not None]
        assert all(value == pytest.approx(another, rel=2e-3, abs=0.02) for value, another in given)


@pytest.mark.parametrize("case", ENLARGED)
def test_without_rounding_the_others_are_too(case: str, curves: tuple[dict, dict]) -> None:
    assert apart(curves[0][f"{case}: float64"], curves[1][f"{case}: float64"]) < FLOAT64
    assert apart(curves[0][case], curves[1][case]) < 1e-2


@pytest.mark.parametrize("broken", BROKEN)
def test_the_comparison_catches_careless_training(broken: str, curves: tuple[dict, dict]) -> None:
    assert apart(curves[0][broken.partition(":")[0]], curves[1][broken]) > 500 * ROUNDING


def test_another_order_of_additions_alone_is_as_far_apart(curves: tuple[dict, dict]) -> None:
    """What the tolerance allows is rounding: one process differs by it from itself."""
    one = curves[0]
    assert 0 < apart(one["simclr"], one[f"simclr: {REVERSED}"]) < ROUNDING
