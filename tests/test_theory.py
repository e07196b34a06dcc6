"""The theory's experiments against closed forms and slow transcriptions, and broken variants that must be caught."""

import copy
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import typst
from scipy.integrate import quad
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal, norm
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mean_absolute_error, mean_squared_error
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import _theory
from report import theory as chapter
from report.charts import Drawing
from report.load import load_results
from tests.factory import edit, make_record
from tests.test_project import imported
from theory import (
    alignment_uniformity,
    collapse,
    digits,
    linear_autoencoder,
    mutual_information,
    projection_head,
    reconstruction_loss,
    temperature,
    variance_directions,
)
from theory.experiments import EXPERIMENTS
from theory.results import Experiments, TheoryResults, read_theory
from training import losses
from utils.errors import UsageError
from utils.records.schema import RecordError

ROOT = Path(__file__).parent.parent
COMMITTED = ROOT / "results" / "theory.json"
torch.set_num_threads(1)


@cache
def measured(name: str) -> dict:
    """What an experiment returns for the seed of the committed results, as it comes back from its file."""
    return json.loads(json.dumps(EXPERIMENTS[name](_theory.SEED)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# What the experiments share


def test_the_digits_are_those_of_scikit_learn() -> None:
    train, train_labels, test, test_labels = digits.load()
    assert (len(train), len(test)) == (len(train_labels), len(test_labels)) == (1438, 359)
    ours = sorted((*row.round(2), label) for row, label in zip([*train, *test], [*train_labels, *test_labels],
                                                               strict=True))
    theirs = load_digits()
    scaled = np.rint(theirs.data * 255 / 16) / 255
    assert ours == sorted((*row.round(2), label) for row, label in zip(scaled, theirs.target, strict=True))


def test_a_view_is_a_shift_by_at_most_a_pixel_and_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.from_numpy(digits.load()[0][:1]).float().repeat(600, 1)
    noise = digits.random_view(image, generator())
    padded = np.pad(image[0].numpy().reshape(8, 8), 1)
    shifts = {padded[i:i + 8, j:j + 8].astype(np.float32).tobytes() for i in range(3) for j in range(3)}
    monkeypatch.setattr(digits, "NOISE", 0.0)
    quiet = digits.random_view(image, generator())
    assert {view.numpy().tobytes() for view in quiet} == shifts
    assert (noise - quiet).std().item() == pytest.approx(0.1, rel=0.02)
    assert abs((noise - quiet).mean().item()) < 0.002


def test_a_turn_is_that_of_numpy() -> None:
    images = torch.from_numpy(digits.load()[0][:8])
    quarters = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
    turned = digits.turn(images, quarters)
    for image, k, got in zip(images, quarters, turned, strict=True):
        assert np.array_equal(np.rot90(image.numpy().reshape(8, 8), int(k)).ravel(), got.numpy())


def test_the_probe_is_a_standardised_logistic_regression_scored_on_the_test_set() -> None:
    train, train_labels, test, test_labels = digits.load()
    scale = StandardScaler().fit(train[:, 20:30])
    model = LogisticRegression(max_iter=1000).fit(scale.transform(train[:, 20:30]), train_labels)
    expected = (model.predict(scale.transform(test[:, 20:30])) == test_labels).mean()
    assert digits.probe_accuracy(train[:, 20:30], train_labels, test[:, 20:30], test_labels) == pytest.approx(expected)


# 1. Linear autoencoder and PCA


def finds_the_subspace_of_pca(weights: np.ndarray, images: np.ndarray) -> bool:
    """SciPy's principal angles to scikit-learn's PCA."""
    axes = PCA(weights.shape[1]).fit(images).components_.T
    return bool(np.cos(subspace_angles(weights, axes)).min() > 0.9999)


def test_linear_autoencoder_spans_the_subspace_of_pca_and_not_its_axes() -> None:
    found, images = measured("linear_autoencoder"), digits.load()[0]
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
    images = digits.load()[0]
    weights, reconstructed = linear_autoencoder.train(images, _theory.SEED)
    other, _ = linear_autoencoder.train(images, _theory.SEED + 1)
    assert finds_the_subspace_of_pca(weights, images) and finds_the_subspace_of_pca(other, images)
    pca, found = PCA(10).fit(images), measured("linear_autoencoder")
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
    np.testing.assert_allclose(linear_autoencoder.principal_cosines(a, b), np.sort(np.cos(subspace_angles(a, b)))[::-1])
    slow = [max(abs(u @ v) / math.sqrt((u @ u) * (v @ v)) for v in b.T) for u in a.T]
    np.testing.assert_allclose(linear_autoencoder.axis_cosines(a, b), sorted(slow, reverse=True))
    x = rng.normal(size=(50, 12)) + 5
    ours, theirs = linear_autoencoder.principal_axes(x, 4), PCA(4).fit(x).components_.T
    np.testing.assert_allclose(np.abs((ours * theirs).sum(0)), 1)


# 2. L1 and L2


def is_median_and_mean(found: dict[str, np.ndarray], x: np.ndarray) -> bool:
    """Whether the constants found under l1 and l2 are the sample's median and mean."""
    return bool(np.abs(found["l1"] - np.median(x, axis=0)).max() < 2e-3
                and np.abs(found["l2"] - x.mean(axis=0)).max() < 1e-4)


def test_l1_ends_at_the_median_and_l2_at_the_mean() -> None:
    x = np.random.default_rng(5).gamma(0.7, size=(301, 3))  # skewed, odd
    found = {name: reconstruction_loss.best_constant(x, loss, 0.5)[0]
             for name, loss in reconstruction_loss.LOSSES.items()}
    assert is_median_and_mean(found, x)
    assert not is_median_and_mean({"l1": found["l2"], "l2": found["l1"]}, x), "exchanged losses pass"
    huber = reconstruction_loss.best_constant(x, F.smooth_l1_loss, 0.5)[0]
    assert not is_median_and_mean(found | {"l1": huber}, x), "another robust loss passes"


def test_reconstruction_loss_on_the_sample_and_on_images() -> None:
    found, images = measured("reconstruction_loss"), digits.load()[0]
    median, mean = np.median(images, axis=0), images.mean(axis=0)
    assert found["sample_median"] == pytest.approx(math.log(2), abs=0.1)  # of the exponential distribution
    assert found["sample_mean"] == pytest.approx(1, abs=0.1)
    assert found["found_l1"] == pytest.approx(found["sample_median"], abs=2e-3)
    assert found["found_l2"] == pytest.approx(found["sample_mean"], abs=1e-4)
    assert found["path_l1"][0] == found["path_l2"][0] == 1.5
    assert (found["path_l1"][-1], found["path_l2"][-1]) == (
        pytest.approx(found["found_l1"], abs=1e-6), pytest.approx(found["found_l2"], abs=1e-6))
    assert is_median_and_mean({"l1": np.array(found["image_l1"]), "l2": np.array(found["image_l2"])}, images)
    assert found["l1_image_to_median"] == pytest.approx(np.abs(np.array(found["image_l1"]) - median).max())
    assert found["l2_image_to_mean"] == pytest.approx(np.abs(np.array(found["image_l2"]) - mean).max())
    for power, score in (("l1", mean_absolute_error), ("l2", mean_squared_error)):
        for name, constant in (("median", median), ("mean", mean)):
            expected = score(images, np.tile(constant, (len(images), 1)))
            assert found[f"{power}_of_{name}"] == pytest.approx(expected, rel=1e-9)
    assert found["l1_of_median"] < found["l1_of_mean"] and found["l2_of_mean"] < found["l2_of_median"]
    assert found["blank_median"] == np.mean(median == 0) > 1.3 * found["blank_mean"]
    assert found["blank_mean"] == np.mean(mean < 1 / 32)


# 3. Variance directions


def test_variance_directions_against_scikit_learn() -> None:
    found, (train, train_labels, test, test_labels) = measured("variance_directions"), digits.load()
    pca, part, splits = PCA().fit(train), found["digits"], found["splits"]
    z, z_test = pca.transform(train), pca.transform(test)
    assert part["directions"] == np.linalg.matrix_rank(train - train.mean(0)) == 61
    np.testing.assert_allclose(part["variance"], z.var(axis=0)[:61], rtol=1e-6)
    for i, j in enumerate(splits):
        missed = np.square(z_test[:, j:]).sum() / np.square(z_test).sum()
        assert part["top_missed"][i] == pytest.approx(missed, rel=1e-9)
        assert part["bottom_missed"][i] == pytest.approx(1 - missed, rel=1e-3)  # never-inked pixels are in neither
        assert part["top_white_missed"][i] == pytest.approx(1 - j / 61)
        assert part["bottom_white_missed"][i] == pytest.approx(j / 61)
    i = splits.index(6)
    for side, keep in (("top", np.s_[:6]), ("bottom", np.s_[6:61])):
        scale = StandardScaler().fit(z[:, keep])
        model = LogisticRegression(max_iter=1000).fit(scale.transform(z[:, keep]), train_labels)
        assert part[f"{side}_accuracy"][i] == pytest.approx(model.score(scale.transform(z_test[:, keep]), test_labels),
                                                            abs=0.006)  # two images: the axes' signs differ
    assert found["chance"] == np.bincount(test_labels).max() / len(test_labels)


def background_hides_the_class(found: dict, part: dict) -> bool:
    """The claim: what explains nearly all is worth nearly nothing to the probe, and the other way round."""
    i = found["splits"].index(found["patterns"])
    return (part["top_missed"][i] < 0.1 and part["top_accuracy"][i] < 0.2
            and part["bottom_missed"][i] > 0.9 and part["bottom_accuracy"][i] > 0.9)


def test_backgrounds_take_the_first_directions_and_the_digits_do_not() -> None:
    found = measured("variance_directions")
    assert background_hides_the_class(found, found["backgrounds"])
    assert not background_hides_the_class(found, found["digits"])
    assert found["digits"]["top_accuracy"][-1] > 0.9 > 0.5 > found["digits"]["bottom_accuracy"][-1]


def test_weak_backgrounds_do_not_pass_for_strong_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    train, train_labels, test, test_labels = digits.load()
    monkeypatch.setattr(variance_directions, "BACKGROUND_SCALE", 0.1)
    monkeypatch.setattr(variance_directions, "SPLITS", (6,))
    rng = np.random.default_rng(0)
    part = variance_directions.measure(variance_directions.on_backgrounds(train, rng), train_labels,
                                       variance_directions.on_backgrounds(test, rng), test_labels)
    assert not background_hides_the_class({"splits": [6], "patterns": 6}, part)


def test_backgrounds_are_orthonormal_smooth_and_as_strong_as_said() -> None:
    patterns = variance_directions.background_patterns()
    np.testing.assert_allclose(patterns @ patterns.T, np.eye(6), atol=1e-12)
    added = variance_directions.on_backgrounds(np.zeros((4000, 64)), np.random.default_rng(1))
    assert np.linalg.matrix_rank(added) == 6
    np.testing.assert_allclose((added @ patterns.T).std(axis=0), 3.0, rtol=0.05)


# 4. Mutual information


def test_gaussian_information_is_that_of_the_joint_covariance() -> None:
    d = mutual_information.DIMENSIONS
    for information in (0.5, 8.0):
        rho = mutual_information.gaussian_correlation(information)
        covariance = np.block([[np.eye(d), rho * np.eye(d)], [rho * np.eye(d), np.eye(d)]])
        assert -0.5 * np.linalg.slogdet(covariance)[1] == pytest.approx(information)
        x, y = mutual_information.gaussian_pairs(20_000, rho, generator())
        joint = np.corrcoef(torch.cat([x, y], dim=1).T.numpy())
        np.testing.assert_allclose(joint, covariance, atol=0.04)


def test_gaussian_critic_is_the_log_density_ratio() -> None:
    rho = 0.6
    x, y = mutual_information.gaussian_pairs(4, rho, generator())
    scores = mutual_information.gaussian_critic(x, y, rho)
    for i, j in itertools.product(range(4), repeat=2):
        joint = sum(multivariate_normal.logpdf([a, b], cov=[[1, rho], [rho, 1]])
                    for a, b in zip(x[i].tolist(), y[j].tolist(), strict=True))
        assert scores[i, j].item() == pytest.approx(joint - norm.logpdf(x[i]).sum() - norm.logpdf(y[j]).sum())


def density(t: float, k: float) -> float:
    """Of the cosine t in [-1, 1] of a von Mises-Fisher pair in three dimensions."""
    return k / (1 - math.exp(-2 * k)) * math.exp(k * (t - 1))


def test_sphere_information_and_pairs_are_von_mises_fisher() -> None:
    for k in mutual_information.CONCENTRATIONS:
        near = max(-1.0, 1 - 40 / k)  # what lies below is less than e^-40
        # the cosine of unrelated points is uniform on [-1, 1], with density 1 / 2
        expected = quad(lambda t, k=k: density(t, k) * math.log(density(t, k) / 0.5), near, 1)[0]
        square = quad(lambda t, k=k: t * t * density(t, k), near, 1)[0]
        assert mutual_information.sphere_information(k) == pytest.approx(expected, rel=1e-6)
        u, v = mutual_information.sphere_pairs(20_000, k, generator())
        cosine = (u * v).sum(1)
        assert cosine.mean().item() == pytest.approx(1 / math.tanh(k) - 1 / k, abs=0.01)
        assert cosine.square().mean().item() == pytest.approx(square, abs=0.01)
        for points in (u, v):
            torch.testing.assert_close(points.norm(dim=1), torch.ones(20_000, dtype=torch.float64))
            assert points.mean(0).abs().max() < 0.02  # uniform over the sphere
            torch.testing.assert_close(points.T @ points / 20_000, torch.eye(3).double() / 3, atol=0.01, rtol=0)
        side = v - cosine[:, None] * u
        assert (side.sum(0) / len(side)).abs().max() < 0.02


def slow_bound(scores: np.ndarray) -> float:
    """log N - InfoNCE of one batch, term by term.  scores: (N, N), positives on the diagonal."""
    n = len(scores)
    return math.log(n) + np.mean([scores[i, i] - math.log(sum(math.exp(s) for s in scores[i])) for i in range(n)])


def test_gaussian_rows_agree_with_a_transcription() -> None:
    n = 4
    row = next(row for row in measured("mutual_information")["gaussian"] if row["information"] == 2 and row["n"] == n)
    rho, rng, d = math.sqrt(1 - math.exp(-0.4)), np.random.default_rng(7), 10
    bounds = []
    for _ in range(400):
        x = rng.normal(size=(n, d))
        y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=(n, d))
        ratio = [[(norm_log(b - rho * a, 1 - rho**2) - norm_log(b, 1)).sum() for b in y] for a in x]
        bounds.append(slow_bound(np.array(ratio)))
    error = np.std(bounds) / math.sqrt(len(bounds))
    assert row["bound"] == pytest.approx(np.mean(bounds), abs=4 * math.hypot(error, row["standard_error"]))
    assert row["standard_error"] == pytest.approx(error * math.sqrt(400 / 2048), rel=0.2)


def norm_log(x: np.ndarray, variance: float) -> np.ndarray:
    """Log density of a centred Gaussian."""
    return -x**2 / (2 * variance) - math.log(2 * math.pi * variance) / 2


def check_bounds(found: dict) -> None:
    """What Oord et al. and Poole et al. promise, up to four standard errors."""
    for row in found["gaussian"]:
        assert row["ceiling"] == pytest.approx(math.log(row["n"]))
        assert row["bound"] <= min(row["information"] + 4 * row["standard_error"], row["ceiling"])
        if math.log(row["n"]) > row["information"] + 4:  # many candidates: the bound is close
            assert row["bound"] == pytest.approx(row["information"], abs=0.02 + 4 * row["standard_error"])
        if row["information"] > row["ceiling"] + 3:  # few: it sits at its ceiling
            assert row["bound"] == pytest.approx(row["ceiling"], abs=0.13)
    for row in found["sphere"]:
        assert row["ceiling"] == pytest.approx(math.log(2 * row["n"] - 1))
        assert row["estimate"] - row["bound"] == pytest.approx(math.log((2 * row["n"] - 1) / row["n"]))
        assert row["bound"] <= row["information"] + 4 * row["standard_error"]
        assert row["estimate"] <= min(row["information"] + 0.003 + 4 * row["standard_error"], row["ceiling"])
        if math.log(row["n"]) > row["information"] + 3:
            assert row["estimate"] == pytest.approx(row["information"], abs=0.01 + 4 * row["standard_error"])
        if row["information"] > row["ceiling"] + 3:
            assert row["estimate"] == pytest.approx(row["ceiling"], abs=0.02)
    for rows, field in ((found["gaussian"], "bound"), (found["sphere"], "estimate")):  # more candidates, more bound
        for information in {row["information"] for row in rows}:
            values = [row[field] + 4 * row["standard_error"] for row in rows if row["information"] == information]
            assert all(b > a - 0.05 for a, b in itertools.pairwise(values))


def test_bounds_stay_below_information_and_ceiling_and_reach_them() -> None:
    found = measured("mutual_information")
    check_bounds(found)
    assert {row["n"] for row in found["gaussian"]} == {row["n"] for row in found["sphere"]} == {4, 16, 64, 256}
    assert max(row["information"] for row in found["gaussian"]) > math.log(256)


def without_mask(z0: Tensor, z1: Tensor, t: float) -> Tensor:
    z = F.normalize(torch.cat([z0, z1]), dim=1)
    return F.cross_entropy(z @ z.T / t, torch.arange(len(z)).roll(len(z0)))


BROKEN_NT_XENT: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "without the mask": without_mask,
    "temperature doubled": lambda z0, z1, t: losses.nt_xent(z0, z1, 2 * t),
    "temperature left out": lambda z0, z1, t: losses.nt_xent(z0, z1, 1.0),
    "wrong pairs": lambda z0, z1, t: losses.nt_xent(z0, z1.roll(1, 0), t),
    "positive left out of the denominator": losses.dcl,
    "views of one side only": lambda z0, z1, t: F.cross_entropy(
        F.normalize(z0, dim=1) @ F.normalize(z1, dim=1).T / t, torch.arange(len(z0))),
}


@pytest.mark.parametrize("name", BROKEN_NT_XENT)
def test_broken_nt_xent_breaks_the_bounds_or_their_tightness(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutual_information, "nt_xent", BROKEN_NT_XENT[name])
    rows = [mutual_information.sphere_row(k, n, generator()) for k in (2.0, 50.0) for n in (4, 64)]
    with pytest.raises(AssertionError):
        check_bounds({"gaussian": [], "sphere": rows})
        check_against_transcription(rows)


def check_against_transcription(rows: list[dict]) -> None:
    """NT-Xent over every anchor's 2N - 1 candidates, one by one, on other draws."""
    for row in rows:
        if row["n"] != 4:
            continue
        k, estimates = 1 / row["temperature"], []
        source = generator(99)
        for _ in range(600):
            z = torch.cat(mutual_information.sphere_pairs(4, k, source)).numpy()
            loss = -np.mean([k * z[i] @ z[(i + 4) % 8] - math.log(sum(math.exp(k * z[i] @ z[j]) for j in range(8)
                                                                      if j != i)) for i in range(8)])
            estimates.append(math.log(7) - loss)
        error = math.hypot(np.std(estimates) / math.sqrt(len(estimates)), row["standard_error"])
        assert row["estimate"] == pytest.approx(np.mean(estimates), abs=4 * error)


def test_sphere_rows_agree_with_a_transcription() -> None:
    check_against_transcription([row for row in measured("mutual_information")["sphere"] if row["temperature"] > 0.01])


def test_a_worse_critic_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    best = mutual_information.gaussian_critic
    for critic in (lambda x, y, rho: best(x, y, 0.5 * rho), lambda x, y, rho: -best(x, y, rho)):
        monkeypatch.setattr(mutual_information, "gaussian_critic", critic)
        rows = [mutual_information.gaussian_row(0.5, 256, generator()),
                mutual_information.gaussian_row(8.0, 16, generator())]
        with pytest.raises(AssertionError):
            check_bounds({"gaussian": rows, "sphere": []})


def test_one_bit_is_an_enumeration_through_the_project_loss() -> None:
    """Every assignment of bits to N images; at a tiny temperature the loss is the log of the number of ties."""
    for row in measured("mutual_information")["one_bit"]:
        n = row["n"]
        assert row["information"] == math.log(2)
        assert row["bound"] <= row["information"]  # what is proven
        assert row["estimate"] - row["bound"] == pytest.approx(math.log((2 * n - 1) / n))
        if n <= 5:
            batches = [torch.tensor(bits).double()[:, None] for bits in itertools.product((-1, 1), repeat=n)]
            loss = np.mean([losses.nt_xent(z, z, 0.01).item() for z in batches])
            assert row["bound"] == pytest.approx(math.log(n) - loss)


def test_log_2n_minus_1_less_nt_xent_is_no_bound() -> None:
    """The counterexample that the chapter quotes: it lies above the mutual information, by little."""
    rows = measured("mutual_information")["one_bit"]
    assert 0.001 < max(row["estimate"] - row["information"] for row in rows) < 0.003


# 5. Temperature


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


# 6. Alignment and uniformity


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
    found = alignment_uniformity.alignment_uniformity(0)
    assert any(abs(row["measured"] - row["lowest"]) > 0.05 for row in found["rows"])


# 7. Projection head


def head_forgets_the_turn(untrained: list[dict], trained: list[dict]) -> bool:
    """The claim: behind the head the turn is lost, before it hardly, and without training it is there in both."""
    before, after = trained[1]["turn_accuracy"], trained[2]["turn_accuracy"]
    return (before - after > 0.1 and before > untrained[1]["turn_accuracy"] - 0.1
            and untrained[2]["turn_accuracy"] - after > 0.1)


def test_the_head_forgets_what_the_encoder_keeps() -> None:
    found = measured("projection_head")
    untrained, trained = found["untrained"], found["trained"]
    assert head_forgets_the_turn(untrained, trained)
    assert trained[1]["class_accuracy"] > trained[2]["class_accuracy"]
    assert trained[1]["class_accuracy"] > max(untrained[1]["class_accuracy"], trained[0]["class_accuracy"]) + 0.05
    assert untrained[0] == trained[0]  # pixels do not change
    assert trained[0]["turn_accuracy"] > 0.7 > 2 / found["turns"]
    assert found["test_images"] == 4 * 359
    assert not head_forgets_the_turn(untrained, untrained)


def test_without_turns_in_the_views_the_head_keeps_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection_head, "turned_view", digits.random_view)
    monkeypatch.setattr(projection_head, "STEPS", 120)
    encoder, head = projection_head.build(0)
    projection_head.train(encoder, head, torch.from_numpy(digits.load()[0]).float(), 0)
    found = measured("projection_head")
    assert not head_forgets_the_turn(found["untrained"], projection_head.read_out(encoder, head, 0))


def test_reading_out_leaves_the_network_as_it_was_and_reads_the_pixels_fairly() -> None:
    encoder, head = projection_head.build(0)
    before = copy.deepcopy([encoder.state_dict(), head.state_dict()])
    rows = projection_head.read_out(encoder, head, 0)
    for old, module in zip(before, (encoder, head), strict=True):
        assert all(torch.equal(old[name], value) for name, value in module.state_dict().items())
        assert module.training
    assert rows == measured("projection_head")["untrained"]
    train, train_labels, test, test_labels = digits.load()
    turns = torch.randint(0, 4, (len(train),), generator=generator(0)).numpy()
    fit = np.stack([np.rot90(x.reshape(8, 8), k).ravel() for x, k in zip(train, turns, strict=True)])
    score = np.concatenate([np.stack([np.rot90(x.reshape(8, 8), k).ravel() for x in test]) for k in range(4)])
    scale = StandardScaler().fit(fit)
    model = LogisticRegression(max_iter=1000)
    for field, labels, expected in (("turn_accuracy", turns, np.repeat(range(4), len(test))),
                                    ("class_accuracy", train_labels, np.tile(test_labels, 4))):
        accuracy = model.fit(scale.transform(fit), labels).score(scale.transform(score), expected)
        assert rows[0][field] == pytest.approx(accuracy, abs=0.005)  # float32 against float64


def test_a_turned_view_has_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection_head, "random_view", lambda images, _: images)
    image = torch.from_numpy(digits.load()[0][:1]).float().repeat(200, 1)
    turned = projection_head.turned_view(image, generator())
    expected = {np.rot90(image[0].numpy().reshape(8, 8), k).tobytes() for k in range(4)}
    assert {view.numpy().tobytes() for view in turned} == expected


# 8. Collapse


def by_name() -> dict[str, dict]:
    return {row["name"]: row for row in measured("collapse")["rows"]}


@pytest.mark.parametrize("name", [name for name, (_, without) in collapse.VARIANTS.items() if not without])
def test_whole_methods_do_not_collapse(name: str) -> None:
    row, start = by_name()[name], measured("collapse")["untrained"]
    assert row["spread"] > 0.6 > start["spread"]
    assert row["rank_about_origin"] > 6
    assert row["linear_accuracy"] > 0.88


@pytest.mark.parametrize("name, largest", [
    ("positives_only", 0.1), ("moco_positives_only", 0.25), ("vicreg_no_variance", 0.3), ("byol_no_predictor", 0.25),
    ("byol_no_stop", 0.1), ("byol_no_batch_norm", 0.3)])
def test_what_is_left_out_lets_it_collapse(name: str, largest: float) -> None:
    row, start = by_name()[name], measured("collapse")["untrained"]
    assert row["spread"] < min(largest, measured("collapse")["threshold"]) < start["spread"]


def test_two_parts_are_not_what_prevents_one_point() -> None:
    """Measured, and as their papers say: SimSiam needs no average; the covariance term acts on the rank."""
    rows = by_name()
    assert rows["byol_no_average"]["spread"] > 0.6
    thin, full = rows["vicreg_no_covariance"], rows["vicreg"]
    assert thin["spread"] > 0.6
    assert thin["rank_about_mean"] < full["rank_about_mean"] - 1
    assert thin["linear_accuracy"] < full["linear_accuracy"] - 0.05
    assert full["rank_about_mean"] < rows["byol"]["rank_about_mean"]


def test_the_rank_about_the_mean_is_blind_to_one_point() -> None:
    row = by_name()["positives_only"]
    assert row["rank_about_mean"] > 20 > 4 > row["rank_about_origin"]


def test_spread_and_ranks_of_known_points() -> None:
    even = torch.randn(20_000, 8, generator=generator())
    assert collapse.spread(even) == pytest.approx(1, abs=0.01)
    assert collapse.spread(even * torch.rand(20_000, 1)) == pytest.approx(1, abs=0.01)  # lengths do not count
    assert collapse.spread(torch.ones(50, 8)) == pytest.approx(0, abs=1e-6)
    rows = torch.tensor([[3.0, 0.0], [0.0, 1.0], [-2.0, 0.0], [0.0, -5.0]])
    assert collapse.spread(rows) == pytest.approx(math.sqrt(2) * math.sqrt(0.5))
    assert collapse.rank_about_origin(torch.eye(8)[:5]) == pytest.approx(5)
    assert collapse.rank_about_origin(torch.ones(50, 8)) == pytest.approx(1, abs=1e-4)
    assert collapse.rank_about_origin(torch.tensor([[7.0, 0.0], [0.0, 1.0], [3.0, 0.0]])) == pytest.approx(
        math.exp(-sum(p * math.log(p) for p in (math.sqrt(2) / (1 + math.sqrt(2)), 1 / (1 + math.sqrt(2))))))


def parts() -> tuple[Any, ...]:
    """Networks, views and queue for one evaluation of a loss; every part differs from every other."""
    torch.manual_seed(3)
    online, target = digits.mlp(64, 20, 32, batch_norm=False), digits.mlp(64, 20, 32, batch_norm=False)
    return (online, digits.mlp(32, 20, 32, batch_norm=False), target, (torch.rand(6, 64), torch.rand(6, 64)),
            torch.randn(10, 32))


def unit(z: Tensor) -> Tensor:
    return z / z.square().sum(1, keepdim=True).sqrt()


def far(a: Tensor, b: Tensor) -> Tensor:
    return (unit(a) - unit(b)).square().sum(1).mean()


EXPECTED_LOSSES: dict[str, Callable[..., Tensor]] = {
    "simclr": lambda z0, z1, p0, p1, t0, t1, queue: losses.nt_xent(z0, z1, 0.2),
    "dcl": lambda z0, z1, p0, p1, t0, t1, queue: losses.dcl(z0, z1, 0.2),
    "positives_only": lambda z0, z1, p0, p1, t0, t1, queue: far(z0, z1),
    "moco": lambda z0, z1, p0, p1, t0, t1, queue: losses.info_nce(z0, t1, queue, 0.2),
    "moco_positives_only": lambda z0, z1, p0, p1, t0, t1, queue: far(z0, t1),
    "vicreg": lambda z0, z1, p0, p1, t0, t1, queue: losses.vicreg(z0, z1, 25, 25, 1),
    "vicreg_no_variance": lambda z0, z1, p0, p1, t0, t1, queue: losses.vicreg(z0, z1, 25, 0, 1),
    "vicreg_no_covariance": lambda z0, z1, p0, p1, t0, t1, queue: losses.vicreg(z0, z1, 25, 25, 0),
    "byol": lambda z0, z1, p0, p1, t0, t1, queue: far(p0, t1) + far(p1, t0),
    "byol_no_batch_norm": lambda z0, z1, p0, p1, t0, t1, queue: far(p0, t1) + far(p1, t0),
    "byol_no_average": lambda z0, z1, p0, p1, t0, t1, queue: far(p0, z1.detach()) + far(p1, z0.detach()),
    "byol_no_predictor": lambda z0, z1, p0, p1, t0, t1, queue: far(z0, t1) + far(z1, t0),
    "byol_no_stop": lambda z0, z1, p0, p1, t0, t1, queue: far(p0, z1) + far(p1, z0),
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
    if loss.requires_grad:
        assert all(weight.grad is None for weight in target.parameters()) and not keys.requires_grad


def test_variants_differ_from_each_other() -> None:
    values = {name: collapse.loss_of(name, *parts())[0].item() for name in collapse.VARIANTS}
    alike = {("byol", "byol_no_batch_norm"), ("byol_no_average", "byol_no_stop")}  # in value; see the gradients
    for a, b in itertools.combinations(values, 2):
        assert ((a, b) in alike) == (values[a] == pytest.approx(values[b], rel=1e-6)), (a, b)
    with pytest.raises(ValueError, match="unknown variant"):
        collapse.loss_of("swav", *parts())


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
    collapse.train("moco", 0, 3)
    assert calls[2::3] == ["follow"] * 3
    for queue, keys, later in zip(calls[0::3], calls[1::3], calls[3::3], strict=False):
        assert torch.equal(later, torch.cat([queue, keys])[-len(queue):])  # the newest keys, the oldest dropped


@pytest.mark.parametrize("name, loss, value", [
    ("simclr", "nt_xent", lambda z0, z1, t: losses.byol_regression(z0, z1)),
    ("moco", "info_nce", lambda q, k, queue, t: losses.byol_regression(q, k)),
    ("vicreg", "vicreg", lambda z0, z1, a, b, c: losses.vicreg(z0, z1, a, 0, c)),
])
def test_a_method_that_lost_its_part_would_be_noticed(name: str, loss: str, value: Callable,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collapse, loss, value)
    assert collapse.measure(collapse.train(name, 0, 120))["spread"] < 0.5


# All experiments, and the committed results


@pytest.mark.parametrize("name", ["temperature", "alignment_uniformity", "reconstruction_loss"])
def test_the_seed_decides_alone(name: str) -> None:
    torch.manual_seed(123)
    np.random.seed(123)
    again = EXPERIMENTS[name](_theory.SEED)
    assert again == measured(name) != EXPERIMENTS[name](_theory.SEED + 1)


def test_the_form_names_every_experiment_and_takes_what_they_return() -> None:
    assert set(EXPERIMENTS) == set(Experiments.model_fields)
    Experiments.model_validate({name: measured(name) for name in EXPERIMENTS})


# name -> (relative, absolute) tolerance: training gives other last digits on other processors
TOLERANCE = {"linear_autoencoder": (1e-3, 0.0), "projection_head": (0, 0.05), "collapse": (0.15, 0.08)}
FREE = ("axis_cosines", "other_seed_axis_cosines", "gradient_error", "l2_image_to_mean", "l1_image_to_median")


def close(ours: Any, theirs: Any, relative: float, absolute: float, where: str) -> None:
    """Equal up to the tolerance, all the way down."""
    if isinstance(ours, dict):
        assert set(ours) == set(theirs), where
        for key in ours:
            if key not in FREE:
                close(ours[key], theirs[key], relative, absolute, f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            close(a, b, relative, absolute, f"{where}[{i}]")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=relative, abs=absolute), where
    else:
        assert ours == theirs, where


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_results_are_what_the_code_measures(name: str) -> None:
    committed = json.loads(COMMITTED.read_text())["experiments"][name]
    close(committed, measured(name), *TOLERANCE.get(name, (1e-3, 3e-3)), name)


def test_the_committed_results_are_believed_and_small() -> None:
    results = read_theory(COMMITTED)
    assert isinstance(results, TheoryResults)
    assert set(results.seconds) == set(EXPERIMENTS)
    assert sum(results.seconds.values()) < 60
    assert COMMITTED.stat().st_size < 200_000


# The command


@pytest.mark.parametrize("argv, words", [
    (["--out", "theory.txt"], "must end in .json"), (["--out", "no/such/folder/theory.json"], "there is no folder"),
    (["--oot", "x.json"], "did you mean --out"), (["extra"], "unrecognized")])
def test_bad_commands_are_usage_errors(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        _theory.main(argv)


def test_the_command_writes_what_the_experiments_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("theory.experiments.EXPERIMENTS",
                        {name: lambda seed, name=name: measured(name) for name in EXPERIMENTS})
    _theory.main(["--out", str(tmp_path / "theory.json")])
    results = read_theory(tmp_path / "theory.json")
    assert results.model_dump(by_alias=True)["experiments"] == json.loads(json.dumps(
        {name: measured(name) for name in EXPERIMENTS}))
    assert results.seed == _theory.SEED and set(results.libraries) == {"scikit-learn", "scipy"}
    assert [path.name for path in tmp_path.iterdir()] == ["theory.json"]
    assert "collapse" in capsys.readouterr().out


def test_imports_point_one_way() -> None:
    for path in (ROOT / "theory").glob("*.py"):
        assert not imported(path) & {"report", "argparse", "_main", "_theory"}, path.name
    for path in (ROOT / "report" / "theory.py", ROOT / "report" / "theory_figures.py", ROOT / "theory" / "results.py"):
        assert not imported(path) & {"torch", "training", "sklearn", "scipy"}, path.name


# The chapter


@pytest.fixture
def results_dir(tmp_path: Path) -> Path:
    """A results folder with nothing but the committed theory.json."""
    (tmp_path / "theory.json").write_bytes(COMMITTED.read_bytes())
    return tmp_path


@pytest.fixture
def without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take a tenth of a second each; here only words are looked at."""
    for name in EXPERIMENTS:
        monkeypatch.setattr(chapter.draw, name, lambda *_: Drawing("svg", b"", "", ""))


def words(results_dir: Path) -> str:
    return json.dumps(chapter.theory_sections(results_dir, [])[0], ensure_ascii=False)


def test_eight_sections_with_equations_that_compile_and_drawn_figures(results_dir: Path) -> None:
    sections, drawings = chapter.theory_sections(results_dir, [])
    assert len(sections) == len({section["id"] for section in sections}) == 8
    for section in sections:
        assert set(section) == {"id", "title", "paragraphs", "equations", "tables", "figures"}
        assert section["title"].endswith("?") and len(section["paragraphs"]) >= 2
        assert section["equations"] and all(set(one) == {"typst", "alt"} for one in section["equations"])
        assert len(section["figures"]) == 1
        for figure in section["figures"]:
            assert any(c.isdigit() for c in figure["alt"]) and figure["caption"]
            assert drawings[figure["file"]].data.startswith(b"<?xml")
        for table in section["tables"]:
            assert {"caption", "head", "rows", "right", "code"} == set(table)
            assert all(len(row) == len(table["head"]) and all(isinstance(cell, str) for cell in row)
                       for row in table["rows"])
    source = "\n\n".join(f"$ {one['typst']} $" for section in sections for one in section["equations"])
    assert typst.compile(source.encode(), format="svg", ignore_system_fonts=True)
    assert "not been run" not in words(results_dir)


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths of all numbers."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def changed(raw: dict, path: tuple) -> dict:
    """A copy with one number moved by enough to be seen and little enough to be valid."""
    raw = copy.deepcopy(raw)
    inner = raw["experiments"]
    for key in path[:-1]:
        inner = inner[key]
    value = inner[path[-1]]
    inner[path[-1]] = value + 1 if isinstance(value, int) else value * 0.83 + 0.011
    return raw


# numbers that only figures draw, or of which the text tells one of several
NOT_IN_WORDS = ("path_steps", "path_l1", "path_l2", "image_l1", "image_l2", "variance", "cosines", "random_cosines",
                "axis_cosines", "other_seed_cosines", "other_seed_axis_cosines", "gradient_error", "top_white_missed",
                "bottom_white_missed", "pixels", "images", "patterns", "splits", "directions")


@pytest.mark.usefixtures("without_drawing")
def test_every_number_in_the_words_comes_from_the_file(results_dir: Path) -> None:
    raw = json.loads(COMMITTED.read_text())
    before = words(results_dir)
    seen, hidden = 0, []
    for path in leaves(raw["experiments"]):
        if any(name in path for name in NOT_IN_WORDS):
            continue
        (results_dir / "theory.json").write_text(json.dumps(changed(raw, path)))
        seen += 1
        if words(results_dir) == before:
            hidden.append(path)
    assert seen > 200 and not hidden


@pytest.mark.usefixtures("without_drawing")
@pytest.mark.parametrize("path, value, shown", [
    (("linear_autoencoder", "cosines", 9), 0.543219, "0.543219"),
    (("linear_autoencoder", "axis_cosines", 0), 0.98765, "0.9877"),
    (("linear_autoencoder", "latent"), 17, "latent of 17"),
    (("reconstruction_loss", "found_l1"), 0.70717, "0.7072"),
    (("variance_directions", "backgrounds", "top_accuracy", 3), 0.4567, "45.67"),
    (("variance_directions", "digits", "top_white_missed", 2), 0.7654, "76.54"),
    (("temperature", "rows", 3, "gradient_error"), 0.0123, "0.01230"),
    (("collapse", "threshold"), 0.9, "below 0.9000"),
])
def test_numbers_are_shown_as_they_are(path: tuple, value: float, shown: str, results_dir: Path) -> None:
    raw = json.loads(COMMITTED.read_text())
    inner = raw["experiments"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (results_dir / "theory.json").write_text(json.dumps(raw))
    assert shown in words(results_dir)


@pytest.mark.usefixtures("without_drawing")
def test_words_follow_the_numbers(results_dir: Path) -> None:
    """Which methods collapsed, and whether a bound was exceeded, are read from the file."""
    raw = json.loads(COMMITTED.read_text())
    assert "No bound lies more than three standard errors above I" in words(results_dir)
    rows = raw["experiments"]["collapse"]["rows"]
    next(row for row in rows if row["name"] == "byol_no_predictor")["spread"] = 0.7771
    next(row for row in rows if row["name"] == "simclr")["spread"] = 0.01
    raw["experiments"]["mutual_information"]["gaussian"][0]["bound"] = 3.0
    for row in raw["experiments"]["mutual_information"]["one_bit"]:
        row["estimate"] = 0.5
    (results_dir / "theory.json").write_text(json.dumps(raw))
    text = words(results_dir)
    assert "4 of 5 whole methods" in text
    collapsed, kept = text.split("Not collapsed: ")
    assert "without the predictor (0.7771)" in kept and "without the predictor" not in collapsed.split("Collapsed: ")[1]
    assert "1 of 20 bounds lie more than" in text and "stays below I" in text


def test_without_the_file_the_answers_stand_alone(tmp_path: Path) -> None:
    sections, drawings = chapter.theory_sections(tmp_path, [])
    assert len(sections) == 8 and not drawings
    for section in sections:
        assert section["equations"] and not section["figures"]
        assert "python _theory.py" in section["paragraphs"][-1]


def edited(edit: Callable[[dict], Any]) -> Callable[[], bytes]:
    def data() -> bytes:
        raw = json.loads(COMMITTED.read_text())
        edit(raw)
        return json.dumps(raw).encode()
    return data


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"", "no JSON": lambda: b"{", "binary": lambda: os.urandom(300), "a list": lambda: b"[]",
    "cut off": lambda: COMMITTED.read_bytes()[:9000], "deep": lambda: b"[" * 100_000,
    "huge": lambda: b" " * 21_000_000 + COMMITTED.read_bytes(),
    "long number": lambda: b'{"seed": ' + b"9" * 10_000 + b"}",
    "key twice": lambda: COMMITTED.read_bytes().replace(b'"seed": 0', b'"seed": 0, "seed": 0', 1),
    "NaN": lambda: COMMITTED.read_bytes().replace(b'"pca_error": 0', b'"pca_error": NaN, "x": 0', 1),
    "infinite": edited(lambda raw: raw["experiments"]["temperature"].update(same_class_all=math.inf)),
    "unknown key": edited(lambda raw: raw["experiments"].update(more=1)),
    "missing experiment": edited(lambda raw: raw["experiments"].pop("collapse")),
    "missing variant": edited(lambda raw: raw["experiments"]["collapse"]["rows"].pop()),
    "missing corner": edited(lambda raw: raw["experiments"]["alignment_uniformity"]["corners"].pop()),
    "text for a number": edited(lambda raw: raw["experiments"]["collapse"].update(steps="many")),
    "true for a number": edited(lambda raw: raw["experiments"]["collapse"].update(steps=True)),
    "lists of two lengths": edited(lambda raw: raw["experiments"]["linear_autoencoder"]["cosines"].pop()),
    "accuracy above 1": edited(lambda raw: raw["experiments"]["projection_head"]["trained"][0].update(
        class_accuracy=1.5)),
    "split beyond the directions": edited(lambda raw: raw["experiments"]["variance_directions"]["splits"].__setitem__(
        6, 99)),
    "another schema": edited(lambda raw: raw.update(schema=2)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_cannot_be_believed_is_named_and_not_used(name: str, tmp_path: Path) -> None:
    (tmp_path / "theory.json").write_bytes(HOSTILE[name]())
    with pytest.raises(RecordError, match="^theory.json: ") as caught:
        read_theory(tmp_path / "theory.json")
    assert "\n" not in str(caught.value)
    sections, drawings = chapter.theory_sections(tmp_path, [])
    assert not drawings and all("cannot be believed: theory.json" in section["paragraphs"][-1] for section in sections)
    assert all(len(section["paragraphs"][-1]) < 500 for section in sections)


def test_folders_links_and_pipes_in_the_file_s_place(tmp_path: Path) -> None:
    for make in (lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to(tmp_path / "nowhere")):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        make(folder / "theory.json")
        with pytest.raises(RecordError, match="no regular file"):
            read_theory(folder / "theory.json")


def test_extreme_but_valid_numbers_are_drawn(results_dir: Path) -> None:
    raw = json.loads(COMMITTED.read_text())
    for path in leaves(raw["experiments"]):
        inner = raw["experiments"]
        for key in path[:-1]:
            inner = inner[key]
        if isinstance(inner[path[-1]], float) and not any("accuracy" in str(key) for key in path):
            inner[path[-1]] = 1e-6 if hash(path) % 2 else 1.0
    for row in raw["experiments"]["collapse"]["rows"]:
        row["method"] = row["without"] = "$x_{$ <b>\u202e #" + "w" * 400
    (results_dir / "theory.json").write_text(json.dumps(raw))
    sections, drawings = chapter.theory_sections(results_dir, [])
    assert len(drawings) == 8 and "\u202e" not in json.dumps(sections, ensure_ascii=False)


def test_tables_of_the_project_s_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alignment, uniformity and the score behind the head stand beside the linear probe, means over seeds."""
    monkeypatch.setattr("report.load.check_known", lambda *_: None)  # the factory's images are not MNIST's
    for task, dataset, method, seed in (("1.2.3", "mnist", "simclr", 0), ("1.2.3", "mnist", "simclr", 1),
                                        ("1.2.3", "cifar10", "vicreg", 0), ("1.2.1", "mnist", "plain", 0)):
        path = make_record(tmp_path, task, dataset, method, seed, n=500)
        if task == "1.2.3":
            edit(path, "metrics", "test/projection_linear_top1", value={
                "value": (300 + seed) / 500, "n": 500, "correct": 300 + seed, "split": "test", "protocol": "drawn"})
    make_record(tmp_path, "1.2.3", "cifar10", "simclr", 0, n=500, status="quick", name="quick")
    loaded, _ = load_results(tmp_path)
    sections = {section["id"]: section for section in chapter.theory_sections(tmp_path, loaded)[0]}
    runs = [run.record for run in loaded if run.record.run.status == "complete"]
    assert any("test/alignment" in record.metrics for record in runs)
    assert any("test/projection_linear_top1" in record.metrics for record in runs)
    for id, metrics, cells in (("alignment-uniformity", ["test/alignment", "test/uniformity"], slice(4, 6)),
                               ("projection-head", ["test/linear_top1", "test/projection_linear_top1"], slice(3, 5))):
        table = sections[id]["tables"][0]
        assert table["rows"]
        scale = 100 if "linear" in metrics[0] else 1
        values = [[float(cell.replace("\N{MINUS SIGN}", "-")) for cell in row[cells]] for row in table["rows"]]
        single = [[scale * record.metrics[name].value for name in metrics] for record in runs
                  if all(name in record.metrics for name in metrics)]
        assert len(single) == 4 if id == "alignment-uniformity" else 3
        low, high = np.min(single, axis=0), np.max(single, axis=0)
        assert all((low - 0.01 <= row).all() and (row <= high + 0.01).all() for row in np.array(values))
        for row, shown in zip(table["rows"], values, strict=True):
            if row[2 if id == "projection-head" else 3] == "1":  # one seed: a record's own numbers
                assert any(np.allclose(shown, one, atol=0.006, rtol=1e-3) for one in single)
