"""Every method with and without the part that prevents collapse."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import MLP

from evaluation.scores import effective_rank
from tests.theory.measured import check_committed, generator, measured
from theory.collapse import experiment as collapse
from theory.digits import load
from training import losses


def by_name() -> dict[str, dict]:
    return {row["name"]: row for row in measured("collapse")["rows"]}


@pytest.mark.parametrize("name", [name for name in collapse.VARIANTS if " without " not in name])
def test_whole_methods_do_not_collapse(name: str) -> None:
    row, start = by_name()[name], measured("collapse")["untrained"]
    assert row["spread"] > 0.6 > start["spread"]
    assert row["rank_about_origin"] > 6
    assert row["linear_accuracy"] > 0.88


@pytest.mark.parametrize("name, largest", [
    ("SimCLR, DCL without the negatives", 0.1), ("MoCo without the negatives in the queue", 0.25),
    ("VICReg without the variance term", 0.3), ("BYOL without the predictor", 0.25),
    ("BYOL without the stopped gradient", 0.1), ("BYOL without batch normalisation", 0.3)])
def test_without_its_part_each_method_collapses(name: str, largest: float) -> None:
    row, start = by_name()[name], measured("collapse")["untrained"]
    assert row["spread"] < min(largest, measured("collapse")["threshold"]) < start["spread"]


def test_neither_the_moving_average_nor_the_covariance_term_prevents_collapse() -> None:
    """Measured, and as their papers say: SimSiam needs no average; the covariance term acts on the rank."""
    rows = by_name()
    assert rows["BYOL without the moving average (SimSiam)"]["spread"] > 0.6
    thin, full = rows["VICReg without the covariance term"], rows["VICReg"]
    assert thin["spread"] > 0.6
    assert thin["rank_about_mean"] < full["rank_about_mean"] - 1
    assert thin["linear_accuracy"] < full["linear_accuracy"] - 0.05
    assert full["rank_about_mean"] < rows["BYOL"]["rank_about_mean"]


def test_the_rank_about_the_mean_is_blind_to_one_point() -> None:
    row = by_name()["SimCLR, DCL without the negatives"]
    assert row["rank_about_mean"] > 20 > 4 > row["rank_about_origin"]


def test_spread_and_ranks_of_known_points() -> None:
    even = torch.randn(20_000, 8, generator=generator())
    assert collapse.spread(even) == pytest.approx(1, abs=0.01)
    assert collapse.spread(even * torch.rand(20_000, 1)) == pytest.approx(1, abs=0.01)  # lengths do not count
    assert collapse.spread(torch.ones(50, 8)) == pytest.approx(0, abs=1e-6)
    rows = torch.tensor([[3.0, 0.0], [0.0, 1.0], [-2.0, 0.0], [0.0, -5.0]])
    assert collapse.spread(rows) == pytest.approx(math.sqrt(2) * math.sqrt(0.5))
    assert effective_rank(torch.eye(8)[:5], centred=False) == pytest.approx(5)
    assert effective_rank(torch.ones(50, 8), centred=False) == pytest.approx(1, abs=1e-4)
    rows = F.normalize(torch.tensor([[7.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), dim=1)
    assert effective_rank(rows, centred=False) == pytest.approx(
        math.exp(-sum(p * math.log(p) for p in (math.sqrt(2) / (1 + math.sqrt(2)), 1 / (1 + math.sqrt(2))))))


def parts() -> tuple[Any, ...]:
    """Networks, views and queue for one evaluation of a loss; every part differs from every other."""
    torch.manual_seed(3)
    online, target = MLP(64, [20, 32]), MLP(64, [20, 32])
    return online, MLP(32, [20, 32]), target, (torch.rand(6, 64), torch.rand(6, 64)), torch.randn(10, 32)


def unit(z: Tensor) -> Tensor:
    return z / z.square().sum(1, keepdim=True).sqrt()


def far(a: Tensor, b: Tensor) -> Tensor:
    return (unit(a) - unit(b)).square().sum(1).mean()


EXPECTED_LOSSES: dict[str, Callable[..., Tensor]] = {
    "SimCLR (NT-Xent)": lambda z0, z1, p0, p1, t0, t1, queue: losses.nt_xent(z0, z1, 0.2),
    "DCL": lambda z0, z1, p0, p1, t0, t1, queue: losses.dcl(z0, z1, 0.2),
    "SimCLR, DCL without the negatives": lambda z0, z1, p0, p1, t0, t1, queue: far(z0, z1),
    "MoCo": lambda z0, z1, p0, p1, t0, t1, queue: losses.info_nce(z0, t1, queue, 0.2),
    "MoCo without the negatives in the queue": lambda z0, z1, p0, p1, t0, t1, queue: far(z0, t1),
    "VICReg": lambda z0, z1, p0, p1, t0, t1, queue: losses.vicreg(z0, z1, 25, 25, 1),
    "VICReg without the variance term": lambda z0, z1, p0, p1, t0, t1, queue: losses.vicreg(z0, z1, 25, 0, 1),
    "VICReg without the covariance term": lambda z0, z1, p0, p1, t0, t1, queue: losses.vicreg(z0, z1, 25, 25, 0),
    "BYOL": lambda z0, z1, p0, p1, t0, t1, queue: far(p0, t1) + far(p1, t0),
    "BYOL without batch normalisation": lambda z0, z1, p0, p1, t0, t1, queue: far(p0, t1) + far(p1, t0),
    "BYOL without the moving average (SimSiam)":
        lambda z0, z1, p0, p1, t0, t1, queue: far(p0, z1.detach()) + far(p1, z0.detach()),
    "BYOL without the predictor": lambda z0, z1, p0, p1, t0, t1, queue: far(z0, t1) + far(z1, t0),
    "BYOL without the stopped gradient": lambda z0, z1, p0, p1, t0, t1, queue: far(p0, z1) + far(p1, z0),
}


@pytest.mark.parametrize("name", collapse.VARIANTS)
def test_every_variant_is_the_loss_that_it_says_and_has_its_gradient(name: str) -> None:
    online, predictor, target, views, queue = parts()
    loss, keys = collapse.loss_of(name, online, predictor, target, views, queue)
    z0, z1 = online(views[0]), online(views[1])
    t0, t1 = target(views[0]).detach(), target(views[1]).detach()
    expected = EXPECTED_LOSSES[name](z0, z1, predictor(z0), predictor(z1), t0, t1, queue)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(keys, t1)
    for module in (online, predictor):
        weights = list(module.parameters())
        ours, theirs = (torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
                        for value in (loss, expected))
        assert [one is None for one in ours] == [one is None for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    followed = torch.autograd.grad(loss, list(target.parameters()), allow_unused=True)
    assert not keys.requires_grad and all(gradient is None for gradient in followed)


def test_variants_differ_from_each_other() -> None:
    values = {name: collapse.loss_of(name, *parts())[0].item() for name in collapse.VARIANTS}
    alike = {("BYOL", "BYOL without batch normalisation"),  # in value; see the gradients
             ("BYOL without the moving average (SimSiam)", "BYOL without the stopped gradient")}
    for a, b in itertools.combinations(values, 2):
        assert ((a, b) in alike) == (values[a] == pytest.approx(values[b], rel=1e-6)), (a, b)


def test_the_target_follows_slowly_and_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    target, online = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    expected = 0.99 * target.weight.detach() + 0.01 * online.weight.detach()
    collapse.follow(target, online)
    torch.testing.assert_close(target.weight.detach(), expected)
    calls, real = [], collapse.loss_of
    monkeypatch.setattr(collapse, "follow", lambda *_: calls.append("follow"))

    def spy(name: str, *rest: Any) -> tuple[Tensor, Tensor]:
        calls.append(rest[-1].clone())
        loss, keys = real(name, *rest)
        calls.append(keys)
        return loss, keys

    monkeypatch.setattr(collapse, "loss_of", spy)
    collapse.train("MoCo", 0, 3)
    assert calls[2::3] == ["follow"] * 3
    for queue, keys, later in zip(calls[0::3], calls[1::3], calls[3::3], strict=False):
        assert torch.equal(later, torch.cat([queue, keys])[-len(queue):])  # the newest keys, the oldest dropped


@pytest.mark.parametrize("name, loss, value", [
    ("SimCLR (NT-Xent)", "nt_xent", lambda z0, z1, t: losses.byol_regression(z0, z1)),
    ("MoCo", "info_nce", lambda q, k, queue, t: losses.byol_regression(q, k)),
    ("VICReg", "vicreg", lambda z0, z1, a, b, c: losses.vicreg(z0, z1, a, 0, c)),
])
def test_a_method_that_lost_its_part_would_be_noticed(name: str, loss: str, value: Callable,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collapse, loss, value)
    images = torch.from_numpy(load()[2]).float()  # of the test split
    assert collapse.spread(collapse.train(name, 0, 120)(images).detach()) < 0.5


def test_the_committed_results_are_what_the_code_measures() -> None:
    # training gives other last digits on other processors
    check_committed("collapse", measured("collapse"), relative=0.15, absolute=0.08)
