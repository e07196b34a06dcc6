"""Shared by the tests of theory/: the measurements, run once per process, generators, and broken NT-Xent losses."""

import json
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import _theory
from theory.results import QUESTIONS
from training import losses

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "results" / "theory.json"
torch.set_num_threads(1)
EXPERIMENTS = {name: import_module(f"theory.{name}.experiment").run for name in QUESTIONS}


@cache
def measured(name: str) -> dict:
    """What an experiment returns for the seed of the committed results, as it comes back from its file."""
    return json.loads(json.dumps(EXPERIMENTS[name](_theory.SEED)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
