"""Short trainings whose loss curves are compared: `python` runs them in one process, `torchrun` in several as one.

    python tests/faults/parallel_worker.py OUT.pt CASE ...
"""

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import torch
from torch import Generator, Tensor, nn

from training import contrastive_methods, loop
from training.classification import finetune
from training.loop import Loop, Setup
from training.losses import info_nce
from training.tasks import TASKS
from utils.compute import distributed
from utils.images.datasets import load_dataset
from utils.images.on_device import DeviceData

STEPS = 50
SETUP = Setup(torch.device("cpu"), "float32", {"float32": 1.0, "bfloat16": 1.0}, seed=0, quick=True)
TINY = {"epochs": 6, "batch_size": 32, "widths": (8, 16), "latent_dim": 16, "translate": 1, "crop_scale": 0.6}
HEADS = {"projection_hidden_dim": 32, "projection_dim": 16, "prediction_hidden_dim": 32, "queue_size": 64}
CASES: dict[str, tuple[str, str, dict]] = {
    "plain": ("1.2.1", "plain", {"decoder_widths": (16, 8, 8)}),
    "denoising": ("1.2.1", "denoising", {"decoder_widths": (16, 8, 8)}),
    "masked": ("1.2.1", "masked", {"decoder_widths": (16, 8, 8)}),
    "patches": ("1.2.1", "patches", {"decoder_widths": (16, 8, 8), "encoder": "patches", "target_filters": 16,
                                     "target_components": 16, "feature_hidden_dim": 32}),
    "joint": ("1.2.2", "joint", {"muon_learning_rate": 0.05, "alternating_flip": True, "cutout": 3,
                                 "resize_from": 0.75}),
    **{method: ("1.2.3", method, HEADS) for method in contrastive_methods.METHODS},
    "rotnet": ("rotation", "rotnet", {}),
    "finetune": ("rotation", "rotnet", {"epochs": 1, "finetune": True, "finetune_epochs": 6}),
    "depths": ("1.2.2", "joint", {"encoder": "conv_depths"}),  # its linear latent is not used
    "vit": ("1.2.2", "joint", {"encoder": "vit", "widths": (32,)}),
}


def own_numbers() -> Callable[..., Tensor]:
    """Broken: each process draws only for its share, from its own generator."""
    own = Generator().manual_seed(distributed.rank())
    return lambda sampler, shape, generator: sampler(tuple(shape), generator=own)


# REVERSED only changes the order of additions: every batch, and the random numbers drawn for it, are reversed.  The
# others are broken variants of data-parallel training.
REVERSED = "reversed"
CHANGES: dict[str, Callable[[], object]] = {
    "float64": lambda: float64(),
    REVERSED: lambda: patch.object(distributed, "share", lambda batch: batch.flip(0)),
    "local norms": lambda: patch.object(distributed, "share_norms", lambda modules: None),
    "ungathered": lambda: patch.object(contrastive_methods, "distributed", SimpleNamespace(gather=lambda x: x)),
    "own numbers": lambda: patch.object(distributed, "draw", own_numbers()),
    "own gradients": lambda: patch.object(distributed, "averaged", lambda modules, function, unused: function),
}


@contextmanager
def float64() -> Iterator[None]:
    """The network in float64, where rounding is too small for AdamW to turn it into steps."""
    with (patch.dict(loop.DTYPES, {"float32": torch.float64}), patch.object(loop, "cast", nn.Module.to),
          patch.object(contrastive_methods, "info_nce", lambda q, k, queue, t: info_nce(q, k, queue.double(), t))):
        yield


@contextmanager
def curves() -> Iterator[list[float]]:
    """The loss of each step."""
    seen: list[float] = []
    whole = Loop.end_epoch

    def end_epoch(self: Loop, validation: object) -> None:
        seen.extend(self.progress.losses)
        whole(self, validation)
    with patch.object(Loop, "end_epoch", end_epoch):
        yield seen


def train(name: str, data: DeviceData) -> dict[str, object]:
    """The loss curve and the final weights of one case, which may be `CASE: CHANGE`."""
    case, _, change = name.partition(": ")
    task, method, given = CASES[case]
    recipe = dataclasses.replace(TASKS[task].default_recipe("digits", method), **(TINY | given))
    with curves() as curve, CHANGES[change]() if change else patch.dict({}):
        trained = importlib.import_module(TASKS[task].script).train(recipe, data, SETUP)
        if getattr(recipe, "finetune", False):
            with patch("training.classification.RECIPES", {("digits", "joint"): {"batch_size": 32}}):
                trained = finetune(trained.modules["encoder"], recipe, data, SETUP)
    assert not any("forward" in vars(child) for module in trained.modules.values() for child in module.modules())
    weights = {f"{key}.{part}": value for key, module in trained.modules.items()
               for part, value in module.state_dict().items()}
    rows = [(row.train_loss, row.val_loss, row.train_accuracy, row.val_accuracy) for row in trained.history]
    return {"steps": torch.tensor(curve, dtype=torch.float64), "weights": weights, "rows": rows}


def main(out: str, names: list[str]) -> None:
    data = DeviceData.load(load_dataset("digits", Path(out).parent).head(train=320, val=60, test=20), SETUP.device)
    data = dataclasses.replace(data, train=data.train[:320])
    with distributed.joined(SETUP.device):
        results = {name: train(name, data) for name in names}
        same = distributed.gather_objects({name: (r["rows"], [float(w.double().sum()) for w in r["weights"].values()])
                                   for name, r in results.items() if ":" not in name})
        assert all(one == same[0] for one in same), "the processes do not end alike"
        if distributed.is_first():
            torch.save({"processes": distributed.world_size(), "results": results}, out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
