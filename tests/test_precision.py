"""Master weights: exact in float32, and small steps that are not lost in bfloat16."""

import pytest
import torch
from torch import nn

from utils.precision import MasterAdamW, cast, choose_precision, measure_conv


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.GELU(), nn.Linear(5, 3))


def test_float32_is_torchs_own_adamw() -> None:
    ours, theirs = model(), model()
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim <= 1]
    reference = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=1e-2, betas=(0.9, 0.98))
    optimiser = MasterAdamW([ours], 1e-2, 0.1)
    x = torch.randn(8, 6)
    for _ in range(5):
        optimiser.step(ours(x).square().mean())
        reference.zero_grad()
        theirs(x).square().mean().backward()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_steps_too_small_for_bfloat16_add_up_in_the_master_copy() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    cast(layer, torch.bfloat16)
    optimiser = MasterAdamW([layer], 1e-4, 0.0)
    for _ in range(100):
        optimiser.step(layer(torch.ones(1, 1, dtype=torch.bfloat16)).float().sum())
    # AdamW walks 1e-4 a step; a bfloat16 near 1 cannot move by less than 4e-3
    assert layer.weight.item() == pytest.approx(0.99, abs=5e-3)
    optimiser.restore_float32()
    assert layer.weight.dtype == torch.float32
    assert layer.weight.item() == pytest.approx(0.99, abs=1e-5)


def test_cast_leaves_norms_and_buffers_in_float32() -> None:
    net = cast(model(), torch.bfloat16)
    assert net[0].weight.dtype == torch.bfloat16
    assert net[1].weight.dtype == net[1].running_mean.dtype == torch.float32


def test_precision_follows_the_measurement() -> None:
    assert choose_precision({"float32": 100.0, "bfloat16": 300.0}) == "bfloat16"
    assert choose_precision({"float32": 100.0, "bfloat16": 5.0}) == "float32"
    assert choose_precision({"float32": 100.0, "bfloat16": 101.0}) == "float32"


def test_measurement_gives_a_speed_for_each_format() -> None:
    speeds = measure_conv(torch.device("cpu"))
    assert set(speeds) == {"float32", "bfloat16"}
    assert speeds["float32"] > 0
