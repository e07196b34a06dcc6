"""Alignment and uniformity against numerical integration; a broken score must be caught."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad

from tests.theory.measured import check_committed, check_that_only_the_seed_decides, generator, measured
from theory.alignment_uniformity import experiment as alignment_uniformity


def numerical_uniformity(d: int) -> float:
    """Log of the integral of exp(-2 (2 - 2 cos a)) over the angle's density, sin(a)^(d - 2) up to its integral."""
    kernel, whole = (quad(lambda a, t=t: math.exp(t * (math.cos(a) - 1)) * math.sin(a) ** (d - 2), 0, math.pi,
                          points=[math.pi / 2])[0] for t in (4, 0))
    return math.log(kernel / whole)


@pytest.mark.parametrize("d", alignment_uniformity.DIMENSIONS)
def test_lowest_uniformity_is_that_of_numerical_integration(d: int) -> None:
    assert alignment_uniformity.lowest_uniformity(d) == pytest.approx(numerical_uniformity(d), rel=1e-6)


def test_lowest_uniformity_in_three_dimensions_is_elementary() -> None:
    assert alignment_uniformity.lowest_uniformity(3) == pytest.approx(-4 + math.log(math.sinh(4) / 4))


def test_alignment_and_uniformity_reach_their_extremes() -> None:
    found = measured("alignment_uniformity")
    for row in found["rows"]:
        assert row["measured"] == pytest.approx(numerical_uniformity(row["dimensions"]), abs=0.015)
        assert row["lowest"] == pytest.approx(numerical_uniformity(row["dimensions"]), rel=1e-6)
    lowest = found["rows"][-1]["lowest"]
    corners = {corner["name"]: (corner["alignment"], corner["uniformity"]) for corner in found["corners"]}
    assert corners["collapsed"] == (0, 0)
    assert corners["two opposite points"] == (0, pytest.approx(math.log((1 + math.exp(-8)) / 2), abs=2e-3))
    assert corners["uniform, views unrelated"] == (pytest.approx(2, abs=0.03), pytest.approx(lowest, abs=0.005))
    assert corners["uniform, views alike"] == (0, pytest.approx(lowest, abs=0.005))


def test_scores_by_a_slow_transcription() -> None:
    """The functions that score the runs, on points of any length."""
    a, b = torch.randn(2, 9, 4, generator=generator())
    unit = [[row / math.sqrt(row @ row) for row in z.double().numpy()] for z in (a, b)]
    align = np.mean([((x - y) ** 2).sum() for x, y in zip(*unit, strict=True)])
    kernel = [math.exp(-2 * ((unit[0][i] - unit[0][j]) ** 2).sum()) for i in range(9) for j in range(i)]
    assert alignment_uniformity.alignment(a, b) == pytest.approx(align, rel=1e-5)
    assert alignment_uniformity.uniformity(a) == pytest.approx(math.log(np.mean(kernel)), rel=1e-5)


@pytest.mark.parametrize("broken", [
    lambda z: torch.pdist(F.normalize(z, dim=1)).square().mul(-1).exp().mean().log().item(),
    lambda z: torch.pdist(F.normalize(z, dim=1)).mul(-2).exp().mean().log().item(),
    lambda z: torch.cdist(z, z).square().mul(-2).exp().mean().log().item() / 2,
], ids=["another t", "distance not squared", "with itself"])
def test_another_uniformity_misses_the_closed_form(broken: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment_uniformity, "uniformity", broken)
    monkeypatch.setattr(alignment_uniformity, "POINTS", 500)
    found = alignment_uniformity.run(0)
    assert any(abs(row["measured"] - row["lowest"]) > 0.05 for row in found["rows"])


def test_the_committed_results_are_what_the_code_measures() -> None:
    check_committed("alignment_uniformity", measured("alignment_uniformity"))


def test_only_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment_uniformity, "POINTS", 50)
    check_that_only_the_seed_decides("alignment_uniformity")
