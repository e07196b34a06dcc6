"""Bounds on mutual information against closed forms and slow transcriptions; broken losses must be caught."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from tests.theory.measured import BROKEN_NT_XENT, check_committed, generator, measured
from theory.mutual_information import experiment as mutual_information
from training import losses


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


@pytest.mark.parametrize("name", BROKEN_NT_XENT)
def test_broken_nt_xent_breaks_the_bounds_or_their_tightness(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutual_information, "nt_xent", BROKEN_NT_XENT[name])
    monkeypatch.setattr(mutual_information, "ANCHORS", 1024)  # an eighth is enough to notice
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


def test_the_committed_results_are_what_the_code_measures() -> None:
    check_committed("mutual_information", measured("mutual_information"))
