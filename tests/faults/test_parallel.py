"""Two processes must give the losses of one, except for rounding, and broken variants must not.

parallel_worker.py does the runs, in two processes under torchrun and, at the same time, in one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.faults.parallel_worker import CASES, REVERSED, STEPS

ROOT = Path(__file__).parent.parent.parent
ROUNDING = 2e-5  # relative tolerance of float32 losses over all steps, for cases that do not amplify rounding
# These amplify rounding.  The gradient of a bias before a norm is 0 except for rounding, which AdamW turns into full
# steps.  The norm removes their effect, but not if it uses running averages, as in moco's target.
ENLARGED = ("moco", "byol", "patches")
FLOAT64 = 1e-6  # relative tolerance in float64, since single layers still round to float32
EXACT = [f"{case}: float64" for case in ENLARGED]
BROKEN = ["simclr: local norms", "byol: local norms", "simclr: ungathered", "dcl: ungathered", "vicreg: ungathered",
          "moco: ungathered", "cmc: ungathered", "simclr: own numbers", "rotnet: own numbers", "joint: own gradients"]


@pytest.fixture(scope="session")
def curves(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict]:
    """The results of all cases, in one process and in two."""
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
def test_cases_that_amplify_rounding_agree_in_float64(case: str, curves: tuple[dict, dict]) -> None:
    assert apart(curves[0][f"{case}: float64"], curves[1][f"{case}: float64"]) < FLOAT64
    assert apart(curves[0][case], curves[1][case]) < 1e-2


@pytest.mark.parametrize("broken", BROKEN)
def test_the_comparison_catches_broken_variants(broken: str, curves: tuple[dict, dict]) -> None:
    assert apart(curves[0][broken.partition(":")[0]], curves[1][broken]) > 500 * ROUNDING


def test_the_tolerance_is_that_of_another_order_of_additions(curves: tuple[dict, dict]) -> None:
    """One process differs from itself by as much, if only the order of additions changes."""
    one = curves[0]
    assert 0 < apart(one["simclr"], one[f"simclr: {REVERSED}"]) < ROUNDING
