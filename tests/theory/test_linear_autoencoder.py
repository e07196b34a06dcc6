"""The linear autoencoder against PCA and SciPy; another loss must be caught."""

import math
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch.nn.functional as F
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from sklearn.metrics import mean_squared_error

import _theory
from tests.theory.measured import check_committed, run
from theory import digits
from theory.linear_autoencoder import experiment as linear_autoencoder


@cache
def trained() -> tuple[dict[str, Any], dict[int, tuple[np.ndarray, np.ndarray]]]:
    """The experiment's result, and the weights and reconstructions of its trainings by their seeds."""
    trainings, train = {}, linear_autoencoder.train

    def spy(images: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        trainings[seed] = train(images, seed)
        return trainings[seed]

    with patch.object(linear_autoencoder, "train", spy):
        return run("linear_autoencoder"), trainings


def finds_the_subspace_of_pca(weights: np.ndarray, images: np.ndarray) -> bool:
    """SciPy's principal angles to scikit-learn's PCA."""
    axes = PCA(weights.shape[1]).fit(images).components_.T
    return bool(np.cos(subspace_angles(weights, axes)).min() > 0.9999)


def test_linear_autoencoder_spans_the_subspace_of_pca_and_not_its_axes() -> None:
    (found, _), images = trained(), digits.load()[0]
    pca = PCA(found["latent"]).fit(images)
    error = mean_squared_error(images, pca.inverse_transform(pca.transform(images)))
    assert found["pca_error"] == pytest.approx(error, rel=1e-9)
    assert error * (1 - 1e-9) <= found["autoencoder_error"] < 1.001 * error < 0.5 * found["random_error"]
    assert min(found["cosines"]) > 0.9999 and min(found["other_seed_cosines"]) > 0.9999
    assert min(found["random_cosines"]) < 0.3
    assert max(found["axis_cosines"]) < 0.95 and max(found["other_seed_axis_cosines"]) < 0.95
    assert min(found["axis_cosines"]) > 1 / math.sqrt(found["pixels"])
    assert all(len(found[name]) == found["latent"] == 10 for name in found if name.endswith("cosines"))


def test_the_weights_themselves_are_checked_against_scikit_learn() -> None:
    images, (found, trainings) = digits.load()[0], trained()
    assert set(trainings) == {_theory.SEED, _theory.SEED + 1}
    (weights, reconstructed), (other, _) = trainings[_theory.SEED], trainings[_theory.SEED + 1]
    assert finds_the_subspace_of_pca(weights, images) and finds_the_subspace_of_pca(other, images)
    pca = PCA(10).fit(images)
    for name, a, b in (("cosines", weights, pca.components_.T), ("other_seed_cosines", weights, other)):
        np.testing.assert_allclose(found[name], np.sort(np.cos(subspace_angles(a, b)))[::-1], rtol=1e-8)
        best = np.abs((a / np.linalg.norm(a, axis=0)).T @ (b / np.linalg.norm(b, axis=0))).max(axis=1)
        np.testing.assert_allclose(found[name.replace("cosines", "axis_cosines")], np.sort(best)[::-1], rtol=1e-8)
    assert np.square(reconstructed - pca.inverse_transform(pca.transform(images))).mean() < 1e-5
    assert not finds_the_subspace_of_pca(np.linalg.svd(images)[2][:10].T, images), "PCA of uncentred data passes"
    assert not finds_the_subspace_of_pca(PCA(11).fit(images).components_[1:].T, images), "other directions pass"


def test_an_autoencoder_with_another_loss_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits.load()[0]
    monkeypatch.setattr(linear_autoencoder.F, "mse_loss", F.l1_loss)
    monkeypatch.setattr(linear_autoencoder, "STEPS", 100)
    assert not finds_the_subspace_of_pca(linear_autoencoder.train(images, seed=0)[0], images)


def test_axes_and_angles_against_libraries() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 12, 4)) * [1, 2, 3, 4]
    bjorck_golub = np.linalg.svd(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0], compute_uv=False)  # 1973
    np.testing.assert_allclose(linear_autoencoder.principal_cosines(a, b), bjorck_golub)
    slow = [max(abs(u @ v) / math.sqrt((u @ u) * (v @ v)) for v in b.T) for u in a.T]
    np.testing.assert_allclose(linear_autoencoder.axis_cosines(a, b), sorted(slow, reverse=True))
    x = rng.normal(size=(50, 12)) + 5
    ours, theirs = digits.principal_directions(x)[:, :4], PCA(4).fit(x).components_.T
    np.testing.assert_allclose(np.abs((ours * theirs).sum(0)), 1)


def test_the_committed_results_are_what_the_code_measures() -> None:
    check_committed("linear_autoencoder", trained()[0], absolute=0.0)
