"""Shared by the tests of theory/: the measurements, run once per process, generators, and broken NT-Xent losses.

A question's measurement is used by its own test file only: pytest gives a file to one process, so it runs once.
"""

import json
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import _theory
from theory.results import Experiments
from training import losses

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "results" / "theory.json"
# differ between processors by more than any useful tolerance
FREE = ("axis_cosines", "other_seed_axis_cosines", "image_error")
torch.set_num_threads(1)


def run(name: str, seed: int = _theory.SEED) -> dict[str, Any]:
    """What an experiment returns, as it comes back from its file."""
    return json.loads(json.dumps(import_module(f"theory.{name}.experiment").run(seed)))


measured = cache(run)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_committed(name: str, found: dict[str, Any], relative: float = 1e-3, absolute: float = 3e-3) -> None:
    """A measurement must have its form in theory.json, and be what is committed there up to a tolerance."""
    form = Experiments.model_fields[name].annotation
    assert form is not None
    form.model_validate(found)
    check_close(json.loads(COMMITTED.read_text())["experiments"][name], found, relative, absolute, name)


def check_close(ours: Any, theirs: Any, relative: float, absolute: float, where: str) -> None:
    """Equal up to the tolerance, all the way down."""
    if isinstance(ours, dict):
        assert set(ours) == set(theirs), where
        for key in ours:
            if key not in FREE:
                check_close(ours[key], theirs[key], relative, absolute, f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            check_close(a, b, relative, absolute, f"{where}[{i}]")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=relative, abs=absolute), where
    else:
        assert ours == theirs, where


def check_that_only_the_seed_decides(name: str) -> None:
    """The global random states must not matter, and another seed must give other numbers."""
    first, other = run(name), run(name, _theory.SEED + 1)
    torch.manual_seed(123)
    np.random.seed(123)
    assert run(name) == first != other


def without_mask(z0: Tensor, z1: Tensor, t: float) -> Tensor:
    z = F.normalize(torch.cat([z0, z1]), dim=1)
    return F.cross_entropy(z @ z.T / t, torch.arange(len(z)).roll(len(z0)))


BROKEN_NT_XENT: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "without the mask": without_mask,
    "temperature doubled": lambda z0, z1, t: losses.nt_xent(z0, z1, 2 * t),
    "temperature left out": lambda z0, z1, t: losses.nt_xent(z0, z1, 1.0),
    "wrong pairs": lambda z0, z1, t: losses.nt_xent(z0, z1.roll(1, 0), t),
    "positive left out of the denominator": losses.dcl,
    "views of one side only": lambda z0, z1, t: F.cross_entropy(
        F.normalize(z0, dim=1) @ F.normalize(z1, dim=1).T / t, torch.arange(len(z0))),
}
