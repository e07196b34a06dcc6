"""The optimiser: AdamW equals torch's, bfloat16 loses no small steps, and Muon evens out singular values."""

import pytest
import torch
from torch import nn

from utils.compute.optimiser import MUON_MOMENTUM, MasterOptimiser, orthogonalised
from utils.compute.precision import cast


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.GELU(), nn.Linear(5, 3))


def test_in_float32_it_equals_torchs_adamw() -> None:
    ours, theirs = model(), model()
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim <= 1]
    reference = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=1e-2, betas=(0.9, 0.98))
    optimiser = MasterOptimiser(ours, 1e-2, 0.1)
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
    optimiser = MasterOptimiser(layer, 1e-4, 0.0)
    for _ in range(100):
        optimiser.step(layer(torch.ones(1, 1, dtype=torch.bfloat16)).float().sum())
    # AdamW moves by 1e-4 per step; a bfloat16 near 1 cannot move by less than 4e-3
    assert layer.weight.item() == pytest.approx(0.99, abs=5e-3)
    optimiser.restore_float32()
    assert layer.weight.dtype == torch.float32
    assert layer.weight.item() == pytest.approx(0.99, abs=1e-5)


def convolutions() -> nn.Module:
    """Two convolutions followed by a norm, and one with a bias."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, bias=False),
                         nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


@pytest.mark.parametrize("shape", [(16, 16), (8, 72), (72, 8)])
def test_orthogonalised_keeps_the_directions_and_evens_out_the_singular_values(shape) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ orthogonalised(matrix, steps=6) @ vh.T  # diagonal: the singular vectors stay
    assert (inside - inside.diag().diag()).abs().max() < 1e-3
    assert inside.diag().min() > 0.6 and inside.diag().max() < 1.3
    assert s.max() / s.min() > inside.diag().max() / inside.diag().min()


def test_muon_equals_torchs_up_to_its_bfloat16() -> None:
    """torch's Muon accepts only matrices and does not reset their length, so the test does both."""
    ours = convolutions()
    filters = [ours[0].weight, ours[2].weight]
    theirs = [nn.Parameter(w.detach().flatten(1).clone()) for w in filters]
    torchs = torch.optim.Muon(theirs, lr=0.1, momentum=MUON_MOMENTUM, weight_decay=0.0, ns_steps=3)
    optimiser = MasterOptimiser(ours, 1e-3, 0.0, muon_learning_rate=0.1)
    x = torch.randn(4, 3, 8, 8)
    for _ in range(3):
        optimiser.step(ours(x).square().mean())
        for mine, other in zip(filters, theirs, strict=True):
            other.grad = mine.grad.flatten(1).clone()
        torchs.step()
        with torch.no_grad():
            for mine, other in zip(filters, theirs, strict=True):
                other.mul_(len(other) ** 0.5 / other.norm())
                assert (mine.flatten(1) - other).abs().max() < 0.02  # a step moves each singular value by about 0.1


def test_muon_leaves_everything_else_to_adamw() -> None:
    with_muon, without = convolutions(), convolutions()
    x = torch.randn(4, 3, 8, 8)
    MasterOptimiser(with_muon, 1e-2, 0.1, muon_learning_rate=0.1).step(with_muon(x).square().mean())
    MasterOptimiser(without, 1e-2, 0.1).step(without(x).square().mean())
    for name, value in with_muon.named_parameters():
        same = torch.equal(value, without.get_parameter(name))
        assert same == (name not in ("0.weight", "2.weight")), name


def test_the_schedule_scales_both_rates() -> None:
    net = convolutions()
    before = [p.detach().clone() for p in net.parameters()]
    optimiser = MasterOptimiser(net, 1e-2, 0.1, muon_learning_rate=0.1)
    optimiser.scale_learning_rate(0.0)
    optimiser.step(net(torch.randn(4, 3, 8, 8)).square().mean())
    for old, new in zip(before, net.parameters(), strict=True):
        # a filter's length is reset all the same
        assert torch.allclose(old * new.detach().norm(), new.detach() * old.norm(), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_restored_weights_are_the_masters_in_their_own_shapes(dtype) -> None:
    net = cast(convolutions().to(memory_format=torch.channels_last), dtype)
    shapes = [p.shape for p in net.parameters()]
    optimiser = MasterOptimiser(net, 1e-2, 0.0, muon_learning_rate=0.1)
    optimiser.step(net(torch.randn(4, 3, 8, 8, dtype=dtype)).float().square().mean())
    optimiser.restore_float32()
    assert [p.shape for p in net.parameters()] == shapes
    for p, master in zip(net.parameters(), optimiser.masters_of(net), strict=True):
        assert p.dtype == torch.float32 and torch.equal(p.detach().flatten(), master.detach().flatten())


def test_copies_start_from_the_weights_before_rounding() -> None:
    net = convolutions()
    exact = [p.detach().clone() for p in net.parameters()]
    optimiser = MasterOptimiser(cast(net, torch.bfloat16), 1e-2, 0.0, exact=[p.clone() for p in exact])
    assert not all(torch.equal(p.float(), before) for p, before in zip(net.parameters(), exact, strict=True))
    optimiser.restore_float32()
    assert all(torch.equal(p, before) for p, before in zip(net.parameters(), exact, strict=True))
