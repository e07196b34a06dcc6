"""The temperature against derivatives and slow transcriptions; broken losses must be caught."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.theory.measured import BROKEN_NT_XENT, check_committed, check_that_only_the_seed_decides, measured
from theory.temperature import experiment as temperature


def test_weights_are_the_derivatives_by_the_similarities() -> None:
    z, _ = temperature.embeddings(0)
    z, t, n = z[:12], 0.3, 6
    similarity = (z @ z.T).requires_grad_()
    positive = torch.arange(12).roll(n)
    masked = (similarity / t).masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf)
    grad, = torch.autograd.grad(F.cross_entropy(masked, positive, reduction="sum"), similarity)
    weights = temperature.softmax_weights(z, t)
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
    assert all(row["gradient_error"] < 1e-12 for row in rows)


@pytest.mark.parametrize("name", BROKEN_NT_XENT)
def test_the_closed_form_gradient_catches_broken_losses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    z, _ = temperature.embeddings(0)
    monkeypatch.setattr(temperature, "nt_xent", BROKEN_NT_XENT[name])
    assert temperature.sharing(z, 0.3)["gradient_error"] > 1e-3


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
