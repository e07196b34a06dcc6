"""The temperature against derivatives and slow transcriptions; broken losses must be caught."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.theory.measured import BROKEN_NT_XENT, check_committed, check_that_only_the_seed_decides, measured
from theory.temperature import experiment as temperature
from training import losses


def softmax_weights(z: Tensor, temperature: float) -> Tensor:
    """P, (2N, 2N): row i is the softmax of anchor i's cosines divided by t, without itself.  z: (2N, D) unit rows."""
    similarity = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    return similarity.softmax(dim=1)


def closed_form_gradient(z: Tensor, temperature: float) -> Tensor:
    """Gradient of NT-Xent with respect to z, (2N, D), whose rows have unit length: no autograd.

    With G = (P - Y) / (2N t), where Y marks the positives, it is (G + G^T) z minus its component along each row, which
    the normalisation removes.
    """
    anchors = len(z)
    positive = torch.eye(anchors, dtype=z.dtype).roll(anchors // 2, dims=1)
    by_similarity = (softmax_weights(z, temperature) - positive) / (anchors * temperature)  # (2N, 2N)
    gradient = (by_similarity + by_similarity.T) @ z
    return gradient - (gradient * z).sum(1, keepdim=True) * z


def gradient_error(z: Tensor, t: float, loss: Callable[[Tensor, Tensor, float], Tensor]) -> float:
    """Relative difference of the closed form from autograd."""
    leaf = z.clone().requires_grad_()
    measured, = torch.autograd.grad(loss(*leaf.chunk(2), t), leaf)
    return ((closed_form_gradient(z, t) - measured).norm() / measured.norm()).item()


def test_weights_are_the_derivatives_by_the_similarities() -> None:
    z, _ = temperature.embeddings(0)
    z, t, n = z[:12], 0.3, 6
    similarity = (z @ z.T).requires_grad_()
    positive = torch.arange(12).roll(n)
    masked = (similarity / t).masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf)
    grad, = torch.autograd.grad(F.cross_entropy(masked, positive, reduction="sum"), similarity)
    weights = softmax_weights(z, t)
    negatives = ~torch.eye(12, dtype=torch.bool) & (torch.arange(12)[None] != positive[:, None])
    torch.testing.assert_close(grad[negatives], weights[negatives] / t)
    torch.testing.assert_close(grad[torch.arange(12), positive], -(weights * negatives).sum(1) / t)
    assert weights.diagonal().abs().max() == 0


def test_shares_of_the_negatives_by_a_slow_transcription() -> None:
    z, labels = temperature.embeddings(0)
    anchors, found = len(z), measured("temperature")
    cosine = (z @ z.T).numpy()
    row = next(row for row in found["rows"] if row["temperature"] == 0.1)
    nearest, tenth, heard, same_near, same_all = [], [], [], [], []
    for i in range(anchors):
        others = sorted((j for j in range(anchors) if j not in (i, (i + anchors // 2) % anchors)),
                        key=lambda j: -cosine[i, j])
        weights = np.array([math.exp(cosine[i, j] / 0.1) for j in others])
        weights /= weights.sum()
        nearest.append(weights[0])
        tenth.append(weights[:26].sum())
        heard.append(math.exp(-(weights * np.log(weights)).sum()))
        same = labels[others].numpy() == labels[i].item()
        same_near.append(same[:26].mean())
        same_all.append(same.mean())
    assert found["negatives"] == len(others) == 254
    assert (row["nearest"], row["hardest_tenth"], row["effective_negatives"]) == (
        pytest.approx(np.mean(nearest)), pytest.approx(np.mean(tenth)), pytest.approx(np.mean(heard)))
    assert (found["same_class_hardest"], found["same_class_all"]) == (
        pytest.approx(np.mean(same_near)), pytest.approx(np.mean(same_all)))
    assert found["same_class_hardest"] > 1.5 * found["same_class_all"]


def test_temperature_goes_from_the_nearest_negative_to_all_alike() -> None:
    rows = measured("temperature")["rows"]
    assert [row["temperature"] for row in rows] == sorted(row["temperature"] for row in rows)
    for field, falls in (("nearest", True), ("hardest_tenth", True), ("effective_negatives", False)):
        values = [row[field] for row in rows]
        assert values == sorted(values, reverse=falls)
    assert rows[0]["nearest"] > 0.85 and rows[0]["hardest_tenth"] > 0.999
    z, _ = temperature.embeddings(0)
    even = temperature.negative_weights(z, 1e6)
    torch.testing.assert_close(even, torch.full_like(even, 1 / 254), rtol=1e-5, atol=0)
    assert rows[-1]["hardest_tenth"] == pytest.approx(26 / 254, rel=0.1)


def test_the_gradient_of_nt_xent_is_the_closed_form_of_the_answer() -> None:
    z, _ = temperature.embeddings(0)
    assert all(gradient_error(z, t, losses.nt_xent) < 1e-12 for t in temperature.TEMPERATURES)


@pytest.mark.parametrize("name", BROKEN_NT_XENT)
def test_the_closed_form_gradient_catches_broken_losses(name: str) -> None:
    assert gradient_error(temperature.embeddings(0)[0], 0.3, BROKEN_NT_XENT[name]) > 1e-3


def test_embeddings_are_unit_rows_of_pairs() -> None:
    z, labels = temperature.embeddings(0)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(256, dtype=torch.float64))
    assert torch.equal(labels[:128], labels[128:])
    first, second = z.chunk(2)
    pairs = (first * second).sum(1).mean()
    assert pairs > (first * second.roll(1, 0)).sum(1).mean() + 0.15


def test_the_committed_results_are_what_the_code_measures() -> None:
    check_committed("temperature", measured("temperature"))


def test_only_the_seed_decides() -> None:
    check_that_only_the_seed_decides("temperature")
