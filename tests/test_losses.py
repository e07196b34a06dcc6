"""NT-Xent against a slow transcription, closed forms, an established library, and variants that must be caught."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.losses import nt_xent


def views(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, d, generator=generator, dtype=torch.float64),
            torch.randn(n, d, generator=generator, dtype=torch.float64))


def transcription(z0: Tensor, z1: Tensor, temperature: float) -> float:
    """Equation 1 of Chen et al. 2020, one anchor at a time, in float64 NumPy."""
    z = np.concatenate([z0.numpy(), z1.numpy()]).astype(np.float64)
    n, total = len(z0), 0.0

    def sim(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))

    for i in range(2 * n):
        j = i + n if i < n else i - n
        denominator = sum(math.exp(sim(z[i], z[k]) / temperature) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(sim(z[i], z[j]) / temperature) / denominator)
    return total / (2 * n)


@pytest.mark.parametrize("n, d, temperature", [(2, 3, 1.0), (5, 8, 0.5), (9, 4, 0.1)])
def test_equals_the_transcription(n: int, d: int, temperature: float) -> None:
    z0, z1 = views(n, d)
    assert nt_xent(z0, z1, temperature).item() == pytest.approx(transcription(z0, z1, temperature), rel=1e-12)


def without_mask(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    z = F.normalize(torch.cat([z0, z1]), dim=1)
    return F.cross_entropy(z @ z.T / temperature, torch.arange(len(z)).roll(len(z0)))


def without_normalisation(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    z = torch.cat([z0, z1])
    return F.cross_entropy((z @ z.T / temperature).fill_diagonal_(-torch.inf), torch.arange(len(z)).roll(len(z0)))


def with_neighbours_as_positives(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    return nt_xent(z0, z1.roll(1, 0), temperature)


def one_sided(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    a, b = F.normalize(z0, dim=1), F.normalize(z1, dim=1)
    return F.cross_entropy(a @ b.T / temperature, torch.arange(len(a)))


@pytest.mark.parametrize("broken", [without_mask, without_normalisation, with_neighbours_as_positives, one_sided])
def test_the_transcription_catches_broken_variants(broken) -> None:
    z0, z1 = views(5, 8)
    assert broken(z0, z1, 0.5).item() != pytest.approx(transcription(z0, z1, 0.5), rel=1e-3)


@pytest.mark.parametrize("n", [2, 7, 64])
def test_is_log_of_2n_minus_1_when_all_rows_coincide(n: int) -> None:
    z = torch.ones(n, 5, dtype=torch.float64)
    assert nt_xent(z, z, 0.3).item() == pytest.approx(math.log(2 * n - 1), rel=1e-12)


def test_closed_form_for_orthogonal_pairs() -> None:
    """N orthogonal directions, both views equal: log(1 + (2N - 2) exp(-1 / t))."""
    n, temperature = 6, 0.4
    z = torch.eye(n, dtype=torch.float64)
    expected = math.log(1 + (2 * n - 2) * math.exp(-1 / temperature))
    assert nt_xent(z, z, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_does_not_change_with_scale_order_or_exchange_of_the_views() -> None:
    z0, z1 = views(6, 4)
    loss, order = nt_xent(z0, z1, 0.2), torch.randperm(6)
    for same in (nt_xent(3 * z0, 0.1 * z1, 0.2), nt_xent(z0[order], z1[order], 0.2), nt_xent(z1, z0, 0.2)):
        torch.testing.assert_close(same, loss)


def test_gradient_is_that_of_finite_differences() -> None:
    z0, z1 = views(4, 3)
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (z0.requires_grad_(), z1.requires_grad_()))


def test_agrees_with_lightly() -> None:
    from lightly.loss import NTXentLoss

    z0, z1 = (z.float() for z in views(16, 32))
    torch.testing.assert_close(nt_xent(z0, z1, 0.2), NTXentLoss(temperature=0.2)(z0, z1), rtol=1e-5, atol=1e-6)


def test_bfloat16_projections_are_compared_in_float32() -> None:
    z0, z1 = (z.bfloat16() for z in views(16, 32))
    loss = nt_xent(z0, z1, 0.2)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(transcription(z0.double(), z1.double(), 0.2), rel=1e-4)


@pytest.mark.parametrize("z0, z1, temperature, word", [
    (torch.ones(4, 3), torch.ones(5, 3), 0.5, "expected"),
    (torch.ones(4), torch.ones(4), 0.5, "expected"),
    (torch.ones(1, 3), torch.ones(1, 3), 0.5, "two images"),
    (torch.ones(4, 3), torch.ones(4, 3), 0.0, "temperature"),
])
def test_refuses_what_is_no_pair_of_views(z0: Tensor, z1: Tensor, temperature: float, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        nt_xent(z0, z1, temperature)
