"""Each loss against a slow transcription, closed forms, an established library, and variants that must be caught."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.losses import byol_regression, cross_view_info_nce, dcl, info_nce, nt_xent, vicreg


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
def test_nt_xent_equals_the_transcription_of_its_equation(n: int, d: int, temperature: float) -> None:
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
def test_nt_xent_is_log_of_2n_minus_1_when_all_rows_coincide(n: int) -> None:
    z = torch.ones(n, 5, dtype=torch.float64)
    assert nt_xent(z, z, 0.3).item() == pytest.approx(math.log(2 * n - 1), rel=1e-12)


def test_closed_form_for_orthogonal_pairs() -> None:
    """N orthogonal directions, both views equal: log(1 + (2N - 2) exp(-1 / t))."""
    n, temperature = 6, 0.4
    z = torch.eye(n, dtype=torch.float64)
    expected = math.log(1 + (2 * n - 2) * math.exp(-1 / temperature))
    assert nt_xent(z, z, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_nt_xent_does_not_change_with_scale_order_or_exchange_of_the_views() -> None:
    z0, z1 = views(6, 4)
    loss, order = nt_xent(z0, z1, 0.2), torch.randperm(6)
    for same in (nt_xent(3 * z0, 0.1 * z1, 0.2), nt_xent(z0[order], z1[order], 0.2), nt_xent(z1, z0, 0.2)):
        torch.testing.assert_close(same, loss)


def test_nt_xent_gradient_is_that_of_finite_differences() -> None:
    z0, z1 = views(4, 3)
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (z0.requires_grad_(), z1.requires_grad_()))


def test_nt_xent_agrees_with_lightly() -> None:
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


def dcl_transcription(z0: Tensor, z1: Tensor, temperature: float) -> float:
    """Equation 6 of Yeh et al. 2022, one anchor at a time: negatives are the other images' views, both of them."""
    views = [[row / np.sqrt(row @ row) for row in z.numpy().astype(np.float64)] for z in (z0, z1)]
    n, total = len(z0), 0.0
    for k in (0, 1):
        for i in range(n):
            positive = float(views[k][i] @ views[1 - k][i]) / temperature
            negatives = [math.exp(float(views[k][i] @ views[m][j]) / temperature)
                         for m in (0, 1) for j in range(n) if j != i]
            total += -positive + math.log(sum(negatives))
    return total / (2 * n)


@pytest.mark.parametrize("n, d, temperature", [(2, 3, 1.0), (5, 8, 0.5), (9, 4, 0.1)])
def test_dcl_equals_its_transcription_and_lightly(n: int, d: int, temperature: float) -> None:
    from lightly.loss import DCLLoss

    z0, z1 = views(n, d)
    loss = dcl(z0, z1, temperature).item()
    assert loss == pytest.approx(dcl_transcription(z0, z1, temperature), rel=1e-12)
    assert loss == pytest.approx(DCLLoss(temperature=temperature)(z0, z1).item(), rel=1e-9)
    assert loss != pytest.approx(nt_xent(z0, z1, temperature).item(), rel=1e-3)  # coupled: it must be caught


def test_dcl_of_orthogonal_pairs_is_its_closed_form() -> None:
    """N orthogonal directions, both views equal: log(2N - 2) - 1 / t, below 0 where NT-Xent cannot go."""
    z = torch.eye(6, dtype=torch.float64)
    assert dcl(z, z, 0.4).item() == pytest.approx(math.log(10) - 1 / 0.4, rel=1e-12)


def vicreg_transcription(z0: Tensor, z1: Tensor, weights: tuple[float, float, float]) -> float:
    """Equations 1 to 6 of Bardes et al. 2022, entry by entry, in float64 NumPy (see the docstring's two scalings)."""
    a, b = z0.numpy(), z1.numpy()
    n, d = a.shape
    agree = sum((a[i, j] - b[i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    spread = decorrelation = 0.0
    for z in (a, b):
        centred = [[z[i, j] - sum(z[:, j]) / n for j in range(d)] for i in range(n)]
        cov = [[sum(row[j] * row[k] for row in centred) / (n - 1) for k in range(d)] for j in range(d)]
        spread += sum(max(0.0, 1 - math.sqrt(cov[j][j] + 1e-4)) for j in range(d)) / d / 2
        decorrelation += sum(cov[j][k] ** 2 for j in range(d) for k in range(d) if j != k) / d
    return weights[0] * agree + weights[1] * spread + weights[2] * decorrelation


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_vicreg_equals_its_transcription_and_lightly_term_by_term(weights: tuple[float, float, float]) -> None:
    from lightly.loss import VICRegLoss

    z0, z1 = (0.7 * z for z in views(9, 4))
    expected = vicreg_transcription(z0, z1, weights)
    assert expected > 0
    assert vicreg(z0, z1, *weights).item() == pytest.approx(expected, rel=1e-10)
    assert VICRegLoss(*weights)(z0, z1).item() == pytest.approx(expected, rel=1e-10)
    assert vicreg(z0, z1.roll(1, 0), *weights).item() != pytest.approx(expected, rel=1e-3) or weights[0] == 0


def test_vicreg_of_a_collapsed_batch_is_the_variance_term_alone() -> None:
    z = torch.ones(8, 5, dtype=torch.float64)
    assert vicreg(z, z, 25.0, 25.0, 1.0).item() == pytest.approx(25 * (1 - 0.01), rel=1e-12)


def test_byol_is_four_for_opposites_two_for_orthogonal_and_agrees_with_lightly() -> None:
    from lightly.loss import NegativeCosineSimilarity

    a = torch.eye(4, dtype=torch.float64)
    assert byol_regression(a, 3 * a).item() == pytest.approx(0)
    assert byol_regression(a, -a).item() == pytest.approx(4)
    assert byol_regression(a, a.roll(1, 0)).item() == pytest.approx(2)
    z0, z1 = views(7, 5)
    assert byol_regression(z0, z1).item() == pytest.approx(2 + 2 * NegativeCosineSimilarity()(z0, z1).item(), rel=1e-9)
    by_hand = [sum((p / np.linalg.norm(p) - t / np.linalg.norm(t)) ** 2)
               for p, t in zip(z0.numpy(), z1.numpy(), strict=True)]  # equation 2: the squared distance of unit vectors
    assert byol_regression(z0, z1).item() == pytest.approx(np.mean(by_hand), rel=1e-12)


def test_info_nce_equals_its_transcription() -> None:
    """Equation 1 of He et al. 2020, one query at a time."""
    (q, k), queue = views(4, 6), views(9, 6, seed=3)[0]
    total = 0.0

    def sim(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) / 0.3)

    for i in range(4):
        positive = sim(q[i].numpy(), k[i].numpy())
        total -= math.log(positive / (positive + sum(sim(q[i].numpy(), key) for key in queue.numpy())))
    assert info_nce(q, k, queue, 0.3).item() == pytest.approx(total / 4, rel=1e-12)
    assert info_nce(q, k.roll(1, 0), queue, 0.3).item() != pytest.approx(total / 4, rel=1e-3)
    assert info_nce(q, k, queue[:-1], 0.3).item() < total / 4  # one negative less


def test_info_nce_is_log_of_the_candidates_when_all_coincide() -> None:
    ones = torch.ones(3, 4, dtype=torch.float64)
    assert info_nce(ones, ones, torch.ones(7, 4, dtype=torch.float64), 0.2).item() == pytest.approx(math.log(8))


@pytest.mark.parametrize("loss", [lambda a, b: dcl(a, b, 0.5), lambda a, b: vicreg(a, b, 25.0, 25.0, 1.0),
                                  lambda a, b: info_nce(a, b, torch.eye(3, dtype=torch.float64), 0.5),
                                  byol_regression])
def test_gradients_of_the_others_are_those_of_finite_differences(loss) -> None:
    z0, z1 = views(4, 3)
    assert torch.autograd.gradcheck(loss, (z0.requires_grad_(), z1.requires_grad_()))


@pytest.mark.parametrize("loss, word", [
    (lambda: dcl(torch.ones(1, 3), torch.ones(1, 3), 0.5), "two images"),
    (lambda: dcl(torch.ones(4, 3), torch.ones(4, 3), 0.0), "temperature"),
    (lambda: vicreg(torch.ones(4, 3), torch.ones(5, 3), 1.0, 1.0, 1.0), "expected"),
    (lambda: byol_regression(torch.ones(4), torch.ones(4)), "expected"),
    (lambda: info_nce(torch.ones(4, 3), torch.ones(4, 3), torch.ones(9, 2), 0.5), "queue"),
    (lambda: info_nce(torch.ones(4, 3), torch.ones(4, 3), torch.ones(9, 3), -1.0), "temperature"),
])
def test_the_others_refuse_what_does_not_fit(loss, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        loss()


def cross_view_transcription(z0: Tensor, z1: Tensor, temperature: float) -> float:
    """Equations 2 to 4 of Tian et al. 2020 over a batch, one anchor at a time, in float64 NumPy."""
    a, b = z0.numpy().astype(np.float64), z1.numpy().astype(np.float64)
    n, total = len(a), 0.0

    def h(x: np.ndarray, y: np.ndarray) -> float:
        return math.exp(float(x @ y / np.sqrt(x @ x) / np.sqrt(y @ y)) / temperature)

    for i in range(n):
        total -= math.log(h(a[i], b[i]) / sum(h(a[i], b[j]) for j in range(n)))
        total -= math.log(h(a[i], b[i]) / sum(h(a[j], b[i]) for j in range(n)))
    return total / (2 * n)


@pytest.mark.parametrize("n, d, temperature", [(2, 3, 1.0), (5, 8, 0.5), (9, 4, 0.1)])
def test_cross_view_info_nce_equals_its_transcription(n: int, d: int, temperature: float) -> None:
    z0, z1 = views(n, d)
    expected = cross_view_transcription(z0, z1, temperature)
    assert cross_view_info_nce(z0, z1, temperature).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("broken", [one_sided, nt_xent, lambda z0, z1, t: cross_view_info_nce(z0, z1.roll(1, 0), t),
                                    lambda z0, z1, t: F.cross_entropy(z0 @ z1.T / t, torch.arange(len(z0)))],
                         ids=["one-sided", "views of one kind compared", "neighbours as partners", "not normalised"])
def test_that_transcription_catches_broken_variants(broken) -> None:
    z0, z1 = views(5, 8)
    assert broken(z0, z1, 0.5).item() != pytest.approx(cross_view_transcription(z0, z1, 0.5), rel=1e-3)


@pytest.mark.parametrize("n", [2, 7, 64])
def test_cross_view_info_nce_knows_nothing_where_all_rows_coincide(n: int) -> None:
    z = torch.ones(n, 5, dtype=torch.float64)
    assert cross_view_info_nce(z, z, 0.3).item() == pytest.approx(math.log(n), rel=1e-12)


@pytest.mark.parametrize("z1, temperature, word", [(torch.ones(5, 3), 0.5, "expected"),
                                                   (torch.eye(4, 3), 0.0, "above 0")])
def test_cross_view_info_nce_refuses_what_it_cannot_compare(z1: Tensor, temperature: float, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        cross_view_info_nce(torch.eye(4, 3), z1, temperature)
